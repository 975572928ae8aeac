#include "zest/meta/engine/redis/client.h"

#include <openssl/evp.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "zest/base/assert.h"
#include "zest/format/redis_key.h"

namespace zest::meta::redis {

namespace {

/// How often a link without waiting for replicas looks whether there are some by now.
constexpr Duration kRoleInterval = std::chrono::seconds(5);

/// Error codes of replies, as servers send them and as older ones repeat them from inside scripts.
bool has_code(std::string_view text, std::string_view code) {
  if (text.starts_with(code)) {
    return true;
  }
  auto const at = text.find(code);
  return at != std::string_view::npos && (text[at - 1] == ' ' || text[at - 1] == '-') &&
         text.starts_with("ERR Error running script");
}

/// Nothing happened, and it may work in a moment.
bool is_busy(std::string_view text) {
  constexpr std::array<std::string_view, 7> kCodes{"LOADING",
                                                   "TRYAGAIN",
                                                   "BUSY",
                                                   "MASTERDOWN",
                                                   "CLUSTERDOWN",
                                                   "NOREPLICAS",
                                                   "ERR max number of clients"};
  return std::ranges::any_of(kCodes, [&](auto code) { return has_code(text, code); });
}

Request one(std::initializer_list<std::string_view> command, bool changes) {
  Request request{.changes = changes};
  append_command(request.bytes, command);
  return request;
}

/// `MOVED 3999 127.0.0.1:6381` → the address; nothing for other texts.
std::optional<RedisAddress> redirected(std::string_view text) {
  auto const space = text.rfind(' ');
  auto const colon = text.rfind(':');
  if (space == std::string_view::npos || colon == std::string_view::npos || colon < space) {
    return std::nullopt;
  }
  auto const port = parse_integer(text.substr(colon + 1));
  auto const host = text.substr(space + 1, colon - space - 1);
  if (!port || *port < 1 || *port > 65535 || host.empty()) {
    return std::nullopt;
  }
  return RedisAddress{.host = std::string(host), .port = static_cast<std::uint16_t>(*port)};
}

}  // namespace

Script make_script(std::string text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  auto const done = EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr);
  ZEST_ASSERT(done == 1 && size == 20);
  Script script{.text = std::move(text), .sha = {}};
  for (unsigned int i = 0; i < size; ++i) {
    script.sha += fmt::format("{:02x}", digest[i]);
  }
  return script;
}

Error error_of(Reply const& reply) {
  auto const& text = reply.text;
  if (has_code(text, "OOM")) {
    return {Errc::nospc, Fault::semantic, fmt::format("the server is out of memory: {}", text)};
  }
  if (has_code(text, "READONLY")) {
    return {Errc::rofs, Fault::semantic, fmt::format("the server is a replica: {}", text)};
  }
  if (has_code(text, "NOPERM") || has_code(text, "NOAUTH") ||
      text.contains("can't run this command")) {
    return {Errc::acces, Fault::semantic, fmt::format("the server refuses us: {}", text)};
  }
  if (text.starts_with("CORRUPT ")) {
    return Error::corrupt(text.substr(8));
  }
  if (text.contains("WRONGTYPE") || text.contains("is not an integer") ||
      text.contains("would overflow") || text.contains("not a valid float")) {
    return Error::corrupt(fmt::format("a key holds what it cannot: {}", text));
  }
  return Error::transient(Errc::io, fmt::format("the server says: {}", text));
}

Client::Client(RedisOptions options, std::shared_ptr<TlsContext const> tls,
               std::vector<std::string_view> scripts, Logger& log, Registry& metrics)
    : options_(std::move(options)),
      tls_(std::move(tls)),
      scripts_(std::move(scripts)),
      log_(log),
      dialer_(options_, tls_.get()),
      locator_(options_, dialer_, log),
      reconnects_(metrics.counter("redis_connects", "Connections made to Redis servers.")),
      retries_(metrics.counter("redis_retries", "Requests to Redis that were tried again.")) {}

