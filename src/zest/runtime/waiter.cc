#include "zest/runtime/waiter.h"

#include <stop_token>

#include "zest/base/assert.h"
#include "zest/runtime/loop_base.h"

namespace zest::detail {

Waiter::Waiter() noexcept : loop(LoopBase::of_thread()) {
  if (loop != nullptr) {
    fiber = &loop->current_fiber();
  } else {
    thread_.emplace();
  }
}

void Waiter::wake() noexcept {
  if (fiber != nullptr) {
    loop->wake(*fiber);
    return;
  }
  // Under the mutex, because the waiter is gone as soon as its thread sees the signal.
  std::lock_guard const lock(thread_->mutex);
  thread_->signalled = true;
  thread_->woken.notify_all();
}

Wakeup Waiter::wait(Context const* ctx) noexcept {
  return fiber != nullptr ? loop->wait(*this, ctx, kNever) : block(ctx);
}

Wakeup Waiter::block(Context const* ctx) noexcept {
  std::optional<std::stop_callback<StopWait>> on_stop;
  if (ctx != nullptr && ctx->stop.stop_possible()) {
    on_stop.emplace(ctx->stop, StopWait{this});
  }
  {
    std::unique_lock lock(thread_->mutex);
    auto const signalled = [this] { return thread_->signalled; };
    if (ctx == nullptr || ctx->deadline == kNever) {
      thread_->woken.wait(lock, signalled);
    } else if (!thread_->woken.wait_until(lock, ctx->deadline, signalled) &&
               !claim(Wakeup::timed_out)) {
      // Somebody claimed the waiter at the last moment and is about to signal.
      thread_->woken.wait(lock, signalled);
    }
  }
  return state.load(std::memory_order_acquire);
}

Result<void> to_result(Wakeup wakeup) {
  switch (wakeup) {
    case Wakeup::notified: return {};
    case Wakeup::stopped: return Errc::intr;
    case Wakeup::timed_out: return Errc::timedout;
    case Wakeup::pending: break;
  }
  ZEST_ASSERT(wakeup != Wakeup::pending);
  return Errc::io;
}

}  // namespace zest::detail
