// Fiber-aware synchronisation. A waiting fiber is suspended; its thread goes on. All primitives may
// be shared by fibers of several loops: inside is a std::mutex held for a few instructions, never
// across a suspension.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/runtime/loop.h"

namespace zest {

namespace detail {
struct Waiter;
/// FIFO of suspended fibers, guarded by the owner's mutex.
class WaitQueue;
}  // namespace detail

/// Mutual exclusion between fibers; FIFO hand-off. Works with std::lock_guard and std::unique_lock.
class FiberMutex {
 public:
  FiberMutex();
  ~FiberMutex();
  FiberMutex(FiberMutex const&) = delete;
  FiberMutex& operator=(FiberMutex const&) = delete;

  /// Suspends until owned; not interruptible.
  void lock();
  [[nodiscard]] bool try_lock() noexcept;
  void unlock();
  /// lock() that gives up: EINTR, ETIMEDOUT.
  Result<void> lock(Context const& ctx);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Many readers or one writer, FIFO so that neither starves. Works with std::shared_lock.
class FiberSharedMutex {
 public:
  FiberSharedMutex();
  ~FiberSharedMutex();
  FiberSharedMutex(FiberSharedMutex const&) = delete;
  FiberSharedMutex& operator=(FiberSharedMutex const&) = delete;

  void lock();
  [[nodiscard]] bool try_lock() noexcept;
  void unlock();
  void lock_shared();
  [[nodiscard]] bool try_lock_shared() noexcept;
  void unlock_shared();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Condition variable for a FiberMutex.
class FiberCondition {
 public:
  FiberCondition();
  ~FiberCondition();
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
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Counts units of something limited (bytes of memory, requests under way); FIFO.
class Semaphore {
 public:
  explicit Semaphore(std::uint64_t units);
  ~Semaphore();
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
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A one-shot event: set() wakes everybody, later waits return at once.
class Event {
 public:
  Event();
  ~Event();
  Event(Event const&) = delete;
  Event& operator=(Event const&) = delete;

  void set();  ///< Any thread; also from outside of fibers.
  [[nodiscard]] bool is_set() const noexcept;
  void wait();
  Result<void> wait(Context const& ctx);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
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

  Gate();
  ~Gate();
  Gate(Gate const&) = delete;
  Gate& operator=(Gate const&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Owns fibers. Every fiber belongs to a scope, and the scope must be joined before it is
/// destroyed.
class Scope {
 public:
  Scope();
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
  friend class LoopBase;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest
