#include "zest/meta/engine/redis/redis.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <random>
#include <utility>

#include "zest/base/assert.h"
#include "zest/format/acl.h"
#include "zest/format/attr.h"
#include "zest/format/counter_name.h"
#include "zest/format/usage.h"
#include "zest/meta/engine/counters.h"
#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/redis/client.h"
#include "zest/meta/engine/redis/commit.h"
#include "zest/meta/engine/redis/layout.h"
#include "zest/meta/engine/redis/listing.h"
#include "zest/meta/engine/redis/scripts.h"
#include "zest/meta/engine/redis/tracker.h"

namespace zest::meta {

namespace redis {

namespace {

class RedisEngine final : public Engine {
 public:
  RedisEngine(RedisOptions options, std::shared_ptr<TlsContext const> tls, std::uint64_t secret,
              Logger& log, Registry& metrics)
      : client_(std::move(options), std::move(tls), scripts_.texts(), log, metrics),
        log_(log),
        secret_(secret) {
    capabilities_.usage_in_commit = true;
    capabilities_.ordered_listing = false;
    capabilities_.parents_stored = true;
    capabilities_.invalidation_pushes = client_.options().client_cache;
  }

  [[nodiscard]] EngineCapabilities const& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::string_view name() const noexcept override { return "redis"; }

  Result<std::vector<Value>> fetch(Context const& ctx, std::span<Key const> keys) override;
  Result<void> commit(Context const& ctx, Commit const& commit) override;
  /// As durable as the server's `appendfsync` makes it when the commit returns; see redis.h.
  Result<void> sync(Context const& /*ctx*/) override { return {}; }

  Result<DirPage> list_dir(Context const& ctx, ListDir const& request) override {
    return with_volume(ctx,
                       [&](Volume const& v) { return redis::list_dir(v, ctx, request, secret_); });
  }
  Result<std::vector<std::string>> list_xattrs(Context const& ctx, Ino ino) override {
    return with_volume(ctx, [&](Volume const& v) { return redis::list_xattrs(v, ctx, ino); });
  }
  Result<ChunkPage> list_chunks(Context const& ctx, ChunkKey from, std::size_t limit) override {
    return with_volume(ctx, [&](Volume const& v) {
      return redis::list_chunks(v, ctx, from, std::nullopt, limit);
    });
  }
  Result<ChunkPage> list_chunks_below(Context const& ctx, ChunkKey from, std::uint64_t end,
                                      std::size_t limit) override {
    return with_volume(
        ctx, [&](Volume const& v) { return redis::list_chunks(v, ctx, from, end, limit); });
  }
  Result<ChunkPage> list_all_chunks(Context const& ctx, std::optional<ChunkKey> from,
                                    std::size_t limit) override {
    return with_volume(
        ctx, [&](Volume const& v) { return redis::list_all_chunks(v, ctx, from, limit); });
  }
  Result<std::vector<SessionEntry>> list_sessions(Context const& ctx) override {
    return with_volume(ctx, [&](Volume const& v) { return redis::list_sessions(v, ctx); });
  }
  Result<std::vector<Ino>> list_sustained(Context const& ctx, SessionId session,
                                          std::size_t limit) override {
    return with_volume(
        ctx, [&](Volume const& v) { return redis::list_sustained(v, ctx, session, limit); });
  }
  Result<std::vector<DelfileEntry>> list_delfiles(Context const& ctx, std::int64_t before_sec,
                                                  std::size_t limit) override {
    return with_volume(
        ctx, [&](Volume const& v) { return redis::list_delfiles(v, ctx, before_sec, limit); });
  }
  Result<std::vector<DelayedEntry>> list_delayed_slices(Context const& ctx, std::int64_t before_sec,
                                                        std::size_t limit) override {
    return with_volume(ctx, [&](Volume const& v) {
      return redis::list_delayed_slices(v, ctx, before_sec, limit);
    });
  }
  Result<std::vector<DetachedEntry>> list_detached(Context const& ctx, std::int64_t before_sec,
                                                   std::size_t limit) override {
    return with_volume(
        ctx, [&](Volume const& v) { return redis::list_detached(v, ctx, before_sec, limit); });
  }
  Result<std::vector<DelayedSlice>> list_garbage_slices(Context const& ctx,
                                                        std::size_t limit) override {
    return with_volume(ctx,
                       [&](Volume const& v) { return redis::list_garbage_slices(v, ctx, limit); });
  }
  Result<std::vector<Ino>> list_locked(Context const& ctx, SessionId session) override {
    return with_volume(ctx, [&](Volume const& v) { return redis::list_locked(v, ctx, session); });
  }
  Result<std::vector<QuotaEntry>> list_quotas(Context const& ctx) override {
    return with_volume(ctx, [&](Volume const& v) { return redis::list_quotas(v, ctx); });
  }
  Result<std::vector<StoredAcl>> list_acls(Context const& ctx, std::uint32_t after) override {
    return with_volume(ctx, [&](Volume const& v) { return redis::list_acls(v, ctx, after); });
  }

