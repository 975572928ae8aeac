#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "zest/format/attr.h"
#include "zest/format/counter_name.h"
#include "zest/format/entry.h"
#include "zest/format/locks.h"
#include "zest/format/slice.h"
#include "zest/format/usage.h"
#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/redis/commit_encoder.h"

namespace zest::meta::redis {

namespace {

/// Arguments of one command inside the script: far below Lua's limit on unpack().
constexpr std::size_t kItemsPerCommand = 1000;

std::string decimal(std::uint64_t number) {
  return std::to_string(number);
}

}  // namespace

// ---- changes

void Encoder::usage(Usage const& usage) {
  if (usage.space != 0) {
    run({"INCRBY", keys_.counter(kUsedSpace), std::to_string(usage.space)});
  }
  if (usage.inodes != 0) {
    run({"INCRBY", keys_.counter(kTotalInodes), std::to_string(usage.inodes)});
  }
}

void Encoder::run_many(std::string_view command, std::string const& key,
                       std::vector<std::string> const& items) {
  for (std::size_t first = 0; first < items.size(); first += kItemsPerCommand) {
    auto const last = std::min(items.size(), first + kItemsPerCommand);
    Command whole{std::string(command), key};
    whole.insert(whole.end(), items.begin() + static_cast<std::ptrdiff_t>(first),
                 items.begin() + static_cast<std::ptrdiff_t>(last));
    run(whole);
  }
}

Result<void> Encoder::change(Change const& change) {
  auto const done = [](auto&&...) { return Result<void>(); };
  return std::visit(
      Overloaded{
          [&](Put const& c) { return put(c); },
          [&](Erase const& c) { return erase(c.key); },
          [&](EraseXattrs const& c) { return done((run({"DEL", keys_.xattrs(c.ino)}), 0)); },
          [&](UpdateNode const& c) { return update(c); },
          [&](AppendSlices const& c) { return done((append_slices(c), 0)); },
          [&](ReplaceChunkPrefix const& c) { return done((replace_prefix(c), 0)); },
          // One reference is what no record says.
          [&](NewSlice const& c) {
            if (c.refs > 1) {
              run({"HSET", keys_.named(redis_name::kSliceRefs),
                   redis_slice_key({.id = c.id, .size = c.size}), std::to_string(c.refs - 1)});
            }
            return done();
          },
          [&](AddSliceRef const& c) {
            append(changes_, "r", use(keys_.named(redis_name::kSliceRefs)),
                   redis_slice_key({.id = c.id, .size = c.size}), std::to_string(c.delta));
            return done();
          },
          [&](AddParent const& c) {
            append(changes_, "p", use(keys_.parents(c.ino)), decimal(c.parent.value),
                   std::to_string(c.delta));
            return done();
          },
          [&](DelaySlices const& c) {
            run({"HSET", keys_.named(redis_name::kDelayedSlices),
                 redis_delayed_key({.id = c.compacted_into, .deleted_sec = c.now_sec}),
                 encode_delayed_slices(c.slices)});
            return done();
          },
      },
      change);
}

void Encoder::put_node(Ino ino, Attr const& attr) {
  run({"SET", keys_.node(ino), encode_attr(attr)});
  nodes_[ino] = KnownNode{.attr = attr, .at = changes_.size() - 1};
}

/// HSET of each read's field.
void Encoder::put_numbers(std::vector<Command> const& reads,
                          std::vector<std::string> const& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    run({"HSET", reads[i][1], reads[i][2], values[i]});
  }
}

void Encoder::put_flock(FlockKey const& key, FlockType type) {
  auto const name = keys_.flocks(key.ino);
  run({"HSET", name, format_lock_owner(key.session, key.owner),
       std::string(1, static_cast<char>(type))});
  // Shared ones too: a cleanup of the session has to find them.
  run({"SADD", keys_.locked(key.session), name});
}

void Encoder::put_plock(PlockKey const& key, std::vector<LockRange> const& ranges) {
  auto const name = keys_.plocks(key.ino);
  if (ranges.empty()) {
    unlock(name, key.session, key.owner);
    return;
  }
  run({"HSET", name, format_lock_owner(key.session, key.owner), encode_locks(ranges)});
  run({"SADD", keys_.locked(key.session), name});
}

