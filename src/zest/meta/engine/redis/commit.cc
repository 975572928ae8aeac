// The program is a list of texts: steps, each a letter and its operands. Conditions first, then
// ".", then changes; scripts.cc runs it. Conditions:
//   F allSessions sessionInfos sid     the fence, before all others
//   N key n (field value)…             the node exists and n parts of it equal
//   ? n command…                       the reply is null
//   = value n command…                 the reply is this text
//   # number n command…                the reply is this number
//   L key last records                 the list's elements 0…last, joined
//   S key n (field value)…             the hash has just these fields
//   Q key n (field value)…             the same, fields with values ≤ 0 aside
// Changes:
//   C n command…                       as it is
//   U key n (field operand)…           patches a node: see patch_fields()
//   p, r key field delta               adds to a field; erases it at ≤ 0 (p), at 0 (r)
//   e key field value                  replaces a field that exists
//   l key field prefix locked          erases a lock; when no field with the prefix is left, also
//   the
//                                      key from the session's set of locks
// A part of a node is a byte offset (from 1), or m (mode), t (type), A, D (ACL ids), T (tier); a
// patch may also be n (add to nlink), g (grow length), M, C, B (raise mtime, ctime, both).
#include "zest/meta/engine/redis/commit.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "zest/format/acl.h"
#include "zest/format/attr.h"
#include "zest/format/counter_name.h"
#include "zest/format/endian.h"
#include "zest/format/entry.h"
#include "zest/format/locks.h"
#include "zest/format/slice.h"
#include "zest/format/usage.h"
#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/redis/layout.h"

namespace zest::meta::redis {

namespace {

/// Arguments of one command inside the script: far below Lua's limit on unpack().
constexpr std::size_t kItemsPerCommand = 1000;

template <class Integer>
std::string be(Integer value) {
  std::string out;
  append_be(out, value);
  return out;
}

std::string time_bytes(WallTime time) {
  return be(static_cast<std::uint64_t>(time.sec)) + be(time.nsec);
}

std::string decimal(std::uint64_t number) {
  return std::to_string(number);
}

struct Part {
  std::string where;
  std::string bytes;
};

/// The parts of a node's bytes that hold the fields of `mask`; neighbours are one part.
std::vector<Part> node_parts(Attr const& attr, std::uint32_t mask) {
  std::vector<Part> parts;
  std::size_t end = 0;
  auto const add = [&](bool wanted, std::size_t offset, std::string bytes) {
    if (!wanted) {
      return;
    }
    auto const next = offset + bytes.size();
    if (!parts.empty() && end == offset) {
      parts.back().bytes += bytes;
    } else {
      parts.push_back({.where = std::to_string(offset), .bytes = std::move(bytes)});
    }
    end = next;
  };
  auto const has = [mask](NodeField field) { return (mask & field) != 0; };
  auto const type = static_cast<std::uint32_t>(attr.type);
  add(has(kFlags), 1, be(attr.flags));
  add(has(kType) && has(kMode), 2,
      be(static_cast<std::uint16_t>((type << 12U) | (attr.mode & 0x0FFFU))));
  add(has(kOwner), 4, be(attr.uid) + be(attr.gid));
  add(has(kAtime), 12, time_bytes(attr.atime));
  add(has(kMtime), 24, time_bytes(attr.mtime));
  add(has(kCtime), 36, time_bytes(attr.ctime));
  add(has(kNlink), 48, be(attr.nlink));
  add(has(kLength), 52, be(attr.length));
  add(has(kRdev), 60, be(attr.rdev));
  add(has(kParent), 64, be(attr.parent.value));
  if (has(kType) && !has(kMode)) {
    parts.push_back({.where = "t", .bytes = decimal(type)});
  }
  if (has(kMode) && !has(kType)) {
    parts.push_back({.where = "m", .bytes = decimal(attr.mode & 0x0FFFU)});
  }
  if (has(kAccessAcl)) {
    parts.push_back({.where = "A", .bytes = be(attr.access_acl)});
  }
  if (has(kDefaultAcl)) {
    parts.push_back({.where = "D", .bytes = be(attr.default_acl)});
  }
  if (has(kTier)) {
    parts.push_back({.where = "T", .bytes = be(attr.tier)});
  }
  return parts;
}

/// The patches of an update, in the order of apply_update().
std::vector<Part> patch_fields(UpdateNode const& update) {
  auto parts = node_parts(update.values, update.set);
  if (update.add_nlink != 0) {
    parts.push_back({.where = "n", .bytes = std::to_string(update.add_nlink)});
  }
  if (update.grow_length) {
    parts.push_back({.where = "g", .bytes = be(*update.grow_length)});
  }
  if (update.raise_mtime && update.raise_ctime && *update.raise_mtime == *update.raise_ctime) {
    parts.push_back({.where = "B", .bytes = time_bytes(*update.raise_mtime)});
    return parts;
  }
  if (update.raise_mtime) {
    parts.push_back({.where = "M", .bytes = time_bytes(*update.raise_mtime)});
  }
  if (update.raise_ctime) {
    parts.push_back({.where = "C", .bytes = time_bytes(*update.raise_ctime)});
  }
  return parts;
}

class Encoder {
 public:
  explicit Encoder(RedisKeys const& keys) : keys_(keys) {}

