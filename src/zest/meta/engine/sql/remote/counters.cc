#include "zest/meta/engine/sql/remote/counters.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "zest/format/acl.h"
#include "zest/format/counter_name.h"
#include "zest/meta/engine/counters.h"
#include "zest/meta/engine/sql/remote/records.h"
#include "zest/meta/engine/sql/remote/row_reader.h"

namespace zest::meta::sql {

namespace {

Row counter_row(std::string_view name, std::int64_t value) {
  return {.table = "counter",
          .key = {{.name = "name", .value = Text{std::string(name)}}},
          .values = {{.name = "value", .value = value}}};
}

/// `statements` as one transaction.
std::vector<Statement> transaction(Sql const& sql, std::vector<Statement> statements) {
  statements.insert(statements.begin(), sql.begin());
  statements.push_back(Sql::commit());
  return statements;
}

Error counter_error(std::string_view name, std::string_view what) {
  return Error::corrupt(fmt::format("counter {} {}", name, what));
}

/// The upsert adds to the stored value.
Statement add_to(Sql const& sql, Row const& row, std::string_view table,
                 std::initializer_list<std::string_view> columns) {
  Statement statement;
  std::string assignments;
  for (auto const column : columns) {
    assignments += fmt::format("{}{}={}+{}", assignments.empty() ? "" : ",", column,
                               sql.stored(table, column), sql.fresh(column));
  }
  statement = sql.insert(row);
  statement.text = sql.upsert_text(row, assignments);
  return statement;
}

}  // namespace

// ---- ids

std::vector<Statement> allocate_ids_batch(Sql const& sql, IdKind kind, std::uint64_t count) {
  auto const name = counter_of(kind);
  auto const stored_as = stored_ids(kind);
  auto const taken = static_cast<std::int64_t>(count);
  auto const row = counter_row(name, stored_as.initial + taken);
  auto add = sql.insert(row);
  // Never an inode ≤ 1, whatever the counter says.
  add.text =
      sql.upsert_text(row, fmt::format("value=GREATEST({},?)+?", sql.stored("counter", "value")));
  add.parameters.emplace_back(stored_as.initial);
  add.parameters.emplace_back(taken);
  return transaction(sql, {std::move(add), sql.select(row)});
}

Result<IdRange> ids_from(IdKind kind, std::uint64_t count, Results const& results) {
  auto const name = counter_of(kind);
  auto const stored_as = stored_ids(kind);
  auto const& rows = results[2].rows;
  if (rows.empty()) {
    return counter_error(name, "is not there although it was just written");
  }
  RowReader row(rows.front());
  auto const next = row.in_range_of<std::int64_t>();
  auto const taken = static_cast<std::int64_t>(count);
  if (row.failed() || next - taken < stored_as.initial) {
    return counter_error(name, "is no number that can be");
  }
  return IdRange{.first = static_cast<std::uint64_t>(next - taken + stored_as.first_offset),
                 .count = count};
}

// ---- usage

Statement read_usage_statement(Sql const& sql) {
  return {
      .text = fmt::format("SELECT name,value FROM {} WHERE name=? OR name=?", sql.table("counter")),
      .parameters = {Text{std::string(kUsedSpace)}, Text{std::string(kTotalInodes)}}};
}

Result<Usage> usage_from(ResultSet const& result) {
  Usage usage;
  for (auto const& cells : result.rows) {
    RowReader row(cells);
    auto const name = row.bytes();
    auto const value = row.in_range_of<std::int64_t>();
    if (row.failed()) {
      return counter_error(name, "is no number");
    }
    (name == kUsedSpace ? usage.space : usage.inodes) = value;
  }
  return usage;
}

std::vector<Statement> add_usage_batch(Sql const& sql, Usage delta) {
  std::vector<Statement> batch;
  for (auto const& [name, value] :
       {std::pair(kTotalInodes, delta.inodes), std::pair(kUsedSpace, delta.space)}) {
    batch.push_back(add_to(sql, counter_row(name, value), "counter", {"value"}));
  }
  return transaction(sql, std::move(batch));
}

std::vector<Statement> add_dir_stats_batch(Sql const& sql,
                                           std::span<std::pair<Ino, DirStat> const> deltas) {
  auto const text = fmt::format(
      "UPDATE {} SET data_length=data_length+?,used_space=used_space+?,used_inodes=used_inodes+?"
      " WHERE inode=?",
      sql.table("dir_stats"));
  std::vector<Statement> batch;
  for (auto const& [ino, delta] : deltas) {
    batch.push_back(
        {.text = text, .parameters = {delta.length, delta.space, delta.inodes, number(ino.value)}});
  }
  return transaction(sql, std::move(batch));
}

std::vector<Ino> missing_dir_stats(std::span<std::pair<Ino, DirStat> const> deltas,
                                   Results const& results) {
  std::vector<Ino> missing;
  for (std::size_t i = 0; i < deltas.size(); ++i) {
    if (results[i + 1].affected == 0) {
      missing.push_back(deltas[i].first);
    }
  }
  return missing;
}

// ---- quotas

std::vector<Statement> add_quota_usage_batch(Sql const& sql,
                                             std::span<std::pair<QuotaKey, Usage> const> deltas) {
  std::vector<Statement> batch;
  for (auto const& [key, delta] : deltas) {
    if (key.type == QuotaType::directory) {
      batch.push_back({.text = fmt::format("UPDATE {} SET used_space=used_space+?,"
                                           "used_inodes=used_inodes+? WHERE inode=?",
                                           sql.table("dir_quota")),
                       .parameters = {delta.space, delta.inodes, number(key.id)}});
      continue;
    }
    auto const row = row_of(key, Value(Quota{.max_space = -1,
                                             .max_inodes = -1,
                                             .used_space = delta.space,
                                             .used_inodes = delta.inodes}));
    batch.push_back(add_to(sql, row, "user_group_quota", {"used_space", "used_inodes"}));
  }
  return transaction(sql, std::move(batch));
}

std::vector<Statement> set_quota_batch(Sql const& sql, QuotaKey const& key, Quota const& quota) {
  auto const row = row_of(key, Value(quota));
  auto statement = sql.insert(row);
  statement.text = sql.upsert_text(
      row,
      fmt::format("max_space={},max_inodes={}", sql.fresh("max_space"), sql.fresh("max_inodes")));
  return {std::move(statement)};
}

// ---- ACL rules

std::vector<Statement> insert_acl_batch(Sql const& sql, AclRule const& rule) {
  Statement insert{
      .text = fmt::format("INSERT INTO {}(owner,{},mask,other,named_users,named_groups)"
                          " VALUES(?,?,?,?,?,?)",
                          sql.table("acl"), sql.quoted("group")),
      .parameters = {number(rule.owner), number(rule.group), number(rule.mask), number(rule.other),
                     Bytes{encode_acl_entries(rule.named_users)},
                     Bytes{encode_acl_entries(rule.named_groups)}}};
  if (sql.mysql()) {
    return {std::move(insert), {.text = "SELECT LAST_INSERT_ID()", .parameters = {}}};
  }
  insert.text += " RETURNING id";
  return {std::move(insert)};
}

Result<std::uint32_t> acl_id_from(Results const& results) {
  if (results.empty() || results.back().rows.empty()) {
    return Error::corrupt("the database gave a new ACL rule no id");
  }
  RowReader row(results.back().rows.front());
  auto const id = row.integer(1, UINT32_MAX);
  if (row.failed()) {
    return row.error(AclKey{});
  }
  return static_cast<std::uint32_t>(id);
}

// ---- leases

std::vector<Statement> take_lease_batch(Sql const& sql, Lease lease, std::int64_t now_sec,
                                        std::int64_t interval_sec) {
  auto const name = counter_of(lease);
  Statement take{
      .text = fmt::format("UPDATE {} SET value=? WHERE name=? AND value<=?", sql.table("counter")),
      .parameters = {now_sec, Text{std::string(name)}, now_sec - interval_sec}};
  return transaction(sql, {sql.insert_if_absent(counter_row(name, 0)), std::move(take)});
}

bool lease_from(Results const& results) {
  return results[2].affected == 1;
}

// ---- the volume

std::vector<Statement> initialize_batch(Sql const& sql, bool exists, std::string_view setting,
                                        Attr const& root, std::optional<Attr> const& trash) {
  Row const document{.table = "setting",
                     .key = {{.name = "name", .value = Text{"format"}}},
                     .values = {{.name = "value", .value = Text{std::string(setting)}}}};
  std::vector<Statement> batch;
  // Two clients that create the volume at once: the second finds a duplicate and starts again.
  batch.push_back(exists ? sql.upsert(document) : sql.insert(document));
  if (trash) {
    batch.push_back(sql.insert_if_absent(node_row(kTrashIno, *trash)));
  }
  if (exists) {
    return transaction(sql, std::move(batch));
  }
  batch.push_back(sql.upsert(node_row(kRootIno, root)));
  constexpr std::array<std::pair<std::string_view, std::int64_t>, 6> kInitial{
      {{kNextInode, 2},
       {kNextChunk, 1},
       {kNextSession, 0},
       {kUsedSpace, 0},
       {kTotalInodes, 0},
       {kNextCleanupSlices, 0}}};
  for (auto const& [name, value] : kInitial) {
    batch.push_back(sql.upsert(counter_row(name, value)));
  }
  return transaction(sql, std::move(batch));
}

}  // namespace zest::meta::sql
