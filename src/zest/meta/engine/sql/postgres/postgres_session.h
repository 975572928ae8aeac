// One connection to a PostgreSQL server.
#pragma once

#include <memory>

#include "zest/meta/engine/sql/postgres/postgres.h"
#include "zest/meta/engine/sql/postgres/postgres_connect.h"

namespace zest::meta::sql {

/// Sets the session up (one trip: plans and time-outs) and makes it usable. `options` outlives it.
Result<std::unique_ptr<Session>> make_postgres_session(Context const& ctx, PostgresHandle handle,
                                                       PostgresOptions const& options);

}  // namespace zest::meta::sql
