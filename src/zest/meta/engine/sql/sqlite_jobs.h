// Hands work from fibers to threads that may block, and back.
//
// A Job lives on the stack of its waiting fiber. The fiber sleeps until a thread has run it (or has
// found it cancelled or late before it started): once started, a job is never abandoned, so it may
// refer to the caller's stack and its outcome is always known.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <semaphore>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/runtime/loop.h"

namespace zest::meta::sqlite {

class Job {
 public:
  explicit Job(Context const& ctx);
  Job(Job const&) = delete;
  Job& operator=(Job const&) = delete;

  /// EINTR or ETIMEDOUT when nobody waits for the result any more.
  [[nodiscard]] Result<void> still_wanted() const;
  [[nodiscard]] TimePoint deadline() const noexcept { return ctx_.deadline; }
  /// Suspends the fiber (or blocks a foreign thread) until finish().
  void wait();
  /// Wakes the waiter; the job may be gone when this returns. Any thread.
  void finish();

 protected:
  ~Job() = default;

 private:
  Context const& ctx_;
  Loop* loop_;  ///< nullptr on a foreign thread
  Fiber* fiber_ = nullptr;
  std::binary_semaphore done_{0};
};

/// Jobs that wait for a thread. J derives from Job.
template <class J>
class JobQueue {
 public:
  void push(J& job) {
    {
      std::lock_guard const lock(mutex_);
      jobs_.push_back(&job);
    }
    ready_.notify_one();
  }

  /// Takes up to `max` jobs; blocks while there are none. Empty only once stopped.
  std::vector<J*> pop(std::size_t max) {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [this] { return stopped_ || !jobs_.empty(); });
    auto const count = std::min(max, jobs_.size());
    auto const end = jobs_.begin() + static_cast<std::ptrdiff_t>(count);
    std::vector<J*> taken(jobs_.begin(), end);
    jobs_.erase(jobs_.begin(), end);
    return taken;
  }

  /// Waits a while; cut short by stop().
  void pause(Duration duration) {
    std::unique_lock lock(mutex_);
    stopped_signal_.wait_for(lock, duration, [this] { return stopped_; });
  }

  void stop() {
    {
      std::lock_guard const lock(mutex_);
      stopped_ = true;
    }
    ready_.notify_all();
    stopped_signal_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::condition_variable stopped_signal_;
  std::deque<J*> jobs_;
  bool stopped_ = false;
};

}  // namespace zest::meta::sqlite
