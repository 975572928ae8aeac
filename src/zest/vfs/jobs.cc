#include "zest/vfs/jobs.h"

#include <algorithm>
#include <string>

#include "zest/runtime/loop.h"

namespace zest::vfs {

namespace {

// Bounds and thresholds of the peer (format/06 §2, §4), so that both behave alike on one volume.
constexpr std::size_t kCompactionsMax = 10;
constexpr std::size_t kCompactedRecordsMax = 1000;
constexpr std::size_t kReadRecords = 5;
constexpr std::size_t kWriteRecordsStep = 100;
constexpr std::size_t kWriteRecordsMany = 350;
constexpr std::size_t kWriteRecordsTooMany = 2500;
constexpr Duration kCleaningPeriod = std::chrono::hours(1);
constexpr Duration kLeaseInterval = std::chrono::minutes(54);
constexpr Duration kDeletedFileAge = std::chrono::hours(1);
constexpr Duration kCleaningMax = std::chrono::minutes(50);
// Short mounts (a job in a container) should clean too, but not while everything starts.
constexpr Duration kFirstCleaning = std::chrono::minutes(2);
constexpr std::size_t kBatch = 1000;

constexpr std::size_t kDeletionsQueuedMax = 10'000;
constexpr std::size_t kPrefetchesMax = 64;
constexpr Duration kCompactionMax = std::chrono::minutes(10);

/// What may be merged: the skipped head and the records behind it.
struct Selection {
  std::size_t skipped = 0;
  CompactionView view;
};

Selection select(std::span<SliceRecord const> slices) {
  Selection out{.skipped = compaction_skip_count(slices)};
  out.view = compaction_view(slices.subspan(out.skipped));
  auto const begin = out.view.pos;
  auto const end = out.view.pos + out.view.size;
  bool const overlaps = std::ranges::any_of(slices.first(out.skipped), [&](auto const& record) {
    return record.pos < end && begin < record.pos + record.len;
  });
  if (overlaps) {
    // Holes of the merged slice would hide bytes of the skipped records.
    out.skipped = 0;
    out.view = compaction_view(slices);
  }
  return out;
}

}  // namespace

bool worth_compacting(std::span<SliceRecord const> slices) {
  return slices.size() - std::min(slices.size(), compaction_skip_count(slices)) >= 2;
}

Jobs::Jobs(Env& env, FileTable& files)
    : env_(env),
      files_(files),
      compact_size_(env.services.metrics.histogram("compact_size_histogram_bytes",
                                                   "Distribution of compacted data sizes.",
                                                   exponential_bounds(1024, 2, 16))) {}

void Jobs::observe(std::string_view job, TimePoint start, bool ok) {
  auto const labels =
      "job=\"" + std::string(job) + "\",status=\"" + (ok ? "success" : "failed") + "\"";
  auto const seconds = std::chrono::duration<double>(Loop::current()->now() - start).count();
  env_.services.metrics
      .histogram("juicefs_bgjob_duration_seconds", "Duration of background jobs.",
                 exponential_bounds(1, 2, 13), labels)
      .observe(seconds);
}

// ---- deletion

void Jobs::delete_file(meta::UnlinkReply const& deleted) {
  if (env_.config.deletions_max == 0) {
    return;  // This client deletes no objects; another one will.
  }
  {
    std::lock_guard const lock(mutex_);
    if (deletions_.size() >= kDeletionsQueuedMax) {
      return;  // The hourly job finds it.
    }
    deletions_.push_back(deleted);
    if (deleting_ >= env_.config.deletions_max) {
      return;
    }
    ++deleting_;
  }
  env_.scope.spawn([this] { run_deletions(); });
}

void Jobs::run_deletions() {
  for (;;) {
    meta::UnlinkReply next;
    {
      std::lock_guard const lock(mutex_);
      if (deletions_.empty()) {
        --deleting_;
        break;
      }
      next = deletions_.front();
      deletions_.pop_front();
    }
    auto const ctx = Env::background();
    if (auto deleted = delete_data(ctx, next); !deleted.ok()) {
      env_.services.log.warn(
          "data of a deleted file could not be removed, the hourly job tries again",
          {{"inode", next.ino.value}, {"error", deleted.error().text()}});
    }
  }
  std::lock_guard const lock(idle_mutex_);
  idle_.notify_all();
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
      .counter("juicefs_bgjob_deletions_total", "Objects deleted by background jobs.",
               "job=\"cleanupSlices\"")
      .add(gone.size());
  return result;
}

// ---- compaction

void Jobs::chunk_read(FilePtr const& file, ChunkIndex index, meta::Slices const& slices,
                      std::size_t pieces) {
  if ((slices.size() >= kReadRecords || pieces >= kReadRecords) && worth_compacting(slices)) {
    start_compaction(file, index);
  }
}

void Jobs::slice_written(FilePtr const& file, ChunkIndex index, std::size_t slices_in_chunk) {
  if (slices_in_chunk >= kWriteRecordsTooMany) {
    auto ctx = env_.periodic();
    ctx.deadline = Loop::current()->now() + kCompactionMax;
    if (auto compacted = compact(ctx, file->ino, index); !compacted.ok()) {
      env_.services.log.warn("compaction of a chunk with very many slices failed",
                             {{"inode", file->ino.value},
                              {"chunk", index.value},
                              {"slices", slices_in_chunk},
                              {"error", compacted.error().text()}});
    }
  } else if (slices_in_chunk % kWriteRecordsStep == kWriteRecordsStep - 1 ||
             slices_in_chunk > kWriteRecordsMany) {
    start_compaction(file, index);
  }
}

void Jobs::start_compaction(FilePtr const& file, ChunkIndex index) {
  if (env_.config.read_only || env_.stop.stop_requested()) {
    return;
  }
  {
    std::lock_guard const lock(mutex_);
    if (compacting_.size() >= kCompactionsMax ||
        compacting_.contains({file->ino.value, index.value})) {
      return;
    }
  }
  env_.scope.spawn([this, ino = file->ino, index] {
    auto ctx = env_.periodic();
    ctx.deadline = Loop::current()->now() + kCompactionMax;
    if (auto compacted = compact(ctx, ino, index); !compacted.ok()) {
      env_.services.log.debug(
          "compaction failed",
          {{"inode", ino.value}, {"chunk", index.value}, {"error", compacted.error().text()}});
    }
  });
}

Result<void> Jobs::compact(Context const& ctx, Ino ino, ChunkIndex index) {
  Chunk const chunk{ino.value, index.value};
  {
    std::lock_guard const lock(mutex_);
    if (!compacting_.insert(chunk).second) {
      return {};
    }
  }
  auto slices = env_.services.meta.read_chunk(ctx, ino, index);
  Result<void> result;
  if (!slices.ok()) {
    result = std::move(slices).error();
  } else {
    slices->resize(std::min(slices->size(), kCompactedRecordsMax));
    if (worth_compacting(*slices)) {
      result = merge(ctx, ino, index, *slices);
    }
  }
  std::lock_guard const lock(mutex_);
  compacting_.erase(chunk);
  return result;
}

Result<void> Jobs::merge(Context const& ctx, Ino ino, ChunkIndex index,
                         meta::Slices const& slices) {
  auto const selection = select(slices);
  if (selection.view.size == 0 || slices.size() - selection.skipped < 2) {
    return {};
  }
  ZEST_TRY(auto const id, env_.services.meta.new_slice(ctx));
  SliceWriter writer(env_.services.blocks);
  writer.set_id(id);
  auto stored = write_merged(ctx, selection.view, writer);
  if (stored.ok()) {
    // The old slices may be removed at once, so the new one has to be as safe as they were.
    stored = writer.finish(ctx, env_.config.sync != SyncPolicy::never);
  }
  auto const background = Env::background();
  if (!stored.ok()) {
    writer.abort(background);
    return stored;
  }
  auto unused = env_.services.meta.compact_chunk(background, {.ino = ino, .index = index}, slices,
                                                 selection.skipped,
                                                 {.pos = selection.view.pos,
                                                  .id = id,
                                                  .size = selection.view.size,
                                                  .off = 0,
                                                  .len = selection.view.size});
  if (!unused.ok()) {
    if (unused.error().fault() == Fault::semantic) {
      writer.abort(background);
    }
    return std::move(unused).error();
  }
  compact_size_.observe(selection.view.size);
  if (auto const file = files_.find(ino)) {
    std::lock_guard const lock(file->mutex);
    file->drop_view(index);
    file->committed.erase(index.value);
  }
  return remove_slices(background, *unused);
}

Result<void> Jobs::write_merged(Context const& ctx, CompactionView const& view,
                                SliceWriter& writer) {
  auto const step = env_.services.blocks.config().block_size;
  std::uint32_t at = 0;
  for (auto const& piece : view.pieces) {
    for (std::uint32_t done = 0; done < piece.len;) {
      auto const length = std::min(piece.len - done, step);
      DataView bytes;
      if (piece.id.value == 0) {
        bytes.append_zeros(length);
      } else {
        ZEST_CHECK(env_.services.blocks.read(ctx, piece.id, piece.size, piece.off + done, length,
                                             false, bytes));
      }
      for (auto const& part : bytes.pieces()) {
        ZEST_CHECK(writer.write(ctx, at, part.bytes));
        at += static_cast<std::uint32_t>(part.bytes.size());
      }
      done += length;
    }
  }
  return {};
}

bool Jobs::try_start_prefetch() noexcept {
  std::lock_guard const lock(mutex_);
  if (prefetching_ >= kPrefetchesMax) {
    return false;
  }
  ++prefetching_;
  return true;
}

void Jobs::end_prefetch() noexcept {
  std::lock_guard const lock(mutex_);
  --prefetching_;
}

// ---- cleaning

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
  if (lease(meta::Lease::cleanup_trash)) {
    clean_trash(bounded);
  }
  if (lease(meta::Lease::cleanup_files)) {
    clean_deleted_files(bounded);
  }
  if (lease(meta::Lease::cleanup_slices)) {
    clean_slices(bounded);
  }
}