void Encoder::unlock(std::string key, SessionId session, std::uint64_t owner) {
  append(changes_, "l", use(std::move(key)), format_lock_owner(session, owner),
         fmt::format("{}_", session.value), use(keys_.locked(session)));
}

void Encoder::put_session(SessionKey const& key, SessionRecord const& record) {
  auto const id = decimal(key.session.value);
  run({"ZADD", keys_.named(redis_name::kAllSessions), std::to_string(record.expire_sec), id});
  run({"HSET", keys_.named(redis_name::kSessionInfos), id, record.info});
}

void Encoder::put_chunk(ChunkKey const& key, Slices const& slices) {
  run({"DEL", keys_.chunk(key.ino, key.index)});
  append_slices({.key = key, .slices = slices});
}

Result<void> Encoder::put(Put const& change) {
  ZEST_CHECK(check_put(change));
  auto const name = first_key(keys_, change.key);
  auto const value = [&change](auto const& k) -> auto const& {
    return *record_of(k, change.value);
  };
  std::visit(
      Overloaded{
          [&](NodeKey const& k) { put_node(k.ino, value(k)); },
          [&](EdgeKey const& k) { run({"HSET", name, k.name, encode_entry(value(k))}); },
          [&](SymlinkKey const& k) { run({"SET", name, value(k)}); },
          [&](XattrKey const& k) { run({"HSET", name, k.name, value(k)}); },
          [&](ChunkKey const& k) { put_chunk(k, value(k)); },
          [&](SliceRefKey const& k) {
            run({"HSET", name, redis_slice_key({.id = k.id, .size = k.size}),
                 std::to_string(value(k) - 1)});
          },
          [&](FlocksKey const& k) {
            run({"DEL", name});
            for (auto const& [owner, type] : value(k)) {
              put_flock({.ino = k.ino, .session = owner.session, .owner = owner.owner}, type);
            }
          },
          [&](FlockKey const& k) { put_flock(k, value(k)); },
          [&](PlocksKey const& k) {
            run({"DEL", name});
            for (auto const& [owner, ranges] : value(k)) {
              put_plock({.ino = k.ino, .session = owner.session, .owner = owner.owner}, ranges);
            }
          },
          [&](PlockKey const& k) { put_plock(k, value(k)); },
          [&](SessionKey const& k) { put_session(k, value(k)); },
          [&](SustainedKey const& k) { run({"SADD", name, decimal(k.ino.value)}); },
          [&](DelfileKey const& k) {
            run({"ZADD", name, std::to_string(value(k).deleted_sec),
                 redis_deleted_file({.ino = k.ino, .length = k.length})});
          },
          [&](DirStatKey const& k) {
            auto const& stat = value(k);
            put_numbers(read_commands(keys_, k),
                        {std::to_string(stat.space), std::to_string(stat.length),
                         std::to_string(stat.inodes)});
          },
          [&](QuotaKey const& k) {
            auto const& quota = value(k);
            put_numbers(read_commands(keys_, k),
                        {encode_quota_limits(quota), std::to_string(quota.used_space),
                         std::to_string(quota.used_inodes)});
          },
          [&](DetachedKey const& k) {
            run({"ZADD", name, std::to_string(value(k)), decimal(k.ino.value)});
          },
          // check_put() refused them.
          [](ChildKey const&) {},
          [](ParentsKey const&) {},
          [](HasEntriesKey const&) {},
          [](AclKey const&) {},
          [](DelayedSlicesKey const&) {},
      },
      change.key);
  return {};
}

void Encoder::erase_quota(QuotaKey const& key) {
  auto const reads = read_commands(keys_, key);
  if (key.type != QuotaType::directory) {
    append(changes_, "e", use(reads[0][1]), reads[0][2],
           encode_quota_limits({.max_space = -1, .max_inodes = -1}));
    return;
  }
  for (auto const& read : reads) {
    run({"HDEL", read[1], read[2]});
  }
}

