#include "zest/runtime/testing.h"

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "zest/runtime/loop_base.h"
#include "zest/runtime/sync.h"

namespace zest::testing {
namespace {

/// Runs `fn` on a fiber of `loop` and the loop until it ends; what `fn` throws is thrown to the
/// caller.
void run_on(Loop& loop, std::function<void()> const& fn) {
  std::exception_ptr thrown;
  bool ended = false;
  {
    Scope scope;
    scope.spawn_on(loop, [&] {
      try {
        fn();
      } catch (...) {
        thrown = std::current_exception();
      }
      ended = true;
      loop.stop();
    });
    loop.run();
    if (!ended || scope.running() != 0) {
      std::fprintf(stderr,
                   "zest: the simulation is stuck: fibers wait, but nothing is left to happen\n");
      std::abort();
    }
  }
  if (thrown) {
    std::rethrow_exception(thrown);
  }
}

}  // namespace

void run_simulated(std::function<void()> const& fn, std::uint64_t seed) {
  auto const loop = make_simulated_loop(seed);
  run_on(*loop, fn);
}

void run_on_loop(std::function<void()> const& fn, LoopKind kind) {
  Logger log({.level = LogLevel::error, .file = {}, .json = false, .color = false});
  auto const loop = make_loop(kind, {.fibers_max = 4096, .stall_limit = Duration::zero()}, log);
  if (!loop.ok()) {
    std::fprintf(stderr, "zest: %s\n", loop.error().text().c_str());
    std::abort();
  }
  run_on(**loop, fn);
}

bool uring_works() {
  Logger log({.level = LogLevel::off, .file = {}, .json = false, .color = false});
  return make_loop(LoopKind::uring, {}, log).ok();
}

}  // namespace zest::testing
