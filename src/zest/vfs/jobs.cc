// Compaction, and what the background work shares.
#include "zest/vfs/jobs.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "zest/meta/tree_walk.h"
#include "zest/runtime/loop.h"

namespace zest::vfs {

namespace {

// Bounds and thresholds of the peer (format/06 §2, §4), so that both behave alike on one volume.
constexpr std::size_t kCompactionsMax = 10;
constexpr std::size_t kReadRecords = 5;
constexpr std::size_t kWriteRecordsStep = 100;
constexpr std::size_t kWriteRecordsMany = 350;
constexpr std::size_t kWriteRecordsTooMany = 2500;
constexpr std::size_t kPrefetchesMax = 64;
constexpr std::size_t kWorkersMax = 64;
constexpr std::uint32_t kAccessRead = 4;
constexpr std::uint32_t kAccessWrite = 2;
constexpr Duration kCompactionMax = std::chrono::minutes(10);

}  // namespace

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
    if (auto compacted = compact(ctx, file->ino, index, Compaction::in_proportion);
        !compacted.ok()) {
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
    if (auto compacted = compact(ctx, ino, index, Compaction::in_proportion); !compacted.ok()) {
      env_.services.log.debug(
          "compaction failed",
          {{"inode", ino.value}, {"chunk", index.value}, {"error", compacted.error().text()}});
    }
  });
}

Result<bool> Jobs::compact(Context const& ctx, Ino ino, ChunkIndex index, Compaction which) {
  Chunk const chunk{ino.value, index.value};
  {
    std::lock_guard const lock(mutex_);
    if (!compacting_.insert(chunk).second) {
      return false;
    }
  }
  auto done = merge(ctx, ino, index, which);
  std::lock_guard const lock(mutex_);
  compacting_.erase(chunk);
  return done;
}

/// The chunk was looked at: the next look is due after as many records again.
void Jobs::forget_count(Ino ino, ChunkIndex index) {
  if (auto const file = files_.find(ino)) {
    std::lock_guard const lock(file->mutex);
    file->committed.erase(index.value);
  }
}

Result<bool> Jobs::merge(Context const& ctx, Ino ino, ChunkIndex index, Compaction which) {
  auto const& services = env_.services;
  ZEST_TRY(auto const merged, compact_chunk(ctx, services.meta, services.blocks,
                                            {.key = {.ino = ino, .index = index},
                                             .which = which,
                                             .durable = env_.config.sync != SyncPolicy::never}));
  forget_count(ino, index);
  if (merged.replaced == 0) {
    return false;
  }
  compact_size_.observe(merged.bytes);
  if (auto const file = files_.find(ino)) {
    std::lock_guard const lock(file->mutex);
    file->drop_view(index);
  }
  ZEST_CHECK(remove_slices(Env::background(), merged.unused));
  return true;
}

namespace {

/// Compacts the chunks of files as they are found.
class Compactor {
 public:
  Compactor(Jobs& jobs, meta::Engine& engine, Context const& ctx, std::size_t workers,
            std::atomic<std::uint64_t>& found, std::atomic<std::uint64_t>& done)
      : jobs_(jobs), engine_(engine), ctx_(ctx), slots_(workers), found_(found), done_(done) {}

  Result<void> file(Ino ino) {
    std::optional<meta::ChunkKey> from = meta::ChunkKey{.ino = ino, .index = {0}};
    do {
      ZEST_TRY(auto const page, engine_.list_chunks(ctx_, *from, kChunkPage));
      for (auto const& [key, slices] : page.chunks) {
        if (slices.size() > 1) {
          ++found_;
          ZEST_CHECK(slots_.acquire(ctx_));
          scope_.spawn([this, key = key] { chunk(key); });
        }
      }
      from = page.next;
    } while (from && from->ino == ino);
    return {};
  }

  /// Waits for the workers; the first error of one.
  Result<void> finish() {
    scope_.join();
    return failure_ ? Result<void>(std::move(*failure_)) : Result<void>();
  }

 private:
  static constexpr std::size_t kChunkPage = 64;
  static constexpr int kRacesMax = 20;

  void chunk(meta::ChunkKey const& key) {
    Result<bool> more = true;
    for (int races = 0; (more.ok() && *more) || (lost_race(more) && races < kRacesMax); ++races) {
      races = more.ok() ? 0 : races;
      more = jobs_.compact(ctx_, key.ino, key.index, Compaction::whole);
    }
    if (!more.ok() && !failure_ && !gone(key.ino, more)) {
      failure_.emplace(std::move(more).error());
    }
    ++done_;
    slots_.release();
  }

  /// Another client compacted the chunk meanwhile, or removed what it had replaced before.
  static bool lost_race(Result<bool> const& result) {
    return failed_with(result, Errc::inval) || failed_with(result, Errc::noent);
  }

  /// A file that was deleted meanwhile needs nothing.
  bool gone(Ino ino, Result<bool> const& result) {
    std::array const keys{meta::Key(meta::NodeKey{ino})};
    auto const node = engine_.fetch(ctx_, keys);
    return failed_with(result, Errc::noent) && node.ok() &&
           std::holds_alternative<std::monostate>(node->front());
  }

  Jobs& jobs_;
  meta::Engine& engine_;
  Context const& ctx_;
  Semaphore slots_;
  std::atomic<std::uint64_t>& found_;
  std::atomic<std::uint64_t>& done_;
  std::optional<Error> failure_;  // only fibers of one loop touch it
  Scope scope_;
};

}  // namespace

Result<void> Jobs::compact_below(Context const& ctx, Ino ino, std::size_t workers,
                                 std::atomic<std::uint64_t>& found,
                                 std::atomic<std::uint64_t>& done) {
  if (env_.config.read_only) {
    return Errc::rofs;
  }
  auto& meta = env_.services.meta;
  ZEST_TRY(auto const attr, meta.getattr(ctx, ino));
  ZEST_CHECK(meta.access(ctx, ino, kAccessRead | kAccessWrite));
  Compactor compactor(*this, meta.engine(), ctx, std::clamp<std::size_t>(workers, 1, kWorkersMax),
                      found, done);
  Result<void> listed;
  if (attr.type == FileType::regular) {
    listed = compactor.file(ino);
  } else if (attr.type == FileType::directory) {
    listed =
        meta::walk_tree(ctx, meta.engine(), meta.volume_ino(ino), [&](meta::DirEntry const& entry) {
          return entry.entry.type == FileType::regular ? compactor.file(entry.entry.ino)
                                                       : Result<void>();
        });
  } else {
    listed = Errc::inval;
  }
  auto finished = compactor.finish();
  return listed.ok() ? std::move(finished) : std::move(listed);
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
