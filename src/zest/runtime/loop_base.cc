#include "zest/runtime/loop_base.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <stop_token>
#include <utility>

#include "zest/base/assert.h"
#include "zest/runtime/mutex.h"
#include "zest/runtime/sanitizers.h"
#include "zest/runtime/sync.h"

namespace zest {
namespace {

/// Which loop the thread serves now. Not a mutable global in disguise: it answers "where am I",
/// nothing else.
thread_local LoopBase* serving_loop = nullptr;
thread_local int mutexes_held = 0;

// Between two looks at the kernel's events: enough to make the look cheap, little enough for I/O
// not to starve.
constexpr int kBatch = 128;
// Stacks kept for reuse; above that they are unmapped. A fresh stack costs 10 µs, a kept one some 8
// KiB.
constexpr std::size_t kIdleMax = 1024;
constexpr Duration kStallReportInterval = std::chrono::seconds(10);

/// 5 ns instead of 25, at the resolution of the kernel's tick (1–4 ms): good enough for "longer
/// than 10 ms".
TimePoint coarse_now() noexcept {
  timespec ts{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
  return TimePoint(std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec));
}

}  // namespace

int& Mutex::held_by_thread() noexcept {
  return mutexes_held;
}

// --- Loop's static part

Loop* Loop::current() noexcept {
  return serving_loop;
}
bool Loop::on_fiber() noexcept {
  return LoopBase::current_fiber_of_thread() != nullptr;
}

// --- construction

LoopBase::LoopBase(LoopOptions const& options, Logger* log) : options_(options), log_(log) {
  options_.fibers_max = std::max<std::size_t>(options_.fibers_max, 1);
#ifdef ZEST_TSAN
  // ThreadSanitizer keeps large tables for each fiber and runs out of mappings at some thousands.
  options_.fibers_max = std::min<std::size_t>(options_.fibers_max, 1024);
#endif
}

LoopBase::~LoopBase() {
  // A fiber that is destroyed while suspended runs no destructors, so its scope should have been
  // joined.
  ZEST_ASSERT(live_fibers() == 0);
}

LoopBase* LoopBase::of_thread() noexcept {
  return serving_loop;
}

Fiber* LoopBase::current_fiber_of_thread() noexcept {
  auto const* loop = serving_loop;
  return loop == nullptr ? nullptr : loop->current_;
}

LoopBase::Running::Running(LoopBase& loop) noexcept : loop_(loop) {
  ZEST_ASSERT(serving_loop == nullptr);
  serving_loop = &loop;
  loop.home_.bind_to_thread();
}

LoopBase::Running::~Running() {
  serving_loop = nullptr;
  while (loop_.visitors_.load(std::memory_order_acquire) != 0) {
    ::sched_yield();
  }
}

// --- the turn

void LoopBase::run() {
  Running const running(*this);
  for (;;) {
    drain_inbox();
    slice_start_ = coarse_now();
    run_jobs();
    run_ready();
    if (!timers_.empty()) {
      fire_timers(now());
    }
    if (!ready_.empty() || !jobs_.empty()) {
      poll(false, kNever);
    } else if (stop_requested() && inbox_empty()) {
      break;
    } else if (prepare_sleep()) {
      poll(true, timers_.next());
    }
  }
  forget_stop();
}

bool LoopBase::run_jobs() {
  if (jobs_.empty()) {
    return false;
  }
  // Only those that are there now: a task may post another.
  for (std::size_t n = jobs_.size(); n > 0; --n) {
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    if (job.owner != nullptr) {
      start(std::move(job));
    } else {
      job.task();
      check_stall();
    }
  }
  return true;
}

void LoopBase::run_ready() {
  for (int i = 0; i < kBatch && !ready_.empty(); ++i) {
    run_fiber(ready_.pop());
    check_stall();
  }
}

void LoopBase::run_fiber(Fiber& fiber) {
  current_ = &fiber;
  resume_fiber(fiber);
  current_ = nullptr;
  if (!fiber.running_task) {
    retire(fiber);
  }
}

void LoopBase::fire_timers(TimePoint now) noexcept {
  while (timers_.next() <= now) {
    auto& waiter = timers_.pop();
    if (waiter.claim(detail::Wakeup::timed_out)) {
      ready_.push(*waiter.fiber);
    }
    if (timers_.empty()) {
      break;
    }
  }
}

// --- fibers

void LoopBase::start(Job job) {
  Fiber* fiber = live_ < options_.fibers_max ? new_fiber() : nullptr;
  if (fiber == nullptr) {
    overflow_.push_back(std::move(job));  // retire() takes it up
    return;
  }
  ++live_;
  fiber->task = std::move(job.task);
  fiber->owner = job.owner;
  fiber->running_task = true;
  ready_.push(*fiber);
}

Fiber* LoopBase::new_fiber() {
  if (!idle_.empty()) {
    --idle_count_;
    return &idle_.pop();
  }
  auto created = Fiber::create(*this, home_);
  if (created.ok()) {
    all_.push_back(*std::move(created));
    return all_.back().get();
  }
  if (live_ == 0) {
    // Nobody would ever take up what waits: there is no way on.
    // tidy: allow(printf) there may be no logger, and the program ends here
    std::fprintf(stderr, "zest: %s\n", created.error().text().c_str());
    std::abort();
  }
  return nullptr;
}

void LoopBase::retire(Fiber& fiber) {
  --live_;
  if (idle_count_ < kIdleMax) {
    idle_.push_front(fiber);
    ++idle_count_;
  } else {
    auto const at = std::find_if(all_.begin(), all_.end(),
                                 [&fiber](auto const& each) { return each.get() == &fiber; });
    std::iter_swap(at, std::prev(all_.end()));
    all_.pop_back();
  }
  if (!overflow_.empty()) {
    auto job = std::move(overflow_.front());
    overflow_.pop_front();
    start(std::move(job));
  }
}

Fiber& LoopBase::current_fiber() noexcept {
  ZEST_ASSERT(serving_loop == this && current_ != nullptr);  // only a fiber can wait
  return *current_;
}

void LoopBase::suspend() {
  ZEST_ASSERT(mutexes_held == 0);
  park_fiber(current_fiber());
}

void LoopBase::yield() {
  ready_.push(current_fiber());
  suspend();
}

detail::Wakeup LoopBase::wait(detail::Waiter& waiter, Context const* ctx, TimePoint when) noexcept {
  std::optional<std::stop_callback<detail::StopWait>> on_stop;
  if (ctx != nullptr) {
    when = std::min(when, ctx->deadline);
    if (ctx->stop.stop_possible()) {
      // May call back at once or, later, on any thread. Its destructor waits for a call under way.
      on_stop.emplace(ctx->stop, detail::StopWait{&waiter});
    }
  }
  if (when != kNever) {
    timers_.add(waiter, when);
  }
  suspend();
  timers_.remove(waiter);
  return waiter.state.load(std::memory_order_acquire);
}

Result<void> LoopBase::sleep_until(Context const& ctx, TimePoint when) {
  detail::Waiter waiter;
  auto const wakeup = wait(waiter, &ctx, when);
  if (wakeup == detail::Wakeup::timed_out && when <= ctx.deadline) {
    return {};
  }
  return detail::to_result(wakeup);
}

// --- the inbox

template <class Add>
void LoopBase::deliver(Add&& add) noexcept {
  visitors_.fetch_add(1, std::memory_order_relaxed);
  bool asleep = false;
  {
    std::lock_guard const lock(inbox_mutex_);
    add();
    asleep = std::exchange(sleeping_, false);
  }
  if (asleep) {
    interrupt();
  }
  visitors_.fetch_sub(1, std::memory_order_release);  // from here on the loop may be gone
}

void LoopBase::wake(Fiber& fiber) {
  if (serving_loop == this) {
    ready_.push(fiber);
  } else {
    deliver([&] { inbox_fibers_.push(fiber); });
  }
}

void LoopBase::post(Task task) {
  if (serving_loop == this) {
    jobs_.push_back({.owner = nullptr, .task = std::move(task)});
  } else {
    deliver([&] { inbox_jobs_.push_back({.owner = nullptr, .task = std::move(task)}); });
  }
}

void LoopBase::spawn(Scope& scope, Task task) {
  auto& owner = scope.fibers_;
  bool const entered = owner.enter();
  ZEST_ASSERT(entered);  // scopes are never closed
  if (serving_loop == this) {
    start({.owner = &owner, .task = std::move(task)});
  } else {
    deliver([&] { inbox_jobs_.push_back({.owner = &owner, .task = std::move(task)}); });
  }
}

void LoopBase::stop() noexcept {
  deliver([&] { stop_.store(true, std::memory_order_release); });
}

void LoopBase::drain_inbox() {
  {
    std::lock_guard const lock(inbox_mutex_);
    sleeping_ = false;
    ready_.append(inbox_fibers_);
    drained_.swap(inbox_jobs_);
  }
  for (auto& job : drained_) {
    jobs_.push_back(std::move(job));
  }
  drained_.clear();
}

bool LoopBase::inbox_empty() {
  std::lock_guard const lock(inbox_mutex_);
  return inbox_fibers_.empty() && inbox_jobs_.empty();
}

bool LoopBase::prepare_sleep() {
  std::lock_guard const lock(inbox_mutex_);
  if (!inbox_fibers_.empty() || !inbox_jobs_.empty() || stop_requested()) {
    return false;
  }
  sleeping_ = true;
  return true;
}

// --- time and stalls

TimePoint LoopBase::now() const noexcept {
  return SystemClock().now();
}
WallTime LoopBase::wall() const noexcept {
  return SystemClock().wall();
}

void LoopBase::check_stall() noexcept {
  if (options_.stall_limit == Duration::zero()) {
    return;
  }
  auto const time = coarse_now();
  auto const ran = time - slice_start_;
  slice_start_ = time;
  if (ran > options_.stall_limit) [[unlikely]] {
    report_stall(ran);
  }
}

void LoopBase::report_stall(Duration ran) noexcept {
  if (log_ == nullptr) {
    return;
  }
  if (last_report_ != TimePoint{} && slice_start_ - last_report_ < kStallReportInterval) {
    ++stalls_unreported_;
    return;
  }
  last_report_ = slice_start_;
  auto const ran_ms = std::chrono::duration_cast<std::chrono::milliseconds>(ran).count();
  log_->warn("a fiber held its loop too long: it blocked, computed or was preempted",
             {{"ran_ms", ran_ms}, {"unreported", std::exchange(stalls_unreported_, 0)}});
}

}  // namespace zest
