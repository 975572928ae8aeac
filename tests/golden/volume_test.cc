// Goal: every record of volumes that the peer wrote decodes, encodes to the same bytes, and means
// what the peer's mount shows (attributes) and what its `info` shows (overlay of slices, names of
// objects). A key of an unknown kind fails.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <map>

#include "tests/golden/golden_data.h"
#include "zest/format/acl.h"
#include "zest/format/attr.h"
#include "zest/format/changelog.h"
#include "zest/format/counter_name.h"
#include "zest/format/endian.h"
#include "zest/format/entry.h"
#include "zest/format/kv_key.h"
#include "zest/format/locks.h"
#include "zest/format/object_name.h"
#include "zest/format/redis_key.h"
#include "zest/format/session.h"
#include "zest/format/setting.h"
#include "zest/format/slice.h"
#include "zest/format/test_bytes.h"
#include "zest/format/trash.h"
#include "zest/format/usage.h"

namespace zest {
namespace {

std::int64_t number(std::string_view text) {
  std::int64_t value = 0;
  auto const* const end = text.data() + text.size();
  EXPECT_EQ(std::from_chars(text.data(), end, value).ptr, end) << text;
  return value;
}

/// Decodes and encodes `bytes`; expects the same bytes and returns the value.
template <auto decode, auto encode>
auto same(std::string_view bytes) {
  auto value = decode(bytes);
  EXPECT_TRUE(value.ok()) << to_hex(bytes);
  using Value = typename decltype(value)::value_type;
  if (!value.ok()) {
    return Value{};
  }
  EXPECT_EQ(to_hex(encode(*value)), to_hex(bytes));
  return *std::move(value);
}

/// What the records of a volume say, whatever the engine.
struct Volume {
  std::map<std::uint64_t, Attr> nodes;
  std::map<std::pair<std::uint64_t, std::string>, Entry> edges;
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::vector<SliceRecord>> chunks;
  Setting setting;
  std::vector<std::vector<LockRange>> plocks;
  std::size_t flocks = 0;
  std::size_t acls = 0;
  std::size_t sessions = 0;
  std::size_t delayed = 0;
  std::size_t changes = 0;
};

void read_session(Volume& volume, std::string const& json) {
  auto const session = decode_session(json);
  ASSERT_TRUE(session.ok());
  EXPECT_EQ(encode_session(*session), json);
  EXPECT_EQ(session->host_name, "golden");
  EXPECT_EQ(session->ip_addrs, std::vector<std::string>{"192.0.2.1"});
  EXPECT_GT(session->process_id, 0);
  ++volume.sessions;
}

/// Splits a line of the change log, and builds it again from the parts.
void read_change(Volume& volume, std::string const& line) {
  SCOPED_TRACE(line);
  ++volume.changes;
  auto const open = line.find('(');
  auto const close = line.find(')');
  auto const bar = line.find('|');
  auto const tail = line.rfind("|(");
  ASSERT_TRUE(bar < open && open < close && close < tail && line.back() == ')');
  auto const split = [](std::string_view text) {
    std::vector<std::string_view> parts;
    while (!text.empty()) {
      auto const comma = text.find(',');
      parts.push_back(text.substr(0, comma));
      text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
      if (comma != std::string_view::npos && text.empty()) {
        parts.emplace_back();
      }
    }
    return parts;
  };
  std::string_view const view = line;
  Change change(view.substr(bar + 1, open - bar - 1));
  // The session in NEWSESSION and names are escaped like all texts; numbers are left alone by the
  // escaping.
  for (auto const argument : split(view.substr(open + 1, close - open - 1))) {
    auto const text = unescape_change(argument);
    ASSERT_TRUE(text.ok());
    change.text(*text);
  }
  for (auto const result : split(view.substr(close + 1, tail - close - 1))) {
    change.result(
        static_cast<std::uint64_t>(number(result.substr(result.starts_with(':') ? 1 : 0))));
  }
  auto const ids = split(view.substr(tail + 2, line.size() - tail - 3));
  ASSERT_EQ(ids.size(), 2U);
  auto const dot = line.find('.');
  WallTime const time{number(view.substr(0, dot)),
                      static_cast<std::uint32_t>(number(view.substr(dot + 1, 9)))};
  EXPECT_EQ(change.line(time, SessionId{static_cast<std::uint64_t>(number(ids[0]))},
                        static_cast<std::uint64_t>(number(ids[1]))),
            line);
}

void read_setting(Volume& volume, std::string const& json) {
  auto setting = decode_setting(json);
  ASSERT_TRUE(setting.ok());
  EXPECT_EQ(encode_setting(*setting), json);
  volume.setting = *std::move(setting);
}

// -------------------------------------------------------------------------------------------------------------
// Redis

void read_redis_string(Volume& volume, std::string const& key, std::string const& value) {
  RedisKeys const keys;
  if (key == redis_name::kSetting) {
    read_setting(volume, value);
  } else if (key.starts_with('i')) {
    auto const ino = static_cast<std::uint64_t>(number(key.substr(1)));
    EXPECT_EQ(keys.node(Ino{ino}), key);
    volume.nodes[ino] = same<decode_attr, encode_attr>(value);
  } else if (key.starts_with('s')) {
    EXPECT_EQ(keys.symlink(Ino{static_cast<std::uint64_t>(number(key.substr(1)))}), key);
    EXPECT_FALSE(value.empty());
  } else {
    bool known = key == redis_name::kChangeLogLast;
    for (auto const name :
         {kNextInode, kNextChunk, kNextSession, kNextTrash, kUsedSpace, kTotalInodes, kAclMaxId,
          kLastCleanupSessions, kLastCleanupFiles, kLastCleanupTrash, kNextCleanupSlices}) {
      known = known || keys.counter(name) == key;
    }
    EXPECT_TRUE(known) << key;
    EXPECT_TRUE(decode_decimal(value).ok()) << key;
  }
}

void read_redis_hash(Volume& volume, std::string const& key, std::string const& field,
                     std::string const& value) {
  if (key.starts_with("lockf") || key.starts_with("lockp")) {
    auto const owner = parse_lock_owner(field);
    ASSERT_TRUE(owner.ok());
    EXPECT_EQ(format_lock_owner(owner->session, owner->owner), field);
    if (key[4] == 'p') {
      volume.plocks.push_back(same<decode_locks, encode_locks>(value));
    } else {
      ASSERT_EQ(value.size(), 1U);
      EXPECT_TRUE(flock_type_from_code(static_cast<std::uint8_t>(value[0])).ok());
      ++volume.flocks;
    }
  } else if (key == redis_name::kAcl) {
    same<decode_acl, encode_acl>(value);
    ++volume.acls;
  } else if (key == redis_name::kDelayedSlices) {
    auto const name = parse_redis_delayed_key(field);
    ASSERT_TRUE(name.ok());
    EXPECT_EQ(redis_delayed_key(*name), field);
    volume.delayed += same<decode_delayed_slices, encode_delayed_slices>(value).size();
  } else if (key == redis_name::kSliceRefs) {
    auto const name = parse_redis_slice_key(field);
    ASSERT_TRUE(name.ok());
    EXPECT_EQ(redis_slice_key(*name), field);
    EXPECT_TRUE(decode_decimal(value).ok());
  } else if (key == redis_name::kSessionInfos) {
    read_session(volume, value);
  } else if (key == redis_name::kDirQuota || key == redis_name::kUserQuota ||
             key == redis_name::kGroupQuota) {
    same<decode_quota_limits, encode_quota_limits>(value);
  } else if (key.find("Used") != std::string::npos || key == redis_name::kDirDataLength) {
    EXPECT_TRUE(decode_decimal(field).ok() && decode_decimal(value).ok()) << key;
  } else if (key[0] == 'd') {
    volume.edges[{number(key.substr(1)), field}] = same<decode_entry, encode_entry>(value);
  } else if (key[0] == 'p') {
    EXPECT_TRUE(decode_decimal(value).ok());
  } else {
    EXPECT_EQ(key[0], 'x') << key;
  }
}

Volume read_redis(std::string_view file) {
  Volume volume;
  for (auto const& line : golden_lines(file)) {
    SCOPED_TRACE(line[0] + " " + line[1]);
    if (line[0] == "string") {
      read_redis_string(volume, line[1], line[2]);
    } else if (line[0] == "hash") {
      read_redis_hash(volume, line[1], line[2], line.size() > 3 ? line[3] : "");
    } else if (line[0] == "list" && line[1] == redis_name::kChangeLog) {
      read_change(volume, line[2]);
    } else if (line[0] == "list") {
      auto const key = parse_redis_chunk_key(line[1]);
      EXPECT_TRUE(key.ok());
      EXPECT_EQ(RedisKeys().chunk(key->ino, key->index), line[1]);
      auto const records = same<decode_slices, encode_slices>(line[2]);
      EXPECT_EQ(records.size(), 1U);
      auto& chunk = volume.chunks[{key->ino.value, key->index.value}];
      chunk.insert(chunk.end(), records.begin(), records.end());
    } else if (line[0] == "set") {
      EXPECT_TRUE(line[1] == RedisKeys().locked(SessionId{1}) ||
                  line[1] == RedisKeys().sustained(SessionId{1}));
    } else if (line[0] == "zset") {
      EXPECT_TRUE(line[1] == redis_name::kAllSessions || line[1] == redis_name::kDeletedFiles);
    }
  }
  return volume;
}

// ----------------------------------------------------------------------------------------------------------------
// KV

void read_kv(Volume& volume, KvKey const& key, std::string const& value) {
  switch (key.kind) {
    case KvKind::setting: read_setting(volume, value); break;
    case KvKind::counter:
    case KvKind::parent:
    case KvKind::slice_ref:
      EXPECT_GE((same<decode_counter_le, encode_counter_le>(value)), 0);
      break;
    case KvKind::node: volume.nodes[key.id] = same<decode_attr, encode_attr>(value); break;
    case KvKind::edge:
      volume.edges[{key.id, key.name}] = same<decode_entry, encode_entry>(value);
      break;
    case KvKind::chunk:
      volume.chunks[{key.id, static_cast<std::uint32_t>(key.second)}] =
          same<decode_slices, encode_slices>(value);
      break;
    case KvKind::flock: volume.flocks += same<decode_flocks, encode_flocks>(value).size(); break;
    case KvKind::plock:
      for (auto const& holder : same<decode_plocks, encode_plocks>(value)) {
        volume.plocks.push_back(holder.ranges);
      }
      break;
    case KvKind::delayed_slices:
      volume.delayed += same<decode_delayed_slices, encode_delayed_slices>(value).size();
      break;
    case KvKind::session_expire:
    case KvKind::session_heartbeat:
    case KvKind::detached:
    case KvKind::deleted_file:
      EXPECT_GT((same<decode_time_be, encode_time_be>(value)), 1700000000);
      break;
    case KvKind::session_info: read_session(volume, value); break;
    case KvKind::sustained: EXPECT_EQ(value, "\x01"); break;
    case KvKind::dir_stat:
      EXPECT_GE((same<decode_dir_stat, encode_dir_stat>(value).inodes), 0);
      break;
    case KvKind::dir_quota:
    case KvKind::user_quota:
    case KvKind::group_quota: same<decode_quota, encode_quota>(value); break;
    case KvKind::acl:
      same<decode_acl, encode_acl>(value);
      ++volume.acls;
      break;
    case KvKind::symlink:
    case KvKind::xattr:
    case KvKind::token:
    case KvKind::change_log: break;
  }
}

Volume read_etcd(std::string_view file) {
  Volume volume;
  auto const prefix = kv_prefix("/vole");
  for (auto const& line : golden_lines(file)) {
    if (line[0] == "kv") {
      SCOPED_TRACE(to_hex(line[1]));
      EXPECT_TRUE(line[1].starts_with(prefix));
      read_kv(volume, same<decode_kv_key, encode_kv_key>(line[1].substr(prefix.size())), line[2]);
    }
  }
  return volume;
}

// ---------------------------------------------------------------------------------------------------------------
// SQL

using Row = std::map<std::string, std::string, std::less<>>;

WallTime sql_time(Row const& row, std::string const& name) {
  auto const micros = number(row.at(name));
  auto const nanos = number(row.at(name + "nsec"));
  return {micros / 1000000, static_cast<std::uint32_t>(micros % 1000000 * 1000 + nanos)};
}

Attr sql_attr(Row const& row) {
  auto const value = [&](char const* name) {
    return static_cast<std::uint64_t>(number(row.at(name)));
  };
  return {.flags = static_cast<std::uint8_t>(value("flags")),
          .type = *file_type_from_code(static_cast<std::uint8_t>(value("type"))),
          .mode = static_cast<std::uint16_t>(value("mode")),
          .uid = static_cast<std::uint32_t>(value("uid")),
          .gid = static_cast<std::uint32_t>(value("gid")),
          .atime = sql_time(row, "atime"),
          .mtime = sql_time(row, "mtime"),
          .ctime = sql_time(row, "ctime"),
          .nlink = static_cast<std::uint32_t>(value("nlink")),
          .length = value("length"),
          .rdev = static_cast<std::uint32_t>(value("rdev")),
          .parent = Ino{value("parent")}};
}

void read_row(Volume& volume, std::string_view table, Row const& row) {
  auto const id = [&](char const* name) {
    return static_cast<std::uint64_t>(number(row.at(name)));
  };
  if (table == "jfs_node") {
    volume.nodes[id("inode")] = sql_attr(row);
  } else if (table == "jfs_edge") {
    auto const type = file_type_from_code(static_cast<std::uint8_t>(id("type")));
    ASSERT_TRUE(type);
    volume.edges[{id("parent"), row.at("name")}] = {*type, Ino{id("inode")}};
  } else if (table == "jfs_chunk") {
    auto const records = same<decode_slices, encode_slices>(row.at("slices"));
    volume.chunks[{id("inode"), static_cast<std::uint32_t>(id("indx"))}] = records;
  } else if (table == "jfs_acl") {
    same<decode_acl_entries, encode_acl_entries>(row.at("named_users"));
    same<decode_acl_entries, encode_acl_entries>(row.at("named_groups"));
    ++volume.acls;
  } else if (table == "jfs_flock") {
    EXPECT_TRUE(flock_type_from_code(id("ltype")).ok());
    ++volume.flocks;
  } else if (table == "jfs_plock") {
    volume.plocks.push_back(same<decode_locks, encode_locks>(row.at("records")));
  } else if (table == "jfs_delslices") {
    volume.delayed += same<decode_delayed_slices, encode_delayed_slices>(row.at("slices")).size();
  } else if (table == "jfs_session2") {
    read_session(volume, row.at("info"));
  } else if (table == "jfs_setting") {
    read_setting(volume, row.at("value"));
  } else if (table == "jfs_change_log") {
    read_change(volume, row.at("entry"));
  }
}

Volume read_sqlite(std::string_view file) {
  Volume volume;
  for (auto const& line : golden_lines(file)) {
    if (line[0] == "row") {
      SCOPED_TRACE(line[1]);
      Row row;
      for (std::size_t i = 2; i < line.size(); ++i) {
        auto const equals = line[i].find('=');
        row[line[i].substr(0, equals)] = line[i].substr(equals + 1);
      }
      read_row(volume, line[1], row);
    }
  }
  return volume;
}

// ------------------------------------------------------------------------------------------------------------
// checks

std::uint64_t device_of(std::uint32_t rdev) {
  auto const low = (rdev & 0xFF) | ((rdev >> 12) & 0xFFF00);
  return makedev((rdev >> 8) & 0xFFF, low);
}

std::int64_t nanoseconds(WallTime time) {
  return time.sec * 1000000000 + time.nsec;
}

/// Compares the attributes with what lstat(2) showed through the peer's mount.
void check_stats(Volume const& volume, std::string_view file) {
  std::size_t checked = 0;
  for (auto const& line : golden_lines(file)) {
    auto const ino = line[0] == "stat" ? static_cast<std::uint64_t>(number(line[1])) : 0;
    // Virtual files have no record, and the peer shows the trash's root with other numbers than it
    // stores.
    if (ino == 0 || (ino >= 0x7FFFFFFF00000000 && ino <= kTrashIno.value)) {
      continue;
    }
    SCOPED_TRACE(line[11]);
    ASSERT_TRUE(volume.nodes.contains(ino));
    auto const& attr = volume.nodes.at(ino);
    EXPECT_EQ(to_mode_bits(attr.type) | attr.mode, number(line[2]));
    EXPECT_EQ(attr.uid, number(line[3]));
    EXPECT_EQ(attr.gid, number(line[4]));
    EXPECT_EQ(attr.nlink, number(line[5]));
    EXPECT_EQ(attr.length, static_cast<std::uint64_t>(number(line[6])));
    EXPECT_EQ(device_of(attr.rdev), static_cast<std::uint64_t>(number(line[7])));
    EXPECT_EQ(nanoseconds(attr.atime), number(line[8]));
    EXPECT_EQ(nanoseconds(attr.mtime), number(line[9]));
    EXPECT_EQ(nanoseconds(attr.ctime), number(line[10]));
    ++checked;
  }
  EXPECT_GT(checked, 30U);
}

struct ObjectPart {
  std::string key;  ///< empty: zeros
  std::uint64_t size = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  friend bool operator==(ObjectPart const&, ObjectPart const&) = default;
};

void append_part(std::vector<ObjectPart>& parts, ObjectPart part) {
  if (part.key.empty()) {
    part.size = part.offset = 0;
    if (!parts.empty() && parts.back().key.empty()) {
      parts.back().length += part.length;
      return;
    }
  }
  if (part.length > 0) {
    parts.push_back(std::move(part));
  }
}

/// The overlay of a chunk, cut at blocks.
std::vector<ObjectPart> parts_of(Volume const& volume, std::vector<SliceRecord> const& records) {
  auto const block_size = volume.setting.block_size_bytes();
  std::vector<ObjectPart> parts;
  for (auto const& piece : overlay(records)) {
    if (piece.id.value == 0) {
      append_part(parts, {.length = piece.len});
      continue;
    }
    for (auto at = piece.off; at < piece.off + piece.len;) {
      auto const index = at / block_size;
      auto const size = block_length(piece.size, block_size, index);
      auto const offset = at % block_size;
      auto const length = std::min(size - offset, piece.off + piece.len - at);
      auto const key = block_key(piece.id, index, size, volume.setting.hash_prefix);
      append_part(parts, {volume.setting.name + "/" + key, size, offset, length});
      at += length;
    }
  }
  return parts;
}

/// Compares overlay, block cutting and object names with what the peer's `info` showed.
void check_objects(Volume const& volume, std::string_view file) {
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::vector<ObjectPart>> shown;
  for (auto const& line : golden_lines(file)) {
    if (line[0] == "object") {
      auto const value = [&](std::size_t i) { return static_cast<std::uint64_t>(number(line[i])); };
      append_part(shown[{value(1), static_cast<std::uint32_t>(value(2))}],
                  {line[3], value(4), value(5), value(6)});
    }
  }
  EXPECT_GE(shown.size(), 6U);
  for (auto const& [chunk, parts] : shown) {
    ASSERT_TRUE(volume.chunks.contains(chunk)) << chunk.first;
    EXPECT_EQ(parts_of(volume, volume.chunks.at(chunk)), parts)
        << "inode " << chunk.first << " chunk " << chunk.second;
  }
}

/// Names in the trash, and entries against the nodes that they name.
void check_edges(Volume const& volume) {
  std::size_t trashed = 0;
  for (auto const& [place, entry] : volume.edges) {
    auto const& [parent, name] = place;
    ASSERT_TRUE(volume.nodes.contains(entry.ino.value)) << name;
    EXPECT_EQ(volume.nodes.at(entry.ino.value).type, entry.type) << name;
    if (parent == kTrashIno.value) {
      auto const hour = parse_trash_dir_name(name);
      ASSERT_TRUE(hour.ok()) << name;
      EXPECT_EQ(trash_dir_name({*hour + 3599, 0}), name);
    } else if (parent > kTrashIno.value) {
      auto const parsed = parse_trash_entry_name(name);
      ASSERT_TRUE(parsed.ok()) << name;
      EXPECT_EQ(parsed->ino, entry.ino);
      EXPECT_EQ(trash_entry_name(parsed->parent, parsed->ino, parsed->name + std::string(255, 'd'))
                    .substr(0, name.size()),
                name);
      ++trashed;
    }
  }
  EXPECT_EQ(trashed, 4U);
  EXPECT_TRUE(volume.edges.contains({1, "\xFF\xFE raw %"}));
}

void check(Volume const& volume, std::string_view file) {
  check_stats(volume, file);
  check_objects(volume, file);
  check_edges(volume);
  EXPECT_EQ(volume.setting.name, "golden");
  EXPECT_EQ(volume.flocks, 2U);
  EXPECT_EQ(volume.acls, 3U);
  EXPECT_EQ(volume.sessions, 1U);
  EXPECT_EQ(volume.delayed, 6U);
  ASSERT_EQ(volume.plocks.size(), 1U);
  auto const& ranges = volume.plocks[0];
  ASSERT_EQ(ranges.size(), 3U);
  using Type = LockRange::Type;
  auto const pid = ranges[0].pid;
  std::vector<LockRange> const taken{
      {Type::write, pid, 5, 14}, {Type::read, pid, 100, 119}, {Type::write, pid, 1000, kLockToEof}};
  EXPECT_EQ(ranges, taken);
  std::vector<LockRange> merged;
  for (auto const& range : taken) {
    merged = merge_lock(merged, range);
  }
  EXPECT_EQ(merged, ranges);
}

TEST(GoldenVolume, Redis) {
  auto const volume = read_redis("volumes/redis.txt");
  check(volume, "volumes/redis.txt");
  EXPECT_GT(volume.changes, 100U);
}

TEST(GoldenVolume, RedisWithHashPrefix) {
  auto const volume = read_redis("volumes/redis-hash-prefix.txt");
  check(volume, "volumes/redis-hash-prefix.txt");
  EXPECT_TRUE(volume.setting.hash_prefix);
  EXPECT_EQ(volume.setting.block_size_bytes(), 64U << 10);
}

TEST(GoldenVolume, Sqlite) {
  auto const volume = read_sqlite("volumes/sqlite.txt");
  check(volume, "volumes/sqlite.txt");
  EXPECT_GT(volume.changes, 100U);
}

TEST(GoldenVolume, Etcd) {
  check(read_etcd("volumes/etcd.txt"), "volumes/etcd.txt");
}

// The peer's compaction of six overlapping writes must be what compaction_view gives for them.
TEST(GoldenVolume, CompactedFileIsOneSlice) {
  auto const volume = read_etcd("volumes/etcd.txt");
  auto const ino = volume.edges.at({1, "compacted"}).ino;
  std::vector<SliceRecord> writes;
  for (std::uint32_t i = 0; i < 6; ++i) {
    writes.push_back({.pos = i * 100, .id = SliceId{i + 1}, .size = 150, .off = 0, .len = 150});
  }
  auto const view = compaction_view(writes);
  auto const& chunk = volume.chunks.at({ino.value, 0});
  ASSERT_EQ(chunk.size(), 1U);
  EXPECT_EQ(chunk[0].pos, view.pos);
  EXPECT_EQ(chunk[0].size, view.size);
  EXPECT_EQ(chunk[0].len, view.size);
  EXPECT_EQ(chunk[0].off, 0U);
}

}  // namespace
}  // namespace zest
