#include "zest/runtime/loop.h"

#include <utility>

#include "zest/runtime/epoll_loop.h"
#include "zest/runtime/simulated_loop.h"
#include "zest/runtime/uring_loop.h"

namespace zest {

Result<std::unique_ptr<Loop>> make_loop(LoopKind kind, LoopOptions const& options, Logger& log) {
  if (kind == LoopKind::epoll) {
    return EpollLoop::create(options, log);
  }
  auto made = UringLoop::create(options, log);
  if (made.ok() || kind == LoopKind::uring) {
    return made;
  }
  log.info("using epoll, because io_uring isn't available", {{"why", made.error().text()}});
  return EpollLoop::create(options, log);
}

std::unique_ptr<Loop> make_simulated_loop(std::uint64_t seed) {
  return std::make_unique<SimulatedLoop>(seed);
}

}  // namespace zest
