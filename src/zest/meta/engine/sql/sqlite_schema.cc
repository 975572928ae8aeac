#include "zest/meta/engine/sql/sqlite_schema.h"

#include <fmt/format.h>

#include <array>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace zest::meta::sqlite {

namespace {

/// A table with its columns as they stand in the peer's CREATE TABLE, and its indexes.
struct Table {
  std::string_view name;
  std::vector<std::string_view> columns;
  std::vector<std::string_view> indexes;
};

constexpr std::string_view kId = "`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL";
constexpr std::string_view kInode = "`inode` INTEGER PRIMARY KEY NOT NULL";

/// In the peer's order of creation; texts are those that SQLite keeps in sqlite_master.
std::vector<Table> tables() {
  return {
      {"jfs_setting", {"`name` TEXT PRIMARY KEY NOT NULL", "`value` TEXT NOT NULL"}, {}},
      {"jfs_counter", {"`name` TEXT PRIMARY KEY NOT NULL", "`value` INTEGER NOT NULL"}, {}},
      {"jfs_edge",
       {kId, "`parent` INTEGER NOT NULL", "`name` BLOB NOT NULL", "`inode` INTEGER NOT NULL",
        "`type` INTEGER NOT NULL"},
       {"UNIQUE INDEX `UQE_jfs_edge_edge` ON `jfs_edge` (`parent`,`name`)",
        "INDEX `IDX_jfs_edge_inode` ON `jfs_edge` (`inode`)"}},
      {"jfs_node",
       {kInode, "`type` INTEGER NOT NULL", "`flags` INTEGER NOT NULL", "`mode` INTEGER NOT NULL",
        "`uid` INTEGER NOT NULL", "`gid` INTEGER NOT NULL", "`atime` INTEGER NOT NULL",
        "`mtime` INTEGER NOT NULL", "`ctime` INTEGER NOT NULL",
        "`atimensec` INTEGER DEFAULT 0 NOT NULL", "`mtimensec` INTEGER DEFAULT 0 NOT NULL",
        "`ctimensec` INTEGER DEFAULT 0 NOT NULL", "`nlink` INTEGER NOT NULL",
        "`length` INTEGER NOT NULL", "`rdev` INTEGER NULL", "`parent` INTEGER NULL",
        "`access_acl_id` INTEGER NULL", "`default_acl_id` INTEGER NULL", "`tier_id` INTEGER NULL"},
       {}},
      {"jfs_symlink", {kInode, "`target` BLOB NOT NULL"}, {}},
      {"jfs_xattr",
       {kId, "`inode` INTEGER NOT NULL", "`name` TEXT NOT NULL", "`value` BLOB NOT NULL"},
       {"UNIQUE INDEX `UQE_jfs_xattr_name` ON `jfs_xattr` (`inode`,`name`)"}},
      {"jfs_chunk",
       {kId, "`inode` INTEGER NOT NULL", "`indx` INTEGER NOT NULL", "`slices` BLOB NOT NULL"},
       {"UNIQUE INDEX `UQE_jfs_chunk_chunk` ON `jfs_chunk` (`inode`,`indx`)"}},
      {"jfs_chunk_ref",
       {"`chunkid` INTEGER PRIMARY KEY NOT NULL", "`size` INTEGER NOT NULL",
        "`refs` INTEGER NOT NULL"},
       {"INDEX `IDX_jfs_chunk_ref_refs` ON `jfs_chunk_ref` (`refs`)"}},
      {"jfs_delslices",
       {"`chunkid` INTEGER PRIMARY KEY NOT NULL", "`deleted` INTEGER NOT NULL",
        "`slices` BLOB NOT NULL"},
       {}},
      {"jfs_session2",
       {"`sid` INTEGER PRIMARY KEY NOT NULL", "`expire` INTEGER NOT NULL", "`info` BLOB NULL"},
       {}},
      {"jfs_sustained",
       {kId, "`sid` INTEGER NOT NULL", "`inode` INTEGER NOT NULL"},
       {"UNIQUE INDEX `UQE_jfs_sustained_sustained` ON `jfs_sustained` (`sid`,`inode`)"}},
      {"jfs_delfile", {kInode, "`length` INTEGER NOT NULL", "`expire` INTEGER NOT NULL"}, {}},
      {"jfs_flock",
       {kId, "`inode` INTEGER NOT NULL", "`sid` INTEGER NOT NULL", "`owner` INTEGER NOT NULL",
        "`ltype` INTEGER NOT NULL"},
       {"UNIQUE INDEX `UQE_jfs_flock_flock` ON `jfs_flock` (`inode`,`sid`,`owner`)"}},
      {"jfs_plock",
       {kId, "`inode` INTEGER NOT NULL", "`sid` INTEGER NOT NULL", "`owner` INTEGER NOT NULL",
        "`records` BLOB NOT NULL"},
       {"UNIQUE INDEX `UQE_jfs_plock_plock` ON `jfs_plock` (`inode`,`sid`,`owner`)"}},
      {"jfs_dir_quota",
       {kInode, "`max_space` INTEGER NOT NULL", "`max_inodes` INTEGER NOT NULL",
        "`used_space` INTEGER NOT NULL", "`used_inodes` INTEGER NOT NULL"},
       {}},
      {"jfs_user_group_quota",
       {"`qtype` INTEGER NOT NULL", "`qkey` INTEGER NOT NULL", "`max_space` INTEGER NOT NULL",
        "`max_inodes` INTEGER NOT NULL", "`used_space` INTEGER NOT NULL",
        "`used_inodes` INTEGER NOT NULL", "PRIMARY KEY ( `qtype`,`qkey` )"},
       {}},
      {"jfs_dir_stats",
       {kInode, "`data_length` INTEGER NOT NULL", "`used_space` INTEGER NOT NULL",
        "`used_inodes` INTEGER NOT NULL"},
       {}},
      {"jfs_detached_node", {kInode, "`added` INTEGER NOT NULL"}, {}},
      {"jfs_acl",
       {kId, "`owner` INTEGER NULL", "`group` INTEGER NULL", "`mask` INTEGER NULL",
        "`other` INTEGER NULL", "`named_users` BLOB NULL", "`named_groups` BLOB NULL"},
       {}},
      {"jfs_delegation_token", {kId, "`token` BLOB NULL"}, {}},
      {"jfs_change_log", {kId, "`entry` TEXT NOT NULL"}, {}},
  };
}

std::string create_table(Table const& table) {
  std::string columns;
  for (auto const column : table.columns) {
    columns += fmt::format("{}{}", columns.empty() ? "" : ", ", column);
  }
  return fmt::format("CREATE TABLE `{}` ({})", table.name, columns);
}

/// The name between the first pair of back quotes.
std::string_view quoted_name(std::string_view definition) {
  auto const begin = definition.find('`') + 1;
  return definition.substr(begin, definition.find('`', begin) - begin);
}

/// What must be added to an existing column list; keys cannot be added and are not needed.
bool can_be_added(std::string_view column) {
  return column.find("PRIMARY KEY") == std::string_view::npos;
}

std::string add_column(Table const& table, std::string_view column) {
  // SQLite wants a default for a column that may not be NULL.
  auto const needs_default = column.find("NOT NULL") != std::string_view::npos &&
                             column.find("DEFAULT") == std::string_view::npos;
  return fmt::format("ALTER TABLE `{}` ADD COLUMN {}{}", table.name, column,
                     needs_default ? " DEFAULT 0" : "");
}

Result<std::set<std::string>> names_in(Connection& connection, std::string const& table) {
  std::set<std::string> names;
  ZEST_TRY(auto statement, connection.prepare("SELECT name FROM pragma_table_info(?)"));
  statement.bind(Text{table});
  while (true) {
    ZEST_TRY(bool const row, statement.step());
    if (!row) {
      return names;
    }
    names.emplace(statement.bytes(0));
  }
}

Result<bool> has_index(Connection& connection, std::string const& name) {
  ZEST_TRY(auto statement,
           connection.prepare("SELECT 1 FROM sqlite_master WHERE type='index' AND name=?"));
  return statement.bind(Text{name}).step();
}

/// The statements that complete the schema, in order.
Result<std::vector<std::string>> missing(Connection& connection) {
  std::vector<std::string> statements;
  for (auto const& table : tables()) {
    ZEST_TRY(auto const existing, names_in(connection, connection.with_prefix(table.name)));
    if (existing.empty()) {
      statements.push_back(connection.with_prefix(create_table(table)));
    }
    for (auto const column : table.columns) {
      if (!existing.empty() && can_be_added(column) &&
          !existing.contains(std::string(quoted_name(column)))) {
        statements.push_back(connection.with_prefix(add_column(table, column)));
      }
    }
    for (auto const index : table.indexes) {
      auto const definition = connection.with_prefix(index);
      ZEST_TRY(bool const found, has_index(connection, std::string(quoted_name(definition))));
      if (!found) {
        statements.push_back("CREATE " + definition);
      }
    }
  }
  return statements;
}

}  // namespace

Result<void> create_schema(Connection& connection) {
  ZEST_TRY(auto const statements, missing(connection));
  for (auto const& statement : statements) {
    ZEST_CHECK(connection.execute(statement));
  }
  return {};
}

Result<bool> schema_incomplete(Connection& connection) {
  ZEST_TRY(auto const statements, missing(connection));
  return !statements.empty();
}

Result<void> drop_schema(Connection& connection) {
  for (auto const& table : tables()) {
    ZEST_CHECK(connection.execute(
        connection.with_prefix(fmt::format("DROP TABLE IF EXISTS `{}`", table.name))));
  }
  return {};
}

}  // namespace zest::meta::sqlite
