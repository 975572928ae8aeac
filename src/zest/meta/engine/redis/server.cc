#include "zest/meta/engine/redis/server.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "zest/base/assert.h"

namespace zest::meta::redis {

namespace {

Error refused(std::string const& why) {
  return {Errc::acces, Fault::semantic, fmt::format("the server refuses us: {}", why)};
}

bool is_refusal(std::string_view error) noexcept {
  return error.starts_with("WRONGPASS") || error.starts_with("NOAUTH") ||
         error.starts_with("NOPERM") || error.contains("invalid password") ||
         error.contains("invalid username-password") || error.contains("without any password");
}

/// Sends `commands` as one batch.
Result<std::vector<Reply>> ask(Context const& ctx, Link& link, std::string bytes,
                               std::size_t replies) {
  Request const request{.bytes = std::move(bytes), .replies = replies};
  ZEST_TRY(auto response, link.exchange(ctx, request));
  return std::move(response.replies);
}

void append_auth(std::string& out, Greeting const& greeting) {
  if (greeting.user.empty()) {
    append_command(out, {"AUTH", greeting.password});
  } else {
    append_command(out, {"AUTH", greeting.user, greeting.password});
  }
}

/// The value of `name` in a map.
std::string_view map_text(Reply const& map, std::string_view name) {
  for (std::size_t i = 0; i + 1 < map.items.size(); i += 2) {
    if (map.items[i].text == name) {
      return map.items[i + 1].text;
    }
  }
  return {};
}

/// HELLO; on servers before 6.0, which have none, AUTH and a question about the cluster.
Result<ServerFacts> log_in(Context const& ctx, Link& link, Greeting const& greeting) {
  std::string bytes;
  auto const& user = greeting.user.empty() ? std::string("default") : greeting.user;
  if (greeting.password.empty()) {
    append_command(bytes, {"HELLO", "3"});
  } else {
    append_command(bytes, {"HELLO", "3", "AUTH", user, greeting.password});
  }
  ZEST_TRY(auto const hello, ask(ctx, link, std::move(bytes), 1));
  ServerFacts facts;
  if (!hello[0].is_error()) {
    facts.cluster = map_text(hello[0], "mode") == "cluster";
    return facts;
  }
  if (is_refusal(hello[0].text)) {
    return refused(hello[0].text);
  }
  if (!hello[0].text.contains("unknown command")) {
    return Error::transient(Errc::io, hello[0].text);
  }
  std::string old;
  if (!greeting.password.empty()) {
    append_auth(old, greeting);
  }
  append_command(old, {"CLUSTER", "INFO"});
  ZEST_TRY(auto const replies, ask(ctx, link, std::move(old), greeting.password.empty() ? 1 : 2));
  if (replies.size() == 2 && replies[0].is_error()) {
    return refused(replies[0].text);
  }
  facts.cluster = replies.back().text.contains("cluster_state:");
  return facts;
}

void read_role(Reply const& role, ServerFacts& facts) {
  if (!role.is_array() || role.items.empty()) {
    return;  // not allowed to ask
  }
  facts.master = role.items[0].text == "master";
  if (*facts.master && role.items.size() > 2) {
    facts.replicas = static_cast<std::uint32_t>(role.items[2].items.size());
  }
}

}  // namespace

std::string describe(RedisAddress const& address) {
  return fmt::format("{}:{}", address.host, address.port);
}

std::uint16_t cluster_slot(std::string_view tag) noexcept {
  // CRC-16/XMODEM, as the specification of Redis Cluster says.
  std::uint32_t crc = 0;
  for (char const c : tag) {
    crc ^= static_cast<std::uint32_t>(static_cast<unsigned char>(c)) << 8U;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc & 0x8000U) != 0 ? (crc << 1U) ^ 0x1021U : crc << 1U;
    }
    crc &= 0xFFFFU;
  }
  return static_cast<std::uint16_t>(crc % 16384);
}

