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
//   U key n (field operand)…           patches a node: see node_patches()
//   p, r key field delta               adds to a field; erases it at ≤ 0 (p), at 0 (r)
//   e key field value                  replaces a field that exists
//   l key field prefix locked          erases a lock; when no field with the prefix is left, also
//   the
//                                      key from the session's set of locks
// A part of a node is a byte offset (from 1), or m (mode), t (type), A, D (ACL ids), T (tier); a
// patch may also be n (add to nlink), g (grow length), M, C, B (raise mtime, ctime, both).
#include "zest/meta/engine/redis/commit.h"

#include <utility>

#include "zest/format/acl.h"
#include "zest/format/endian.h"
#include "zest/format/entry.h"
#include "zest/format/locks.h"
#include "zest/format/slice.h"
#include "zest/format/usage.h"
#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/redis/commit_encoder.h"

namespace zest::meta::redis {

namespace {

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

}  // namespace

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

std::vector<Part> node_patches(UpdateNode const& update) {
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
