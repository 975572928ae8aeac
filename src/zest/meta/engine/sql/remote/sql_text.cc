#include "zest/meta/engine/sql/remote/sql_text.h"

#include <fmt/format.h>

#include <iterator>

namespace zest::meta::sql {

std::string Sql::quoted(std::string_view name) const {
  return mysql_ ? fmt::format("`{}`", name) : fmt::format("\"{}\"", name);
}

Statement Sql::begin() const {
  return {.text = mysql_ ? "START TRANSACTION" : "BEGIN", .parameters = {}};
}

std::vector<Statement> Sql::begin_snapshot() const {
  if (mysql_) {
    return {{.text = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", .parameters = {}},
            {.text = "START TRANSACTION READ ONLY", .parameters = {}}};
  }
  return {{.text = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", .parameters = {}}};
}

std::string_view Sql::clause(RowLock lock) const {
  switch (lock) {
    case RowLock::none: return "";
    case RowLock::share: return mysql_ ? " LOCK IN SHARE MODE" : " FOR SHARE";
    case RowLock::update: return " FOR UPDATE";
  }
  __builtin_unreachable();
}

std::string Sql::where(std::vector<Column> const& columns,
                       std::vector<Parameter>& parameters) const {
  std::string text;
  for (auto const& column : columns) {
    auto const name = quoted(column.name);
    text += text.empty() ? "" : " AND ";
    if (column.nullable && std::holds_alternative<Bytes>(column.value)) {
      text += fmt::format("COALESCE({},{})=?", name, mysql_ ? "x''" : "''::bytea");
    } else if (column.nullable) {
      text += fmt::format("COALESCE({},0)=?", name);
    } else {
      text += fmt::format("{}=?", name);
    }
    parameters.push_back(column.value);
    if (column.exact && mysql_) {
      text += fmt::format(" AND CAST({} AS BINARY)=?", name);
      parameters.emplace_back(Bytes{std::get<Text>(column.value).value});
    }
  }
  return text;
}

Statement Sql::select(Row const& row) const {
  Statement statement;
  std::string columns;
  for (auto const& column : row.values) {
    columns += (columns.empty() ? "" : ",") + quoted(column.name);
  }
  auto const condition = where(row.key, statement.parameters);
  statement.text = fmt::format("SELECT {} FROM {} WHERE {}", columns.empty() ? "1" : columns,
                               table(row.table), condition);
  return statement;
}

Statement Sql::insert_prefix(Row const& row) const {
  Statement statement;
  std::string names;
  std::string marks;
  for (auto const* columns : {&row.key, &row.further, &row.values}) {
    for (auto const& column : *columns) {
      names += (names.empty() ? "" : ",") + quoted(column.name);
      marks += marks.empty() ? "?" : ",?";
      statement.parameters.push_back(column.value);
    }
  }
  statement.text = fmt::format("INSERT INTO {}({}) VALUES({})", table(row.table), names, marks);
  return statement;
}

Statement Sql::insert(Row const& row) const {
  return insert_prefix(row);
}

Statement Sql::insert_if_absent(Row const& row) const {
  auto statement = insert_prefix(row);
  auto const first = quoted(row.key.front().name);
  // Not IGNORE, which would also ignore values that do not fit.
  statement.text += mysql_ ? fmt::format(" ON DUPLICATE KEY UPDATE {}={}", first,
                                         stored(row.table, row.key.front().name))
                           : " ON CONFLICT DO NOTHING";
  return statement;
}

std::string Sql::fresh(std::string_view column) const {
  return mysql_ ? fmt::format("VALUES({})", quoted(column))
                : fmt::format("excluded.{}", quoted(column));
}

std::string Sql::stored(std::string_view table_name, std::string_view column) const {
  return fmt::format("{}.{}", table(table_name), quoted(column));
}

std::string Sql::upsert_text(Row const& row, std::string_view assignments) const {
  auto const prefix = insert_prefix(row);
  if (mysql_) {
    return fmt::format("{} ON DUPLICATE KEY UPDATE {}", prefix.text, assignments);
  }
  std::string unique;
  for (std::size_t i = 0; i < row.unique; ++i) {
    unique += (i == 0 ? "" : ",") + quoted(row.key[i].name);
  }
  return fmt::format("{} ON CONFLICT({}) DO UPDATE SET {}", prefix.text, unique, assignments);
}

std::string Sql::replace_values(Row const& row) const {
  std::string assignments;
  auto const add = [&](Column const& column) {
    assignments += fmt::format("{}{}={}", assignments.empty() ? "" : ",", quoted(column.name),
                               fresh(column.name));
  };
  for (std::size_t i = row.unique; i < row.key.size(); ++i) {
    add(row.key[i]);
  }
  for (auto const* columns : {&row.further, &row.values}) {
    for (auto const& column : *columns) {
      add(column);
    }
  }
  return assignments;
}

Statement Sql::upsert(Row const& row) const {
  auto statement = insert_prefix(row);
  auto const assignments = replace_values(row);
  if (assignments.empty()) {
    return insert_if_absent(row);
  }
  bool exact = false;
  for (auto const& column : row.key) {
    exact = exact || column.exact;
  }
  if (exact && mysql_) {
    // A name that differs in case only would silently replace its neighbour's value; fail instead
    // (an addition beyond BIGINT). Our own tables compare bytes, see schema.cc.
    auto const name = row.key.back().name;
    auto const value = row.values.front().name;
    statement.text = upsert_text(
        row, fmt::format("{}=IF(CAST({} AS BINARY)=CAST({} AS BINARY),{},9223372036854775807+{})",
                         quoted(value), stored(row.table, name), fresh(name), fresh(value),
                         stored(row.table, row.key.front().name)));
    return statement;
  }
  statement.text = upsert_text(row, assignments);
  return statement;
}

Statement Sql::erase(Row const& row) const {
  Statement statement;
  auto const condition = where(row.key, statement.parameters);
  statement.text = fmt::format("DELETE FROM {} WHERE {}", table(row.table), condition);
  return statement;
}

std::string Sql::expect(std::string_view condition, std::string_view columns,
                        std::string_view table_name, std::string_view where_text,
                        RowLock lock) const {
  if (mysql_) {
    // Into a variable, so that nothing but a failure is sent back.
    return fmt::format("SELECT IF({},1,(SELECT 1 UNION SELECT 2)) INTO @zest FROM {} WHERE {}{}",
                       condition, table_name, where_text, clause(lock));
  }
  // PostgreSQL locks no rows of an aggregate, but those of its input.
  return fmt::format(
      "SELECT CASE WHEN {} THEN 1 ELSE 1/(COUNT(*)-COUNT(*)) END FROM"
      " (SELECT {} FROM {} WHERE {}{}) q",
      condition, columns, table_name, where_text, clause(lock));
}

Statement Sql::expect_equal(Row const& row, RowLock lock) const {
  Statement statement;
  auto condition = where(row.key, statement.parameters);
  auto const values = where(row.values, statement.parameters);
  if (!values.empty()) {
    condition += " AND " + values;
  }
  statement.text = expect("COUNT(*)=1", "1", table(row.table), condition, lock);
  return statement;
}

Statement Sql::expect_absent(Row const& row) const {
  Statement statement;
  auto const condition = where(row.key, statement.parameters);
  statement.text = expect("COUNT(*)=0", "1", table(row.table), condition, RowLock::update);
  return statement;
}

std::string Sql::concatenated(std::string_view a, std::string_view b) const {
  return mysql_ ? fmt::format("CONCAT({},{})", a, b) : fmt::format("{}||{}", a, b);
}

std::string Sql::head_of(std::string_view column) const {
  return mysql_ ? fmt::format("SUBSTRING({},1,?)", column)
                : fmt::format("SUBSTRING({} FROM 1 FOR CAST(? AS int4))", column);
}

std::string Sql::tail_of(std::string_view column) const {
  return mysql_ ? fmt::format("SUBSTRING({},?)", column)
                : fmt::format("SUBSTRING({} FROM CAST(? AS int4))", column);
}

}  // namespace zest::meta::sql
