// Counters, leases, statistics, quotas and ACL rules: batches, and what their results say.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/sql/remote/sql_text.h"

namespace zest::meta::sql {

using Results = std::vector<ResultSet>;

std::vector<Statement> allocate_ids_batch(Sql const& sql, IdKind kind, std::uint64_t count);
Result<IdRange> ids_from(IdKind kind, std::uint64_t count, Results const& results);

Statement read_usage_statement(Sql const& sql);
Result<Usage> usage_from(ResultSet const& result);
std::vector<Statement> add_usage_batch(Sql const& sql, Usage delta);

/// In ascending order of the directories, so that two flushers do not wait for each other. Not more
/// than kDeltasMax at once.
inline constexpr std::size_t kDeltasMax = 500;
std::vector<Statement> add_dir_stats_batch(Sql const& sql,
                                           std::span<std::pair<Ino, DirStat> const> deltas);
/// The directories that had no row.
std::vector<Ino> missing_dir_stats(std::span<std::pair<Ino, DirStat> const> deltas,
                                   Results const& results);
std::vector<Statement> add_quota_usage_batch(Sql const& sql,
                                             std::span<std::pair<QuotaKey, Usage> const> deltas);
std::vector<Statement> set_quota_batch(Sql const& sql, QuotaKey const& key, Quota const& quota);

std::vector<Statement> insert_acl_batch(Sql const& sql, AclRule const& rule);
Result<std::uint32_t> acl_id_from(Results const& results);

std::vector<Statement> take_lease_batch(Sql const& sql, Lease lease, std::int64_t now_sec,
                                        std::int64_t interval_sec);
bool lease_from(Results const& results);

/// The rows of a new volume, or only the Setting (and a missing trash directory) of one that
/// exists. The schema is there.
std::vector<Statement> initialize_batch(Sql const& sql, bool exists, std::string_view setting,
                                        Attr const& root, std::optional<Attr> const& trash);

}  // namespace zest::meta::sql
