// What the engine for networked SQL servers asks of a driver: batches of statements, each batch one
// round trip.
//
// mysql/ and postgres/ implement it; remote_engine builds the statements. Nothing here knows
// tables.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"

namespace zest::meta::sql {

/// Bytes for a binary column, text for a character column: drivers bind them differently.
struct Bytes {
  std::string value;
};
struct Text {
  std::string value;
};
using Parameter = std::variant<std::monostate, std::int64_t, Bytes, Text>;

/// One statement with `?` for its parameters (no `?` may stand in the text otherwise). Texts come
/// from a small fixed set, so drivers may cache what they prepare by text.
struct Statement {
  std::string text;
  std::vector<Parameter> parameters;
};

/// NULL, an integer, or the bytes of anything else.
using Cell = std::variant<std::monostate, std::int64_t, std::string>;
struct ResultSet {
  std::vector<std::vector<Cell>> rows;
  std::uint64_t affected =
      0;  ///< rows changed by INSERT, UPDATE, DELETE (matched, not only altered)
};

/// One connection to the server; used by one fiber at a time, on the loop that made it. Never
/// blocks the loop: sockets are waited for with the runtime's wait_fd.
class Session {
 public:
  virtual ~Session() = default;

  /// Sends all statements at once and reads all results: one trip. The first statement that fails
  /// ends the batch: those after it have no effect. BEGIN, COMMIT and ROLLBACK are statements like
  /// others; after a failure inside of a transaction the driver rolls back before it returns.
  ///
  /// Errors: Fault::conflict (with EDEADLK where the server has undone the transaction and the same
  /// batch may go through at once) for what the server says a repetition may cure (deadlock,
  /// serialization failure, duplicate key, lock wait time-out, a Galera certification failure) and
  /// for a failed assert_that(); Fault::transient with ETIMEDOUT when the connection was lost or
  /// the deadline passed after something was sent (nobody knows what happened; the session is
  /// broken), with EIO when nothing was sent; Fault::corrupt or Fault::semantic with the server's
  /// message otherwise.
  virtual Result<std::vector<ResultSet>> run(Context const& ctx,
                                             std::span<Statement const> statements) = 0;
  /// run() for a batch whose results nobody needs, which a driver may do at less cost.
  virtual Result<void> execute(Context const& ctx, std::span<Statement const> statements) {
    auto results = run(ctx, statements);
    return results.ok() ? Result<void>() : Result<void>(std::move(results).error());
  }
  /// False after a lost connection or an interrupted exchange: drop the session.
  [[nodiscard]] virtual bool usable() const noexcept = 0;
};

/// How a server spells things.
struct Dialect {
  enum class Product : std::uint8_t { mysql, postgres } product;
};

/// Makes sessions; thread-safe.
class Connector {
 public:
  virtual ~Connector() = default;
  [[nodiscard]] virtual Dialect const& dialect() const noexcept = 0;
  /// "mysql", "postgres": for messages and metrics.
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  /// Connects and authenticates. Transient: server away or full; semantic EACCES: refused, with a
  /// message that names server and user, never the password.
  virtual Result<std::unique_ptr<Session>> connect(Context const& ctx) = 0;
  /// A transaction that makes all commits before it survive the server's loss of power. Empty where
  /// each commit does so by itself, or where no client can have a say in it.
  [[nodiscard]] virtual std::vector<Statement> sync_batch() const { return {}; }
};

}  // namespace zest::meta::sql
