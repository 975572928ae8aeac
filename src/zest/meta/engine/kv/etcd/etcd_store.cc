#include "zest/meta/engine/kv/etcd/etcd_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "zest/base/assert.h"
#include "zest/base/rng.h"
#include "zest/format/kv_key.h"
#include "zest/meta/engine/kv/etcd/channel.h"
#include "zest/meta/engine/kv/etcd/messages.h"
#include "zest/meta/engine/kv/etcd/stream.h"
#include "zest/meta/engine/kv/kv_engine.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/mutex.h"
#include "zest/runtime/sync.h"

namespace zest::meta {

namespace {

using kv::etcd::CallReply;
using kv::etcd::Channel;

/// Between two tries on the same set of servers.
constexpr auto kPause = std::chrono::milliseconds(100);

/// Status codes of gRPC that mean something here.
enum Status : int {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kUnavailable = 14,
  kUnauthenticated = 16,
};

/// What a failed call allows.
enum class Remedy : std::uint8_t {
  give_up,       ///< an answer: the caller's business
  elsewhere,     ///< nothing has happened: another server, or the same one later
  authenticate,  ///< nothing has happened: the token is too old
  unknown,       ///< it may have happened
};
struct Failure {
  Remedy remedy = Remedy::give_up;
  Error error;
};

bool says(CallReply const& reply, std::string_view words) {
  return reply.status_text.find(words) != std::string::npos;
}

Failure failure_of(CallReply const& reply) {
  auto const text = fmt::format("etcd: {} (status {})", reply.status_text, reply.status);
  auto const answer = [&](Errc code, Fault fault = Fault::semantic) {
    return Failure{Remedy::give_up, Error(code, fault, text)};
  };
  switch (reply.status) {
    case kUnauthenticated: return {Remedy::authenticate, Error(Errc::acces, Fault::semantic, text)};
    case kPermissionDenied: return answer(Errc::acces);
    case kInvalidArgument:
      if (says(reply, "revision in header is old")) {
        return {Remedy::authenticate, Error(Errc::acces, Fault::semantic, text)};
      }
      if (says(reply, "too many operations")) {
        return {Remedy::give_up, Error(Errc::fbig, Fault::semantic,
                                       text + "; start the servers with a larger --max-txn-ops")};
      }
      if (says(reply, "too large")) {
        return {Remedy::give_up,
                Error(Errc::fbig, Fault::semantic,
                      text + "; start the servers with a larger --max-request-bytes")};
      }
      return answer(says(reply, "auth") ? Errc::acces : Errc::io,
                    says(reply, "auth") ? Fault::semantic : Fault::bug);
    case kResourceExhausted:
      return says(reply, "space") ? answer(Errc::nospc)
                                  : Failure{Remedy::elsewhere, Error::transient(Errc::io, text)};
    case kUnavailable:
    case kCancelled:
    case kUnknown:
    case kDeadlineExceeded: return {Remedy::unknown, Error::transient(Errc::timedout, text)};
    default: return answer(Errc::io, Fault::transient);
  }
}

/// The connection of one loop.
struct Client {
  FiberMutex connecting;
  std::shared_ptr<Channel> channel;
  std::string token;
  std::size_t endpoint = 0;  ///< of the servers in the URL: the one that is used
};

class EtcdStore final : public kv::Store {
 public:
  EtcdStore(EtcdOptions options, std::shared_ptr<kv::etcd::TlsSettings const> tls, Logger& log)
      : options_(std::move(options)), tls_(std::move(tls)), log_(log) {
    capabilities_.writes_max = kv::etcd::kWritesMax;
  }

  [[nodiscard]] kv::StoreCapabilities const& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::string_view name() const noexcept override { return "etcd"; }
  [[nodiscard]] std::uint64_t trips() const noexcept override {
    return trips_.load(std::memory_order_relaxed);
  }

  Result<kv::ReadReply> read(Context const& ctx, kv::Read const& read) override {
    kv::ReadReply all{.values = {}, .ranges = {}, .revision = read.at};
    // Parts that one transaction can hold, all of the first one's revision.
    for (std::size_t begin = 0, end = 0; begin < std::max<std::size_t>(size(read), 1);
         begin = end) {
      end = std::min(begin + capabilities_.operations_max, std::max<std::size_t>(size(read), 1));
      auto const asked = part(read, begin, end, all.revision);
      ZEST_TRY(auto const message, call(ctx, kv::etcd::encode_read(asked), /*repeatable=*/true));
      ZEST_TRY(auto reply, kv::etcd::decode_read(asked, message));
      all.revision = reply.revision;
      std::ranges::move(reply.values, std::back_inserter(all.values));
      std::ranges::move(reply.ranges, std::back_inserter(all.ranges));
    }
    return all;
  }

