// Counters, usage, quotas, leases and ACL rules: small records that are read, changed and written
// back, as bodies of a transaction.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/kv/kv_records.h"
#include "zest/meta/engine/kv/kv_view.h"

namespace zest::meta::kv {

/// Each runs inside of a transaction; what it does and returns: Engine.
Result<IdRange> allocate_ids(View& view, Layout const& layout, IdKind kind, std::uint64_t count);
Result<Usage> read_usage(View& view, Layout const& layout);
Result<void> add_usage(View& view, Layout const& layout, Usage delta);
Result<std::vector<Ino>> add_dir_stats(View& view, Layout const& layout,
                                       std::span<std::pair<Ino, DirStat> const> deltas);
Result<void> add_quota_usage(View& view, Layout const& layout,
                             std::span<std::pair<QuotaKey, Usage> const> deltas);
Result<void> set_quota(View& view, Layout const& layout, QuotaKey const& key, Quota const& quota);
Result<std::uint32_t> insert_acl(View& view, Layout const& layout, AclRule const& rule);
Result<bool> take_lease(View& view, Layout const& layout, Lease lease, std::int64_t now_sec,
                        std::int64_t interval_sec);
Result<void> initialize(View& view, Layout const& layout, std::string_view setting,
                        Attr const& root, std::optional<Attr> const& trash);

}  // namespace zest::meta::kv