Result<void> Encoder::erase(Key const& key) {
  ZEST_CHECK(check_erase(key));
  auto const name = first_key(keys_, key);
  auto const reads = read_commands(keys_, key);
  auto const drop_fields = [&] {
    for (auto const& read : reads) {
      run({"HDEL", read[1], read[2]});
    }
  };
  auto const drop_key = [&] { run({"DEL", name}); };
  auto const drop_member = [&] { run({"ZREM", name, reads[0][2]}); };
  std::visit(Overloaded{
                 [&](NodeKey const& k) {
                   drop_key();
                   nodes_[k.ino] = KnownNode{};
                 },
                 [&](EdgeKey const&) { drop_fields(); },
                 [](ChildKey const&) {},
                 [&](SymlinkKey const&) { drop_key(); },
                 [&](XattrKey const&) { drop_fields(); },
                 [&](ChunkKey const&) { drop_key(); },
                 [&](ParentsKey const&) { drop_key(); },
                 [&](HasEntriesKey const&) { drop_key(); },
                 [&](SliceRefKey const&) { drop_fields(); },
                 [&](FlocksKey const&) { drop_key(); },
                 [&](FlockKey const& k) { unlock(name, k.session, k.owner); },
                 [&](PlocksKey const&) { drop_key(); },
                 [&](PlockKey const& k) { unlock(name, k.session, k.owner); },
                 [&](SessionKey const&) {
                   drop_member();
                   run({"HDEL", reads[1][1], reads[1][2]});
                 },
                 [&](SustainedKey const& k) { run({"SREM", name, decimal(k.ino.value)}); },
                 [&](DelfileKey const&) { drop_member(); },
                 [&](DirStatKey const&) { drop_fields(); },
                 [&](QuotaKey const& k) { erase_quota(k); },
                 [](AclKey const&) {},
                 [&](DetachedKey const&) { drop_member(); },
                 [&](DelayedSlicesKey const&) { drop_fields(); },
             },
             key);
  return {};
}

Result<void> Encoder::update(UpdateNode const& change) {
  auto const known = nodes_.find(change.ino);
  if (known != nodes_.end()) {
    if (!known->second.attr) {
      return conflict(NodeKey{change.ino});
    }
    apply_update(*known->second.attr, change);
    changes_[known->second.at] = encode_attr(*known->second.attr);
    return {};
  }
  if (!expected_nodes_.contains(change.ino)) {
    expect_node(change.ino, kExists, {});
  }
  auto const parts = node_patches(change);
  append(changes_, "U", use(keys_.node(change.ino)), std::to_string(parts.size()));
  for (auto const& part : parts) {
    append(changes_, part.where, part.bytes);
  }
  return {};
}

void Encoder::append_slices(AppendSlices const& change) {
  std::vector<std::string> records;
  for (auto const& slice : change.slices) {
    append_slice(records.emplace_back(), slice);
  }
  run_many(change.only_existing ? "RPUSHX" : "RPUSH", keys_.chunk(change.key.ino, change.key.index),
           records);
}

void Encoder::replace_prefix(ReplaceChunkPrefix const& change) {
  auto const name = keys_.chunk(change.key.ino, change.key.index);
  run({"LTRIM", name, std::to_string(change.count), "-1"});
  std::vector<std::string> records;
  for (auto slice = change.slices.rbegin(); slice != change.slices.rend(); ++slice) {
    append_slice(records.emplace_back(), *slice);
  }
  run_many("LPUSH", name, records);
}

EncodedCommit Encoder::finish() && {
  EncodedCommit encoded{
      .call = {.keys = {names_.begin(), names_.end()}, .changes = true, .replicated = true},
      .conditions = std::move(conditions_of_)};
  auto& arguments = encoded.call.arguments;
  arguments = std::move(fence_);
  arguments.insert(arguments.end(), std::make_move_iterator(conditions_.begin()),
                   std::make_move_iterator(conditions_.end()));
  arguments.emplace_back(".");
  arguments.insert(arguments.end(), std::make_move_iterator(changes_.begin()),
                   std::make_move_iterator(changes_.end()));
  return encoded;
}

}  // namespace zest::meta::redis