Client::~Client() = default;

Greeting Client::greeting() const {
  return {.user = options_.user,
          .password = options_.password,
          .database = options_.database,
          .ask_role = options_.topology == RedisOptions::Topology::sentinel ||
                      options_.wait_replicas.has_value(),
          .scripts = scripts_};
}

bool Client::replication_matters() const {
  if (options_.wait_replicas) {
    return *options_.wait_replicas > 0;
  }
  return options_.topology == RedisOptions::Topology::sentinel || locator_.cluster();
}

std::uint32_t Client::wanted_replicas(ServerFacts const& facts) const {
  if (!replication_matters()) {
    return 0;
  }
  return options_.wait_replicas ? *options_.wait_replicas : std::min(facts.replicas, 1U);
}

// ---- links

Client::Lane& Client::lane(Request const& request) {
  // Where commits wait for replicas, reads don't queue up behind them.
  auto const apart = request.replicated && replication_matters();
  std::lock_guard const lock(mutex_);
  auto& slot = lanes_[{Loop::current(), apart}];
  if (!slot) {
    slot = std::make_unique<Lane>();
  }
  return *slot;
}

Result<std::shared_ptr<Link>> Client::connect(Context const& ctx, RedisAddress& address) {
  ZEST_TRY(address, locator_.find(ctx));
  reconnects_.add();
  ZEST_TRY(auto dialled, dialer_.dial(ctx, address));
  std::shared_ptr<Link> link(std::move(dialled));
  ZEST_TRY(auto const facts, dialer_.greet(ctx, *link, greeting()));
  if (facts.cluster && !locator_.cluster()) {
    if (known()) {
      return Error(Errc::io, Fault::semantic, "the server became a node of a cluster");
    }
    locator_.become_cluster();
    return Error::transient(Errc::again, "the server is a node of a cluster");
  }
  auto const must_be_master =
      options_.topology == RedisOptions::Topology::sentinel && !facts.master.value_or(true);
  if (must_be_master) {
    return Error::transient(Errc::io, "the server is no master (any more)");
  }
  link->set_wait_replicas(wanted_replicas(facts));
  if (!known()) {
    forbid_eviction(ctx, *link);
  }
  known_.store(true, std::memory_order_release);
  return link;
}

void Client::forbid_eviction(Context const& ctx, Link& link) {
  Request question;
  append_command(question.bytes, {"CONFIG", "GET", "maxmemory-policy"});
  auto const answer = link.exchange(ctx, question);
  if (!answer.ok() || answer->replies[0].items.size() != 2 ||
      answer->replies[0].items[1].text == "noeviction") {
    return;  // as it should be, or not ours to ask
  }
  Request order;
  append_command(order.bytes, {"CONFIG", "SET", "maxmemory-policy", "noeviction"});
  auto const done = link.exchange(ctx, order);
  if (!done.ok() || done->replies[0].is_error()) {
    log_.warn(
        "the metadata server deletes keys when its memory is full: set maxmemory-policy noeviction",
        {{"maxmemory-policy", answer->replies[0].items[1].text}});
  }
}

Result<std::shared_ptr<Link>> Client::link_of(Context const& ctx, Lane& lane) {
  if (lane.link && !lane.link->broken()) {
    return lane.link;
  }
  ZEST_CHECK(lane.connecting.lock(ctx));
  std::unique_lock const owned(lane.connecting, std::adopt_lock);
  if (lane.link && !lane.link->broken()) {
    return lane.link;
  }
  if (lane.link) {
    log_.warn("lost the connection to the metadata server", {{"server", describe(lane.address)}});
  }
  lane.link.reset();
  auto link = connect(ctx, lane.address);
  if (!link.ok() && link.error().code() == Errc::again) {
    link = connect(ctx, lane.address);  // now that we know that it is a cluster
  }
  if (!link.ok()) {
    locator_.forget();
    auto const where = options_.unix_path.empty() ? describe(lane.address) : options_.unix_path;
    return std::move(link).error().with(fmt::format("Redis {}", where));
  }
  lane.link = *link;
  lane.role_checked = Loop::current()->now();
  return link;
}

