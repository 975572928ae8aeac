#include "zest/admin/make_directories.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "zest/meta/meta.h"

namespace zest::admin {
namespace {

/// Components of `path` without empty ones.
std::vector<std::string_view> components(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    auto const end = std::min(path.find('/'), path.size());
    if (end > 0) {
      parts.push_back(path.substr(0, end));
    }
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return parts;
}

Result<Ino> descend(Context const& ctx, meta::Meta& meta, std::string_view path) {
  Ino at = kRootIno;
  for (auto const name : components(path)) {
    auto next = meta.lookup(ctx, at, name);
    if (failed_with(next, Errc::noent)) {
      next =
          meta.mknod(ctx, {.parent = at, .name = name, .type = FileType::directory, .mode = 0755});
    }
    if (!next.ok()) {
      return std::move(next).error();
    }
    at = next->ino;
  }
  return at;
}

}  // namespace

Result<Ino> make_directories(Context const& ctx, MetaParts const& parts, std::string_view path) {
  // Permission to create is what working as this user means; the directory belongs to them.
  Context owner;
  owner.caller = {.uid = geteuid(), .gid = getegid(), .pid = 0, .groups = {}};
  owner.deadline = ctx.deadline;
  meta::Meta meta(parts.engine, parts.setting, {.background_jobs = false}, parts.clock, parts.rng,
                  parts.log, parts.metrics);
  ZEST_CHECK(meta.start(owner));
  auto made = descend(owner, meta, path);
  ZEST_CHECK(meta.stop(owner));
  return made;
}

}  // namespace zest::admin
