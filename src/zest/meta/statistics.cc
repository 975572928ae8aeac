#include "zest/meta/statistics.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace zest::meta {
namespace {

// Directories in one add_dir_stats call: a transaction of bearable size on every engine.
constexpr std::size_t kDirsPerCall = 1000;
constexpr std::size_t kPage = 4096;

void add_to(DirStat& sum, DirStat const& delta) noexcept {
  sum.length += delta.length;
  sum.space += delta.space;
  sum.inodes += delta.inodes;
}

}  // namespace

DirStat dir_stat_of(Attr const& attr) noexcept {
  auto const length = attr.type == FileType::regular ? attr.length : 0;
  return {.length = static_cast<std::int64_t>(length),
          .space = static_cast<std::int64_t>(align_4k(length)),
          .inodes = 1};
}

DirStat negative(DirStat const& stat) noexcept {
  return {.length = -stat.length, .space = -stat.space, .inodes = -stat.inodes};
}

bool Statistics::add(Usage const& usage, std::map<Ino, DirStat> const& dirs) {
  std::lock_guard const lock(mutex_);
  pending_.space += usage.space;
  pending_.inodes += usage.inodes;
  for (auto const& [dir, delta] : dirs) {
    add_to(dirs_[dir], delta);
  }
  return dirs_.size() > kDirsMax;
}

Result<void> Statistics::flush(Context const& ctx) {
  ZEST_CHECK(flushing_.lock(ctx));
  std::unique_lock const owner(flushing_, std::adopt_lock);
  auto usage = flush_usage(ctx);
  auto dirs = flush_dirs(ctx);
  if (!usage.ok()) {
    return usage;
  }
  return dirs;
}

Result<void> Statistics::flush_usage(Context const& ctx) {
  if (engine_.capabilities().usage_in_commit) {
    return {};
  }
  Usage delta;
  {
    std::lock_guard const lock(mutex_);
    delta = std::exchange(pending_, Usage{});
    read_.space += delta.space;
    read_.inodes += delta.inodes;
  }
  if (delta.space == 0 && delta.inodes == 0) {
    return {};
  }
  auto written = engine_.add_usage(ctx, delta);
  if (!written.ok()) {
    std::lock_guard const lock(mutex_);
    pending_.space += delta.space;
    pending_.inodes += delta.inodes;
    read_.space -= delta.space;
    read_.inodes -= delta.inodes;
  }
  return written;
}

Result<void> Statistics::flush_dirs(Context const& ctx) {
  std::vector<std::pair<Ino, DirStat>> deltas;
  {
    std::lock_guard const lock(mutex_);
    for (auto const& [dir, delta] : std::exchange(dirs_, {})) {
      if (delta != DirStat{}) {
        deltas.emplace_back(dir, delta);
      }
    }
  }
  Result<void> failure;
  std::span<std::pair<Ino, DirStat> const> rest(deltas);
  while (!rest.empty()) {
    auto const part = rest.first(std::min(rest.size(), kDirsPerCall));
    auto missing = engine_.add_dir_stats(ctx, part);
    if (!missing.ok()) {
      std::lock_guard const lock(mutex_);
      for (auto const& [dir, delta] : rest) {
        add_to(dirs_[dir], delta);
      }
      return std::move(missing).error();
    }
    rest = rest.subspan(part.size());
    for (auto const dir : *missing) {
      // One that fails still has no record, so its next change comes back here.
      if (auto done = recompute(ctx, dir); !done.ok()) {
        failure = std::move(done);
      }
    }
  }
  return failure;
}

// A directory without a record was made by a client that keeps none, or its record was dropped. The
// new record is the sum of a listing; what others add while it runs may be counted twice or not at
// all, which `fsck` corrects (format/06 §3).
Result<void> Statistics::recompute(Context const& ctx, Ino dir) {
  DirStat sum;
  ListDir request{.dir = dir, .from = {}, .limit = kPage, .attrs = true};
  do {
    ZEST_TRY(auto page, engine_.list_dir(ctx, request));
    for (auto const& entry : page.entries) {
      if (entry.attr.has_value()) {
        add_to(sum, dir_stat_of(*entry.attr));
      } else {
        add_to(sum, {.length = 0, .space = 4096, .inodes = 1});
      }
    }
    request.from = std::move(page.next);
  } while (!request.from.empty());
  // A directory that was removed meanwhile gets no record; neither does one in the trash.
  std::vector<Key> const keys{NodeKey{dir}, DirStatKey{dir}};
  ZEST_TRY(auto const found, engine_.fetch(ctx, keys));
  auto const* attr = std::get_if<Attr>(&found[0]);
  if (attr == nullptr || attr->parent.value > kTrashIno.value ||
      !std::holds_alternative<std::monostate>(found[1])) {
    return {};
  }
  Commit commit;
  commit.conditions.emplace_back(ExpectAbsent{DirStatKey{dir}});
  commit.conditions.emplace_back(ExpectNode{dir, kExists, *attr});
  commit.changes.emplace_back(Put{DirStatKey{dir}, sum});
  auto written = engine_.commit(ctx, commit);
  if (!written.ok() && written.error().fault() == Fault::conflict) {
    return {};  // Somebody else was faster, or the directory is gone.
  }
  return written;
}

Result<Usage> Statistics::refresh(Context const& ctx) {
  ZEST_CHECK(flushing_.lock(ctx));  // A flush between reading and storing would be lost to read_.
  std::unique_lock const owner(flushing_, std::adopt_lock);
  Usage before;
  {
    std::lock_guard const lock(mutex_);
    before = pending_;
  }
  ZEST_TRY(auto const usage, engine_.read_usage(ctx));
  {
    std::lock_guard const lock(mutex_);
    read_ = usage;
    if (engine_.capabilities().usage_in_commit) {
      // Commits before the reading are part of it; those meanwhile may be counted twice until next
      // time.
      pending_.space -= before.space;
      pending_.inodes -= before.inodes;
    }
  }
  return known();
}

Usage Statistics::known() const {
  std::lock_guard const lock(mutex_);
  return {.space = std::max<std::int64_t>(0, read_.space + pending_.space),
          .inodes = std::max<std::int64_t>(0, read_.inodes + pending_.inodes)};
}

}  // namespace zest::meta