void Client::drop(Lane& lane, std::string_view why) {
  if (lane.link) {
    lane.link->abandon(why);
  }
  locator_.forget();
}

Result<std::shared_ptr<Link>> Client::dedicated(Context const& ctx) {
  RedisAddress address;
  return connect(ctx, address);
}

Result<std::string> Client::prefix(Context const& ctx) {
  if (!known()) {
    // Once more, as run() would; connecting is no trip.
    auto& first = lane({});
    auto link = link_of(ctx, first);
    if (!link.ok() && link.error().fault() == Fault::transient && options_.retries > 0) {
      ZEST_CHECK(pause(ctx, 0));
      link = link_of(ctx, first);
    }
    if (!link.ok()) {
      auto const code = link.error().code();
      return link.error().fault() == Fault::transient && code != Errc::intr
                 ? Error::transient(Errc::io, link.error().text())
                 : std::move(link).error();
    }
  }
  return locator_.cluster() ? RedisKeys::cluster_prefix(options_.database) : std::string();
}

// ---- attempts

Client::Verdict Client::judge(std::vector<Reply> const& replies, std::string& reason) {
  for (auto const& reply : replies) {
    if (!reply.is_error()) {
      continue;
    }
    reason = reply.text;
    if (reply.text.starts_with("MOVED ")) {
      return Verdict::moved;
    }
    if (reply.text.starts_with("ASK ")) {
      return Verdict::asking;
    }
    if (has_code(reply.text, "READONLY")) {
      return Verdict::elsewhere;
    }
    if (is_busy(reply.text)) {
      return Verdict::again;
    }
  }
  return Verdict::answer;
}

std::optional<Error> Client::final_error(Error const& error, Request const& request) {
  if (error.fault() != Fault::transient || error.code() == Errc::intr) {
    return error.clone();
  }
  switch (error.code()) {
    case Errc::notconn: return std::nullopt;
    case Errc::connreset:
      if (!request.changes) {
        return std::nullopt;
      }
      return Error::transient(Errc::timedout, fmt::format("outcome unknown: {}", error.text()));
    case Errc::timedout: return error.clone();
    default: return std::nullopt;
  }
}

Result<void> Client::pause(Context const& ctx, std::uint32_t attempt) {
  retries_.add();
  auto const doubled = options_.min_retry_backoff * (std::int64_t{1} << std::min(attempt, 20U));
  return Loop::current()->sleep_for(ctx, std::min<Duration>(doubled, options_.max_retry_backoff));
}

Result<Response> Client::attempt(Context const& ctx, Lane& lane, Request const& request,
                                 std::shared_ptr<Link>& used) {
  auto link = link_of(ctx, lane);
  if (!link.ok()) {
    auto error = std::move(link).error();
    if (error.fault() == Fault::transient && error.code() != Errc::intr) {
      // Whatever it was: nothing was sent.
      return Error::transient(Errc::notconn, error.text());
    }
    return error;
  }
  trips_.fetch_add(1, std::memory_order_relaxed);
  used = *std::move(link);  // lives as long as the exchange, whatever becomes of the lane
  return used->exchange(ctx, request);
}

void Client::follow(Lane& lane, Verdict verdict, std::string_view reason) {
  if (verdict == Verdict::moved) {
    drop(lane, "the slot moved");
    if (auto const target = redirected(reason)) {
      locator_.set(*target);
    }
  } else if (verdict == Verdict::elsewhere) {
    drop(lane, "the server is no master any more");
  }
}