void Jobs::clean_deleted_files(Context const& ctx) {
  auto const start = Loop::current()->now();
  bool ok = true;
  bool more = true;
  while (more && ok) {
    auto files = env_.services.meta.deleted_files(ctx, kDeletedFileAge, kBatch);
    ok = files.ok();
    more = ok && files->size() == kBatch;
    std::size_t deleted = 0;
    for (std::size_t i = 0; ok && i < files->size(); ++i) {
      auto const& file = (*files)[i];
      bool const done =
          delete_data(ctx, {.ino = file.ino, .data_unused = true, .length = file.length}).ok();
      deleted += done ? 1 : 0;
    }
    more = more && deleted > 0;  // A batch that cannot be deleted would come again for ever.
  }
  observe("cleanupDeletedFiles", start, ok);
}

void Jobs::clean_slices(Context const& ctx) {
  auto const start = Loop::current()->now();
  bool ok = true;
  for (bool more = true; more && ok;) {
    auto slices = env_.services.meta.garbage_slices(ctx, kBatch);
    ok = slices.ok() && remove_slices(ctx, *slices).ok();
    more = ok && slices->size() == kBatch;
  }
  observe("cleanupSlices", start, ok);
}

void Jobs::clean_trash(Context const& ctx) {
  auto const start = Loop::current()->now();
  bool ok = true;
  for (bool more = true; more && ok;) {
    auto expired = env_.services.meta.expire_trash(ctx, kBatch);
    ok = expired.ok();
    more = ok && !expired->empty();
    for (std::size_t i = 0; ok && i < expired->size(); ++i) {
      if ((*expired)[i].data_unused) {
        ok = delete_data(ctx, (*expired)[i]).ok();
      }
    }
  }
  observe("cleanTrashFile", start, ok);
}

}  // namespace zest::vfs
