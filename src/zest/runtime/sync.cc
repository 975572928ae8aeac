// Two patterns repeat. Whoever ends waits does it under the primitive's mutex: it takes waiters off
// the queue, claims them, chains those it won and wakes the chain after the mutex is released. And
// whoever gave up waiting (stop, deadline) takes the mutex once more to leave the queue: from then
// on nobody knows its waiter.
//
// Fast paths work on one atomic word. A flag in it says that somebody waits; while it is set all
// fast paths fail and the word changes only under the mutex. So the last access of a fast path is
// its compare-exchange, and that of a slow path the mutex's unlock: the primitive may be destroyed
// by the very fiber that was let through.
#include "zest/runtime/sync.h"

#include "zest/base/assert.h"
#include "zest/runtime/loop_base.h"
#include "zest/runtime/waiter.h"

namespace zest {

using detail::Waiter;
using detail::Wakeup;

namespace detail {

void WaitQueue::push(Waiter& waiter) noexcept {
  waiter.previous = tail_;
  waiter.next = nullptr;
  (tail_ == nullptr ? head_ : tail_->next) = &waiter;
  tail_ = &waiter;
  waiter.queued = true;
  ++size_;
}

void WaitQueue::remove(Waiter& waiter) noexcept {
  if (!waiter.queued) {
    return;
  }
  (waiter.previous == nullptr ? head_ : waiter.previous->next) = waiter.next;
  (waiter.next == nullptr ? tail_ : waiter.next->previous) = waiter.previous;
  waiter.queued = false;
  waiter.next = nullptr;
  --size_;
}

namespace {

/// Waiters that were claimed, in order, linked through `next`.
class Chain {
 public:
  /// Takes `waiter` off `queue`; false when somebody else ended its wait already.
  bool take(WaitQueue& queue, Waiter& waiter) noexcept {
    queue.remove(waiter);
    if (!waiter.claim(Wakeup::notified)) {
      return false;
    }
    (last_ == nullptr ? first_ : last_->next) = &waiter;
    last_ = &waiter;
    return true;
  }
  [[nodiscard]] Waiter* first() const noexcept { return first_; }