  Result<kv::TransactionReply> commit(Context const& ctx,
                                      kv::Transaction const& transaction) override {
    auto const only_reads = transaction.writes.empty();
    ZEST_TRY(auto const message, call(ctx, kv::etcd::encode_transaction(transaction), only_reads));
    return kv::etcd::decode_transaction(transaction, message);
  }

 private:
  static std::size_t size(kv::Read const& read) { return read.keys.size() + read.ranges.size(); }

  static kv::Read part(kv::Read const& read, std::size_t begin, std::size_t end, kv::Revision at) {
    kv::Read part{.keys = {}, .ranges = {}, .at = at};
    for (auto i = begin; i < std::min(end, size(read)); ++i) {
      if (i < read.keys.size()) {
        part.keys.push_back(read.keys[i]);
      } else {
        part.ranges.push_back(read.ranges[i - read.keys.size()]);
      }
    }
    return part;
  }

  Client& client() {
    auto* const loop = Loop::current();
    ZEST_ASSERT(loop != nullptr && Loop::on_fiber());
    std::lock_guard const lock(mutex_);
    auto& client = clients_[loop];
    if (client == nullptr) {
      client = std::make_unique<Client>();
    }
    return *client;
  }

  /// One transaction, on whichever server answers.
  Result<std::string> call(Context const& ctx, std::string const& message, bool repeatable) {
    auto& client = this->client();
    auto& loop = *Loop::current();
    auto const give_up = std::min(ctx.deadline, loop.now() + options_.patience);
    auto authenticated_again = false;
    for (std::size_t tries = 1;; ++tries) {
      if (ctx.stop.stop_requested()) {
        return Errc::intr;
      }
      if (loop.now() >= ctx.deadline) {
        return Error::transient(Errc::io, "etcd: the deadline passed before the request was sent");
      }
      auto outcome = call_once(client, message, give_up);
      if (outcome.ok()) {
        return *std::move(outcome.reply);
      }
      auto& failure = *outcome.failure;
      auto const again =
          failure.remedy == Remedy::elsewhere ||
          (failure.remedy == Remedy::unknown && repeatable) ||
          (failure.remedy == Remedy::authenticate && !std::exchange(authenticated_again, true));
      // A try in the last moments would only say that time was up, and not why.
      if (!again || loop.now() + 2 * kPause >= give_up) {
        return std::move(failure.error);
      }
      if (tries % options_.url.endpoints.size() == 0 && failure.remedy != Remedy::authenticate) {
        Context pause;
        pause.stop = ctx.stop;
        ZEST_CHECK(loop.sleep_for(pause, kPause));
      }
    }
  }

  struct Outcome {
    std::optional<std::string> reply;
    std::optional<Failure> failure;
    [[nodiscard]] bool ok() const noexcept { return reply.has_value(); }
  };
  static Outcome failed(Remedy remedy, Error error) {
    return {.reply = {}, .failure = Failure{remedy, std::move(error)}};
  }

  Outcome call_once(Client& client, std::string const& message, TimePoint give_up) {
    auto connected = connect(client, give_up);
    if (!connected.ok()) {
      // Nothing was sent. A name that is unknown or a time that is up says nothing about the other
      // servers; a refused user or certificate does.
      auto const away = connected.error().code() != Errc::acces;
      if (away) {
        connected = Error::transient(Errc::io, connected.error().text());
      }
      if (away) {
        next_endpoint(client, nullptr);
      }
      return failed(away ? Remedy::elsewhere : Remedy::give_up, std::move(connected).error());
    }
    auto const channel = *std::move(connected);
    auto const token = client.token;
    trips_.fetch_add(1, std::memory_order_relaxed);
    Context ctx;
    ctx.deadline = std::min(give_up, Loop::current()->now() + options_.request_timeout);
    auto reply =
        channel->call(ctx, {.path = kv::etcd::kTxnPath, .token = token, .message = message});
    if (!reply.ok()) {
      auto const unknown = reply.error().code() == Errc::timedout;
      auto const lost = reply.error().fault() == Fault::transient;
      auto error = std::move(reply).error().with(where(client));
      next_endpoint(client, channel.get());
      auto const remedy = unknown ? Remedy::unknown : lost ? Remedy::elsewhere : Remedy::give_up;
      return failed(remedy, std::move(error));
    }
    if (reply->status == kOk) {
      return {.reply = std::move(reply->message), .failure = {}};
    }
    auto failure = failure_of(*reply);
    if (failure.remedy == Remedy::elsewhere || failure.remedy == Remedy::unknown) {
      next_endpoint(client, channel.get());
    } else if (failure.remedy == Remedy::authenticate) {
      drop(client, channel.get());
    }
    return {.reply = {}, .failure = std::move(failure)};
  }

