#include "zest/admin/quota.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <variant>

#include "zest/meta/tree_walk.h"

namespace zest::admin {
namespace {

using meta::QuotaKey;
using meta::Usage;

constexpr std::size_t kSustainedPage = 1000;

void add_to(Usage& sum, Usage const& delta) {
  sum.space += delta.space;
  sum.inodes += delta.inodes;
}

template <class Record>
Result<std::optional<Record>> fetch_one(Context const& ctx, meta::Engine& engine,
                                        meta::Key const& key) {
  std::array const keys{key};
  ZEST_TRY(auto values, engine.fetch(ctx, keys));
  if (auto const* record = std::get_if<Record>(&values.front())) {
    return std::optional(*record);
  }
  return std::optional<Record>();
}

Result<void> commit_change(Context const& ctx, meta::Engine& engine, meta::Change change) {
  meta::Commit commit;
  commit.changes.push_back(std::move(change));
  return engine.commit(ctx, commit);
}

Result<void> check_directory(Context const& ctx, meta::Engine& engine, Ino dir) {
  if (is_trash(dir)) {
    return Error(Errc::perm, Fault::semantic, "a directory of the trash has no quota");
  }
  ZEST_TRY(auto const attr, fetch_one<Attr>(ctx, engine, meta::NodeKey{dir}));
  if (!attr) {
    return Errc::noent;
  }
  return attr->type == FileType::directory ? Result<void>() : Result<void>(Errc::notdir);
}

/// What the quota will be: what was there, with the new limits.
Quota with_limits(std::optional<Quota> const& before, QuotaKey const& key,
                  QuotaLimits const& limits) {
  auto const unlimited = key.type == QuotaType::directory ? 0 : -1;
  auto quota = before.value_or(Quota{.max_space = unlimited, .max_inodes = unlimited});
  quota.max_space = limits.max_space.value_or(quota.max_space);
  quota.max_inodes = limits.max_inodes.value_or(quota.max_inodes);
  return quota;
}

/// Switches on what quotas of this kind need. True: its owners have to be counted.
Result<bool> enable(Context const& ctx, Access const& access, QuotaKey const& key) {
  ZEST_TRY(auto const setting, load_setting(ctx, access.engine));
  if (key.type == QuotaType::directory) {
    if (!setting.dir_stats) {
      return Error(Errc::notsup, Fault::semantic,
                   "directory quotas need directory statistics (DirStats), which are switched off");
    }
    return false;
  }
  if (setting.user_group_quota) {
    return false;
  }
  ConfigRequest request;
  request.changes.user_group_quota = true;
  request.force = true;  // No limit of the volume and no storage changes.
  ZEST_CHECK(config_volume(ctx, access, request));
  return true;
}

/// Sums by owner. A file with several names is met once a name: each counts its share, so that no
/// list of files is needed.
class OwnerSums {
 public:
  void add(Attr const& attr, Usage const& usage, bool all_names_once) {
    auto const names =
        attr.type == FileType::directory || all_names_once ? 1U : std::max(attr.nlink, 1U);
    add_to(shares_[{{QuotaType::user, attr.uid}, names}], usage);
    add_to(shares_[{{QuotaType::group, attr.gid}, names}], usage);
  }
  [[nodiscard]] std::map<QuotaKey, Usage> totals() const {
    std::map<QuotaKey, Usage> totals;
    for (auto const& [which, sum] : shares_) {
      auto const& [key, names] = which;
      add_to(totals[key], {.space = sum.space / names, .inodes = sum.inodes / names});
    }
    return totals;
  }