  Result<IdRange> allocate_ids(Context const& ctx, IdKind kind, std::uint64_t count) override;
  Result<Usage> read_usage(Context const& ctx) override;
  Result<void> add_usage(Context const& ctx, Usage delta) override;
  Result<std::vector<Ino>> add_dir_stats(Context const& ctx,
                                         std::span<std::pair<Ino, DirStat> const> deltas) override;
  Result<void> add_quota_usage(Context const& ctx,
                               std::span<std::pair<QuotaKey, Usage> const> deltas) override;
  Result<void> set_quota(Context const& ctx, QuotaKey const& key, Quota const& quota) override;
  Result<std::uint32_t> insert_acl(Context const& ctx, AclRule const& rule) override;
  Result<bool> take_lease(Context const& ctx, Lease lease, std::int64_t now_sec,
                          std::int64_t interval_sec) override;

  Result<std::optional<std::string>> load_setting(Context const& ctx) override;
  Result<void> initialize(Context const& ctx, std::string_view setting, Attr const& root,
                          std::optional<Attr> const& trash) override;
  Result<void> reset(Context const& ctx) override;

  void set_listener(InvalidationListener* listener) override;

  [[nodiscard]] std::uint64_t trips() const noexcept override { return client_.trips(); }

 private:
  /// The names of the volume's keys; learns at the first call what kind of server it is.
  Result<RedisKeys const*> keys(Context const& ctx);
  template <class Body>
  auto with_volume(Context const& ctx, Body const& body)
      -> std::invoke_result_t<Body, Volume const&> {
    ZEST_TRY(auto const* names, keys(ctx));
    return body(Volume{.client = client_, .scripts = scripts_, .keys = *names});
  }
  /// The replies to all reads of `keys`, one after the other, of one moment.
  Result<std::vector<Reply>> read_all(Context const& ctx, RedisKeys const& names,
                                      std::span<Key const> keys,
                                      std::span<std::vector<Command> const> commands);

