// The peer's tables (format/03 §2): created for new volumes, completed in those of older clients.
#pragma once

#include "zest/base/result.h"
#include "zest/meta/engine/sql/sqlite_connection.h"

namespace zest::meta::sqlite {

/// Creates every table and index that is missing and adds columns that older clients did not have;
/// never changes or drops anything. Inside the caller's transaction.
Result<void> create_schema(Connection& connection);

/// True when something of the schema is missing; reads only.
Result<bool> schema_incomplete(Connection& connection);

/// Drops all tables of the volume. Inside the caller's transaction.
Result<void> drop_schema(Connection& connection);

}  // namespace zest::meta::sqlite