Result<std::optional<Response>> Client::attempt_once(Context const& ctx, Lane& lane,
                                                     Request const& request, bool last,
                                                     Error& failure) {
  std::shared_ptr<Link> used;
  std::string reason;
  auto response = attempt(ctx, lane, request, used);
  auto verdict = response.ok() ? judge(response->replies, reason) : Verdict::again;
  if (verdict == Verdict::asking) {
    response = ask_elsewhere(ctx, reason, request);
    verdict = response.ok() ? judge(response->replies, reason) : Verdict::again;
  }
  if (!response.ok()) {
    if (auto final = final_error(response.error(), request)) {
      return *std::move(final);
    }
    locator_.forget();
    failure = Error::transient(Errc::io, response.error().text());
    if (last) {
      return std::move(failure);
    }
    return std::optional<Response>();
  }
  if (verdict == Verdict::answer) {
    ZEST_CHECK(confirm_replicas(ctx, lane, *used, *response));
    return std::optional(*std::move(response));
  }
  if (last) {
    return std::optional(*std::move(response));
  }
  follow(lane, verdict, reason);
  failure = Error::transient(Errc::io, reason);
  return std::optional<Response>();
}

Result<std::vector<Reply>> Client::run(Context const& ctx, Request const& request) {
  ZEST_ASSERT(Loop::on_fiber());
  auto& lane = this->lane(request);
  // A server that was never there is most likely a wrong address: no use in asking again and again.
  auto const retries = known() ? options_.retries : std::min(options_.retries, 1U);
  Error failure(Errc::io);
  for (std::uint32_t attempt = 0;; ++attempt) {
    ZEST_TRY(auto response, attempt_once(ctx, lane, request, attempt >= retries, failure));
    if (response) {
      return std::move(response->replies);
    }
    if (auto paused = pause(ctx, attempt); !paused.ok()) {
      // Nothing had an effect: not the time-out that stands for an unknown outcome.
      return paused.error().code() == Errc::intr ? std::move(paused).error() : std::move(failure);
    }
  }
}

Result<Response> Client::ask_elsewhere(Context const& ctx, std::string_view redirection,
                                       Request const& request) {
  // A slot on its way to another node; rare, so a connection for one request will do.
  auto const target = redirected(redirection);
  if (!target) {
    return Error::transient(Errc::notconn, std::string(redirection));
  }
  auto link = dialer_.dial(ctx, *target);
  if (!link.ok()) {
    return Error::transient(Errc::notconn, link.error().text());
  }
  ZEST_CHECK(dialer_.greet(ctx, **link, greeting()));
  Request asking{.replies = request.replies + 1, .changes = request.changes};
  append_command(asking.bytes, {"ASKING"});
  asking.bytes += request.bytes;
  trips_.fetch_add(1, std::memory_order_relaxed);
  ZEST_TRY(auto response, (*link)->exchange(ctx, asking));
  response.replies.erase(response.replies.begin());
  return response;
}

// ---- replication

void Client::refresh_replicas(Context const& ctx, Lane& lane, Link& link) {
  auto const now = Loop::current()->now();
  if (options_.wait_replicas || now - lane.role_checked < kRoleInterval) {
    return;
  }
  lane.role_checked = now;
  if (auto const facts = ask_role(ctx, link); facts.ok()) {
    link.set_wait_replicas(wanted_replicas(*facts));
  }
}

