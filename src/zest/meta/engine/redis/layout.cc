#include "zest/meta/engine/redis/layout.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "zest/format/acl.h"
#include "zest/format/attr.h"
#include "zest/format/entry.h"
#include "zest/format/locks.h"
#include "zest/format/slice.h"
#include "zest/format/usage.h"
#include "zest/meta/engine/node_fields.h"

namespace zest::meta::redis {

namespace {

using Replies = std::span<Reply const>;

std::string decimal(std::uint64_t number) {
  return std::to_string(number);
}

Error wrong_reply(std::string_view key) {
  return Error::corrupt(fmt::format("key {} holds a value of another type", key));
}

/// Decodes a text, or absent for null.
template <class Decode>
Result<Value> decoded(std::string_view key, Reply const& reply, Decode const& decode) {
  auto const text = text_of(reply);
  if (!text.ok()) {
    return wrong_reply(key);
  }
  if (!*text) {
    return Value();
  }
  auto value = decode(**text);
  if (!value.ok()) {
    return at_key(std::move(value).error(), key);
  }
  return Value(*std::move(value));
}

Result<Value> decode_child(RedisKeys const& keys, ChildKey const& key, Reply const& reply) {
  auto const name = keys.edges(key.parent);
  if (reply.is_null()) {
    return Value();
  }
  if (!reply.is_array() || reply.items.empty() || !reply.items[0].is_text()) {
    return wrong_reply(name);
  }
  auto entry = decode_entry(reply.items[0].text);
  if (!entry.ok()) {
    return at_key(std::move(entry).error(), name);
  }
  Child child{.entry = *entry, .attr = {}};
  if (reply.items.size() > 1 && !reply.items[1].is_null()) {
    ZEST_TRY(child.attr, decode_node(keys.node(entry->ino), reply.items[1].text));
  }
  return Value(std::move(child));
}

Result<Value> decode_parents(std::string_view key, Reply const& reply) {
  Parents parents;
  for (std::size_t i = 0; i + 1 < reply.items.size(); i += 2) {
    auto const ino = decode_id(reply.items[i].text);
    auto const count = decode_decimal(reply.items[i + 1].text);
    if (!ino.ok() || !count.ok()) {
      return Error::corrupt(fmt::format("key {} holds something that is no parent", key));
    }
    // The peer leaves counts of 0 behind.
    if (*count > 0) {
      parents.emplace(Ino{*ino}, *count);
    }
  }
  return Value(std::move(parents));
}

Result<Value> decode_flocks_of(std::string_view key, Reply const& reply) {
  Flocks flocks;
  for (std::size_t i = 0; i + 1 < reply.items.size(); i += 2) {
    auto const owner = parse_lock_owner(reply.items[i].text);
    auto const& type = reply.items[i + 1].text;
    if (!owner.ok() || (type != "R" && type != "W")) {
      return Error::corrupt(fmt::format("key {} holds something that is no flock", key));
    }
    flocks.emplace(LockOwner{.session = owner->session, .owner = owner->owner},
                   type == "W" ? FlockType::write : FlockType::read);
  }
  return Value(std::move(flocks));
}

Result<Value> decode_plocks_of(std::string_view key, Reply const& reply) {
  Plocks plocks;
  for (std::size_t i = 0; i + 1 < reply.items.size(); i += 2) {
    auto const owner = parse_lock_owner(reply.items[i].text);
    auto ranges = decode_locks(reply.items[i + 1].text);
    if (!owner.ok() || !ranges.ok()) {
      return Error::corrupt(fmt::format("key {} holds something that is no POSIX lock", key));
    }
    if (!ranges->empty()) {
      plocks.emplace(LockOwner{.session = owner->session, .owner = owner->owner},
                     *std::move(ranges));
    }
  }
  return Value(std::move(plocks));
}

/// Three decimal fields, of which the first decides whether there is a record.
Result<Value> decode_dir_stat_of(RedisKeys const& keys, Replies replies) {
  auto const key = keys.named(redis_name::kDirUsedSpace);
  std::array<std::int64_t, 3> numbers{};
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    ZEST_TRY(auto const text, text_of(replies[i]));
    if (!text) {
      if (i == 0) {
        return Value();
      }
      continue;
    }
    auto const number = decode_decimal(*text);
    if (!number.ok()) {
      return at_key(number.error().clone(), key);
    }
    numbers[i] = *number;
  }
  return Value(DirStat{.length = numbers[1], .space = numbers[0], .inodes = numbers[2]});
}

Result<Value> decode_quota_of(RedisKeys const& keys, QuotaKey const& key, Replies replies) {
  auto const name = keys.named(quota_names(key.type).limits);
  ZEST_TRY(auto const limits, text_of(replies[0]));
  if (!limits) {
    return Value();
  }
  auto quota = decode_quota_limits(*limits);
  if (!quota.ok()) {
    return at_key(std::move(quota).error(), name);
  }
  for (std::size_t i = 1; i < 3; ++i) {
    ZEST_TRY(auto const text, text_of(replies[i]));
    auto const number = decode_decimal(text.value_or("0"));
    if (!number.ok()) {
      return at_key(number.error().clone(), name);
    }
    (i == 1 ? quota->used_space : quota->used_inodes) = *number;
  }
  return Value(*quota);
}

Result<Value> decode_session_of(RedisKeys const& keys, Replies replies) {
  ZEST_TRY(auto const score, text_of(replies[0]));
  ZEST_TRY(auto const info, text_of(replies[1]));
  if (!score) {
    return Value();
  }
  auto const expire = decode_score(*score);
  if (!expire.ok()) {
    return at_key(expire.error().clone(), keys.named(redis_name::kAllSessions));
  }
  return Value(SessionRecord{.expire_sec = *expire, .info = std::string(info.value_or(""))});
}

template <class Record>
Result<Value> decode_scored(std::string_view key, Reply const& reply) {
  return decoded(key, reply, [](std::string_view text) -> Result<Record> {
    ZEST_TRY(auto const seconds, decode_score(text));
    return Record{seconds};
  });
}

Result<FlockType> decode_flock_type(std::string_view text) {
  if (text != "R" && text != "W") {
    return Error::corrupt("a flock of an unknown type");
  }
  return text == "W" ? FlockType::write : FlockType::read;
}

Result<std::string> as_is(std::string_view text) {
  return std::string(text);
}

Result<std::int64_t> decode_refs(std::string_view text) {
  ZEST_TRY(auto const stored, decode_decimal(text));
  if (stored == INT64_MAX) {
    return Error::corrupt("a slice has an impossible number of references");
  }
  return stored + 1;
}

}  // namespace

