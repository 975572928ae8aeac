// The client library's pipeline, waited for on a fiber. The only file besides the connecting one
// that touches the socket.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine/sql/postgres/postgres_connect.h"
#include "zest/meta/engine/sql/postgres/postgres_values.h"

struct pg_result;

namespace zest::meta::sql {

struct FreePostgresResult {
  void operator()(pg_result* result) const noexcept;
};
using PostgresResult = std::unique_ptr<pg_result, FreePostgresResult>;

/// Messages are queued in memory, without limit, until flush(); then results are read in the order
/// of what was queued. An error of any function but the alive() of an idle pipe leaves the exchange
/// in the middle: the pipe is of no use any more.
class PostgresPipe {
 public:
  explicit PostgresPipe(PostgresHandle handle) : handle_(std::move(handle)) {}

  /// False when the server has closed the idle connection: nothing was sent yet.
  [[nodiscard]] bool alive();

  // Queueing never suspends. False: out of memory or the connection is gone; see message().
  bool prepare(std::string const& name, std::string const& text, BoundParameters const& parameters);
  bool execute(std::string const& name, BoundParameters const& parameters);
  /// A statement without parameters that is not worth preparing.
  bool execute_once(std::string const& text);
  bool sync();

  /// Sends everything, and reads meanwhile: two ends that only write would wait for each other
  /// forever. Errors: EINTR, ETIMEDOUT, EIO (connection lost). May suspend.
  Result<void> flush(Context const& ctx);
  /// The result of one queued message; null when the server's answer does not fit to what was
  /// asked. Errors as of flush().
  Result<PostgresResult> next(Context const& ctx);

  /// The library's last error.
  [[nodiscard]] std::string message() const;
  [[nodiscard]] bool connected() const;
  /// True inside of a transaction, failed or not.
  [[nodiscard]] bool in_transaction() const;
  [[nodiscard]] int server_version() const;

 private:
  Result<PostgresResult> read_one(Context const& ctx);

  PostgresHandle handle_;
};

}  // namespace zest::meta::sql
