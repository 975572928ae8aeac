// The peer's tables (format/03 §2) on a networked server.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "zest/base/result.h"
#include "zest/meta/engine/sql/remote/sql_text.h"

namespace zest::meta::sql {

/// Asks for the columns and for the indexes of the volume's tables that there are.
std::vector<Statement> inspect_schema(Sql const& sql);

/// The statements that complete the schema, in the peer's order of creation; empty when nothing is
/// missing. Nothing is dropped and no column changes its type.
std::vector<Statement> missing_schema(Sql const& sql, std::vector<ResultSet> const& inspected);

/// True when the table that holds the Setting is there.
bool has_setting_table(Sql const& sql, std::vector<ResultSet> const& inspected);

std::vector<Statement> drop_schema(Sql const& sql);

}  // namespace zest::meta::sql