Result<std::unique_ptr<Link>> Dialer::dial(Context const& ctx, RedisAddress const& address) const {
  Context dialling = ctx;
  dialling.deadline = std::min(ctx.deadline, Loop::current()->now() + options_.connect_timeout);
  LinkOptions const link_options{.read_timeout = options_.read_timeout,
                                 .write_timeout = options_.write_timeout};
  auto const local = !options_.unix_path.empty();
  auto socket = local ? Socket::connect_unix(dialling, options_.unix_path)
                      : Socket::connect_tcp(dialling, address.host, address.port);
  if (!socket.ok()) {
    return std::move(socket).error();
  }
  auto stream = make_plain_stream(*std::move(socket));
  if (tls_ != nullptr) {
    ZEST_TRY(stream, tls_->connect(dialling, std::move(stream), address.host));
  }
  return std::make_unique<Link>(std::move(stream), link_options);
}

Result<ServerFacts> Dialer::greet(Context const& ctx, Link& link, Greeting const& greeting) const {
  Context greeting_ctx = ctx;
  greeting_ctx.deadline = std::min(ctx.deadline, Loop::current()->now() + options_.connect_timeout);
  ZEST_TRY(auto facts, log_in(greeting_ctx, link, greeting));
  std::string bytes;
  std::size_t count = 0;
  auto const select = !facts.cluster && greeting.database != 0;
  if (select) {
    append_command(bytes, {"SELECT", std::to_string(greeting.database)});
    ++count;
  }
  for (auto const script : greeting.scripts) {
    append_command(bytes, {"SCRIPT", "LOAD", script});
    ++count;
  }
  if (greeting.ask_role || facts.cluster) {
    append_command(bytes, {"ROLE"});
    ++count;
  }
  if (count == 0) {
    return facts;
  }
  ZEST_TRY(auto const replies, ask(greeting_ctx, link, std::move(bytes), count));
  if (select && replies[0].is_error()) {
    auto const& why = replies[0].text;
    return is_refusal(why) ? refused(why)
                           : Error(Errc::inval, Fault::semantic,
                                   fmt::format("database {}: {}", greeting.database, why));
  }
  // Scripts that may not be loaded in advance are sent when they are called.
  if (greeting.ask_role || facts.cluster) {
    read_role(replies.back(), facts);
  }
  return facts;
}

Result<ServerFacts> ask_role(Context const& ctx, Link& link) {
  std::string bytes;
  append_command(bytes, {"ROLE"});
  ZEST_TRY(auto const replies, ask(ctx, link, std::move(bytes), 1));
  ServerFacts facts;
  read_role(replies[0], facts);
  return facts;
}

// ---- Locator

bool Locator::cluster() const {
  std::lock_guard const lock(mutex_);
  return cluster_;
}
void Locator::become_cluster() {
  std::lock_guard const lock(mutex_);
  cluster_ = true;
  known_.reset();
}
void Locator::forget() {
  std::lock_guard const lock(mutex_);
  known_.reset();
}
void Locator::set(RedisAddress address) {
  std::lock_guard const lock(mutex_);
  known_ = std::move(address);
}

Result<RedisAddress> Locator::find(Context const& ctx) {
  {
    std::lock_guard const lock(mutex_);
    if (known_) {
      return *known_;
    }
  }
  return find_again(ctx);
}

Result<RedisAddress> Locator::find_again(Context const& ctx) {
  if (cluster()) {
    return ask_nodes(ctx);
  }
  if (options_.topology == RedisOptions::Topology::sentinel) {
    return ask_sentinels(ctx);
  }
  return options_.addresses.empty() ? RedisAddress{} : options_.addresses.front();
}

