// Making a connection for a fiber.
#pragma once

#include <memory>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine/sql/postgres/postgres.h"

struct pg_conn;

namespace zest::meta::sql {

struct ClosePostgres {
  void operator()(pg_conn* connection) const noexcept;
};
using PostgresHandle = std::unique_ptr<pg_conn, ClosePostgres>;

/// Tries the addresses of all hosts in order, until one answers, lets the user in and has the
/// wanted role; the handle is non-blocking and in pipeline mode. A refusal (password, database)
/// ends the search, as one by one it would lock users out. May suspend. Errors: as
/// Connector::connect, EINTR.
Result<PostgresHandle> connect_postgres(Context const& ctx, PostgresOptions const& options);

}  // namespace zest::meta::sql
