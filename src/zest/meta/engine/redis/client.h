// Requests to the volume's server, whichever it is at the moment: one link a loop, attempts,
// redirections, and what is known about replication.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/meta/engine/redis/link.h"
#include "zest/meta/engine/redis/redis.h"
#include "zest/meta/engine/redis/resp.h"
#include "zest/meta/engine/redis/server.h"
#include "zest/runtime/stream.h"
#include "zest/runtime/sync.h"

namespace zest::meta::redis {

/// A script and its name on servers (SHA-1 of the text, hex).
struct Script {
  std::string text;
  std::string sha;
};
Script make_script(std::string text);

/// One call of a script.
struct ScriptCall {
  Script const* script = nullptr;
  std::vector<std::string> keys;
  std::vector<std::string> arguments;
  bool changes = false;
  bool replicated = false;
};

/// What an error reply means to the caller of the engine.
Error error_of(Reply const& reply);

/// Thread-safe; calls are made on fibers.
class Client final {
 public:
  Client(RedisOptions options, std::shared_ptr<TlsContext const> tls,
         std::vector<std::string_view> scripts, Logger& log, Registry& metrics);
  ~Client();
  Client(Client const&) = delete;
  Client& operator=(Client const&) = delete;

  /// Learns what kind of server it is, unless that is known: `{N}` for a cluster, else nothing goes
  /// in front of keys.
  Result<std::string> prefix(Context const& ctx);
  [[nodiscard]] bool known() const noexcept { return known_.load(std::memory_order_acquire); }

  /// The replies to the request. Tries again (elsewhere, after a pause) as long as the request
  /// surely had no effect: nothing sent, refused by the server for now, or `changes` is off. Error
  /// replies that no attempt can cure are left in the replies. Errors: transient ETIMEDOUT when
  /// something was sent and nobody knows what became of it; transient EIO when there is no server;
  /// EACCES; EINTR.
  Result<std::vector<Reply>> run(Context const& ctx, Request const& request);
  /// run() for one script; error replies become errors.
  Result<Reply> call(Context const& ctx, ScriptCall const& call);
  /// run() for one command that changes nothing; error replies become errors.
  Result<Reply> read(Context const& ctx, std::initializer_list<std::string_view> command);
  /// The same for one that does.
  Result<Reply> change(Context const& ctx, std::initializer_list<std::string_view> command);

  /// One step of a walk over all keys. No key leads a SCAN to the right node of a cluster, so a
  /// question about one travels in front of it. EBUSY (transient) while the volume's slot is on its
  /// way from one node to another: neither of them has all keys, and what a walk misses may be
  /// taken for garbage.
  Result<Reply> scan(Context const& ctx, std::string_view cursor, std::string_view pattern,
                     std::string_view count);

  /// A link of one's own to the master, for what is not request and reply.
  Result<std::shared_ptr<Link>> dedicated(Context const& ctx);
  [[nodiscard]] RedisOptions const& options() const noexcept { return options_; }
  [[nodiscard]] Dialer const& dialer() const noexcept { return dialer_; }
  [[nodiscard]] Locator& locator() noexcept { return locator_; }

  [[nodiscard]] std::uint64_t trips() const noexcept {
    return trips_.load(std::memory_order_relaxed);
  }

 private:
  /// The link of one loop for one kind of requests.
  struct Lane {
    FiberMutex connecting;
    std::shared_ptr<Link> link;
    RedisAddress address;
    TimePoint role_checked{};
  };
  /// What to do with an answer.
  enum class Verdict : std::uint8_t { answer, again, elsewhere, moved, asking };

  Lane& lane(Request const& request);
  Result<std::shared_ptr<Link>> link_of(Context const& ctx, Lane& lane);
  Result<std::shared_ptr<Link>> connect(Context const& ctx, RedisAddress& address);
  void drop(Lane& lane, std::string_view why);
  /// A server that makes room by deleting keys would delete files: tells it not to, or says so.
  void forbid_eviction(Context const& ctx, Link& link);
  /// One exchange; `used` is the link it went over.
  Result<Response> attempt(Context const& ctx, Lane& lane, Request const& request,
                           std::shared_ptr<Link>& used);
  /// An attempt with a redirection followed. Nothing: the answer says that another attempt may do,
  /// and `failure` why.
  Result<std::optional<Response>> attempt_once(Context const& ctx, Lane& lane,
                                               Request const& request, bool last, Error& failure);
  void follow(Lane& lane, Verdict verdict, std::string_view reason);
  Result<Response> ask_elsewhere(Context const& ctx, std::string_view redirection,
                                 Request const& request);
  static Verdict judge(std::vector<Reply> const& replies, std::string& reason);
  /// Says what a failed attempt means: null = try again.
  static std::optional<Error> final_error(Error const& error, Request const& request);
  Result<void> pause(Context const& ctx, std::uint32_t attempt);
  /// `link` has carried the request, and only there the question makes sense.
  Result<void> confirm_replicas(Context const& ctx, Lane& lane, Link& link,
                                Response const& response);
  void refresh_replicas(Context const& ctx, Lane& lane, Link& link);
  [[nodiscard]] Greeting greeting() const;
  [[nodiscard]] std::uint32_t wanted_replicas(ServerFacts const& facts) const;
  [[nodiscard]] bool replication_matters() const;

  RedisOptions options_;
  std::shared_ptr<TlsContext const> tls_;
  std::vector<std::string_view> scripts_;
  Logger& log_;
  Dialer dialer_;
  Locator locator_;
  std::atomic<bool> known_{false};
  std::atomic<std::uint64_t> trips_{0};
  Counter& reconnects_;
  Counter& retries_;
  std::mutex mutex_;
  std::map<std::pair<Loop*, bool>, std::unique_ptr<Lane>> lanes_;
};

}  // namespace zest::meta::redis
