// Which row a record is (format/03 §2), in both directions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/sql/remote/sql_text.h"

namespace zest::meta::sql {

/// The row of a record that is one row. `value` fills the value columns; where it is absent they
/// are there with empty parameters, for a SELECT. Not for keys of sets and joins (Child, Parents,
/// HasEntries, Flocks, Plocks): those have no row.
Row row_of(Key const& key, Value const& value);

/// A node's row with all fields of `attr`.
Row node_row(Ino ino, Attr const& attr);
/// The columns of `fields` (a NodeField mask) of a node with what `attr` says.
std::vector<Column> node_columns(Attr const& attr, std::uint32_t fields);
/// The columns of all fields, separated by commas, each behind `alias` and a dot: what read_attr()
/// reads.
std::string node_column_names(std::string_view alias);

/// The statement that reads a record of any key.
Statement select_record(Sql const& sql, Key const& key);
/// What its result says, normalized; monostate = absent.
Result<Value> record_from(Key const& key, ResultSet const& result);

/// uid, gid and device numbers that the tables' 32-bit columns cannot hold are refused (EINVAL).
Result<void> check_fits(Ino ino, Attr const& attr, std::uint32_t fields);

}  // namespace zest::meta::sql
