// One connection to a MySQL or MariaDB server.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "zest/meta/engine/sql/mysql/mysql.h"
#include "zest/meta/engine/sql/mysql/mysql_error.h"
#include "zest/meta/engine/sql/remote/session.h"

struct st_mysql;

namespace zest::meta::sql {

struct CloseMysql {
  void operator()(st_mysql* handle) const noexcept;
};
/// A handle of the client library.
using MysqlHandle = std::unique_ptr<st_mysql, CloseMysql>;

/// Connects to the first host that serves, and sets the session up: strict values, READ COMMITTED,
/// reads that wait for the other nodes of a Galera cluster. Blocks, at most the connect timeout a
/// host.
Result<MysqlHandle> connect_mysql(MysqlOptions const& options);

/// A session on a handle from connect_mysql(). `options` outlives it.
std::unique_ptr<Session> make_mysql_session(MysqlHandle handle, MysqlOptions const& options);

}  // namespace zest::meta::sql