Result<void> Client::confirm_replicas(Context const& ctx, Lane& lane, Link& link,
                                      Response const& response) {
  if (!response.replicas) {
    if (link.wait_replicas() == 0 && replication_matters()) {
      refresh_replicas(ctx, lane, link);
    }
    return {};
  }
  auto const address = lane.address;
  auto have = *response.replicas;
  auto const unknown = [](std::string_view why) {
    return Error::transient(Errc::timedout, fmt::format("outcome unknown: {}", why));
  };
  Request const again{.bytes = {}, .replies = 0, .changes = true, .replicated = true};
  while (have < link.wait_replicas()) {
    // Either the replica is slow, or gone. A master that nobody follows may go on alone, but only
    // when those who watch it still take it for the master: not when we are cut off together with
    // it.
    auto const facts = ask_role(ctx, link);
    if (!facts.ok()) {
      return unknown(facts.error().text());
    }
    auto const master = locator_.find_again(ctx);
    if (!master.ok() || *master != address || !facts->master.value_or(true)) {
      link.abandon("the server is no master any more");
      return unknown("another server took over before a replica had the commit");
    }
    if (facts->replicas == 0 && !options_.wait_replicas) {
      log_.warn("the metadata server has no replica left: commits are not replicated",
                {{"server", describe(address)}});
      link.set_wait_replicas(0);
      return {};
    }
    if (Loop::current()->now() >= ctx.deadline) {
      return unknown("no replica has the commit yet");
    }
    auto const waited = link.exchange(ctx, again);
    if (!waited.ok()) {
      return unknown(waited.error().text());
    }
    have = waited->replicas.value_or(0);
  }
  return {};
}

// ---- calls

namespace {

Request script_request(ScriptCall const& call, bool whole_text) {
  std::vector<std::string> parts;
  parts.reserve(call.keys.size() + call.arguments.size() + 3);
  parts.emplace_back(whole_text ? "EVAL" : "EVALSHA");
  parts.emplace_back(whole_text ? call.script->text : call.script->sha);
  parts.push_back(std::to_string(call.keys.size()));
  parts.insert(parts.end(), call.keys.begin(), call.keys.end());
  parts.insert(parts.end(), call.arguments.begin(), call.arguments.end());
  Request request{.changes = call.changes, .replicated = call.replicated};
  append_command(request.bytes, parts);
  return request;
}

Result<Reply> single(std::vector<Reply> replies) {
  ZEST_ASSERT(replies.size() == 1);
  if (replies[0].is_error()) {
    return error_of(replies[0]);
  }
  return std::move(replies[0]);
}

}  // namespace

Result<Reply> Client::call(Context const& ctx, ScriptCall const& call) {
  ZEST_TRY(auto replies, run(ctx, script_request(call, /*whole_text=*/false)));
  if (replies[0].is_error() && replies[0].text.starts_with("NOSCRIPT")) {
    // The server forgot its scripts (SCRIPT FLUSH, a restart): this call teaches it anew.
    ZEST_TRY(replies, run(ctx, script_request(call, /*whole_text=*/true)));
  }
  return single(std::move(replies));
}

Result<Reply> Client::read(Context const& ctx, std::initializer_list<std::string_view> command) {
  ZEST_TRY(auto replies, run(ctx, one(command, false)));
  return single(std::move(replies));
}

Result<Reply> Client::scan(Context const& ctx, std::string_view cursor, std::string_view pattern,
                           std::string_view count) {
  ZEST_TRY(auto const prefix, this->prefix(ctx));
  Request request;
  if (locator_.cluster()) {
    request.replies = 3;
    append_command(request.bytes, {"EXISTS", prefix + "setting"});
    append_command(request.bytes, {"CLUSTER", "NODES"});
  }
  append_command(request.bytes, {"SCAN", cursor, "MATCH", pattern, "COUNT", count});
  ZEST_TRY(auto replies, run(ctx, request));
  if (request.replies > 1) {
    auto const slot = cluster_slot(std::to_string(options_.database));
    auto const leaving = fmt::format("[{}->-", slot);
    auto const coming = fmt::format("[{}-<-", slot);
    if (replies[1].text.contains(leaving) || replies[1].text.contains(coming)) {
      return Error::transient(Errc::busy, "the cluster is moving the volume to another node");
    }
  }
  if (replies.back().is_error()) {
    return error_of(replies.back());
  }
  return std::move(replies.back());
}

Result<Reply> Client::change(Context const& ctx, std::initializer_list<std::string_view> command) {
  ZEST_TRY(auto replies, run(ctx, one(command, true)));
  return single(std::move(replies));
}

}  // namespace zest::meta::redis
