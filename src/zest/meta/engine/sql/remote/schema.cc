#include "zest/meta/engine/sql/remote/schema.h"

#include <fmt/format.h>

#include <cstdint>
#include <string_view>

namespace zest::meta::sql {

namespace {

/// The types of format/03 §2.
enum class Type : std::uint8_t {
  small,       ///< I: 32 bits
  big,         ///< B: 64 bits
  big_auto,    ///< B, given by the server
  small_auto,  ///< I, given by the server
  name,        ///< S
  exact_name,  ///< S that has to tell upper case from lower case
  text,        ///< T
  bytes,       ///< Y
  bytes255,
  bytes4096,
};

enum Flag : unsigned { kNone = 0, kNull = 1, kKey = 2, kZero = 4 };

struct ColumnType {
  std::string_view name;
  Type type;
  unsigned flags = kNone;
};

struct Index {
  std::string_view name;
  bool unique;
  std::vector<std::string_view> columns;
};

struct Table {
  std::string_view name;
  std::vector<ColumnType> columns;
  std::vector<Index> indexes;
};

constexpr ColumnType kId{"id", Type::big_auto, kKey};
constexpr ColumnType kInode{"inode", Type::big, kKey};

std::vector<Table> accounting_tables() {
  return {
      {"dir_quota",
       {kInode,
        {"max_space", Type::big},
        {"max_inodes", Type::big},
        {"used_space", Type::big},
        {"used_inodes", Type::big}},
       {}},
      {"user_group_quota",
       {{"qtype", Type::small, kKey},
        {"qkey", Type::big, kKey},
        {"max_space", Type::big},
        {"max_inodes", Type::big},
        {"used_space", Type::big},
        {"used_inodes", Type::big}},
       {}},
      {"dir_stats",
       {kInode, {"data_length", Type::big}, {"used_space", Type::big}, {"used_inodes", Type::big}},
       {}},
      {"detached_node", {kInode, {"added", Type::big}}, {}},
      {"acl",
       {{"id", Type::small_auto, kKey},
        {"owner", Type::small, kNull},
        {"group", Type::small, kNull},
        {"mask", Type::small, kNull},
        {"other", Type::small, kNull},
        {"named_users", Type::bytes, kNull},
        {"named_groups", Type::bytes, kNull}},
       {}},
      {"delegation_token", {{"id", Type::small_auto, kKey}, {"token", Type::bytes, kNull}}, {}},
      {"change_log", {kId, {"entry", Type::text}}, {}},
  };
}

std::vector<Table> session_tables() {
  return {
      {"session2",
       {{"sid", Type::big, kKey}, {"expire", Type::big}, {"info", Type::bytes, kNull}},
       {}},
      {"sustained",
       {kId, {"sid", Type::big}, {"inode", Type::big}},
       {{"sustained", true, {"sid", "inode"}}}},
      {"delfile", {kInode, {"length", Type::big}, {"expire", Type::big}}, {}},
      {"flock",
       {kId,
        {"inode", Type::big},
        {"sid", Type::big},
        {"owner", Type::big},
        {"ltype", Type::small}},
       {{"flock", true, {"inode", "sid", "owner"}}}},
      {"plock",
       {kId,
        {"inode", Type::big},
        {"sid", Type::big},
        {"owner", Type::big},
        {"records", Type::bytes}},
       {{"plock", true, {"inode", "sid", "owner"}}}},
  };
}

std::vector<Table> file_tables() {
  return {
      {"setting", {{"name", Type::name, kKey}, {"value", Type::text}}, {}},
      {"counter", {{"name", Type::name, kKey}, {"value", Type::big}}, {}},
      {"edge",
       {kId,
        {"parent", Type::big},
        {"name", Type::bytes255},
        {"inode", Type::big},
        {"type", Type::small}},
       {{"edge", true, {"parent", "name"}}, {"inode", false, {"inode"}}}},
      {"node",
       {kInode,
        {"type", Type::small},
        {"flags", Type::small},
        {"mode", Type::small},
        {"uid", Type::small},
        {"gid", Type::small},
        {"atime", Type::big},
        {"mtime", Type::big},
        {"ctime", Type::big},
        {"atimensec", Type::small, kZero},
        {"mtimensec", Type::small, kZero},
        {"ctimensec", Type::small, kZero},
        {"nlink", Type::small},
        {"length", Type::big},
        {"rdev", Type::small, kNull},
        {"parent", Type::big, kNull},
        {"access_acl_id", Type::small, kNull},
        {"default_acl_id", Type::small, kNull},
        {"tier_id", Type::small, kNull}},
       {}},
      {"symlink", {kInode, {"target", Type::bytes4096}}, {}},
      {"xattr",
       {kId, {"inode", Type::big}, {"name", Type::exact_name}, {"value", Type::bytes}},
       {{"name", true, {"inode", "name"}}}},
      {"chunk",
       {kId, {"inode", Type::big}, {"indx", Type::small}, {"slices", Type::bytes}},
       {{"chunk", true, {"inode", "indx"}}}},
      {"chunk_ref",
       {{"chunkid", Type::big, kKey}, {"size", Type::small}, {"refs", Type::small}},
       {{"refs", false, {"refs"}}}},
      {"delslices",
       {{"chunkid", Type::big, kKey}, {"deleted", Type::big}, {"slices", Type::bytes}},
       {}},
  };
}

/// In the peer's order of creation.
std::vector<Table> tables() {
  auto all = file_tables();
  for (auto const& more : {session_tables(), accounting_tables()}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

std::string_view type_name(Sql const& sql, Type type) {
  switch (type) {
    case Type::small: return sql.mysql() ? "INT" : "INTEGER";
    case Type::big: return "BIGINT";
    case Type::big_auto: return sql.mysql() ? "BIGINT" : "BIGSERIAL";
    case Type::small_auto: return sql.mysql() ? "INT" : "SERIAL";
    case Type::name: return "VARCHAR(255)";
    // The server's usual collation would take user.A and user.a for one name.
    case Type::exact_name:
      return sql.mysql() ? "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
                         : "VARCHAR(255)";
    case Type::text: return "TEXT";
    case Type::bytes: return sql.mysql() ? "BLOB" : "BYTEA";
    case Type::bytes255: return sql.mysql() ? "VARBINARY(255)" : "BYTEA";
    case Type::bytes4096: return sql.mysql() ? "VARBINARY(4096)" : "BYTEA";
  }
  __builtin_unreachable();
}

std::string definition(Sql const& sql, ColumnType const& column) {
  auto const automatic = column.type == Type::big_auto || column.type == Type::small_auto;
  return fmt::format("{} {}{}{}{}", sql.quoted(column.name), type_name(sql, column.type),
                     automatic && sql.mysql() ? " AUTO_INCREMENT" : "",
                     (column.flags & kZero) != 0 ? " DEFAULT 0" : "",
                     (column.flags & kNull) != 0 ? " NULL" : " NOT NULL");
}

std::string joined(Sql const& sql, std::vector<std::string_view> const& names) {
  std::string list;
  for (auto const name : names) {
    list += (list.empty() ? "" : ",") + sql.quoted(name);
  }
  return list;
}

std::string index_name(Sql const& sql, Table const& table, Index const& index) {
  return fmt::format("{}_{}_{}", index.unique ? "UQE" : "IDX", sql.full_name(table.name),
                     index.name);
}

std::string create_table(Sql const& sql, Table const& table) {
  std::string columns;
  std::vector<std::string_view> key;
  for (auto const& column : table.columns) {
    columns += definition(sql, column) + ", ";
    if ((column.flags & kKey) != 0) {
      key.push_back(column.name);
    }
  }
  std::string indexes;
  if (sql.mysql()) {
    // Each statement that changes the schema costs a sync of the disk.
    for (auto const& index : table.indexes) {
      indexes += fmt::format(", {}INDEX {} ({})", index.unique ? "UNIQUE " : "",
                             sql.quoted(index_name(sql, table, index)), joined(sql, index.columns));
    }
  }
  // Row locks and transactions are InnoDB's.
  return fmt::format("CREATE TABLE IF NOT EXISTS {} ({}PRIMARY KEY ({}){}){}",
                     sql.table(table.name), columns, joined(sql, key), indexes,
                     sql.mysql() ? " ENGINE=InnoDB" : "");
}

std::string create_index(Sql const& sql, Table const& table, Index const& index) {
  return fmt::format("CREATE {}INDEX {} ON {} ({})", index.unique ? "UNIQUE " : "",
                     sql.quoted(index_name(sql, table, index)), sql.table(table.name),
                     joined(sql, index.columns));
}

/// Of an existing table; a key cannot be added and is not needed.
std::string add_column(Sql const& sql, Table const& table, ColumnType const& column) {
  auto const text = column.type == Type::text || column.type == Type::bytes;
  auto const needs_default = (column.flags & (kNull | kZero)) == 0 && !text;
  return fmt::format("ALTER TABLE {} ADD COLUMN {}{}", sql.table(table.name),
                     definition(sql, column), needs_default ? " DEFAULT 0" : "");
}

/// Pairs of names, lower case where the server does not keep the case.
std::set<std::string> pairs_of(ResultSet const& result) {
  std::set<std::string> names;
  for (auto const& row : result.rows) {
    if (row.size() == 2 && std::holds_alternative<std::string>(row[0]) &&
        std::holds_alternative<std::string>(row[1])) {
      names.insert(std::get<std::string>(row[0]) + "." + std::get<std::string>(row[1]));
    }
  }
  return names;
}

std::set<std::string> tables_of(ResultSet const& result) {
  std::set<std::string> names;
  for (auto const& row : result.rows) {
    if (!row.empty() && std::holds_alternative<std::string>(row[0])) {
      names.insert(std::get<std::string>(row[0]));
    }
  }
  return names;
}

}  // namespace

std::vector<Statement> inspect_schema(Sql const& sql) {
  if (sql.mysql()) {
    return {{.text = "SELECT TABLE_NAME,COLUMN_NAME FROM information_schema.COLUMNS"
                     " WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME LIKE 'jfs%'",
             .parameters = {}},
            {.text = "SELECT DISTINCT TABLE_NAME,INDEX_NAME FROM information_schema.STATISTICS"
                     " WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME LIKE 'jfs%'",
             .parameters = {}}};
  }
  return {{.text = "SELECT table_name::text,column_name::text FROM information_schema.columns"
                   " WHERE table_schema=current_schema() AND table_name LIKE 'jfs%'",
           .parameters = {}},
          {.text = "SELECT tablename::text,indexname::text FROM pg_indexes"
                   " WHERE schemaname=current_schema()",
           .parameters = {}}};
}

std::vector<Statement> missing_schema(Sql const& sql, std::vector<ResultSet> const& inspected) {
  auto const columns = pairs_of(inspected[0]);
  auto const existing = tables_of(inspected[0]);
  auto const indexes = pairs_of(inspected[1]);
  std::vector<Statement> statements;
  auto const add = [&](std::string text) {
    statements.push_back({.text = std::move(text), .parameters = {}});
  };
  for (auto const& table : tables()) {
    auto const name = sql.full_name(table.name);
    auto const there = existing.contains(name);
    if (!there) {
      add(create_table(sql, table));
    }
    for (auto const& column : table.columns) {
      if (there && (column.flags & kKey) == 0 &&
          !columns.contains(name + "." + std::string(column.name))) {
        add(add_column(sql, table, column));
      }
    }
    for (auto const& index : table.indexes) {
      auto const just_created = sql.mysql() && !there;
      if (!just_created && !indexes.contains(name + "." + index_name(sql, table, index))) {
        add(create_index(sql, table, index));
      }
    }
  }
  return statements;
}

bool has_setting_table(Sql const& sql, std::vector<ResultSet> const& inspected) {
  return tables_of(inspected[0]).contains(sql.full_name("setting"));
}

std::vector<Statement> drop_schema(Sql const& sql) {
  std::vector<Statement> statements;
  for (auto const& table : tables()) {
    statements.push_back(
        {.text = "DROP TABLE IF EXISTS " + sql.table(table.name), .parameters = {}});
  }
  return statements;
}

}  // namespace zest::meta::sql
