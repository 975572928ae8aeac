// Quotas as an administrator handles them: set, shown, removed, compared with what is really there
// (format/05 §1.7, 08 §2). Works on the metadata alone; mounted clients learn of changes at their
// next heartbeat.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "zest/admin/volume.h"
#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/format/usage.h"
#include "zest/meta/engine.h"

namespace zest::admin {

struct QuotaRow {
  meta::QuotaKey key;
  Quota quota;
};

/// Limits to be set; absent = as they are. 0 = no limit.
struct QuotaLimits {
  std::optional<std::int64_t> max_space;  ///< bytes
  std::optional<std::int64_t> max_inodes;
};

/// Sets limits. A directory's first quota counts what is below it; the volume's first quota of a
/// user or group switches UserGroupQuota on and counts the whole volume. ENOTSUP where directory
/// statistics are off; EPERM for directories of the trash; ENOTDIR. Cost: that of the counting.
Result<Quota> set_quota(Context const& ctx, Access const& access, meta::QuotaKey const& key,
                        QuotaLimits const& limits);

/// Nothing when there is no quota.
Result<std::optional<Quota>> get_quota(Context const& ctx, meta::Engine& engine,
                                       meta::QuotaKey const& key);

/// Removes a directory's quota, or the limits of a user or group, whose use is still counted.
Result<void> delete_quota(Context const& ctx, meta::Engine& engine, meta::QuotaKey const& key);

/// All quotas with limits, directories first, then users and groups, by number.
Result<std::vector<QuotaRow>> list_quotas(Context const& ctx, meta::Engine& engine);

/// Where a quota's use and a count of what is there differ, or not.
struct QuotaCheck {
  meta::QuotaKey key;
  std::optional<Quota> quota;  ///< none: an owner whose files nobody has counted
  meta::Usage counted;
  [[nodiscard]] bool consistent() const noexcept {
    return quota.has_value() && quota->used_space == counted.space &&
           quota->used_inodes == counted.inodes;
  }
};
/// Compares one directory's quota. ENOENT without a quota. What clients have not written yet (three
/// seconds) looks like a difference.
Result<QuotaCheck> check_directory_quota(Context const& ctx, meta::Engine& engine, Ino dir);
/// Compares all users and groups. Walks the volume and its trash once; memory grows with the number
/// of owners.
Result<std::vector<QuotaCheck>> check_owner_quotas(Context const& ctx, meta::Engine& engine);
/// Stores what was counted and keeps the limits.
Result<void> repair_quota(Context const& ctx, meta::Engine& engine, QuotaCheck const& check);

/// Counts all users and groups and stores the result, for a volume that begins to count them.
Result<void> recount_owners(Context const& ctx, meta::Engine& engine);

}  // namespace zest::admin