  void fence(SessionId session) {
    auto const all = use(keys_.named(redis_name::kAllSessions));
    auto const infos = use(keys_.named(redis_name::kSessionInfos));
    append(fence_, "F", all, infos, decimal(session.value));
  }
  void expect(Condition const& condition);
  void usage(Usage const& usage);
  Result<void> change(Change const& change);
  EncodedCommit finish() &&;

 private:
  /// A node that this commit has put (and where its bytes are among the changes) or erased.
  struct KnownNode {
    std::optional<Attr> attr;
    std::size_t at = 0;
  };

  std::string use(std::string key) {
    names_.insert(key);
    return key;
  }
  template <class... Text>
  static void append(std::vector<std::string>& out, Text&&... texts) {
    (out.emplace_back(std::forward<Text>(texts)), ...);
  }
  void begin_condition(Key key) { conditions_of_.push_back(std::move(key)); }
  void append_command_of(std::vector<std::string>& out, Command const& command) {
    use(command[1]);
    out.push_back(std::to_string(command.size()));
    out.insert(out.end(), command.begin(), command.end());
  }
  void run(Command const& command) {
    changes_.emplace_back("C");
    append_command_of(changes_, command);
  }
  /// `command key item…` in portions.
  void run_many(std::string_view command, std::string const& key,
                std::vector<std::string> const& items);

  void expect_null(Key const& key, Command const& command) {
    begin_condition(key);
    conditions_.emplace_back("?");
    append_command_of(conditions_, command);
  }
  void expect_text(Key const& key, std::string text, Command const& command) {
    begin_condition(key);
    append(conditions_, "=", std::move(text));
    append_command_of(conditions_, command);
  }
  void expect_number(Key const& key, std::string number, Command const& command) {
    begin_condition(key);
    append(conditions_, "#", std::move(number));
    append_command_of(conditions_, command);
  }
  void expect_absent(Key const& key);
  void expect_equal(Key const& key, Value const& value);
  void expect_record(Key const& key, Value const& value);
  void expect_node(Ino ino, std::uint32_t fields, Attr const& seen);
  void expect_list(ChunkKey const& key, Slices const& prefix, bool whole);
  void expect_hash(Key const& key, std::string_view step,
                   std::vector<std::pair<std::string, std::string>> const& fields);

  Result<void> put(Put const& change);
  void put_node(Ino ino, Attr const& attr);
  void put_numbers(std::vector<Command> const& reads, std::vector<std::string> const& values);
  void put_flock(FlockKey const& key, FlockType type);
  void put_plock(PlockKey const& key, std::vector<LockRange> const& ranges);
  void unlock(std::string key, SessionId session, std::uint64_t owner);
  Result<void> erase(Key const& key);
  void erase_quota(QuotaKey const& key);
  Result<void> update(UpdateNode const& change);
  void append_slices(AppendSlices const& change);
  void replace_prefix(ReplaceChunkPrefix const& change);

