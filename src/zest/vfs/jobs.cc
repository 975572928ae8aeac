// Compaction, and what the background work shares.
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
// Random writes leave small records all over a chunk. Below this many, rewriting is put off while
// it would move more than so many bytes for each byte of them: a database that changes 100 pages
// would have 64 MiB rewritten.
constexpr std::size_t kAffordableRecords = 500;
constexpr std::uint64_t kRewriteFactorMax = 16;
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
  auto const selection = select(slices);
  auto const records = slices.subspan(selection.skipped);
  if (records.size() < 2) {
    return false;
  }
  std::uint64_t sum = 0;
  std::uint32_t largest = 0;
  for (auto const& record : records) {
    sum += record.len;
    largest = std::max(largest, record.len);
  }
  return records.size() >= kAffordableRecords ||
         selection.view.size <= (sum - largest) * kRewriteFactorMax;
}

Jobs::Jobs(Env& env, FileTable& files)
    : env_(env),
      files_(files),
      compact_size_(env.services.metrics.histogram("compact_size_histogram_bytes",
                                                   "Distribution of compacted data sizes.",
                                                   exponential_bounds(1024, 2, 16))) {}

// ---- compaction

void Jobs::chunk_read(FilePtr const& file, ChunkIndex index, meta::Slices const& slices,
                      std::size_t pieces) {
  if ((slices.size() >= kReadRecords || pieces >= kReadRecords) && worth_compacting(slices)) {
    start_compaction(file, index);
  }
}

void Jobs::slices_written(FilePtr const& file, ChunkIndex index, std::size_t added,
                          std::size_t slices_in_chunk) {
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
  } else if ((slices_in_chunk + 1) / kWriteRecordsStep !=
                 (slices_in_chunk - added + 1) / kWriteRecordsStep ||
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
    } else {
      forget_count(ino, index);
    }
  }
  std::lock_guard const lock(mutex_);
  compacting_.erase(chunk);
  return result;
}

/// The chunk was looked at: the next look is due after as many records again.
void Jobs::forget_count(Ino ino, ChunkIndex index) {
  if (auto const file = files_.find(ino)) {
    std::lock_guard const lock(file->mutex);
    file->committed.erase(index.value);
  }
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
  }
  forget_count(ino, index);
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

}  // namespace zest::vfs
