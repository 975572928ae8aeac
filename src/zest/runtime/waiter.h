// One wait of one fiber (or foreign thread), and who ended it. Internal to the runtime.
//
// A wait may be ended by three parties: whoever has what is waited for, the deadline's timer, and
// the stop token, the last from any thread. The first to claim() the waiter decides how the wait
// ends and is the only one to wake() it, so a fiber is woken exactly once. The waiter lives on the
// stack of the one who waits and is gone soon after wake().
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/runtime/loop.h"

namespace zest {

class LoopBase;

namespace detail {

enum class Wakeup : std::uint8_t { pending, notified, stopped, timed_out };

/// How a foreign thread sleeps, for lack of a fiber.
struct BlockedThread {
  std::mutex mutex;
  std::condition_variable woken;
  bool signalled = false;
};

struct Waiter {
  /// Of the calling fiber; of the calling thread where there is no loop. Asserts on a loop's thread
  /// outside of fibers, where waiting would stop the loop.
  Waiter() noexcept;
  Waiter(Waiter const&) = delete;
  Waiter& operator=(Waiter const&) = delete;

  /// True for the first who calls it: that one has to call wake(), later but surely.
  [[nodiscard]] bool claim(Wakeup reason) noexcept {
    auto expected = Wakeup::pending;
    return state.compare_exchange_strong(expected, reason, std::memory_order_acq_rel);
  }
  void wake() noexcept;
  /// Suspends or blocks until woken. Null: neither deadline nor stop.
  Wakeup wait(Context const* ctx) noexcept;

  // Place in a WaitQueue, guarded by the queue's owner.
  Waiter* previous = nullptr;
  Waiter* next = nullptr;
  bool queued = false;
  /// What a semaphore's waiter wants; for a shared mutex 1 = exclusive, 0 = shared.
  std::uint64_t units = 0;

  std::atomic<Wakeup> state{Wakeup::pending};
  LoopBase* loop = nullptr;
  Fiber* fiber = nullptr;

  // Place in the loop's timer heap; the loop's thread only.
  static constexpr std::size_t kNoTimer = ~std::size_t{0};
  TimePoint when = kNever;
  std::uint64_t sequence = 0;
  std::size_t heap_index = kNoTimer;

 private:
  Wakeup block(Context const* ctx) noexcept;
  std::optional<BlockedThread> thread_;
};

/// What a stop token calls: ends the wait when nobody else has.
struct StopWait {
  Waiter* waiter;
  void operator()() const noexcept {
    if (waiter->claim(Wakeup::stopped)) {
      waiter->wake();
    }
  }
};

/// EINTR, ETIMEDOUT or success.
Result<void> to_result(Wakeup wakeup);

}  // namespace detail
}  // namespace zest
