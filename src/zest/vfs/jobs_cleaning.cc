// Background work: the hourly cleaning. Each job runs in the client that gets its lease.
#include <algorithm>
#include <chrono>
#include <string>

#include "zest/runtime/loop.h"
#include "zest/vfs/jobs.h"

namespace zest::vfs {

namespace {

// Bounds of the peer (format/06 §2), so that both behave alike on one volume.
constexpr Duration kCleaningPeriod = std::chrono::hours(1);
constexpr Duration kLeaseInterval = std::chrono::minutes(54);
constexpr Duration kDeletedFileAge = std::chrono::hours(1);
constexpr Duration kCleaningMax = std::chrono::minutes(50);
// Short mounts (a job in a container) should clean too, but not while everything starts.
constexpr Duration kFirstCleaning = std::chrono::minutes(2);
constexpr std::size_t kBatch = 1000;

}  // namespace

void Jobs::run_cleaning() {
  auto const ctx = env_.periodic();
  auto& loop = *Loop::current();
  // Five per cent of jitter, so that clients that started together don't meet every hour.
  auto const jitter = [&](Duration duration) {
    auto const fraction = duration / 10;
    return duration - fraction / 2 +
           Duration(static_cast<std::int64_t>(
               env_.services.rng.below(static_cast<std::uint64_t>(fraction.count()))));
  };
  auto wait = jitter(kFirstCleaning);
  while (loop.sleep_for(ctx, wait).ok()) {
    clean_once(ctx);
    wait = jitter(kCleaningPeriod);
  }
}

void Jobs::clean_once(Context const& ctx) {
  if (env_.config.deletions_max == 0 || !env_.services.meta.alive()) {
    return;
  }
  Context bounded = ctx;
  bounded.deadline = Loop::current()->now() + kCleaningMax;
  auto const lease = [&](meta::Lease which) {
    auto taken = env_.services.meta.take_lease(bounded, which, kLeaseInterval);
    return taken.ok() && *taken;
  };
  auto const run = [&](std::string_view job, JobResult (Jobs::*work)(Context const&)) {
    auto const start = Loop::current()->now();
    report(job, start, (this->*work)(bounded));
  };
  if (lease(meta::Lease::cleanup_trash)) {
    run("cleanTrashFile", &Jobs::clean_trash);
    run("cleanDelayedSlices", &Jobs::clean_delayed_slices);
  }
  if (lease(meta::Lease::cleanup_files)) {
    run("cleanupDeletedFiles", &Jobs::clean_deleted_files);
  }
  if (lease(meta::Lease::cleanup_slices)) {
    run("cleanupSlices", &Jobs::clean_slices);
  }
}

void Jobs::report(std::string_view job, TimePoint start, JobResult const& result) {
  auto& metrics = env_.services.metrics;
  auto const name = "job=\"" + std::string(job) + "\"";
  auto const& loop = *Loop::current();
  metrics
      .histogram("bgjob_duration_seconds", "Duration of background jobs.",
                 exponential_bounds(1, 2, 13),
                 name + ",status=\"" + (result.done.ok() ? "success" : "failed") + "\"")
      .observe(std::chrono::duration<double>(loop.now() - start).count());
  metrics.counter("bgjob_runs_total", "Runs of background jobs.", name).add();
  metrics
      .counter("bgjob_items_total", "Files, slices and entries that background jobs removed.", name)
      .add(result.items);
  metrics.gauge("bgjob_last_run_seconds", "When background jobs ended, in Unix seconds.", name)
      .set(loop.wall().sec);
  auto& errors = metrics.counter("bgjob_errors_total", "Failed runs of background jobs.", name);
  if (!result.done.ok() && !env_.stop.stop_requested()) {
    errors.add();
    env_.services.log.warn("a background job failed, it is tried again in an hour",
                           {{"job", job}, {"error", result.done.error().text()}});
  }
}

Jobs::JobResult Jobs::clean_deleted_files(Context const& ctx) {
  JobResult result;
  for (bool more = true; more;) {
    auto files = env_.services.meta.deleted_files(ctx, kDeletedFileAge, kBatch);
    if (!files.ok()) {
      result.done = std::move(files).error();
      return result;
    }
    std::size_t deleted = 0;
    for (auto const& file : *files) {
      auto done = delete_data(ctx, {.ino = file.ino, .data_unused = true, .length = file.length});
      deleted += done.ok() ? std::size_t{1} : 0;
      if (!done.ok()) {
        result.done = std::move(done);
      }
      if (ctx.stop.stop_requested() || Loop::current()->now() >= ctx.deadline) {
        return result;
      }
    }
    result.items += deleted;
    // A batch that cannot be deleted would come again for ever.
    more = files->size() == kBatch && deleted > 0;
  }
  return result;
}

Jobs::JobResult Jobs::clean_slices(Context const& ctx) {
  JobResult result;
  for (bool more = true; more;) {
    auto slices = env_.services.meta.garbage_slices(ctx, kBatch);
    if (!slices.ok()) {
      result.done = std::move(slices).error();
      return result;
    }
    result.done = remove_slices(ctx, *slices);
    result.items += slices->size();
    more = result.done.ok() && slices->size() == kBatch;
  }
  return result;
}

Jobs::JobResult Jobs::clean_trash(Context const& ctx) {
  JobResult result;
  for (bool more = true; more;) {
    auto expired = env_.services.meta.expire_trash(ctx, kBatch);
    if (!expired.ok()) {
      result.done = std::move(expired).error();
      return result;
    }
    more = !expired->empty();
    result.items += expired->size();
    for (auto const& file : *expired) {
      if (!file.data_unused) {
        continue;
      }
      // As after any deletion: somebody may have the file open in the trash.
      delete_file(file);
    }
    result.done = wait_for_deletions(ctx);
    more = more && result.done.ok();
  }
  return result;
}

Jobs::JobResult Jobs::clean_delayed_slices(Context const& ctx) {
  JobResult result;
  for (bool more = true; more;) {
    auto expired = env_.services.meta.expire_delayed_slices(ctx, kBatch);
    if (!expired.ok()) {
      result.done = std::move(expired).error();
      return result;
    }
    result.items += expired->lists;
    result.done = remove_slices(ctx, expired->unused);
    more = result.done.ok() && expired->lists > 0;
  }
  return result;
}

}  // namespace zest::vfs
