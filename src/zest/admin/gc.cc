#include "zest/admin/gc.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "zest/admin/gc_cleaning.h"
#include "zest/admin/slice_index.h"
#include "zest/format/object_name.h"
#include "zest/runtime/sync.h"

namespace zest::admin {
namespace {

constexpr std::size_t kChunkPage = 1024;
constexpr std::size_t kObjectPage = 1000;
// Leaked objects that are looked up and removed together: some 100 bytes each.
constexpr std::size_t kSuspectsMax = 200'000;
constexpr std::size_t kAll = std::numeric_limits<std::int64_t>::max();  // as engines take it
constexpr std::int64_t kEver = std::numeric_limits<std::int64_t>::max();

void count(GcCount& sum, std::uint64_t bytes) {
  ++sum.objects;
  sum.bytes += bytes;
}

/// Calls `use(span of IndexedSlice)` with every slice that the metadata name, page by page.
template <class Use>
Result<void> each_slice(Context const& ctx, meta::Engine& engine, Use&& use) {
  std::vector<IndexedSlice> page;
  std::optional<meta::ChunkKey> from;
  do {
    ZEST_TRY(auto const chunks, engine.list_all_chunks(ctx, from, kChunkPage));
    for (auto const& [key, slices] : chunks.chunks) {
      for (auto const& slice : slices) {
        if (slice.id.value != 0) {
          page.push_back({.id = slice.id.value, .size = slice.size, .use = SliceUse::file});
        }
      }
    }
    ZEST_CHECK(use(std::span<IndexedSlice const>(page)));
    page.clear();
    from = chunks.next;
  } while (from);

  ZEST_TRY(auto const lists, engine.list_delayed_slices(ctx, kEver, kAll));
  for (auto const& list : lists) {
    for (auto const& slice : list.slices) {
      page.push_back({.id = slice.id.value, .size = slice.size, .use = SliceUse::delayed});
    }
    ZEST_CHECK(use(std::span<IndexedSlice const>(page)));
    page.clear();
  }
  ZEST_TRY(auto const pending, engine.list_garbage_slices(ctx, kAll));
  for (auto const& slice : pending) {
    page.push_back({.id = slice.id.value, .size = slice.size, .use = SliceUse::pending});
  }
  return use(std::span<IndexedSlice const>(page));
}

class Collector {
 public:
  Collector(Context const& ctx, GcVolume const& volume, GcRequest const& request, GcReport& report)
      : ctx_(ctx),
        volume_(volume),
        request_(request),
        report_(report),
        index_(request.temp_directory, request.slices_in_memory),
        slots_(std::max<std::uint64_t>(request.threads, 1)) {}

  Result<void> run() {
    ZEST_TRY(auto const now, store_time());
    edge_ = {
        .sec = now.sec - std::chrono::duration_cast<std::chrono::seconds>(request_.grace).count(),
        .nsec = now.nsec};
    ZEST_CHECK(each_slice(ctx_, volume_.meta.engine(), [&](auto slices) -> Result<void> {
      report_.slices += slices.size();
      tell();
      return volume_.pool.run([&] { return index_.add(slices); });
    }));
    ZEST_CHECK(volume_.pool.run([&] { return index_.finish(); }));
    report_.spilled_bytes = index_.spilled();
    ZEST_CHECK(scan_objects());
    return remove_suspects();
  }

 private:
  /// What time it is for the store, whose time stamps are compared: another machine's clock may be
  /// hours off. A check that removes nothing writes nothing, and goes by the local clock.
  Result<WallTime> store_time() {
    if (!request_.remove) {
      return volume_.clock.wall();
    }
    auto const key = "testing/gc-" + std::to_string(volume_.rng.below(1ULL << 62));
    std::array const parts{as_bytes(std::string_view("zest gc asks for the time"))};
    ZEST_CHECK(volume_.store.put(ctx_, key, parts));
    auto const info = volume_.store.head(ctx_, key);
    ZEST_CHECK(volume_.store.remove(ctx_, key));
    if (!info.ok()) {
      return info.error().clone().with("the store's clock");
    }
    return std::min(info->mtime, volume_.clock.wall());
  }

  Result<void> scan_objects() {
    ListObjects next{.prefix = "chunks/", .after = {}, .limit = kObjectPage};
    for (bool more = true; more;) {
      ZEST_TRY(auto const page, volume_.store.list(ctx_, next));
      ZEST_TRY(auto const verdicts, judge_page(page.objects));
      for (std::size_t i = 0; i < page.objects.size(); ++i) {
        ZEST_CHECK(note(page.objects[i], verdicts[i]));
      }
      tell();
      more = page.more && !page.objects.empty();
      if (more) {
        next.after = page.objects.back().key;
      }
    }
    return {};
  }

