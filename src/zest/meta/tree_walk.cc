#include "zest/meta/tree_walk.h"

#include <string>
#include <utility>
#include <vector>

#include "zest/meta/statistics.h"

namespace zest::meta {
namespace {

constexpr std::size_t kPage = 1024;
// Deeper than any path; a damaged volume with a cycle must not hold us forever.
constexpr std::size_t kDepthMax = 8192;

// A directory of the walk: where its listing goes on, and what of the last page was not entered.
struct Level {
  Ino dir;
  std::string from;
  bool listed = false;
  std::vector<Ino> subdirs;
};

Result<void> visit_page(Context const& ctx, Engine& engine, Level& level, TreeVisit const& visit) {
  ListDir const request{.dir = level.dir, .from = level.from, .limit = kPage, .attrs = true};
  ZEST_TRY(auto page, engine.list_dir(ctx, request));
  for (auto const& entry : page.entries) {
    ZEST_CHECK(visit(entry));
    if (entry.entry.type == FileType::directory) {
      level.subdirs.push_back(entry.entry.ino);
    }
  }
  level.from = std::move(page.next);
  level.listed = level.from.empty();
  return {};
}

}  // namespace

Result<void> walk_tree(Context const& ctx, Engine& engine, Ino dir, TreeVisit const& visit) {
  std::vector<Level> levels;
  levels.push_back({.dir = dir, .from = {}, .subdirs = {}});
  while (!levels.empty()) {
    auto& level = levels.back();
    if (!level.subdirs.empty()) {
      auto const next = level.subdirs.back();
      level.subdirs.pop_back();
      if (levels.size() >= kDepthMax) {
        return Error::corrupt("directory " + std::to_string(next.value) +
                              ": the tree above it is deeper than any path");
      }
      levels.push_back({.dir = next, .from = {}, .subdirs = {}});
    } else if (level.listed) {
      levels.pop_back();
    } else {
      ZEST_CHECK(visit_page(ctx, engine, level, visit));
    }
  }
  return {};
}

Usage usage_of(DirEntry const& entry) noexcept {
  if (!entry.attr.has_value()) {
    return {.space = 4096, .inodes = 1};
  }
  auto const stat = dir_stat_of(*entry.attr);
  return {.space = stat.space, .inodes = stat.inodes};
}

Result<Usage> tree_usage(Context const& ctx, Engine& engine, Ino dir) {
  Usage sum;
  ZEST_CHECK(walk_tree(ctx, engine, dir, [&sum](DirEntry const& entry) -> Result<void> {
    auto const usage = usage_of(entry);
    sum.space += usage.space;
    sum.inodes += usage.inodes;
    return {};
  }));
  return sum;
}

}  // namespace zest::meta