QuotaNames quota_names(QuotaType type) noexcept {
  switch (type) {
    case QuotaType::directory:
      return {redis_name::kDirQuota, redis_name::kDirQuotaUsedSpace,
              redis_name::kDirQuotaUsedInodes};
    case QuotaType::user:
      return {redis_name::kUserQuota, redis_name::kUserQuotaUsedSpace,
              redis_name::kUserQuotaUsedInodes};
    case QuotaType::group:
      return {redis_name::kGroupQuota, redis_name::kGroupQuotaUsedSpace,
              redis_name::kGroupQuotaUsedInodes};
  }
  __builtin_unreachable();
}

Error at_key(Error error, std::string_view key) {
  return std::move(error).with(fmt::format("key {}", key));
}

Result<std::optional<std::string_view>> text_of(Reply const& reply) {
  if (reply.is_null()) {
    return std::optional<std::string_view>();
  }
  if (!reply.is_text()) {
    return Error::corrupt("a key holds a value of another type");
  }
  return std::optional<std::string_view>(reply.text);
}

Result<std::int64_t> decode_score(std::string_view text) {
  double score = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), score);
  constexpr double kMax = 9e18;
  if (error != std::errc{} || end != text.data() + text.size() || !(std::abs(score) < kMax)) {
    return Error::corrupt(fmt::format("{:?} is no time", text.substr(0, 64)));
  }
  return static_cast<std::int64_t>(std::floor(score));
}

Result<std::uint64_t> decode_id(std::string_view text) {
  std::uint64_t id = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return Error::corrupt(fmt::format("{:?} is no id", text.substr(0, 64)));
  }
  return id;
}