  enum class Verdict : std::uint8_t { unknown, young, valid, delayed, pending, leaked };

  /// Looks all names up at once, away from the loop: the index may be on disk.
  Result<std::vector<Verdict>> judge_page(std::vector<ObjectInfo> const& objects) {
    return volume_.pool.run([&]() -> Result<std::vector<Verdict>> {
      std::vector<Verdict> verdicts;
      verdicts.reserve(objects.size());
      for (auto const& object : objects) {
        verdicts.push_back(judge(object));
      }
      return verdicts;
    });
  }

  [[nodiscard]] Verdict judge(ObjectInfo const& object) const {
    auto const ref = parse_block_key(object.key, volume_.setting.hash_prefix);
    if (!ref.ok()) {
      return Verdict::unknown;
    }
    // A store that tells no time leaves nothing to judge.
    if (object.mtime.sec <= 0 || edge_ < object.mtime) {
      return Verdict::young;
    }
    auto const slice = index_.find(ref->id);
    if (!slice ||
        block_length(slice->size, volume_.setting.block_size_bytes(), ref->index) != ref->size) {
      return Verdict::leaked;
    }
    switch (slice->use) {
      case SliceUse::file: return Verdict::valid;
      case SliceUse::delayed: return Verdict::delayed;
      case SliceUse::pending: return Verdict::pending;
    }
    return Verdict::valid;
  }

  Result<void> note(ObjectInfo const& object, Verdict verdict) {
    count(report_.scanned, object.size);
    switch (verdict) {
      case Verdict::unknown: count(report_.unknown, object.size); break;
      case Verdict::young: count(report_.young, object.size); break;
      case Verdict::valid: count(report_.valid, object.size); break;
      case Verdict::delayed: count(report_.delayed, object.size); break;
      case Verdict::pending: count(report_.pending, object.size); break;
      case Verdict::leaked:
        count(report_.leaked, object.size);
        if (request_.leaked) {
          request_.leaked(object);
        }
        if (request_.remove) {
          suspects_.push_back(object);
        }
        break;
    }
    return suspects_.size() >= kSuspectsMax ? remove_suspects() : Result<void>();
  }

  /// Looks once more whether the metadata name any of the suspects, and removes the others.
  Result<void> remove_suspects() {
    if (suspects_.empty()) {
      return {};
    }
    std::vector<IndexedSlice> wanted;
    for (auto const& object : suspects_) {
      wanted.push_back({.id = slice_of(object)});
    }
    std::ranges::sort(wanted, {}, &IndexedSlice::id);
    ZEST_CHECK(each_slice(ctx_, volume_.meta.engine(), [&](auto slices) -> Result<void> {
      for (auto const& slice : slices) {
        auto it = std::ranges::lower_bound(wanted, slice.id, {}, &IndexedSlice::id);
        for (; it != wanted.end() && it->id == slice.id; ++it) {
          it->size = slice.size;
        }
      }
      tell();
      return {};
    }));
    for (auto const& object : suspects_) {
      auto const ref = parse_block_key(object.key, volume_.setting.hash_prefix);
      auto const it = std::ranges::lower_bound(wanted, ref->id.value, {}, &IndexedSlice::id);
      if (block_length(it->size, volume_.setting.block_size_bytes(), ref->index) == ref->size) {
        ++report_.kept;
        continue;
      }
      ZEST_CHECK(slots_.acquire(ctx_));
      scope_.spawn([this, object] {
        remove(object);
        slots_.release();
      });
    }
    scope_.join();
    suspects_.clear();
    return {};
  }

  void remove(ObjectInfo const& object) {
    if (volume_.store.remove(ctx_, object.key).ok()) {
      count(report_.removed, object.size);
    } else {
      ++report_.failed;
    }
  }

  [[nodiscard]] std::uint64_t slice_of(ObjectInfo const& object) const {
    return parse_block_key(object.key, volume_.setting.hash_prefix)->id.value;
  }

  void tell() {
    if (request_.progress) {
      request_.progress(report_);
    }
  }

  Context const& ctx_;
  GcVolume const& volume_;
  GcRequest const& request_;
  GcReport& report_;
  SliceIndex index_;
  WallTime edge_;
  std::vector<ObjectInfo> suspects_;
  Semaphore slots_;
  Scope scope_;

 public:
  /// Waits for removals under way; call before destruction, also after an error.
  void finish() { scope_.join(); }
};

}  // namespace

Result<GcReport> collect_garbage(Context const& ctx, GcVolume const& volume,
                                 GcRequest const& request) {
  GcReport report;
  ZEST_CHECK(clean_before_gc(ctx, volume, request, report));
  Collector collector(ctx, volume, request, report);
  auto done = collector.run();
  collector.finish();
  if (!done.ok()) {
    return std::move(done).error();
  }
  return report;
}

}  // namespace zest::admin