  Scripts scripts_;
  Client client_;
  EngineCapabilities capabilities_;
  Logger& log_;
  std::uint64_t secret_;
  std::mutex mutex_;
  /// Set once, then only read.
  std::optional<RedisKeys> keys_;
  std::atomic<bool> keys_known_{false};
  std::unique_ptr<Tracker> tracker_;
};

void RedisEngine::set_listener(InvalidationListener* listener) {
  tracker_.reset();
  if (listener == nullptr || !capabilities_.invalidation_pushes) {
    return;
  }
  tracker_ = std::make_unique<Tracker>(client_, *listener, log_);
}

Result<RedisKeys const*> RedisEngine::keys(Context const& ctx) {
  if (!keys_known_.load(std::memory_order_acquire)) {
    ZEST_TRY(auto prefix, client_.prefix(ctx));
    std::lock_guard const lock(mutex_);
    if (!keys_) {
      keys_.emplace(std::move(prefix));
      keys_known_.store(true, std::memory_order_release);
    }
  }
  return &*keys_;
}

Result<std::vector<Reply>> RedisEngine::read_all(Context const& ctx, RedisKeys const& names,
                                                 std::span<Key const> keys,
                                                 std::span<std::vector<Command> const> commands) {
  auto const nodes_only = std::ranges::all_of(
      keys, [](Key const& key) { return std::holds_alternative<NodeKey>(key); });
  if (keys.size() == 1 && commands[0].size() == 1) {
    Request request;
    append_command(request.bytes, commands[0][0]);
    return client_.run(ctx, request);
  }
  if (nodes_only) {
    Command command{"MGET"};
    for (auto const& key : keys) {
      command.push_back(first_key(names, key));
    }
    Request request;
    append_command(request.bytes, command);
    ZEST_TRY(auto replies, client_.run(ctx, request));
    if (replies[0].is_error()) {
      return error_of(replies[0]);
    }
    return std::move(replies[0].items);
  }
  ScriptCall call{.script = &scripts_.fetch};
  for (std::size_t i = 0; i < keys.size(); ++i) {
    auto& out = call.arguments;
    if (auto const* child = std::get_if<ChildKey>(&keys[i])) {
      call.keys.push_back(names.edges(child->parent));
      out.insert(out.end(), {"C", call.keys.back(), child->name, names.prefix() + "i"});
    }
    for (auto const& command : commands[i]) {
      call.keys.push_back(command[1]);
      out.push_back(std::to_string(command.size()));
      out.insert(out.end(), command.begin(), command.end());
    }
  }
  ZEST_TRY(auto reply, client_.call(ctx, call));
  return std::move(reply.items);
}

Result<std::vector<Value>> RedisEngine::fetch(Context const& ctx, std::span<Key const> keys) {
  std::vector<Value> values;
  if (keys.empty()) {
    return values;
  }
  ZEST_TRY(auto const* names, this->keys(ctx));
  std::vector<std::vector<Command>> commands;
  commands.reserve(keys.size());
  for (auto const& key : keys) {
    commands.push_back(read_commands(*names, key));
  }
  ZEST_TRY(auto const replies, read_all(ctx, *names, keys, commands));
  values.reserve(keys.size());
  std::size_t at = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    auto const count = std::max<std::size_t>(commands[i].size(), 1);
    if (at + count > replies.size()) {
      return Error::corrupt(
          fmt::format("the server answered too little about {}", describe(keys[i])));
    }
    ZEST_TRY(auto value, decode_record(*names, keys[i], std::span(replies).subspan(at, count)));
    values.push_back(std::move(value));
    at += count;
  }
  return values;
}

Result<void> RedisEngine::commit(Context const& ctx, Commit const& commit) {
  if (ctx.stop.stop_requested()) {
    return Errc::intr;
  }
  ZEST_TRY(auto const* names, keys(ctx));
  ZEST_TRY(auto encoded, encode_commit(*names, commit));
  encoded.call.script = &scripts_.commit;
  ZEST_TRY(auto const reply, client_.call(ctx, encoded.call));
  if (!reply.is_integer()) {
    return Error::corrupt("the commit script answered with no number");
  }
  if (reply.integer == 0) {
    return {};
  }
  if (reply.integer < 0) {
    return fenced(commit.fence);
  }
  auto const failed = static_cast<std::size_t>(reply.integer) - 1;
  if (failed >= encoded.conditions.size()) {
    return Error::corrupt("the commit script named a condition that there is not");
  }
  return conflict(encoded.conditions[failed]);
}

// ---- counters

Result<IdRange> RedisEngine::allocate_ids(Context const& ctx, IdKind kind, std::uint64_t count) {
  ZEST_TRY(auto const* names, keys(ctx));
  auto const key = names->counter(counter_of(kind));
  // The counter holds the last used id, and a lost reply only loses ids.
  for (;;) {
    ZEST_TRY(auto const reply, client_.read(ctx, {"INCRBY", key, std::to_string(count)}));
    auto const last = reply.integer;
    if (!reply.is_integer() || last < 0 || static_cast<std::uint64_t>(last) < count) {
      return Error::corrupt(fmt::format("key {} holds no counter of ids", key));
    }
    IdRange range{.first = static_cast<std::uint64_t>(last) + 1 - count, .count = count};
    if (kind == IdKind::inode && range.first <= kRootIno.value) {
      auto const skipped = kRootIno.value + 1 - range.first;
      if (skipped >= range.count) {
        continue;  // nothing left of it
      }
      range.first += skipped;
      range.count -= skipped;
    }
    return range;
  }
}

Result<Usage> RedisEngine::read_usage(Context const& ctx) {
  ZEST_TRY(auto const* names, keys(ctx));
  auto const space = names->counter(kUsedSpace);
  auto const inodes = names->counter(kTotalInodes);
  ZEST_TRY(auto const reply, client_.read(ctx, {"MGET", space, inodes}));
  std::array<std::int64_t, 2> numbers{};
  for (std::size_t i = 0; i < numbers.size() && i < reply.items.size(); ++i) {
    ZEST_TRY(auto const text, text_of(reply.items[i]));
    auto const number = decode_decimal(text.value_or("0"));
    if (!number.ok()) {
      return at_key(number.error().clone(), i == 0 ? space : inodes);
    }
    numbers[i] = *number;
  }
  return Usage{.space = numbers[0], .inodes = numbers[1]};
}

Result<void> RedisEngine::add_usage(Context const& ctx, Usage delta) {
  ZEST_TRY(auto const* names, keys(ctx));
  ScriptCall const call{.script = &scripts_.add_usage,
                        .keys = {names->counter(kUsedSpace), names->counter(kTotalInodes)},
                        .arguments = {std::to_string(delta.space), std::to_string(delta.inodes)},
                        .changes = true,
                        .replicated = true};
  ZEST_CHECK(client_.call(ctx, call));
  return {};
}

Result<std::vector<Ino>> RedisEngine::add_dir_stats(
    Context const& ctx, std::span<std::pair<Ino, DirStat> const> deltas) {
  ZEST_TRY(auto const* names, keys(ctx));
  ScriptCall call{
      .script = &scripts_.add_dir_stats,
      .keys = {names->named(redis_name::kDirDataLength), names->named(redis_name::kDirUsedSpace),
               names->named(redis_name::kDirUsedInodes)},
      .changes = true};
  for (auto const& [ino, delta] : deltas) {
    call.arguments.insert(call.arguments.end(),
                          {std::to_string(ino.value), std::to_string(delta.length),
                           std::to_string(delta.space), std::to_string(delta.inodes)});
  }
  ZEST_TRY(auto const reply, client_.call(ctx, call));
  std::vector<Ino> missing;
  for (auto const& item : reply.items) {
    ZEST_TRY(auto const ino, decode_id(item.text));
    missing.push_back(Ino{ino});
  }
  return missing;
}

// ---- quotas, rules, leases

Result<void> RedisEngine::add_quota_usage(Context const& ctx,
                                          std::span<std::pair<QuotaKey, Usage> const> deltas) {
  ZEST_TRY(auto const* names, keys(ctx));
  ScriptCall call{.script = &scripts_.add_quota_usage,
                  .arguments = {encode_quota_limits({.max_space = -1, .max_inodes = -1})},
                  .changes = true};
  for (auto const type : {QuotaType::directory, QuotaType::user, QuotaType::group}) {
    auto const of_type = quota_names(type);
    for (auto const name : {of_type.limits, of_type.used_space, of_type.used_inodes}) {
      call.keys.push_back(names->named(name));
    }
  }
  for (auto const& [key, delta] : deltas) {
    call.arguments.insert(call.arguments.end(),
                          {std::to_string(static_cast<int>(key.type)), std::to_string(key.id),
                           std::to_string(delta.space), std::to_string(delta.inodes)});
  }
  ZEST_CHECK(client_.call(ctx, call));
  return {};
}

Result<void> RedisEngine::set_quota(Context const& ctx, QuotaKey const& key, Quota const& quota) {
  ZEST_TRY(auto const* names, keys(ctx));
  auto const of_type = quota_names(key.type);
  ScriptCall const call{
      .script = &scripts_.set_quota,
      .keys = {names->named(of_type.limits), names->named(of_type.used_space),
               names->named(of_type.used_inodes)},
      .arguments = {std::to_string(key.id), encode_quota_limits(quota),
                    std::to_string(quota.used_space), std::to_string(quota.used_inodes)},
      .changes = true,
      .replicated = true};
  ZEST_CHECK(client_.call(ctx, call));
  return {};
}

Result<std::uint32_t> RedisEngine::insert_acl(Context const& ctx, AclRule const& rule) {
  ZEST_TRY(auto const* names, keys(ctx));
  ScriptCall const call{.script = &scripts_.insert_acl,
                        .keys = {names->counter(kAclMaxId), names->named(redis_name::kAcl)},
                        .arguments = {encode_acl(rule)},
                        // A rule stored twice harms nobody, so a lost reply may be tried again.
                        .changes = false,
                        .replicated = true};
  ZEST_TRY(auto const reply, client_.call(ctx, call));
  if (!reply.is_integer() || reply.integer < 1 || reply.integer > INT32_MAX) {
    return Error::corrupt(fmt::format("key {} holds no counter of ids", call.keys[0]));
  }
  return static_cast<std::uint32_t>(reply.integer);
}

Result<bool> RedisEngine::take_lease(Context const& ctx, Lease lease, std::int64_t now_sec,
                                     std::int64_t interval_sec) {
  ZEST_TRY(auto const* names, keys(ctx));
  ScriptCall const call{.script = &scripts_.take_lease,
                        .keys = {names->counter(counter_of(lease))},
                        .arguments = {std::to_string(now_sec), std::to_string(interval_sec)},
                        .changes = true};
  ZEST_TRY(auto const reply, client_.call(ctx, call));
  return reply.integer == 1;
}

// ---- the volume

Result<std::optional<std::string>> RedisEngine::load_setting(Context const& ctx) {
  ZEST_TRY(auto const* names, keys(ctx));
  ZEST_TRY(auto const reply, client_.read(ctx, {"GET", names->named(redis_name::kSetting)}));
  ZEST_TRY(auto const text, text_of(reply));
  return text ? std::optional<std::string>(*text) : std::nullopt;
}

Result<void> RedisEngine::initialize(Context const& ctx, std::string_view setting, Attr const& root,
                                     std::optional<Attr> const& trash) {
  ZEST_TRY(auto const* names, keys(ctx));
  ScriptCall const call{
      .script = &scripts_.initialize,
      .keys = {names->named(redis_name::kSetting), names->node(kRootIno), names->node(kTrashIno)},
      .arguments = {std::string(setting), encode_attr(root), trash ? encode_attr(*trash) : ""},
      // The second time is like the first.
      .changes = false,
      .replicated = true};
  ZEST_CHECK(client_.call(ctx, call));
  return {};
}

Result<void> RedisEngine::reset(Context const& ctx) {
  ZEST_TRY(auto const* names, keys(ctx));
  if (names->prefix().empty()) {
    ZEST_CHECK(client_.read(ctx, {"FLUSHDB"}));
    return {};
  }
  return delete_all_keys({.client = client_, .scripts = scripts_, .keys = *names}, ctx);
}

}  // namespace

}  // namespace redis

Result<std::unique_ptr<Engine>> open_redis(RedisOptions options, Logger& log, Registry& metrics) {
  std::shared_ptr<TlsContext const> tls;
  if (options.tls) {
    ZEST_TRY(tls, make_tls_context({.ca_file = options.tls_ca_cert_file,
                                    .cert_file = options.tls_cert_file,
                                    .key_file = options.tls_key_file,
                                    .server_name = options.tls_server_name,
                                    .verify = !options.tls_skip_verify,
                                    .ca_name = "tls-ca-cert-file",
                                    .cert_name = "tls-cert-file",
                                    .key_name = "tls-key-file"}));
  }
  std::random_device source;  // tidy: allow(rand) keys hashes that nobody may foresee
  auto const secret = (std::uint64_t{source()} << 32U) | source();
  return std::unique_ptr<Engine>(std::make_unique<redis::RedisEngine>(
      std::move(options), std::move(tls), secret, log, metrics));
}

}  // namespace zest::meta
