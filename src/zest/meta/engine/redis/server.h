// Which server to talk to, and how to begin: dialling, finding the master, the first words on a
// connection.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/result.h"
#include "zest/meta/engine/redis/link.h"
#include "zest/meta/engine/redis/redis.h"
#include "zest/runtime/stream.h"

namespace zest::meta::redis {

/// The slot of a cluster that keys with the hash tag `{tag}` belong to.
std::uint16_t cluster_slot(std::string_view tag) noexcept;

/// What a server said about itself.
struct ServerFacts {
  bool cluster = false;
  /// Known when ROLE was asked for and allowed.
  std::optional<bool> master;
  std::uint32_t replicas = 0;
};

/// How a conversation begins.
struct Greeting {
  std::string user;
  std::string password;
  std::uint32_t database = 0;
  bool ask_role = false;
  /// RESP3; without it servers from 6.0 on are still asked for their mode.
  std::span<std::string_view const> scripts;
};

class Dialer final {
 public:
  /// `options` and `tls` (null: none) outlive the dialer.
  Dialer(RedisOptions const& options, TlsContext const* tls) : options_(options), tls_(tls) {}

  /// A new connection, TLS included, in at most connect_timeout. Transient: no such luck.
  Result<std::unique_ptr<Link>> dial(Context const& ctx, RedisAddress const& address) const;
  /// Logs in, chooses the database, loads scripts. EACCES: the server refuses user or password.
  Result<ServerFacts> greet(Context const& ctx, Link& link, Greeting const& greeting) const;

 private:
  RedisOptions const& options_;
  TlsContext const* tls_;
};

/// ROLE of the server at the other end.
Result<ServerFacts> ask_role(Context const& ctx, Link& link);

/// Knows where the master is, or whom to ask. Thread-safe.
class Locator final {
 public:
  Locator(RedisOptions const& options, Dialer const& dialer, Logger& log)
      : options_(options), dialer_(dialer), log_(log), cluster_(is_cluster(options)) {}

  /// The server to talk to; asks sentinels or cluster nodes when that is not known. Transient: none
  /// of them knows.
  Result<RedisAddress> find(Context const& ctx);
  /// Asks again whatever was known.
  Result<RedisAddress> find_again(Context const& ctx);
  /// What was known is to be doubted.
  void forget();
  /// A node said that another one is responsible.
  void set(RedisAddress address);
  /// The single server turned out to be a node of a cluster.
  void become_cluster();
  [[nodiscard]] bool cluster() const;

 private:
  static bool is_cluster(RedisOptions const& options) {
    return options.topology == RedisOptions::Topology::cluster;
  }
  Result<RedisAddress> ask_sentinels(Context const& ctx);
  Result<RedisAddress> ask_nodes(Context const& ctx);
  Result<RedisAddress> ask_sentinel(Context const& ctx, RedisAddress const& sentinel);
  Result<RedisAddress> ask_node(Context const& ctx, RedisAddress const& node);
  void remember_nodes(std::vector<RedisAddress> nodes);

  RedisOptions const& options_;
  Dialer const& dialer_;
  Logger& log_;
  mutable std::mutex mutex_;
  bool cluster_;
  std::optional<RedisAddress> known_;
  /// Masters and replicas that the cluster named: whom to ask when the first are gone.
  std::vector<RedisAddress> nodes_;
};

std::string describe(RedisAddress const& address);

}  // namespace zest::meta::redis
