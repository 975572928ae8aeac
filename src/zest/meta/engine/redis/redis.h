// A volume in a Redis database, in the peer's key layout (format/02); both programs may use it at
// once.
//
// One connection a loop carries the requests of all its fibers; requests that come together travel
// together. A commit is one script call (docs/decisions/0005-redis-script-commits.md). A single
// server, Sentinel and Cluster are one engine: they differ in how the master is found.
//
// Durability is the server's: what `appendfsync` says. sync() has nothing to add. With Sentinel and
// Cluster a commit is acknowledged only when a replica has it (see RedisOptions::wait_replicas), so
// that a failover loses nothing that was acknowledged.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/clock.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"

namespace zest::meta {

struct RedisAddress {
  std::string host;
  std::uint16_t port = 6379;
  friend bool operator==(RedisAddress const&, RedisAddress const&) = default;
};

struct RedisOptions {
  /// Several servers. A single address may turn out to be a cluster's: it is asked.
  enum class Topology : std::uint8_t { single, sentinel, cluster };
  Topology topology = Topology::single;
  /// Socket of a server on this machine; then `addresses` is empty.
  std::string unix_path;
  /// The server, the sentinels, or some nodes of the cluster.
  std::vector<RedisAddress> addresses;
  std::string master_name;  ///< Sentinel's name of the master
  std::string user;         ///< empty = the default user
  std::string password;
  std::string sentinel_password;
  std::uint32_t database = 0;

  bool tls = false;
  std::string tls_cert_file;
  std::string tls_key_file;
  std::string tls_ca_cert_file;  ///< empty: the system's authorities
  std::string tls_server_name;   ///< empty: the host of each connection
  bool tls_skip_verify = false;

  /// A connection that owes a reply for longer is given up.
  Duration read_timeout = std::chrono::seconds(30);
  Duration write_timeout = std::chrono::seconds(5);
  Duration connect_timeout = std::chrono::seconds(5);
  /// Pauses between attempts double from the first to the second.
  Duration min_retry_backoff = std::chrono::milliseconds(20);
  Duration max_retry_backoff = std::chrono::seconds(10);
  /// Attempts after the first, for requests that surely had no effect.
  std::uint32_t retries = 10;
  /// Replicas that must have a commit before it is acknowledged (WAIT). Nothing: one with Sentinel
  /// and Cluster while the master has any, none with a single server.
  std::optional<std::uint32_t> wait_replicas;
  /// Let the server push changes, so that what was read may be remembered (Engine::set_listener).
  bool client_cache = true;
  /// Options of the URL that have no meaning here, for a warning.
  std::vector<std::string> ignored;
};

/// Splits `redis[s]://[[user]:password@]host[:port][/db][?option=value&…]`, the same with several
/// hosts (the first without a port before the first comma: the name of Sentinel's master), and
/// `unix://[[user]:password@]/path[?db=N]`. User and password are percent-decoded. Options:
/// read-timeout, write-timeout, dial-timeout, min-retry-backoff, max-retry-backoff, max-retries,
/// tls-cert-file, tls-key-file, tls-ca-cert-file, tls-server-name, insecure-skip-verify, db,
/// wait-replicas, client-cache; others are listed in `ignored`. EINVAL with a message without the
/// URL's password.
Result<RedisOptions> parse_redis_url(std::string_view url);

/// The engine; connects at the first call and reconnects as needed. Errors: files of TLS that
/// cannot be read. Calls are made on fibers. `log` and `metrics` outlive the engine; no call may be
/// under way when it is destroyed.
Result<std::unique_ptr<Engine>> open_redis(RedisOptions options, Logger& log, Registry& metrics);

}  // namespace zest::meta