Result<Attr> decode_node(std::string_view key, std::string_view bytes) {
  auto attr = decode_attr(bytes);
  if (!attr.ok()) {
    return at_key(std::move(attr).error(), key);
  }
  return attr;
}

Result<Slices> decode_chunk(std::string_view key, std::span<Reply const> items) {
  std::string bytes;
  bytes.reserve(items.size() * kSliceRecordSize);
  for (auto const& item : items) {
    // Each on its own: two broken ones don't make a whole one.
    if (item.text.size() != kSliceRecordSize) {
      return Error::corrupt(
          fmt::format("key {} holds a slice record of {} bytes", key, item.text.size()));
    }
    bytes += item.text;
  }
  auto slices = decode_slices(bytes);
  if (!slices.ok()) {
    return at_key(std::move(slices).error(), key);
  }
  return slices;
}

std::string first_key(RedisKeys const& keys, Key const& key) {
  return std::visit(
      Overloaded{
          [&](NodeKey const& k) { return keys.node(k.ino); },
          [&](EdgeKey const& k) { return keys.edges(k.parent); },
          [&](ChildKey const& k) { return keys.edges(k.parent); },
          [&](SymlinkKey const& k) { return keys.symlink(k.ino); },
          [&](XattrKey const& k) { return keys.xattrs(k.ino); },
          [&](ChunkKey const& k) { return keys.chunk(k.ino, k.index); },
          [&](ParentsKey const& k) { return keys.parents(k.ino); },
          [&](HasEntriesKey const& k) { return keys.edges(k.ino); },
          [&](SliceRefKey const&) { return keys.named(redis_name::kSliceRefs); },
          [&](FlocksKey const& k) { return keys.flocks(k.ino); },
          [&](FlockKey const& k) { return keys.flocks(k.ino); },
          [&](PlocksKey const& k) { return keys.plocks(k.ino); },
          [&](PlockKey const& k) { return keys.plocks(k.ino); },
          [&](SessionKey const&) { return keys.named(redis_name::kAllSessions); },
          [&](SustainedKey const& k) { return keys.sustained(k.session); },
          [&](DelfileKey const&) { return keys.named(redis_name::kDeletedFiles); },
          [&](DirStatKey const&) { return keys.named(redis_name::kDirUsedSpace); },
          [&](QuotaKey const& k) { return keys.named(quota_names(k.type).limits); },
          [&](AclKey const&) { return keys.named(redis_name::kAcl); },
          [&](DetachedKey const&) { return keys.named(redis_name::kDetachedNodes); },
          [&](DelayedSlicesKey const&) { return keys.named(redis_name::kDelayedSlices); },
      },
      key);
}

std::vector<Command> read_commands(RedisKeys const& keys, Key const& key) {
  auto const name = first_key(keys, key);
  using Commands = std::vector<Command>;
  return std::visit(
      Overloaded{
          [&](NodeKey const&) { return Commands{{"GET", name}}; },
          [&](EdgeKey const& k) { return Commands{{"HGET", name, k.name}}; },
          [&](ChildKey const&) { return Commands{}; },
          [&](SymlinkKey const&) { return Commands{{"GET", name}}; },
          [&](XattrKey const& k) { return Commands{{"HGET", name, k.name}}; },
          [&](ChunkKey const&) { return Commands{{"LRANGE", name, "0", "-1"}}; },
          [&](ParentsKey const&) { return Commands{{"HGETALL", name}}; },
          [&](HasEntriesKey const&) { return Commands{{"HLEN", name}}; },
          [&](SliceRefKey const& k) {
            return Commands{{"HGET", name, redis_slice_key({.id = k.id, .size = k.size})}};
          },
          [&](FlocksKey const&) { return Commands{{"HGETALL", name}}; },
          [&](FlockKey const& k) {
            return Commands{{"HGET", name, format_lock_owner(k.session, k.owner)}};
          },
          [&](PlocksKey const&) { return Commands{{"HGETALL", name}}; },
          [&](PlockKey const& k) {
            return Commands{{"HGET", name, format_lock_owner(k.session, k.owner)}};
          },
          [&](SessionKey const& k) {
            return Commands{
                {"ZSCORE", name, decimal(k.session.value)},
                {"HGET", keys.named(redis_name::kSessionInfos), decimal(k.session.value)}};
          },
          [&](SustainedKey const& k) {
            return Commands{{"SISMEMBER", name, decimal(k.ino.value)}};
          },
          [&](DelfileKey const& k) {
            return Commands{
                {"ZSCORE", name, redis_deleted_file({.ino = k.ino, .length = k.length})}};
          },
          [&](DirStatKey const& k) {
            auto const ino = decimal(k.ino.value);
            return Commands{{"HGET", name, ino},
                            {"HGET", keys.named(redis_name::kDirDataLength), ino},
                            {"HGET", keys.named(redis_name::kDirUsedInodes), ino}};
          },
          [&](QuotaKey const& k) {
            auto const names = quota_names(k.type);
            return Commands{{"HGET", name, decimal(k.id)},
                            {"HGET", keys.named(names.used_space), decimal(k.id)},
                            {"HGET", keys.named(names.used_inodes), decimal(k.id)}};
          },
          [&](AclKey const& k) { return Commands{{"HGET", name, decimal(k.id)}}; },
          [&](DetachedKey const& k) { return Commands{{"ZSCORE", name, decimal(k.ino.value)}}; },
          [&](DelayedSlicesKey const& k) {
            return Commands{
                {"HGET", name,
                 redis_delayed_key({.id = k.compacted_into, .deleted_sec = k.deleted_sec})}};
          },
      },
      key);
}

