// A job lives on the stack of the fiber that runs it, linked into the queue while it waits; so the
// pool allocates nothing. `room_` counts free places in the queue: a fiber takes one before it
// queues its job, and the thread that takes the job off gives it back.
#include "zest/runtime/pool.h"

#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "zest/base/metrics.h"
#include "zest/runtime/loop_base.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/thread_name.h"
#include "zest/runtime/waiter.h"

namespace zest {
namespace {

struct Job {
  Task task;
  detail::Waiter waiter;
  std::exception_ptr thrown;
  Job* next = nullptr;
};

std::string pool_label(std::string const& name) {
  return "pool=\"" + name + "\"";
}

}  // namespace

struct BlockingPool::Impl {
  Impl(PoolOptions const& options, Registry& metrics)
      : name(options.name),
        threads_max(options.threads == 0 ? 1 : options.threads),
        room(options.queue_max == 0 ? 1 : options.queue_max),
        queue_gauge(metrics.gauge("blocking_pool_queue_length", "Jobs waiting for a pool thread.",
                                  pool_label(name))),
        running_gauge(metrics.gauge("blocking_pool_running", "Jobs running on pool threads.",
                                    pool_label(name))),
        threads_gauge(
            metrics.gauge("blocking_pool_threads", "Threads of the pool.", pool_label(name))) {}

  /// True when `job` was queued; false when there is no thread at all and none can be started.
  bool submit(Job& job);
  void work() noexcept;
  Job* take();

  std::string const name;
  std::size_t const threads_max;
  Semaphore room;
  Gauge& queue_gauge;
  Gauge& running_gauge;
  Gauge& threads_gauge;

  std::mutex mutex;
  std::condition_variable work_there;
  Job* first = nullptr;
  Job* last = nullptr;
  std::size_t queued = 0;
  std::size_t idle = 0;
  bool ending = false;
  std::vector<std::thread> threads;
};

BlockingPool::BlockingPool(PoolOptions const& options, Registry& metrics)
    : impl_(std::make_unique<Impl>(options, metrics)) {}

BlockingPool::~BlockingPool() {
  {
    std::lock_guard const lock(impl_->mutex);
    impl_->ending = true;
    impl_->work_there.notify_all();
  }
  for (auto& thread : impl_->threads) {
    thread.join();
  }
  impl_->threads_gauge.set(0);
}

bool BlockingPool::Impl::submit(Job& job) {
  std::lock_guard const lock(mutex);
  if (queued >= idle && threads.size() < threads_max) {
    try {
      threads.emplace_back([this] { work(); });
      threads_gauge.set(static_cast<std::int64_t>(threads.size()));
    } catch (std::system_error const&) {
      if (threads.empty()) {
        return false;
      }
      // Those that exist will get to it.
    }
  }
  (last == nullptr ? first : last->next) = &job;
  last = &job;
  ++queued;
  queue_gauge.add(1);
  work_there.notify_one();
  return true;
}

Job* BlockingPool::Impl::take() {
  std::unique_lock lock(mutex);
  ++idle;
  work_there.wait(lock, [this] { return first != nullptr || ending; });
  --idle;
  Job* const job = first;
  if (job != nullptr) {
    first = job->next;
    last = first == nullptr ? nullptr : last;
    --queued;
    queue_gauge.add(-1);
  }
  return job;
}

void BlockingPool::Impl::work() noexcept {
  name_thread(name);
  for (Job* job = take(); job != nullptr; job = take()) {
    room.release();
    running_gauge.add(1);
    try {
      job->task();
      // tidy: allow(catch_all) whatever the job throws belongs to the fiber that waits for it
    } catch (...) {
      job->thrown = std::current_exception();
    }
    running_gauge.add(-1);
    job->task = nullptr;
    if (job->waiter.claim(detail::Wakeup::notified)) {
      job->waiter.wake();  // the job is gone now
    }
  }
}

void BlockingPool::run_task(Task task) {
  auto* const loop = LoopBase::of_thread();
  if (!Loop::on_fiber()) {
    task();
    return;
  }
  if (loop->simulated()) {
    // In place, so that virtual time waits for it; the yields are where other fibers may get in
    // between.
    loop->yield();
    task();
    loop->yield();
    return;
  }
  if (!impl_->room.acquire(Context{}).ok()) {
    return;  // cannot be: one unit, no deadline, no stop
  }
  Job job;
  job.task = std::move(task);
  if (!impl_->submit(job)) {
    impl_->room.release();
    job.task();
    return;
  }
  job.waiter.wait(nullptr);
  if (job.thrown) {
    std::rethrow_exception(job.thrown);
  }
}

}  // namespace zest
