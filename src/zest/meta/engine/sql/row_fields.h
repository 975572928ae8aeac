// Columns that SQL engines read alike, whatever they read a row with: a RowReader of sqlite_rows.h
// or of remote/row_reader.h.
#pragma once

#include <cstdint>
#include <utility>

#include "zest/base/result.h"
#include "zest/format/acl.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/node_fields.h"

namespace zest::meta {

/// max_space, max_inodes, used_space, used_inodes.
template <class RowReader>
Quota read_quota_fields(RowReader& row) {
  Quota quota;
  quota.max_space = row.template in_range_of<std::int64_t>();
  quota.max_inodes = row.template in_range_of<std::int64_t>();
  quota.used_space = row.template in_range_of<std::int64_t>();
  quota.used_inodes = row.template in_range_of<std::int64_t>();
  return quota;
}

/// owner, group, mask, other (NULL: that entry is absent), named_users, named_groups. The error of
/// a list names the record.
template <class RowReader>
Result<AclRule> read_acl_fields(RowReader& row, Key const& key) {
  AclRule rule;
  for (auto* perm : {&rule.owner, &rule.group, &rule.mask, &rule.other}) {
    *perm = row.template or_null<std::uint16_t>(AclRule::kAbsent);
  }
  for (auto* entries : {&rule.named_users, &rule.named_groups}) {
    auto decoded = decode_acl_entries(row.bytes());
    if (!decoded.ok()) {
      return std::move(decoded).error().with(describe(key));
    }
    *entries = *std::move(decoded);
  }
  return rule;
}

}  // namespace zest::meta