 private:
  std::map<std::pair<QuotaKey, std::int64_t>, Usage> shares_;
};

Result<void> add_sustained(Context const& ctx, meta::Engine& engine, OwnerSums& sums) {
  ZEST_TRY(auto const sessions, engine.list_sessions(ctx));
  for (auto const& session : sessions) {
    ZEST_TRY(auto const inodes, engine.list_sustained(ctx, session.session, kSustainedPage));
    for (auto const ino : inodes) {
      ZEST_TRY(auto const attr, fetch_one<Attr>(ctx, engine, meta::NodeKey{ino}));
      if (attr && attr->nlink == 0) {
        sums.add(*attr, {.space = static_cast<std::int64_t>(align_4k(attr->length)), .inodes = 1},
                 true);
      }
    }
  }
  return {};
}

Result<std::map<QuotaKey, Usage>> count_owners(Context const& ctx, meta::Engine& engine) {
  OwnerSums sums;
  auto const visit = [&sums](meta::DirEntry const& entry) -> Result<void> {
    if (entry.attr) {
      sums.add(*entry.attr, meta::usage_of(entry), false);
    }
    return {};
  };
  for (auto const top : {kRootIno, kTrashIno}) {
    ZEST_CHECK(meta::walk_tree(ctx, engine, top, visit));
  }
  ZEST_CHECK(add_sustained(ctx, engine, sums));
  return sums.totals();
}

}  // namespace

Result<Quota> set_quota(Context const& ctx, Access const& access, QuotaKey const& key,
                        QuotaLimits const& limits) {
  auto& engine = access.engine;
  if (key.type == QuotaType::directory) {
    ZEST_CHECK(check_directory(ctx, engine, Ino{key.id}));
  }
  ZEST_TRY(auto const recount, enable(ctx, access, key));
  ZEST_TRY(auto const before, get_quota(ctx, engine, key));
  ZEST_CHECK(engine.set_quota(ctx, key, with_limits(before, key, limits)));
  if (recount) {
    ZEST_CHECK(recount_owners(ctx, engine));
  } else if (!before && key.type == QuotaType::directory) {
    ZEST_TRY(auto const check, check_directory_quota(ctx, engine, Ino{key.id}));
    ZEST_CHECK(repair_quota(ctx, engine, check));
  }
  ZEST_TRY(auto const after, get_quota(ctx, engine, key));
  ZEST_CHECK(engine.sync(ctx));
  return after.value_or(with_limits(before, key, limits));
}

Result<std::optional<Quota>> get_quota(Context const& ctx, meta::Engine& engine,
                                       QuotaKey const& key) {
  return fetch_one<Quota>(ctx, engine, key);
}

Result<void> delete_quota(Context const& ctx, meta::Engine& engine, QuotaKey const& key) {
  ZEST_CHECK(commit_change(ctx, engine, meta::Erase{key}));
  return engine.sync(ctx);
}

Result<std::vector<QuotaRow>> list_quotas(Context const& ctx, meta::Engine& engine) {
  ZEST_TRY(auto const entries, engine.list_quotas(ctx));
  std::vector<QuotaRow> rows;
  for (auto const& [key, quota] : entries) {
    if (quota.max_space != -1 || quota.max_inodes != -1) {
      rows.push_back({.key = key, .quota = quota});
    }
  }
  std::ranges::sort(rows, {}, &QuotaRow::key);
  return rows;
}

Result<QuotaCheck> check_directory_quota(Context const& ctx, meta::Engine& engine, Ino dir) {
  auto const key = meta::dir_quota(dir);
  ZEST_TRY(auto const quota, get_quota(ctx, engine, key));
  if (!quota) {
    return Error(Errc::noent, Fault::semantic,
                 fmt::format("there is no quota for inode {}", dir.value));
  }
  ZEST_TRY(auto const counted, meta::tree_usage(ctx, engine, dir));
  return QuotaCheck{.key = key, .quota = quota, .counted = counted};
}

Result<std::vector<QuotaCheck>> check_owner_quotas(Context const& ctx, meta::Engine& engine) {
  ZEST_TRY(auto counted, count_owners(ctx, engine));
  ZEST_TRY(auto const entries, engine.list_quotas(ctx));
  std::map<QuotaKey, Quota> quotas;
  for (auto const& [key, quota] : entries) {
    if (key.type != QuotaType::directory) {
      quotas[key] = quota;
      counted.try_emplace(key);  // An owner without files has used nothing.
    }
  }
  std::vector<QuotaCheck> checks;
  for (auto const& [key, usage] : counted) {
    auto const quota = quotas.find(key);
    checks.push_back({.key = key,
                      .quota = quota == quotas.end() ? std::nullopt : std::optional(quota->second),
                      .counted = usage});
  }
  return checks;
}

Result<void> repair_quota(Context const& ctx, meta::Engine& engine, QuotaCheck const& check) {
  auto quota = check.quota.value_or(Quota{.max_space = -1, .max_inodes = -1});
  quota.used_space = check.counted.space;
  quota.used_inodes = check.counted.inodes;
  return commit_change(ctx, engine, meta::Put{check.key, quota});
}

Result<void> recount_owners(Context const& ctx, meta::Engine& engine) {
  ZEST_TRY(auto const checks, check_owner_quotas(ctx, engine));
  for (auto const& check : checks) {
    if (!check.consistent()) {
      ZEST_CHECK(repair_quota(ctx, engine, check));
    }
  }
  return {};
}

}  // namespace zest::admin