 private:
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

/// After the mutex was released.
void wake_all(Waiter* waiter) noexcept {
  while (waiter != nullptr) {
    Waiter* const next = waiter->next;  // a woken waiter is gone
    waiter->wake();
    waiter = next;
  }
}

Waiter* take_all(WaitQueue& queue) noexcept {
  Chain chain;
  while (!queue.empty()) {
    chain.take(queue, *queue.front());
  }
  return chain.first();
}

}  // namespace

// --- UserCount

namespace {
constexpr std::uint64_t kClosed = 1;
constexpr std::uint64_t kWaiting = 2;
constexpr std::uint64_t kUser = 4;
}  // namespace

bool UserCount::enter() noexcept {
  auto state = state_.load(std::memory_order_relaxed);
  while ((state & kClosed) == 0) {
    if (state_.compare_exchange_weak(state, state + kUser, std::memory_order_acquire)) {
      return true;
    }
  }
  return false;
}

void UserCount::leave() noexcept {
  auto state = state_.load(std::memory_order_relaxed);
  while ((state & kWaiting) == 0) {
    if (state_.compare_exchange_weak(state, state - kUser, std::memory_order_release)) {
      return;
    }
  }
  Waiter* woken = nullptr;
  {
    std::lock_guard const lock(mutex_);
    state = state_.fetch_sub(kUser, std::memory_order_acq_rel) - kUser;
    if (state < kUser) {
      state_.fetch_and(~kWaiting, std::memory_order_acq_rel);
      woken = take_all(waiting_);
    }
  }
  wake_all(woken);
}

void UserCount::wait_idle(bool close) noexcept {
  std::unique_lock lock(mutex_);
  auto const state = state_.fetch_or(kWaiting | (close ? kClosed : 0), std::memory_order_acq_rel);
  if (state < kUser) {
    state_.fetch_and(~kWaiting, std::memory_order_acq_rel);
    return;
  }
  Waiter waiter;
  waiting_.push(waiter);
  lock.unlock();
  waiter.wait(nullptr);
}

bool UserCount::closed() const noexcept {
  return (state_.load(std::memory_order_acquire) & kClosed) != 0;
}

std::size_t UserCount::inside() const noexcept {
  return state_.load(std::memory_order_acquire) / kUser;
}

}  // namespace detail

using detail::wake_all;

// --- FiberMutex

bool FiberMutex::try_lock() noexcept {
  std::uint32_t expected = kFree;
  return state_.compare_exchange_strong(expected, kLocked, std::memory_order_acquire);
}

bool FiberMutex::mark_contended() noexcept {
  for (;;) {
    std::uint32_t state = kFree;
    if (state_.compare_exchange_strong(state, kLocked, std::memory_order_acquire)) {
      return false;
    }
    if (state == kContended ||
        state_.compare_exchange_strong(state, kContended, std::memory_order_relaxed)) {
      return true;
    }
  }
}

Wakeup FiberMutex::lock_slowly(Context const* ctx) {
  Waiter waiter;
  {
    std::lock_guard const lock(mutex_);
    if (!mark_contended()) {
      return Wakeup::notified;
    }
    queue_.push(waiter);
  }
  auto const wakeup = waiter.wait(ctx);
  if (wakeup != Wakeup::notified) {
    // kContended with nobody waiting is harmless: unlock() looks at the queue.
    std::lock_guard const lock(mutex_);
    queue_.remove(waiter);
  }
  return wakeup;
}

Result<void> FiberMutex::lock(Context const& ctx) {
  return try_lock() ? Result<void>() : detail::to_result(lock_slowly(&ctx));
}

void FiberMutex::unlock() {
  std::uint32_t expected = kLocked;
  if (state_.compare_exchange_strong(expected, kFree, std::memory_order_release)) {
    return;
  }
  ZEST_ASSERT(expected == kContended);  // or nobody holds it
  detail::Chain next;
  {
    std::lock_guard const lock(mutex_);
    while (!queue_.empty() && !next.take(queue_, *queue_.front())) {
    }
    // The lock passes to the next in line without ever being free, so nobody overtakes.
    auto const held = queue_.empty() ? kLocked : kContended;
    state_.store(next.first() == nullptr ? kFree : held, std::memory_order_release);
  }
  wake_all(next.first());
}

// --- FiberSharedMutex

namespace {
constexpr std::uint64_t kWriter = 1;
constexpr std::uint64_t kQueued = 2;
constexpr std::uint64_t kReader = 4;
}  // namespace

bool FiberSharedMutex::try_lock() noexcept {
  std::uint64_t expected = 0;
  return state_.compare_exchange_strong(expected, kWriter, std::memory_order_acquire);
}

bool FiberSharedMutex::try_lock_shared() noexcept {
  auto state = state_.load(std::memory_order_relaxed);
  while ((state & (kWriter | kQueued)) == 0) {
    if (state_.compare_exchange_weak(state, state + kReader, std::memory_order_acquire)) {
      return true;
    }
  }
  return false;
}

void FiberSharedMutex::lock() {
  if (!try_lock()) {
    lock_slowly(true);
  }
}

void FiberSharedMutex::lock_shared() {
  if (!try_lock_shared()) {
    lock_slowly(false);
  }
}

void FiberSharedMutex::lock_slowly(bool exclusive) {
  Waiter waiter;
  waiter.units = exclusive ? 1 : 0;
  {
    std::lock_guard const lock(mutex_);
    // With the flag set the state is ours until the mutex is released.
    auto const held = state_.fetch_or(kQueued, std::memory_order_acq_rel) & ~kQueued;
    bool const free = exclusive ? held == 0 : (held & kWriter) == 0;
    if (queue_.empty() && free) {
      state_.store(exclusive ? kWriter : held + kReader, std::memory_order_release);
      return;
    }
    queue_.push(waiter);
  }
  waiter.wait(nullptr);
}

void FiberSharedMutex::unlock() {
  std::uint64_t expected = kWriter;
  if (!state_.compare_exchange_strong(expected, 0, std::memory_order_release)) {
    unlock_slowly(kWriter);
  }
}

void FiberSharedMutex::unlock_shared() {
  auto state = state_.load(std::memory_order_relaxed);
  while ((state & kQueued) == 0) {
    ZEST_ASSERT(state >= kReader);
    if (state_.compare_exchange_weak(state, state - kReader, std::memory_order_release)) {
      return;
    }
  }
  unlock_slowly(kReader);
}

void FiberSharedMutex::unlock_slowly(std::uint64_t share) {
  Waiter* woken = nullptr;
  {
    std::lock_guard const lock(mutex_);
    state_.fetch_sub(share, std::memory_order_acq_rel);
    woken = grant();
  }
  wake_all(woken);
}

Waiter* FiberSharedMutex::grant() noexcept {
  detail::Chain chain;
  auto held = state_.load(std::memory_order_acquire) & ~kQueued;
  while (!queue_.empty()) {
    auto& first = *queue_.front();
    bool const exclusive = first.units != 0;
    if (exclusive ? held != 0 : (held & kWriter) != 0) {
      break;
    }
    if (chain.take(queue_, first)) {
      held += exclusive ? kWriter : kReader;
    }
  }
  state_.store(queue_.empty() ? held : held | kQueued, std::memory_order_release);
  return chain.first();
}

// --- FiberCondition

Wakeup FiberCondition::wait_for(Context const* ctx, std::unique_lock<FiberMutex>& lock) {
  Waiter waiter;
  {
    std::lock_guard const guard(mutex_);
    queue_.push(waiter);
  }
  lock.unlock();
  auto const wakeup = waiter.wait(ctx);
  if (wakeup != Wakeup::notified) {
    std::lock_guard const guard(mutex_);
    queue_.remove(waiter);
  }
  lock.lock();
  return wakeup;
}

void FiberCondition::wait(std::unique_lock<FiberMutex>& lock) {
  wait_for(nullptr, lock);
}

Result<void> FiberCondition::wait(Context const& ctx, std::unique_lock<FiberMutex>& lock) {
  return detail::to_result(wait_for(&ctx, lock));
}

void FiberCondition::notify_one() {
  detail::Chain next;
  {
    std::lock_guard const lock(mutex_);
    while (!queue_.empty() && !next.take(queue_, *queue_.front())) {
    }
  }
  wake_all(next.first());
}

void FiberCondition::notify_all() {
  Waiter* woken = nullptr;
  {
    std::lock_guard const lock(mutex_);
    woken = detail::take_all(queue_);
  }
  wake_all(woken);
}

// --- Semaphore

Result<void> Semaphore::acquire(Context const& ctx, std::uint64_t n) {
  if (n > total_) {
    return Errc::inval;
  }
  std::unique_lock lock(mutex_);
  if (queue_.empty() && n <= available_) {
    available_ -= n;
    return {};
  }
  Waiter waiter;
  waiter.units = n;
  queue_.push(waiter);
  lock.unlock();
  auto const wakeup = waiter.wait(&ctx);
  if (wakeup != Wakeup::notified) {
    lock.lock();
    queue_.remove(waiter);
    // It may have stood in the way of others that want less.
    auto* const woken = grant();
    lock.unlock();
    wake_all(woken);
  }
  return detail::to_result(wakeup);
}

bool Semaphore::try_acquire(std::uint64_t n) noexcept {
  std::lock_guard const lock(mutex_);
  if (!queue_.empty() || n > available_) {
    return false;
  }
  available_ -= n;
  return true;
}

void Semaphore::release(std::uint64_t n) {
  Waiter* woken = nullptr;
  {
    std::lock_guard const lock(mutex_);
    available_ += n;
    woken = grant();
  }
  wake_all(woken);
}

Waiter* Semaphore::grant() noexcept {
  detail::Chain chain;
  while (!queue_.empty() && queue_.front()->units <= available_) {
    auto& first = *queue_.front();
    auto const units = first.units;
    if (chain.take(queue_, first)) {
      available_ -= units;
    }
  }
  return chain.first();
}

std::uint64_t Semaphore::available() const noexcept {
  std::lock_guard const lock(mutex_);
  return available_;
}

std::size_t Semaphore::waiters() const noexcept {
  std::lock_guard const lock(mutex_);
  return queue_.size();
}

// --- Event

void Event::set() {
  Waiter* woken = nullptr;
  {
    std::lock_guard const lock(mutex_);
    set_.store(true, std::memory_order_release);
    woken = detail::take_all(queue_);
  }
  wake_all(woken);
}

bool Event::is_set() const noexcept {
  return set_.load(std::memory_order_acquire);
}

Wakeup Event::wait_for(Context const* ctx) {
  // Always under the mutex: when set() on another thread is still inside, we return after it is
  // done with us.
  std::unique_lock lock(mutex_);
  if (is_set()) {
    return Wakeup::notified;
  }
  Waiter waiter;
  queue_.push(waiter);
  lock.unlock();
  auto const wakeup = waiter.wait(ctx);
  if (wakeup != Wakeup::notified) {
    lock.lock();
    queue_.remove(waiter);
  }
  return wakeup;
}

void Event::wait() {
  wait_for(nullptr);
}

Result<void> Event::wait(Context const& ctx) {
  return detail::to_result(wait_for(&ctx));
}

// --- Gate

bool Gate::enter() noexcept {
  return users_.enter();
}
void Gate::leave() noexcept {
  users_.leave();
}
void Gate::close() {
  users_.wait_idle(true);
}
bool Gate::closed() const noexcept {
  return users_.closed();
}
std::size_t Gate::inside() const noexcept {
  return users_.inside();
}

// --- Scope

Scope::~Scope() {
  ZEST_ASSERT(running() == 0);
}

void Scope::spawn(Task task) {
  auto* loop = LoopBase::of_thread();
  ZEST_ASSERT(loop != nullptr);  // a foreign thread has to say where: spawn_on()
  loop->spawn(*this, std::move(task));
}

void Scope::spawn_on(Loop& loop, Task task) {
  loop.spawn(*this, std::move(task));
}
void Scope::request_stop() noexcept {
  stop_.request_stop();
}
std::stop_token Scope::token() const noexcept {
  return stop_.get_token();
}
void Scope::join() {
  fibers_.wait_idle(false);
}
std::size_t Scope::running() const noexcept {
  return fibers_.inside();
}

}  // namespace zest
