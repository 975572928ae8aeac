// PostgreSQL as the engine's SQL server: one session is one connection in pipeline mode.
//
// A batch is one network round trip: all its messages, those that prepare new texts among them, and
// one Sync at the end. Prepared statements are kept by text for the life of the session. A batch
// that begins with `BEGIN` and ends with `COMMIT` is sent without the two: up to the Sync the
// server runs everything in one transaction, commits it there, and rolls it back by itself when a
// statement fails. So a commit and a lost race cost one trip each.
//
// libpq never blocks the loop: host names are resolved by the runtime, the handshake happens on a
// thread of its own, and the socket of a session is waited for with wait_fd.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zest/base/clock.h"
#include "zest/base/result.h"
#include "zest/meta/engine/sql/remote/session.h"
#include "zest/meta/engine/sql/remote/url_options.h"

namespace zest::meta::sql {

struct PostgresHost {
  std::string name;  ///< a name, an address, or the folder of a unix socket (begins with / or @)
  std::uint16_t port = 5432;
};

struct PostgresOptions {
  /// Tried in this order; empty: what PGHOST says, or libpq's folder of unix sockets.
  std::vector<PostgresHost> hosts;
  std::string user;
  std::string password;
  std::string database;
  /// `any`, `read-write`, `read-only`, `primary`, `standby` or `prefer-standby`: which server of
  /// several hosts will do.
  std::string session_attributes = "any";
  /// For each address of each host.
  Duration connect_timeout = std::chrono::seconds(10);
  /// libpq's keywords as they are (sslmode, sslrootcert, …).
  std::vector<std::pair<std::string, std::string>> keywords;
  /// Parameters of the server for the session (search_path, synchronous_commit, …).
  std::vector<std::pair<std::string, std::string>> settings;
  UrlOptions engine;
  /// Options of the URL that have no meaning here, for a warning.
  std::vector<std::string> ignored;

  /// "user@host:5432,host2:5432/database": for messages, without the password.
  [[nodiscard]] std::string target() const;
  /// The settings have `synchronous_commit=off`: a commit returns before it is on the disk, and
  /// Connector::sync_batch() is what fsync(2) waits for.
  [[nodiscard]] bool commits_lazily() const;
};

/// Splits `postgres://user:password@host:5432,host2/db?option=value&…` (or `postgresql://`) as the
/// peer's driver does: user, password, database and options are percent-decoded, a host of the
/// query replaces that of the authority, what is no keyword of the client library is a parameter of
/// the session, and search_path names exactly one schema. EINVAL with a message for people, which
/// never shows the password.
Result<PostgresOptions> parse_postgres_url(std::string_view url);

/// Makes sessions of this server. With several hosts, one that does not answer within the connect
/// timeout, or whose role is not the wanted one, is passed over, so connecting follows a failover;
/// a session whose server turned read-only breaks.
std::unique_ptr<Connector> make_postgres_connector(PostgresOptions options);

}  // namespace zest::meta::sql
