// Running a SELECT and decoding its rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/sql/sqlite_connection.h"
#include "zest/meta/engine/sql/sqlite_rows.h"

namespace zest::meta::sqlite {

/// SQLite has no unsigned limit; more than this is never asked for.
inline std::int64_t sql_limit(std::size_t limit) {
  return static_cast<std::int64_t>(std::clamp<std::size_t>(limit, 1, 1U << 24));
}

/// Runs `statement` and calls `read(RowReader&)` for each row; stops at the first row that is
/// corrupt, which is reported as part of the record of `key`.
template <class Read>
Result<void> each_row(Statement& statement, Key const& key, Read const& read) {
  while (true) {
    ZEST_TRY(bool const more, statement.step());
    if (!more) {
      return {};
    }
    RowReader row(statement);
    Result<void> const result = read(row);
    if (row.failed()) {
      return row.error(key);
    }
    if (!result.ok()) {
      return result.error().clone();
    }
  }
}

/// The value of the only row that `sql` yields, or absent.
template <class Read, class... Parameters>
Result<Value> one_row(Connection& connection, Key const& key, char const* sql, Read const& read,
                      Parameters const&... parameters) {
  ZEST_TRY(auto statement, connection.prepare(sql));
  ZEST_TRY(bool const found, statement.bind(parameters...).step());
  if (!found) {
    return Value();
  }
  RowReader row(statement);
  Value value = read(row);
  if (row.failed()) {
    return row.error(key);
  }
  return value;
}

}  // namespace zest::meta::sqlite
