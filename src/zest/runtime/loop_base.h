// What all loops share: fibers and their stacks, the ready queue, timers, the inbox. Internal to
// the runtime.
//
// One turn of run(): take over the inbox, run a batch of ready fibers, fire due timers, ask the
// backend for events (waiting only when nothing is ready). Other threads reach a loop through its
// inbox alone: a list under a mutex and an interrupt(), which costs a system call and is therefore
// sent only to a loop that sleeps or is about to.
//
// A waker may still be inside wake() when the fiber it woke has already ended the loop; run()
// doesn't return before such stragglers (`visitors_`) have left, so waking the last fiber of a loop
// is safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "zest/runtime/fiber.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/timer_heap.h"
#include "zest/runtime/waiter.h"

namespace zest {

/// Intrusive FIFO of fibers that are ready to run.
class FiberQueue {
 public:
  void push(Fiber& fiber) noexcept {
    fiber.next = nullptr;
    (tail_ == nullptr ? head_ : tail_->next) = &fiber;
    tail_ = &fiber;
  }
  /// For reuse: the stack that ran last is the warmest.
  void push_front(Fiber& fiber) noexcept {
    fiber.next = head_;
    head_ = &fiber;
    tail_ = tail_ == nullptr ? &fiber : tail_;
  }
  Fiber& pop() noexcept {
    Fiber& first = *head_;
    head_ = first.next;
    if (head_ == nullptr) {
      tail_ = nullptr;
    }
    return first;
  }
  /// Moves all of `other` behind our own.
  void append(FiberQueue& other) noexcept {
    if (other.head_ != nullptr) {
      (tail_ == nullptr ? head_ : tail_->next) = other.head_;
      tail_ = other.tail_;
      other.head_ = nullptr;
      other.tail_ = nullptr;
    }
  }
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }

 private:
  Fiber* head_ = nullptr;
  Fiber* tail_ = nullptr;
};

class LoopBase : public Loop {
 public:
  /// `log` may be null: then nothing is reported.
  LoopBase(LoopOptions const& options, Logger* log);
  /// Asserts that no fiber is left.
  ~LoopBase() override;

  static LoopBase* of_thread() noexcept;
  /// Also from a signal handler.
  static Fiber* current_fiber_of_thread() noexcept;

  void run() override;
  void stop() noexcept final;
  void post(Task task) final;
  void spawn(Scope& scope, Task task) final;
  Result<void> sleep_until(Context const& ctx, TimePoint when) final;
  void yield() final;
  [[nodiscard]] TimePoint now() const noexcept override;
  [[nodiscard]] WallTime wall() const noexcept override;
  void suspend() final;
  void wake(Fiber& fiber) final;
  [[nodiscard]] Fiber& current_fiber() noexcept final;

  /// Suspends the calling fiber until `waiter` is claimed, by the timer at the earlier of `when`
  /// and the deadline if by nobody else before.
  detail::Wakeup wait(detail::Waiter& waiter, Context const* ctx, TimePoint when) noexcept;
  /// True under virtual time: then blocking work runs in place, or the clock would run away from
  /// it.
  [[nodiscard]] virtual bool simulated() const noexcept { return false; }
  /// Fibers with a task, started or queued.
  [[nodiscard]] std::size_t live_fibers() const noexcept { return live_ + overflow_.size(); }

 protected:
  /// Collects events and wakes their fibers; waits for some until `until` when `may_wait`.
  virtual void poll(bool may_wait, TimePoint until) = 0;
  /// Ends the wait in poll(). Any thread.
  virtual void interrupt() noexcept = 0;

  /// For the simulated loop, which brings a run() of its own.
  class Running;
  void drain_inbox();
  bool run_jobs();
  void run_fiber(Fiber& fiber);
  void fire_timers(TimePoint now) noexcept;
  [[nodiscard]] bool inbox_empty();
  [[nodiscard]] bool stop_requested() const noexcept {
    return stop_.load(std::memory_order_acquire);
  }
  void forget_stop() noexcept { stop_.store(false, std::memory_order_release); }

  Logger* log() const noexcept { return log_; }
  FiberQueue ready_;
  TimerHeap timers_;

 private:
  /// A posted task, or one to be run on a fiber when it has an owner.
  struct Job {
    detail::UserCount* owner = nullptr;
    Task task;
  };

  void start(Job job);
  void retire(Fiber& fiber);
  Fiber* new_fiber();
  void run_ready();
  /// False when the inbox has something: then there is no sleep.
  bool prepare_sleep();
  /// Adds to the inbox under its mutex and interrupts the loop when it sleeps.
  template <class Add>
  void deliver(Add&& add) noexcept;
  void check_stall() noexcept;
  void report_stall(Duration ran) noexcept;

  LoopOptions options_;
  Logger* log_;
  SwitchPoint home_;
  Fiber* current_ = nullptr;
  std::vector<std::unique_ptr<Fiber>> all_;  // tools/gdb/fiber_bt.py reads it
  FiberQueue idle_;
  std::size_t idle_count_ = 0;
  std::size_t live_ = 0;
  std::deque<Job> overflow_;  // spawned beyond fibers_max
  std::deque<Job> jobs_;      // posted, not run yet

  std::mutex inbox_mutex_;
  FiberQueue inbox_fibers_;
  std::vector<Job> inbox_jobs_;
  std::vector<Job> drained_;  // keeps its capacity
  bool sleeping_ = false;
  std::atomic<bool> stop_{false};
  std::atomic<int> visitors_{0};

  TimePoint slice_start_{};
  TimePoint last_report_{};
  std::uint64_t stalls_unreported_ = 0;
};

/// Marks the calling thread as the loop's for the duration of run(), and ends it when no other
/// thread is inside.
class LoopBase::Running {
 public:
  explicit Running(LoopBase& loop) noexcept;
  ~Running();
  Running(Running const&) = delete;
  Running& operator=(Running const&) = delete;

 private:
  LoopBase& loop_;
  OverflowReporter reporter_;
};

}  // namespace zest