Result<RedisAddress> Locator::ask_sentinel(Context const& ctx, RedisAddress const& sentinel) {
  ZEST_TRY(auto link, dialer_.dial(ctx, sentinel));
  std::string bytes;
  auto const login = !options_.sentinel_password.empty();
  if (login) {
    append_command(bytes, {"AUTH", options_.sentinel_password});
  }
  append_command(bytes, {"SENTINEL", "get-master-addr-by-name", options_.master_name});
  Context asking = ctx;
  asking.deadline = std::min(ctx.deadline, Loop::current()->now() + options_.connect_timeout);
  ZEST_TRY(auto const replies, ask(asking, *link, std::move(bytes), login ? 2 : 1));
  auto const& answer = replies.back();
  if (answer.is_error()) {
    return is_refusal(answer.text) ? refused(answer.text) : Error::transient(Errc::io, answer.text);
  }
  auto const port = answer.items.size() == 2 ? parse_integer(answer.items[1].text) : std::nullopt;
  if (!port || *port < 1 || *port > 65535) {
    return Error::transient(Errc::io,
                            fmt::format("knows no master named {:?}", options_.master_name));
  }
  return RedisAddress{.host = answer.items[0].text, .port = static_cast<std::uint16_t>(*port)};
}

Result<RedisAddress> Locator::ask_sentinels(Context const& ctx) {
  Error last = Error::transient(Errc::io, "no sentinel is known");
  for (auto const& sentinel : options_.addresses) {
    auto found = ask_sentinel(ctx, sentinel);
    if (found.ok()) {
      set(*found);
      return found;
    }
    last = std::move(found).error().with(fmt::format("sentinel {}", describe(sentinel)));
  }
  return last;
}

Result<RedisAddress> Locator::ask_node(Context const& ctx, RedisAddress const& node) {
  ZEST_TRY(auto link, dialer_.dial(ctx, node));
  Greeting const greeting{.user = options_.user, .password = options_.password, .scripts = {}};
  ZEST_CHECK(dialer_.greet(ctx, *link, greeting));
  std::string bytes;
  append_command(bytes, {"CLUSTER", "SLOTS"});
  Context asking = ctx;
  asking.deadline = std::min(ctx.deadline, Loop::current()->now() + options_.connect_timeout);
  ZEST_TRY(auto const replies, ask(asking, *link, std::move(bytes), 1));
  if (replies[0].is_error()) {
    return Error::transient(Errc::io, replies[0].text);
  }
  auto const slot = cluster_slot(std::to_string(options_.database));
  std::optional<RedisAddress> owner;
  std::vector<RedisAddress> nodes;
  for (auto const& range : replies[0].items) {
    for (std::size_t i = 2; i < range.items.size(); ++i) {
      auto const& entry = range.items[i].items;
      if (entry.size() < 2 || entry[1].integer < 1 || entry[1].integer > 65535) {
        continue;
      }
      // A node that does not know its own address is where we asked.
      RedisAddress address{.host = entry[0].text.empty() ? node.host : entry[0].text,
                           .port = static_cast<std::uint16_t>(entry[1].integer)};
      if (i == 2 && range.items[0].integer <= slot && slot <= range.items[1].integer) {
        owner = address;
      }
      nodes.push_back(std::move(address));
    }
  }
  remember_nodes(std::move(nodes));
  if (!owner) {
    return Error::transient(Errc::io, fmt::format("nobody serves slot {}", slot));
  }
  return *std::move(owner);
}

void Locator::remember_nodes(std::vector<RedisAddress> nodes) {
  std::lock_guard const lock(mutex_);
  for (auto& node : nodes) {
    if (std::ranges::find(nodes_, node) == nodes_.end() && nodes_.size() < 64) {
      nodes_.push_back(std::move(node));
    }
  }
}

Result<RedisAddress> Locator::ask_nodes(Context const& ctx) {
  std::vector<RedisAddress> candidates = options_.addresses;
  {
    std::lock_guard const lock(mutex_);
    candidates.insert(candidates.end(), nodes_.begin(), nodes_.end());
  }
  Error last = Error::transient(Errc::io, "no node is known");
  for (auto const& node : candidates) {
    auto found = ask_node(ctx, node);
    if (found.ok()) {
      set(*found);
      return found;
    }
    last = std::move(found).error().with(fmt::format("node {}", describe(node)));
  }
  return last;
}

}  // namespace zest::meta::redis
