#include "zest/runtime/simulated_loop.h"

#include <algorithm>

namespace zest {
namespace {

// Both clocks start at round numbers that are easy to recognise in a failing test's output.
constexpr TimePoint kStart{std::chrono::hours(1)};
constexpr std::int64_t kWallStart = 1'700'000'000;

}  // namespace

SimulatedLoop::SimulatedLoop(std::uint64_t seed)
    : LoopBase({.stall_limit = Duration::zero()}, nullptr), random_(seed) {}

void SimulatedLoop::run() {
  Running const running(*this);
  for (;;) {
    drain_inbox();
    bool const had_jobs = run_jobs();
    if (Fiber* fiber = draw(); fiber != nullptr) {
      run_fiber(*fiber);
    } else if (had_jobs || !inbox_empty()) {
      continue;
    } else if (stop_requested() || timers_.empty()) {
      break;
    } else {
      poll(true, timers_.next());
      fire_timers(now());
    }
  }
  forget_stop();
}

Fiber* SimulatedLoop::draw() {
  while (!ready_.empty()) {
    candidates_.push_back(&ready_.pop());
  }
  if (candidates_.empty()) {
    return nullptr;
  }
  // Not uniform_int_distribution: its algorithm is the library's choice, and seeds should mean the
  // same everywhere. The bias of the remainder is far below anything a test could see.
  auto const drawn = static_cast<std::size_t>(random_() % candidates_.size());
  std::swap(candidates_[drawn], candidates_.back());
  Fiber* const fiber = candidates_.back();
  candidates_.pop_back();
  return fiber;
}

void SimulatedLoop::poll(bool may_wait, TimePoint until) {
  if (may_wait && until > now()) {
    elapsed_.store((until - kStart).count(), std::memory_order_relaxed);
  }
}

Result<PollEvents> SimulatedLoop::wait_fd(Context const& /*ctx*/, int /*fd*/,
                                          PollEvents /*events*/) {
  return Error(Errc::nosys, Fault::bug, "a simulated loop has no file descriptors");
}

TimePoint SimulatedLoop::now() const noexcept {
  return kStart + Duration(elapsed_.load(std::memory_order_relaxed));
}

WallTime SimulatedLoop::wall() const noexcept {
  auto const elapsed = elapsed_.load(std::memory_order_relaxed);
  constexpr Duration::rep kSecond = 1'000'000'000;
  return {.sec = kWallStart + elapsed / kSecond,
          .nsec = static_cast<std::uint32_t>(elapsed % kSecond)};
}

}  // namespace zest
