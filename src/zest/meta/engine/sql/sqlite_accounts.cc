// Quotas, ACL rules, delayed slices and detached trees in the peer's tables.
#include <optional>
#include <utility>

#include "zest/format/acl.h"
#include "zest/format/slice.h"
#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/sql/row_fields.h"
#include "zest/meta/engine/sql/sqlite_query.h"
#include "zest/meta/engine/sql/sqlite_read.h"
#include "zest/meta/engine/sql/sqlite_rows.h"
#include "zest/meta/engine/sql/sqlite_write.h"

namespace zest::meta::sqlite {

namespace {

#define ZEST_SQL_ACL_COLUMNS "owner,\"group\",mask,other,named_users,named_groups"

Result<std::vector<DelayedSlice>> delayed_of(std::string_view bytes, Key const& key) {
  auto slices = decode_delayed_slices(bytes);
  if (!slices.ok()) {
    return std::move(slices).error().with(describe(key));
  }
  return slices;
}

}  // namespace

Result<Value> read_quota(Connection& connection, QuotaKey const& key) {
  auto const read = [](RowReader& row) { return Value(read_quota_fields(row)); };
  if (key.type == QuotaType::directory) {
    return one_row(connection, key,
                   "SELECT max_space,max_inodes,used_space,used_inodes FROM jfs_dir_quota"
                   " WHERE inode=?",
                   read, key.id);
  }
  return one_row(connection, key,
                 "SELECT max_space,max_inodes,used_space,used_inodes FROM jfs_user_group_quota"
                 " WHERE qtype=? AND qkey=?",
                 read, static_cast<int>(key.type), key.id);
}

Result<Value> read_acl(Connection& connection, AclKey const& key) {
  ZEST_TRY(auto statement,
           connection.prepare("SELECT " ZEST_SQL_ACL_COLUMNS " FROM jfs_acl WHERE id=?"));
  ZEST_TRY(bool const found, statement.bind(key.id).step());
  if (!found) {
    return Value();
  }
  RowReader row(statement);
  ZEST_TRY(auto rule, read_acl_fields(row, key));
  if (row.failed()) {
    return row.error(key);
  }
  return Value(std::move(rule));
}

Result<Value> read_delayed(Connection& connection, DelayedSlicesKey const& key) {
  ZEST_TRY(auto statement,
           connection.prepare("SELECT slices FROM jfs_delslices WHERE chunkid=? AND deleted=?"));
  ZEST_TRY(bool const found, statement.bind(key.compacted_into, key.deleted_sec).step());
  if (!found) {
    return Value();
  }
  ZEST_TRY(auto slices, delayed_of(statement.bytes(0), key));
  return Value(std::move(slices));
}

Result<std::vector<DelayedEntry>> list_delayed_slices(Connection& connection,
                                                      std::int64_t before_sec, std::size_t limit) {
  std::vector<DelayedEntry> entries;
  ZEST_TRY(auto statement, connection.prepare("SELECT chunkid,deleted,slices FROM jfs_delslices"
                                              " WHERE deleted<? ORDER BY chunkid LIMIT ?"));
  statement.bind(before_sec, sql_limit(limit));
  ZEST_CHECK(each_row(statement, DelayedSlicesKey{}, [&](RowReader& row) -> Result<void> {
    DelayedEntry entry;
    entry.key.compacted_into = SliceId{row.in_range_of<std::uint64_t>()};
    entry.key.deleted_sec = row.in_range_of<std::int64_t>();
    ZEST_TRY(entry.slices, delayed_of(row.bytes(), entry.key));
    entries.push_back(std::move(entry));
    return {};
  }));
  return entries;
}

Result<std::vector<DetachedEntry>> list_detached(Connection& connection, std::int64_t before_sec,
                                                 std::size_t limit) {
  std::vector<DetachedEntry> entries;
  ZEST_TRY(auto statement, connection.prepare("SELECT inode,added FROM jfs_detached_node"
                                              " WHERE added<? ORDER BY inode LIMIT ?"));
  statement.bind(before_sec, sql_limit(limit));
  ZEST_CHECK(each_row(statement, DetachedKey{}, [&](RowReader& row) -> Result<void> {
    auto& added = entries.emplace_back();
    added.ino = row.ino();
    added.added_sec = row.in_range_of<std::int64_t>();
    return {};
  }));
  return entries;
}

Result<std::vector<QuotaEntry>> list_quotas(Connection& connection) {
  std::vector<QuotaEntry> entries;
  ZEST_TRY(auto statement,
           connection.prepare(
               "SELECT 0,inode,max_space,max_inodes,used_space,used_inodes FROM jfs_dir_quota"
               " UNION ALL SELECT qtype,qkey,max_space,max_inodes,used_space,used_inodes"
               " FROM jfs_user_group_quota"));
  ZEST_CHECK(each_row(statement, QuotaKey{}, [&](RowReader& row) -> Result<void> {
    auto& added = entries.emplace_back();
    added.key.type = static_cast<QuotaType>(row.integer(0, 2));
    added.key.id = row.in_range_of<std::uint64_t>();
    added.quota = read_quota_fields(row);
    return {};
  }));
  return entries;
}

Result<std::vector<StoredAcl>> list_acls(Connection& connection, std::uint32_t after) {
  std::vector<StoredAcl> rules;
  ZEST_TRY(auto statement, connection.prepare("SELECT id," ZEST_SQL_ACL_COLUMNS
                                              " FROM jfs_acl WHERE id>? ORDER BY id"));
  statement.bind(after);
  ZEST_CHECK(each_row(statement, AclKey{}, [&](RowReader& row) -> Result<void> {
    StoredAcl stored;
    stored.id = row.in_range_of<std::uint32_t>();
    ZEST_TRY(stored.rule, read_acl_fields(row, AclKey{stored.id}));
    rules.push_back(std::move(stored));
    return {};
  }));
  return rules;
}

// ---- writing

Result<void> WriteTransaction::put_quota(QuotaKey const& key, Quota const& quota) {
  if (key.type == QuotaType::directory) {
    return connection_.run(
        "INSERT OR REPLACE INTO jfs_dir_quota(inode,max_space,max_inodes,used_space,used_inodes)"
        " VALUES(?,?,?,?,?)",
        key.id, quota.max_space, quota.max_inodes, quota.used_space, quota.used_inodes);
  }
  return connection_.run(
      "INSERT OR REPLACE INTO"
      " jfs_user_group_quota(qtype,qkey,max_space,max_inodes,used_space,used_inodes)"
      " VALUES(?,?,?,?,?,?)",
      static_cast<int>(key.type), key.id, quota.max_space, quota.max_inodes, quota.used_space,
      quota.used_inodes);
}

Result<void> WriteTransaction::erase_quota(QuotaKey const& key) {
  if (key.type == QuotaType::directory) {
    return connection_.run("DELETE FROM jfs_dir_quota WHERE inode=?", key.id);
  }
  return connection_.run(
      "UPDATE jfs_user_group_quota SET max_space=-1,max_inodes=-1 WHERE qtype=? AND qkey=?",
      static_cast<int>(key.type), key.id);
}

Result<void> WriteTransaction::set_quota(QuotaKey const& key, Quota const& quota) {
  touched_ = true;
  if (key.type == QuotaType::directory) {
    return connection_.run(
        "INSERT INTO jfs_dir_quota(inode,max_space,max_inodes,used_space,used_inodes)"
        " VALUES(?,?,?,?,?) ON CONFLICT(inode) DO UPDATE SET max_space=excluded.max_space,"
        "max_inodes=excluded.max_inodes",
        key.id, quota.max_space, quota.max_inodes, quota.used_space, quota.used_inodes);
  }
  return connection_.run(
      "INSERT INTO jfs_user_group_quota(qtype,qkey,max_space,max_inodes,used_space,used_inodes)"
      " VALUES(?,?,?,?,?,?) ON CONFLICT(qtype,qkey) DO UPDATE SET max_space=excluded.max_space,"
      "max_inodes=excluded.max_inodes",
      static_cast<int>(key.type), key.id, quota.max_space, quota.max_inodes, quota.used_space,
      quota.used_inodes);
}

Result<void> WriteTransaction::add_quota_usage(std::span<std::pair<QuotaKey, Usage> const> deltas) {
  touched_ = true;
  for (auto const& [key, delta] : deltas) {
    if (key.type == QuotaType::directory) {
      ZEST_CHECK(
          connection_.run("UPDATE jfs_dir_quota SET used_space=used_space+?,"
                          "used_inodes=used_inodes+? WHERE inode=?",
                          delta.space, delta.inodes, key.id));
    } else {
      ZEST_CHECK(connection_.run(
          "INSERT INTO jfs_user_group_quota(qtype,qkey,max_space,max_inodes,used_space,used_inodes)"
          " VALUES(?,?,-1,-1,?,?) ON CONFLICT(qtype,qkey) DO UPDATE SET"
          " used_space=used_space+excluded.used_space,used_inodes=used_inodes+excluded.used_inodes",
          static_cast<int>(key.type), key.id, delta.space, delta.inodes));
    }
  }
  return {};
}

Result<std::uint32_t> WriteTransaction::insert_acl(AclRule const& rule) {
  touched_ = true;
  auto const users = encode_acl_entries(rule.named_users);
  auto const groups = encode_acl_entries(rule.named_groups);
  ZEST_TRY(auto statement,
           connection_.prepare("INSERT INTO jfs_acl(owner,\"group\",mask,other,named_users,"
                               "named_groups) VALUES(?,?,?,?,?,?) RETURNING id"));
  ZEST_TRY(bool const row,
           statement
               .bind(std::uint32_t{rule.owner}, std::uint32_t{rule.group}, std::uint32_t{rule.mask},
                     std::uint32_t{rule.other}, Blob{users}, Blob{groups})
               .step());
  if (!row) {
    return Error(Errc::io, Fault::bug, "INSERT … RETURNING gave no row");
  }
  auto const id = static_cast<std::uint32_t>(statement.integer(0));
  // To its end, so that the statement does not hold the transaction open.
  ZEST_TRY(bool const more, statement.step());
  static_cast<void>(more);
  return id;
}

Result<void> WriteTransaction::check_fence(SessionId session) {
  ZEST_TRY(auto const value, read(SessionKey{session}));
  auto const* record = std::get_if<SessionRecord>(&value);
  if (record == nullptr || record->expire_sec <= 0) {
    return fenced(session);
  }
  return {};
}

}  // namespace zest::meta::sqlite
