// What the server's and the client library's error numbers mean for the engine.
#pragma once

#include <string>
#include <string_view>

#include "zest/base/error.h"

namespace zest::meta::sql {

struct MysqlFailure {
  unsigned number = 0;  ///< mysql_errno()
  std::string_view message;
  /// The statement that failed, for messages; empty while connecting.
  std::string_view statement;
  /// The whole batch reached the server, or may have.
  bool sent = true;
  /// The failing statement was the one that makes the changes final.
  bool committing = false;
  bool several_hosts = false;
};

struct MysqlVerdict {
  Error error;
  /// The session cannot be used any more.
  bool session_lost = false;
  /// The server has already undone the transaction.
  bool rolled_back = false;
};

MysqlVerdict judge_mysql(MysqlFailure const& failure);

}  // namespace zest::meta::sql
