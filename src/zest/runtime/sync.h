// Fiber-aware synchronisation. A waiting fiber is suspended; its thread goes on. All primitives may
// be shared by fibers of several loops: inside is a std::mutex held for a few instructions, never
// across a suspension.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stop_token>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/runtime/loop.h"

namespace zest {

class LoopBase;

namespace detail {

struct Waiter;
enum class Wakeup : std::uint8_t;

/// FIFO of those who wait, guarded by its owner's mutex.
class WaitQueue {
 public:
  void push(Waiter& waiter) noexcept;
  void remove(Waiter& waiter) noexcept;
  [[nodiscard]] Waiter* front() const noexcept { return head_; }
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  Waiter* head_ = nullptr;
  Waiter* tail_ = nullptr;
  std::size_t size_ = 0;
};

/// Counts users of something and lets others wait until there is none; what Gate and Scope are made
/// of.
class UserCount {
 public:
  /// False once closed.
  [[nodiscard]] bool enter() noexcept;
  void leave() noexcept;
  /// Suspends until nobody is inside; with `close`, newcomers are refused from now on.
  void wait_idle(bool close) noexcept;
  [[nodiscard]] bool closed() const noexcept;
  [[nodiscard]] std::size_t inside() const noexcept;

 private:
  std::atomic<std::uint64_t> state_{0};  ///< Number of users times 4, and two flags.
  std::mutex mutex_;
  WaitQueue waiting_;
};

}  // namespace detail

/// Mutual exclusion between fibers; FIFO hand-off. Works with std::lock_guard and std::unique_lock.
class FiberMutex {
 public:
  FiberMutex() = default;
  FiberMutex(FiberMutex const&) = delete;
  FiberMutex& operator=(FiberMutex const&) = delete;

  /// Suspends until owned; not interruptible.
  void lock() {
    std::uint32_t expected = kFree;
    if (!state_.compare_exchange_strong(expected, kLocked, std::memory_order_acquire))
        [[unlikely]] {
      lock_slowly(nullptr);
    }
  }
  [[nodiscard]] bool try_lock() noexcept;
  void unlock();
  /// lock() that gives up: EINTR, ETIMEDOUT.
  Result<void> lock(Context const& ctx);

 private:
  enum State : std::uint32_t { kFree, kLocked, kContended };
  /// Under the mutex: true when somebody holds the lock, who will now look at the queue; false when
  /// it's ours.
  bool mark_contended() noexcept;
  detail::Wakeup lock_slowly(Context const* ctx);

  std::atomic<std::uint32_t> state_{kFree};
  std::mutex mutex_;  ///< Guards the queue and every change from and to kContended.
  detail::WaitQueue queue_;
};

/// Many readers or one writer, FIFO so that neither starves. Works with std::shared_lock.
class FiberSharedMutex {
 public:
  FiberSharedMutex() = default;
  FiberSharedMutex(FiberSharedMutex const&) = delete;
  FiberSharedMutex& operator=(FiberSharedMutex const&) = delete;

  void lock();
  [[nodiscard]] bool try_lock() noexcept;
  void unlock();
  void lock_shared();
  [[nodiscard]] bool try_lock_shared() noexcept;
  void unlock_shared();

 private:
  void lock_slowly(bool exclusive);
  void unlock_slowly(std::uint64_t share);
  /// Hands the lock to whoever may have it now; under the mutex. Returns those to be woken after
  /// it's released.
  detail::Waiter* grant() noexcept;

  std::atomic<std::uint64_t> state_{0};  ///< Number of readers times 4, and two flags.
  std::mutex mutex_;                     ///< Guards the queue and, while somebody waits, the state.
  detail::WaitQueue queue_;
};

/// Condition variable for a FiberMutex.
class FiberCondition {
 public:
  FiberCondition() = default;
  FiberCondition(FiberCondition const&) = delete;
  FiberCondition& operator=(FiberCondition const&) = delete;

  /// Releases `lock`, waits for a notification, takes it again. No spurious wake-ups; still loop
  /// over the predicate.
  void wait(std::unique_lock<FiberMutex>& lock);
  /// As above; returns EINTR or ETIMEDOUT with the lock held.
  Result<void> wait(Context const& ctx, std::unique_lock<FiberMutex>& lock);
  /// Any thread.
  void notify_one();
  void notify_all();

 private:
  detail::Wakeup wait_for(Context const* ctx, std::unique_lock<FiberMutex>& lock);

  std::mutex mutex_;
  detail::WaitQueue queue_;
};

/// Counts units of something limited (bytes of memory, requests under way); FIFO.
class Semaphore {
 public:
  explicit Semaphore(std::uint64_t units) : total_(units), available_(units) {}
  Semaphore(Semaphore const&) = delete;
  Semaphore& operator=(Semaphore const&) = delete;

  /// Suspends until `n` units are free and takes them. n larger than the total is EINVAL.
  Result<void> acquire(Context const& ctx, std::uint64_t n = 1);
  [[nodiscard]] bool try_acquire(std::uint64_t n = 1) noexcept;
  /// Any thread.
  void release(std::uint64_t n = 1);
  [[nodiscard]] std::uint64_t available() const noexcept;
  [[nodiscard]] std::size_t waiters() const noexcept;

 private:
  /// Serves waiters from the front as far as units suffice; under the mutex.
  detail::Waiter* grant() noexcept;

  std::uint64_t const total_;
  mutable std::mutex mutex_;
  std::uint64_t available_;
  detail::WaitQueue queue_;
};

/// A one-shot event: set() wakes everybody, later waits return at once.
class Event {
 public:
  Event() = default;
  Event(Event const&) = delete;
  Event& operator=(Event const&) = delete;

  void set();  ///< Any thread; also from outside of fibers.
  [[nodiscard]] bool is_set() const noexcept;
  void wait();
  Result<void> wait(Context const& ctx);

 private:
  detail::Wakeup wait_for(Context const* ctx);

  std::mutex mutex_;
  std::atomic<bool> set_{false};
  detail::WaitQueue queue_;
};

/// Lets requests in until it is closed, and close() waits for those inside. The way a door shuts
/// down.
class Gate {
 public:
  /// False once closed.
  [[nodiscard]] bool enter() noexcept;
  void leave() noexcept;
  /// Refuses newcomers and suspends until everybody left.
  void close();
  [[nodiscard]] bool closed() const noexcept;
  [[nodiscard]] std::size_t inside() const noexcept;

  Gate() = default;
  Gate(Gate const&) = delete;
  Gate& operator=(Gate const&) = delete;

 private:
  detail::UserCount users_;
};

/// Owns fibers. Every fiber belongs to a scope, and the scope must be joined before it is
/// destroyed.
class Scope {
 public:
  Scope() = default;
  ~Scope();  ///< Asserts that all fibers ended.
  Scope(Scope const&) = delete;
  Scope& operator=(Scope const&) = delete;

  /// Starts a fiber on the calling loop (or on `loop`).
  void spawn(Task task);
  void spawn_on(Loop& loop, Task task);
  /// Asks the fibers to end: token() is stopped.
  void request_stop() noexcept;
  [[nodiscard]] std::stop_token token() const noexcept;
  /// Suspends (or, on a foreign thread, blocks) until all fibers ended.
  void join();
  [[nodiscard]] std::size_t running() const noexcept;

 private:
  friend class LoopBase;  // counts its fibers here
  detail::UserCount fibers_;
  std::stop_source stop_;
};

}  // namespace zest
