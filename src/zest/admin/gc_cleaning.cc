#include "zest/admin/gc_cleaning.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "zest/chunk/compaction.h"
#include "zest/runtime/sync.h"

namespace zest::admin {
namespace {

constexpr std::size_t kBatch = 1000;
constexpr std::size_t kChunkPage = 1024;
constexpr std::size_t kAll = std::numeric_limits<std::int64_t>::max();  // as engines take it
constexpr Duration kDetachedAge = std::chrono::hours(24);
// Another client that has a deleted file open notices within this time, and brings it back.
constexpr Duration kDeletedAge = std::chrono::minutes(1);

class Cleaner {
 public:
  Cleaner(Context const& ctx, GcVolume const& volume, GcRequest const& request, GcReport& report)
      : ctx_(ctx),
        volume_(volume),
        meta_(volume.meta),
        request_(request),
        report_(report),
        slots_(std::max<std::uint64_t>(request.threads, 1)) {}

  Result<void> run() {
    if (request_.remove) {
      ZEST_CHECK(clean_trash());
      ZEST_CHECK(clean_detached());
    }
    ZEST_CHECK(clean_deleted_files());
    if (request_.remove) {
      ZEST_CHECK(clean_delayed());
    }
    if (request_.compact) {
      ZEST_CHECK(compact());
    }
    if (request_.remove) {
      ZEST_CHECK(clean_unused());
    }
    // Usage that the deletions changed.
    return request_.remove ? meta_.flush_stats(ctx_) : Result<void>();
  }
  /// Waits for fibers under way; call before destruction.
  void finish() { scope_.join(); }

 private:
  Result<void> clean_trash() {
    for (bool more = true; more;) {
      ZEST_TRY(auto const expired, meta_.expire_trash(ctx_, kBatch));
      more = !expired.empty();
      report_.cleaned_trash += expired.size();
      tell();
    }
    return {};
  }

  Result<void> clean_detached() {
    for (bool more = true; more;) {
      ZEST_TRY(auto const removed, meta_.clean_detached(ctx_, kDetachedAge, kBatch));
      report_.cleaned_detached += removed;
      more = removed > 0;
    }
    return {};
  }

  Result<void> clean_deleted_files() {
    ZEST_TRY(auto const all, meta_.deleted_files(ctx_, Duration::zero(), kAll));
    report_.deleted_files = all.size();
    if (!request_.remove) {
      return {};
    }
    ZEST_TRY(bool const others, meta_.others_live(ctx_));
    ZEST_TRY(auto const files,
             meta_.deleted_files(ctx_, others ? kDeletedAge : Duration::zero(), kAll));
    for (auto const& file : files) {
      for (bool more = true; more;) {
        ZEST_TRY(auto const unused, meta_.delete_file_data(ctx_, file.ino, file.length));
        ZEST_CHECK(remove_slices(unused));
        more = !unused.empty();
      }
      ++report_.cleaned_files;
      tell();
    }
    return {};
  }

  Result<void> clean_delayed() {
    for (bool more = true; more;) {
      ZEST_TRY(auto const expired, meta_.expire_delayed_slices(ctx_, kBatch));
      ZEST_CHECK(remove_slices(expired.unused));
      more = expired.lists > 0;
    }
    return {};
  }

  Result<void> clean_unused() {
    for (bool more = true; more;) {
      ZEST_TRY(auto const unused, meta_.garbage_slices(ctx_, kBatch));
      ZEST_CHECK(remove_slices(unused));
      more = unused.size() == kBatch;
    }
    return {};
  }

  /// Records of objects that are gone must not come back, so the metadata are made durable first.
  Result<void> remove_slices(std::vector<DelayedSlice> const& slices) {
    if (slices.empty()) {
      return {};
    }
    ZEST_CHECK(meta_.sync(ctx_));
    for (auto const& slice : slices) {
      ZEST_CHECK(slots_.acquire(ctx_));
      scope_.spawn([this, slice] {
        auto removed = volume_.blocks.remove_slice(ctx_, slice.id, slice.size);
        keep_error(std::move(removed));
        slots_.release();
      });
    }
    scope_.join();
    if (failure_) {
      return std::move(*failure_);
    }
    report_.cleaned_slices += slices.size();
    tell();
    return meta_.forget_slices(ctx_, slices);
  }

  Result<void> compact() {
    std::optional<meta::ChunkKey> from;
    do {
      ZEST_TRY(auto const page, meta_.engine().list_all_chunks(ctx_, from, kChunkPage));
      for (auto const& [key, slices] : page.chunks) {
        if (slices.size() > 1 && !failure_) {
          ZEST_CHECK(slots_.acquire(ctx_));
          scope_.spawn([this, key = key] {
            keep_error(compact_wholly(key));
            slots_.release();
          });
        }
      }
      scope_.join();
      if (failure_) {
        return std::move(*failure_);
      }
      auto const unused = std::exchange(unused_, {});
      ZEST_CHECK(remove_slices(unused));
      tell();
      from = page.next;
    } while (from);
    return {};
  }

  Result<void> compact_wholly(meta::ChunkKey const& key) {
    for (bool more = true; more;) {
      auto merged = compact_chunk(ctx_, meta_, volume_.blocks, {.key = key});
      // The file was deleted, or somebody else changed the chunk: nothing that gc should do.
      if (failed_with(merged, Errc::noent) || failed_with(merged, Errc::inval)) {
        return {};
      }
      if (!merged.ok()) {
        return std::move(merged).error();
      }
      more = merged->replaced > 0;
      report_.compacted_chunks += more ? 1U : 0U;
      report_.compacted_slices += merged->replaced;
      report_.compacted_bytes += merged->bytes;
      unused_.insert(unused_.end(), merged->unused.begin(), merged->unused.end());
    }
    return {};
  }

  void keep_error(Result<void> done) {
    if (!done.ok() && !failure_) {
      failure_.emplace(std::move(done).error());
    }
  }

  void tell() {
    if (request_.progress) {
      request_.progress(report_);
    }
  }

  Context const& ctx_;
  GcVolume const& volume_;
  meta::Meta& meta_;
  GcRequest const& request_;
  GcReport& report_;
  // Only fibers of one loop touch these.
  std::optional<Error> failure_;
  std::vector<DelayedSlice> unused_;
  Semaphore slots_;
  Scope scope_;
};

}  // namespace

Result<void> clean_before_gc(Context const& ctx, GcVolume const& volume, GcRequest const& request,
                             GcReport& report) {
  Cleaner cleaner(ctx, volume, request, report);
  auto done = cleaner.run();
  cleaner.finish();
  return done;
}

}  // namespace zest::admin