namespace {

Result<Value> decode_raw(RedisKeys const& keys, Key const& key, Replies replies) {
  auto const name = first_key(keys, key);
  auto const& first = replies.front();
  auto const set_of = [&](auto const& decode) -> Result<Value> {
    return first.is_array() ? decode(name, first) : Result<Value>(wrong_reply(name));
  };
  return std::visit(
      Overloaded{
          [&](NodeKey const&) { return decoded(name, first, decode_attr); },
          [&](EdgeKey const&) { return decoded(name, first, decode_entry); },
          [&](ChildKey const& k) { return decode_child(keys, k, first); },
          [&](SymlinkKey const&) { return decoded(name, first, as_is); },
          [&](XattrKey const&) { return decoded(name, first, as_is); },
          [&](ChunkKey const&) -> Result<Value> {
            if (!first.is_array()) {
              return wrong_reply(name);
            }
            ZEST_TRY(auto slices, decode_chunk(name, first.items));
            return Value(std::move(slices));
          },
          [&](ParentsKey const&) { return set_of(decode_parents); },
          [&](HasEntriesKey const&) -> Result<Value> {
            return first.is_integer() ? Result<Value>(first.integer > 0) : wrong_reply(name);
          },
          [&](SliceRefKey const&) { return decoded(name, first, decode_refs); },
          [&](FlocksKey const&) { return set_of(decode_flocks_of); },
          [&](FlockKey const&) { return decoded(name, first, decode_flock_type); },
          [&](PlocksKey const&) { return set_of(decode_plocks_of); },
          [&](PlockKey const&) { return decoded(name, first, decode_locks); },
          [&](SessionKey const&) { return decode_session_of(keys, replies); },
          [&](SustainedKey const&) -> Result<Value> {
            if (!first.is_integer()) {
              return wrong_reply(name);
            }
            return first.integer != 0 ? Value(Present{}) : Value();
          },
          [&](DelfileKey const&) { return decode_scored<DelfileRecord>(name, first); },
          [&](DirStatKey const&) { return decode_dir_stat_of(keys, replies); },
          [&](QuotaKey const& k) { return decode_quota_of(keys, k, replies); },
          [&](AclKey const&) { return decoded(name, first, decode_acl); },
          [&](DetachedKey const&) { return decode_scored<std::int64_t>(name, first); },
          [&](DelayedSlicesKey const&) { return decoded(name, first, decode_delayed_slices); },
      },
      key);
}

}  // namespace

Result<Value> decode_record(RedisKeys const& keys, Key const& key, std::span<Reply const> replies) {
  for (auto const& reply : replies) {
    if (reply.is_error()) {
      return wrong_reply(first_key(keys, key));
    }
  }
  ZEST_TRY(auto value, decode_raw(keys, key, replies));
  return normalized(std::move(value));
}

}  // namespace zest::meta::redis
