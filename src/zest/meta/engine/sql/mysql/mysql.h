// MySQL and MariaDB as the engine's SQL server.
//
// A batch is one packet of several statements and therefore one round trip; values stand in it as
// hexadecimal and decimal literals. The server runs the statements one after the other and stops at
// the first that fails; the session then rolls back (a second trip, for lost races only). A
// transaction without results is one compound statement on MariaDB: one answer to read, and the
// server rolls back by itself, which also halves the client's CPU time of a commit. Waits for
// the socket go through the client library's non-blocking calls and the runtime's wait_fd.
//
// Connecting (name resolution, TLS, password hashing, all of which block or compute) happens on a
// thread of its own.
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

struct MysqlHost {
  std::string name;  ///< a name or an address; empty with a socket
  std::uint16_t port = 3306;
};

enum class MysqlTls : std::uint8_t {
  off,
  preferred,   ///< where the server offers it
  unverified,  ///< required, whoever the server is
  verified,    ///< required, with a certificate for the host's name
};

struct MysqlOptions {
  /// Tried in this order at each connect, so all clients of a Galera cluster use the first node
  /// that serves.
  std::vector<MysqlHost> hosts;
  std::string socket;  ///< path of a unix socket, instead of hosts
  std::string user;
  std::string password;
  std::string database;
  MysqlTls tls = MysqlTls::off;
  std::string ca_file;  ///< of the server's certificate; empty: the system's
  /// For each host.
  Duration connect_timeout = std::chrono::seconds(10);
  /// System variables for the session, as they are written in a SET.
  std::vector<std::pair<std::string, std::string>> settings;
  UrlOptions engine;
  /// Options of the URL that have no meaning here, for a warning.
  std::vector<std::string> ignored;

  /// "user@host:3306,host2:3306/database": for messages, without the password.
  [[nodiscard]] std::string target() const;
};

/// Splits `mysql://user:password@(host:3306)/db?option=value&…` as the peer's driver does; also
/// `tcp(…)`, `unix(/path)`, a host without parentheses, and several hosts separated by commas. The
/// password may be percent-encoded. Options that are no option of the peer's driver are system
/// variables. EINVAL with a message for people, which never shows the password.
Result<MysqlOptions> parse_mysql_url(std::string_view url);

/// Makes sessions of this server.
std::unique_ptr<Connector> make_mysql_connector(MysqlOptions options);

}  // namespace zest::meta::sql