  RedisKeys const& keys_;
  std::set<std::string> names_;
  std::vector<std::string> fence_;
  std::vector<std::string> conditions_;
  std::vector<std::string> changes_;
  std::vector<Key> conditions_of_;
  std::map<Ino, KnownNode> nodes_;
  std::set<Ino> expected_nodes_;
};

// ---- conditions

void Encoder::expect_node(Ino ino, std::uint32_t fields, Attr const& seen) {
  begin_condition(NodeKey{ino});
  auto const parts = node_parts(seen, fields);
  append(conditions_, "N", use(keys_.node(ino)), std::to_string(parts.size()));
  for (auto const& part : parts) {
    append(conditions_, part.where, part.bytes);
  }
  expected_nodes_.insert(ino);
}

void Encoder::expect_list(ChunkKey const& key, Slices const& prefix, bool whole) {
  begin_condition(key);
  auto const last = whole ? std::string("-1") : std::to_string(prefix.size() - 1);
  append(conditions_, "L", use(keys_.chunk(key.ino, key.index)), last, encode_slices(prefix));
}

void Encoder::expect_hash(Key const& key, std::string_view step,
                          std::vector<std::pair<std::string, std::string>> const& fields) {
  begin_condition(key);
  append(conditions_, step, use(first_key(keys_, key)), std::to_string(fields.size()));
  for (auto const& [field, value] : fields) {
    append(conditions_, field, value);
  }
}

void Encoder::expect_absent(Key const& key) {
  auto const name = first_key(keys_, key);
  std::visit(Overloaded{
                 [&](ChildKey const& k) { expect_null(key, {"HGET", name, k.name}); },
                 [&](HasEntriesKey const&) { expect_number(key, "0", {"EXISTS", name}); },
                 [&](ChunkKey const&) { expect_number(key, "0", {"EXISTS", name}); },
                 [&](FlocksKey const&) { expect_number(key, "0", {"EXISTS", name}); },
                 [&](PlocksKey const&) { expect_number(key, "0", {"EXISTS", name}); },
                 [&](ParentsKey const&) { expect_hash(key, "Q", {}); },
                 [&](SustainedKey const& k) {
                   expect_number(key, "0", {"SISMEMBER", name, decimal(k.ino.value)});
                 },
                 // The first read decides whether there is such a record.
                 [&](auto const&) { expect_null(key, read_commands(keys_, key).front()); },
             },
             key);
}

void Encoder::expect_equal(Key const& key, Value const& expected) {
  auto const value = normalized(expected);
  if (std::holds_alternative<std::monostate>(value)) {
    expect_absent(key);
  } else if (auto const* node = std::get_if<NodeKey>(&key)) {
    expect_node(node->ino, kAllFields, std::get<Attr>(value));
  } else if (auto const* child = std::get_if<ChildKey>(&key)) {
    auto const& record = std::get<Child>(value);
    expect_equal(EdgeKey{child->parent, child->name}, record.entry);
    expect_equal(NodeKey{record.entry.ino}, record.attr ? Value(*record.attr) : Value());
  } else if (auto const* entries = std::get_if<HasEntriesKey>(&key)) {
    auto const wanted = std::get<bool>(value) ? "1" : "0";
    expect_number(key, wanted, {"EXISTS", keys_.edges(entries->ino)});
  } else if (auto const* chunk = std::get_if<ChunkKey>(&key)) {
    expect_list(*chunk, std::get<Slices>(value), /*whole=*/true);
  } else {
    expect_record(key, value);
  }
}

void Encoder::expect_record(Key const& key, Value const& value) {
  auto const reads = read_commands(keys_, key);
  auto const field = [](LockOwner const& owner) {
    return format_lock_owner(owner.session, owner.owner);
  };
  std::vector<std::pair<std::string, std::string>> fields;
  auto const texts = [&](std::vector<std::string> const& expected) {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expect_text(key, expected[i], reads[i]);
    }
  };
  std::visit(
      Overloaded{
          [&](Entry const& v) { texts({encode_entry(v)}); },
          [&](std::string const& v) { texts({v}); },
          [&](Parents const& v) {
            for (auto const& [ino, count] : v) {
              fields.emplace_back(decimal(ino.value), std::to_string(count));
            }
            expect_hash(key, "Q", fields);
          },
          [&](std::int64_t v) {
            if (std::holds_alternative<SliceRefKey>(key)) {
              texts({std::to_string(v - 1)});
            } else {
              expect_number(key, std::to_string(v), reads[0]);
            }
          },
          [&](Flocks const& v) {
            for (auto const& [owner, type] : v) {
              fields.emplace_back(field(owner), std::string(1, static_cast<char>(type)));
            }
            expect_hash(key, "S", fields);
          },
          [&](FlockType v) { texts({std::string(1, static_cast<char>(v))}); },
          [&](Plocks const& v) {
            for (auto const& [owner, ranges] : v) {
              fields.emplace_back(field(owner), encode_locks(ranges));
            }
            expect_hash(key, "S", fields);
          },
          [&](std::vector<LockRange> const& v) { texts({encode_locks(v)}); },
          [&](SessionRecord const& v) {
            expect_number(key, std::to_string(v.expire_sec), reads[0]);
            expect_text(key, v.info, reads[1]);
          },
          [&](Present) { expect_number(key, "1", reads[0]); },
          [&](DelfileRecord const& v) {
            expect_number(key, std::to_string(v.deleted_sec), reads[0]);
          },
          [&](DirStat const& v) {
            texts({std::to_string(v.space), std::to_string(v.length), std::to_string(v.inodes)});
          },
          [&](Quota const& v) {
            texts({encode_quota_limits(v), std::to_string(v.used_space),
                   std::to_string(v.used_inodes)});
          },
          [&](AclRule const& v) { texts({encode_acl(v)}); },
          [&](std::vector<DelayedSlice> const& v) { texts({encode_delayed_slices(v)}); },
          // Of other keys: expect_equal() has seen to them.
          [](std::monostate) {},
          [](Attr const&) {},
          [](Child const&) {},
          [](Slices const&) {},
          [](bool) {},
      },
      value);
}

void Encoder::expect(Condition const& condition) {
  std::visit(Overloaded{
                 [this](ExpectAbsent const& c) { expect_absent(c.key); },
                 [this](ExpectEqual const& c) { expect_equal(c.key, c.value); },
                 [this](ExpectNode const& c) { expect_node(c.ino, c.fields, c.seen); },
                 [this](ExpectEmptyDir const& c) { expect_absent(HasEntriesKey{c.ino}); },
                 [this](ExpectChunkPrefix const& c) {
                   if (!c.prefix.empty()) {
                     expect_list(c.key, c.prefix, /*whole=*/false);
                   }
                 },
             },
             condition);
}

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
          [&](NewSlice const&) { return done(); },
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

Result<void> Encoder::put(Put const& change) {
  ZEST_CHECK(check_put(change));
  auto const name = first_key(keys_, change.key);
  auto const value = [&change](auto const& k) -> auto const& {
    return *record_of(k, change.value);
  };
  auto const replace = [&](std::string_view command, std::vector<std::string> const& items) {
    run({"DEL", name});
    run_many(command, name, items);
  };
  std::visit(
      Overloaded{
          [&](NodeKey const& k) { put_node(k.ino, value(k)); },
          [&](EdgeKey const& k) { run({"HSET", name, k.name, encode_entry(value(k))}); },
          [&](SymlinkKey const& k) { run({"SET", name, value(k)}); },
          [&](XattrKey const& k) { run({"HSET", name, k.name, value(k)}); },
          [&](ChunkKey const& k) {
            std::vector<std::string> records;
            for (auto const& slice : value(k)) {
              append_slice(records.emplace_back(), slice);
            }
            replace("RPUSH", records);
          },
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
          [&](SessionKey const& k) {
            auto const& record = value(k);
            auto const id = decimal(k.session.value);
            run({"ZADD", name, std::to_string(record.expire_sec), id});
            run({"HSET", keys_.named(redis_name::kSessionInfos), id, record.info});
          },
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
  auto const parts = patch_fields(change);
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

}  // namespace

Result<EncodedCommit> encode_commit(RedisKeys const& keys, Commit const& commit) {
  Encoder encoder(keys);
  if (commit.fence.value != 0) {
    encoder.fence(commit.fence);
  }
  for (auto const& condition : commit.conditions) {
    encoder.expect(condition);
  }
  encoder.usage(commit.usage);
  for (auto const& change : commit.changes) {
    ZEST_CHECK(encoder.change(change));
  }
  return std::move(encoder).finish();
}

}  // namespace zest::meta::redis
