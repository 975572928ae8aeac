// Background work: data of deleted files, and slices that nobody uses.
#include <algorithm>
#include <chrono>
#include <utility>

#include "zest/runtime/loop.h"
#include "zest/vfs/jobs.h"

namespace zest::vfs {

namespace {

// Some forty bytes each. What does not fit is found by the hourly job.
constexpr std::size_t kDeletionsQueuedMax = 100'000;
// Other clients were alive this long ago: not worth asking again for each deletion.
constexpr Duration kOthersKnown = std::chrono::seconds(5);

}  // namespace

void Jobs::delete_file(meta::UnlinkReply const& deleted) {
  if (env_.config.deletions_max == 0) {
    return;  // This client deletes no objects; another one will.
  }
  {
    std::lock_guard const lock(mutex_);
    if (deletions_.size() + put_off_.size() >= kDeletionsQueuedMax) {
      return;  // The hourly job finds it.
    }
    deletions_.push_back({.file = deleted, .queued_at = Loop::current()->now()});
  }
  start_deletions();
}

void Jobs::start_deletions() {
  {
    std::lock_guard const lock(mutex_);
    if (deleting_ >= std::min(env_.config.deletions_max, deletions_.size() + deleting_)) {
      return;
    }
    ++deleting_;
  }
  env_.scope.spawn([this] { run_deletions(); });
}

std::optional<Jobs::Deletion> Jobs::next_deletion() {
  std::lock_guard const lock(mutex_);
  if (deletions_.empty()) {
    --deleting_;
    return std::nullopt;
  }
  auto const next = deletions_.front();
  deletions_.pop_front();
  return next;
}

void Jobs::run_deletions() {
  auto const ctx = Env::background();
  while (auto const next = next_deletion()) {
    if (auto deleted = delete_when_unused(ctx, *next); !deleted.ok()) {
      env_.services.log.warn(
          "data of a deleted file could not be removed, the hourly job tries again",
          {{"inode", next->file.ino.value}, {"error", deleted.error().text()}});
    }
  }
  std::lock_guard const lock(idle_mutex_);
  idle_.notify_all();
}

Result<void> Jobs::delete_when_unused(Context const& ctx, Deletion const& next) {
  auto const waited = Loop::current()->now() - next.queued_at;
  if (waited < env_.config.deletion_grace) {
    auto const alone = alone_since(ctx, next.queued_at);
    if (!alone.ok() || !*alone) {
      std::lock_guard const lock(mutex_);
      put_off_.push_back(next);
      if (!waiting_) {
        waiting_ = true;
        env_.scope.spawn([this] { wait_for_grace(); });
      }
      return {};
    }
  }
  return delete_data(ctx, next.file);
}

// A client that came after the file lost its name cannot have it open, so an answer that is newer
// than the deletion is good for it.
Result<bool> Jobs::alone_since(Context const& ctx, TimePoint queued_at) {
  auto const now = Loop::current()->now();
  {
    std::lock_guard const lock(mutex_);
    if (alone_at_ > queued_at) {
      return true;
    }
    if (others_at_ && now - *others_at_ < kOthersKnown) {
      return false;
    }
  }
  ZEST_TRY(bool const others, env_.services.meta.others_live(ctx));
  std::lock_guard const lock(mutex_);
  if (others) {
    others_at_ = now;
  } else {
    alone_at_ = now;
    others_at_.reset();
  }
  return !others;
}

// Moves deletions to the queue as their time comes; ends when none waits.
void Jobs::wait_for_grace() {
  auto const ctx = env_.periodic();
  auto& loop = *Loop::current();
  for (bool stopped = false; !stopped;) {
    TimePoint due{};
    {
      std::lock_guard const lock(mutex_);
      while (!put_off_.empty() &&
             put_off_.front().queued_at + env_.config.deletion_grace <= loop.now()) {
        deletions_.push_back(put_off_.front());
        put_off_.pop_front();
      }
      if (put_off_.empty()) {
        waiting_ = false;
        stopped = true;
      } else {
        due = put_off_.front().queued_at + env_.config.deletion_grace;
      }
    }
    for (std::size_t i = 0; i < env_.config.deletions_max; ++i) {
      start_deletions();
    }
    stopped = stopped || !loop.sleep_for(ctx, due - loop.now()).ok();
  }
}

Result<void> Jobs::wait_for_deletions(Context const& ctx) {
  std::unique_lock lock(idle_mutex_);
  for (;;) {
    {
      std::lock_guard const guard(mutex_);
      if (deleting_ == 0) {
        return {};
      }
    }
    ZEST_CHECK(idle_.wait(ctx, lock));
  }
}

void Jobs::drop_deletions() noexcept {
  std::lock_guard const lock(mutex_);
  deletions_.clear();
}

Result<void> Jobs::delete_data(Context const& ctx, meta::UnlinkReply const& deleted) {
  for (;;) {
    ZEST_TRY(auto const unused,
             env_.services.meta.delete_file_data(ctx, deleted.ino, deleted.length));
    if (unused.empty()) {
      return {};
    }
    ZEST_CHECK(remove_slices(ctx, unused));
  }
}

Result<void> Jobs::remove_slices(Context const& ctx, std::vector<DelayedSlice> const& slices) {
  if (slices.empty()) {
    return {};
  }
  if (env_.config.sync != SyncPolicy::never) {
    // A power cut must not bring back records of objects that are gone.
    ZEST_CHECK(env_.services.meta.sync(ctx));
  }
  std::vector<DelayedSlice> gone;
  Result<void> result;
  for (auto const& slice : slices) {
    auto removed = env_.services.blocks.remove_slice(ctx, slice.id, slice.size);
    if (removed.ok()) {
      gone.push_back(slice);
    } else if (result.ok()) {
      result = std::move(removed);
    }
  }
  ZEST_CHECK(env_.services.meta.forget_slices(ctx, gone));
  env_.services.metrics
      .counter("bgjob_deletions_total", "Objects deleted by background jobs.",
               "job=\"cleanupSlices\"")
      .add(gone.size());
  return result;
}

}  // namespace zest::vfs
