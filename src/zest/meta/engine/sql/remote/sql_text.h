// The texts of the statements, and where MySQL and PostgreSQL spell them differently.
//
// A record is seen as a row: the columns that find it, the columns that hold its value. From that
// come SELECT, INSERT, upsert, DELETE and the statement that checks a condition.
//
// Conditions are checked by the server, so that a commit is one trip: a statement that fails when
// its condition does not hold ends the batch (session.h). The failure is provoked inside a SELECT
// over an aggregate, which always yields one row: MySQL by a scalar subquery of two rows (error
// 1242), PostgreSQL by a division by zero (22012). The same SELECT locks the rows it looks at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zest/meta/engine/sql/remote/session.h"

namespace zest::meta::sql {

struct Column {
  std::string_view name;
  Parameter value;
  /// NULL means the same as 0, or as no bytes.
  bool nullable = false;
  /// Text whose comparison may ignore case on the server, but must not.
  bool exact = false;
};

/// A record as a row of `table` (a name without its prefix).
struct Row {
  std::string_view table;
  /// What finds it; the first `unique` of them are a unique key.
  std::vector<Column> key;
  std::size_t unique = 1;
  std::vector<Column> values;
  /// Written with the values, but neither compared nor read.
  std::vector<Column> further;
};

/// Which lock a SELECT takes on the rows it finds.
enum class RowLock : std::uint8_t { none, share, update };

/// Immutable; any thread.
class Sql {
 public:
  Sql(Dialect const& dialect, std::string_view table_prefix)
      : mysql_(dialect.product == Dialect::Product::mysql),
        prefix_(table_prefix.empty() ? "jfs_" : "jfs_" + std::string(table_prefix) + "_") {}

  [[nodiscard]] bool mysql() const noexcept { return mysql_; }
  /// With its prefix, quoted.
  [[nodiscard]] std::string table(std::string_view name) const { return quoted(full_name(name)); }
  [[nodiscard]] std::string full_name(std::string_view name) const {
    return prefix_ + std::string(name);
  }
  /// An identifier of any spelling (`group` is a word of the language).
  [[nodiscard]] std::string quoted(std::string_view name) const;

  [[nodiscard]] Statement begin() const;
  /// Begins a transaction whose statements all see one state; may be several statements.
  [[nodiscard]] std::vector<Statement> begin_snapshot() const;
  [[nodiscard]] static Statement commit() { return {.text = "COMMIT", .parameters = {}}; }

  /// The value columns.
  [[nodiscard]] Statement select(Row const& row) const;
  /// Fails as a conflict when a row with this unique key exists.
  [[nodiscard]] Statement insert(Row const& row) const;
  [[nodiscard]] Statement upsert(Row const& row) const;
  /// Inserts, or leaves the row that is there alone.
  [[nodiscard]] Statement insert_if_absent(Row const& row) const;
  [[nodiscard]] Statement erase(Row const& row) const;
  /// Fails as a conflict unless exactly one row has this key and these values; locks it.
  [[nodiscard]] Statement expect_equal(Row const& row, RowLock lock) const;
  /// Fails as a conflict when a row with this key exists.
  [[nodiscard]] Statement expect_absent(Row const& row) const;

  /// `SELECT check FROM (SELECT columns FROM table WHERE where) lock`: fails as a conflict unless
  /// `condition`, an expression over aggregates of `columns`, is true.
  [[nodiscard]] std::string expect(std::string_view condition, std::string_view columns,
                                   std::string_view table, std::string_view where,
                                   RowLock lock) const;
  /// Text of an insert whose duplicate is resolved by `assignments` (fresh() names new values).
  [[nodiscard]] std::string upsert_text(Row const& row, std::string_view assignments) const;
  /// In the assignments of an upsert: the value that was to be inserted into `column`.
  [[nodiscard]] std::string fresh(std::string_view column) const;
  /// In the assignments of an upsert: the value that is there.
  [[nodiscard]] std::string stored(std::string_view table_name, std::string_view column) const;
  [[nodiscard]] std::string concatenated(std::string_view a, std::string_view b) const;
  /// The first bytes of a column; their number is the next parameter.
  [[nodiscard]] std::string head_of(std::string_view column) const;
  /// The bytes from a position (counted from 1) on, which is the next parameter.
  [[nodiscard]] std::string tail_of(std::string_view column) const;
  /// ` FOR UPDATE` and so on.
  [[nodiscard]] std::string_view clause(RowLock lock) const;

  /// ` a=? AND b=?` with its parameters.
  [[nodiscard]] std::string where(std::vector<Column> const& columns,
                                  std::vector<Parameter>& parameters) const;

 private:
  [[nodiscard]] Statement insert_prefix(Row const& row) const;
  [[nodiscard]] std::string replace_values(Row const& row) const;

  bool mysql_;
  std::string prefix_;
};

inline Parameter number(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

}  // namespace zest::meta::sql