  [[nodiscard]] std::string where(Client const& client) const {
    auto const& endpoint = options_.url.endpoints[client.endpoint];
    return fmt::format("etcd {}:{}", endpoint.host, endpoint.port);
  }

  static void drop(Client& client, Channel const* used) {
    if (client.channel.get() == used && client.channel != nullptr) {
      client.channel->close();
    }
  }
  /// The next call goes to another server, unless somebody has gone there already.
  void next_endpoint(Client& client, Channel const* used) const {
    if (client.channel.get() == used || client.channel == nullptr || !client.channel->usable()) {
      drop(client, used);
      client.endpoint = (client.endpoint + 1) % options_.url.endpoints.size();
    }
  }

  Result<std::shared_ptr<Channel>> connect(Client& client, TimePoint give_up) {
    if (client.channel != nullptr && client.channel->usable()) {
      return client.channel;
    }
    Context ctx;
    ctx.deadline = std::min(give_up, Loop::current()->now() + options_.connect_timeout);
    std::lock_guard const turn(client.connecting);
    if (client.channel != nullptr && client.channel->usable()) {
      return client.channel;
    }
    auto const& endpoint = options_.url.endpoints[client.endpoint];
    auto stream = kv::etcd::connect_stream(ctx, endpoint, tls_.get());
    if (!stream.ok()) {
      return std::move(stream).error().with(where(client));
    }
    auto const channel = std::make_shared<Channel>(
        *std::move(stream), fmt::format("{}:{}", endpoint.host, endpoint.port));
    client.token.clear();
    if (!options_.url.user.empty()) {
      auto token = authenticate(ctx, *channel);
      if (!token.ok()) {
        return std::move(token).error().with(where(client));
      }
      client.token = *std::move(token);
    }
    client.channel = channel;
    log_.debug("connected", {{"server", where(client)}});
    return channel;
  }

  Result<std::string> authenticate(Context const& ctx, Channel& channel) const {
    auto const request = kv::etcd::encode_authenticate(options_.url.user, options_.url.password);
    auto reply =
        channel.call(ctx, {.path = kv::etcd::kAuthenticatePath, .token = {}, .message = request});
    if (!reply.ok()) {
      // Whatever became of it, nothing was changed.
      return Error::transient(Errc::io, reply.error().text());
    }
    if (reply->status == kFailedPrecondition && says(*reply, "not enabled")) {
      return std::string();  // Everybody may do everything.
    }
    if (reply->status == kInvalidArgument || reply->status == kPermissionDenied) {
      return Error(Errc::acces, Fault::semantic,
                   fmt::format("user {:?} is refused: {}", options_.url.user, reply->status_text));
    }
    if (reply->status != kOk) {
      return Error::transient(Errc::io, reply->status_text);
    }
    return kv::etcd::decode_authenticate(reply->message);
  }

  EtcdOptions options_;
  std::shared_ptr<kv::etcd::TlsSettings const> tls_;
  Logger& log_;
  kv::StoreCapabilities capabilities_;
  std::atomic<std::uint64_t> trips_{0};
  Mutex mutex_;
  std::map<Loop*, std::unique_ptr<Client>> clients_;
};

}  // namespace

Result<std::unique_ptr<kv::Store>> open_etcd(EtcdOptions options, Logger& log) {
  std::shared_ptr<kv::etcd::TlsSettings const> tls;
  if (options.url.tls.enabled()) {
    ZEST_TRY(tls, kv::etcd::load_tls(options.url.tls));
  }
  return std::unique_ptr<kv::Store>(
      std::make_unique<EtcdStore>(std::move(options), std::move(tls), log));
}

Result<std::unique_ptr<Engine>> open_etcd_engine(EtcdOptions options, Logger& log,
                                                 Registry& metrics) {
  KvEngineOptions engine{.prefix = kv_prefix(options.url.path)};
  engine.seed = options.seed;
  ZEST_TRY(auto store, open_etcd(std::move(options), log));
  return make_kv_engine(std::move(store), std::move(engine), metrics);
}

}  // namespace zest::meta
