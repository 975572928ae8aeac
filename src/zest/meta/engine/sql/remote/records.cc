#include "zest/meta/engine/sql/remote/records.h"

#include <fmt/format.h>

#include <type_traits>
#include <utility>

#include "zest/base/assert.h"
#include "zest/format/acl.h"
#include "zest/format/locks.h"
#include "zest/format/slice.h"
#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/sql/remote/row_reader.h"
#include "zest/meta/engine/sql/stored_time.h"

namespace zest::meta::sql {

namespace {

Row quota_row(QuotaKey const& key, Quota const& quota) {
  Row row;
  if (key.type == QuotaType::directory) {
    row = {.table = "dir_quota", .key = {{.name = "inode", .value = number(key.id)}}};
  } else {
    row = {.table = "user_group_quota",
           .key = {{.name = "qtype", .value = number(static_cast<std::uint64_t>(key.type))},
                   {.name = "qkey", .value = number(key.id)}},
           .unique = 2};
  }
  row.values = {{.name = "max_space", .value = quota.max_space},
                {.name = "max_inodes", .value = quota.max_inodes},
                {.name = "used_space", .value = quota.used_space},
                {.name = "used_inodes", .value = quota.used_inodes}};
  return row;
}

Row acl_row(AclKey const& key, AclRule const& rule) {
  return {
      .table = "acl",
      .key = {{.name = "id", .value = number(key.id)}},
      .values = {{.name = "owner", .value = number(rule.owner)},
                 {.name = "group", .value = number(rule.group)},
                 {.name = "mask", .value = number(rule.mask)},
                 {.name = "other", .value = number(rule.other)},
                 {.name = "named_users", .value = Bytes{encode_acl_entries(rule.named_users)}},
                 {.name = "named_groups", .value = Bytes{encode_acl_entries(rule.named_groups)}}}};
}

template <class LockKey>
Row lock_row(std::string_view table, LockKey const& key, Column value) {
  return {.table = table,
          .key = {{.name = "inode", .value = number(key.ino.value)},
                  {.name = "sid", .value = number(key.session.value)},
                  {.name = "owner", .value = number(key.owner)}},
          .unique = 3,
          .values = {std::move(value)}};
}

}  // namespace

std::vector<Column> node_columns(Attr const& attr, std::uint32_t fields) {
  std::vector<Column> columns;
  auto const add = [&](NodeField field, std::string_view name, std::uint64_t value,
                       bool nullable = false) {
    if ((fields & field) != 0) {
      columns.push_back({.name = name, .value = number(value), .nullable = nullable});
    }
  };
  auto const add_time = [&](NodeField field, std::string_view micros, std::string_view nanos,
                            WallTime time) {
    if ((fields & field) != 0) {
      auto const stored = to_stored(time);
      columns.push_back({.name = micros, .value = stored.microseconds});
      columns.push_back({.name = nanos, .value = stored.nanoseconds});
    }
  };
  add(kType, "type", static_cast<std::uint64_t>(attr.type));
  add(kFlags, "flags", attr.flags);
  add(kMode, "mode", attr.mode);
  add(kOwner, "uid", attr.uid);
  add(kOwner, "gid", attr.gid);
  add_time(kAtime, "atime", "atimensec", attr.atime);
  add_time(kMtime, "mtime", "mtimensec", attr.mtime);
  add_time(kCtime, "ctime", "ctimensec", attr.ctime);
  add(kNlink, "nlink", attr.nlink);
  add(kLength, "length", attr.length);
  add(kRdev, "rdev", attr.rdev, true);
  add(kParent, "parent", attr.parent.value, true);
  add(kAccessAcl, "access_acl_id", attr.access_acl, true);
  add(kDefaultAcl, "default_acl_id", attr.default_acl, true);
  add(kTier, "tier_id", attr.tier, true);
  return columns;
}

Row node_row(Ino ino, Attr const& attr) {
  return {.table = "node",
          .key = {{.name = "inode", .value = number(ino.value)}},
          .values = node_columns(attr, kAllFields)};
}

std::string node_column_names(std::string_view alias) {
  std::string names;
  for (auto const& column : node_columns(Attr{}, kAllFields)) {
    names += fmt::format("{}{}.{}", names.empty() ? "" : ",", alias, column.name);
  }
  return names;
}

namespace {

Row by_ino(std::string_view table, Ino ino, std::vector<Column> values) {
  return {.table = table,
          .key = {{.name = "inode", .value = number(ino.value)}},
          .values = std::move(values)};
}

Row row(NodeKey const& k, Attr const& attr) {
  return node_row(k.ino, attr);
}
Row row(EdgeKey const& k, Entry const& entry) {
  return {.table = "edge",
          .key = {{.name = "parent", .value = number(k.parent.value)},
                  {.name = "name", .value = Bytes{k.name}}},
          .unique = 2,
          .values = {{.name = "inode", .value = number(entry.ino.value)},
                     {.name = "type", .value = number(static_cast<std::uint64_t>(entry.type))}}};
}
Row row(SymlinkKey const& k, std::string const& target) {
  return by_ino("symlink", k.ino, {{.name = "target", .value = Bytes{target}}});
}
Row row(XattrKey const& k, std::string const& value) {
  return {.table = "xattr",
          .key = {{.name = "inode", .value = number(k.ino.value)},
                  {.name = "name", .value = Text{k.name}, .exact = true}},
          .unique = 2,
          .values = {{.name = "value", .value = Bytes{value}}}};
}
Row row(ChunkKey const& k, Slices const& slices) {
  return {.table = "chunk",
          .key = {{.name = "inode", .value = number(k.ino.value)},
                  {.name = "indx", .value = number(k.index.value)}},
          .unique = 2,
          .values = {{.name = "slices", .value = Bytes{encode_slices(slices)}}}};
}
Row row(SliceRefKey const& k, std::int64_t refs) {
  return {.table = "chunk_ref",
          .key = {{.name = "chunkid", .value = number(k.id.value)}},
          .values = {{.name = "refs", .value = refs}},
          .further = {{.name = "size", .value = number(k.size)}}};
}
Row row(FlockKey const& k, FlockType type) {
  return lock_row("flock", k, {.name = "ltype", .value = number(static_cast<std::uint64_t>(type))});
}
Row row(PlockKey const& k, std::vector<LockRange> const& ranges) {
  return lock_row("plock", k, {.name = "records", .value = Bytes{encode_locks(ranges)}});
}
Row row(SessionKey const& k, SessionRecord const& session) {
  return {.table = "session2",
          .key = {{.name = "sid", .value = number(k.session.value)}},
          .values = {{.name = "expire", .value = session.expire_sec},
                     {.name = "info", .value = Bytes{session.info}, .nullable = true}}};
}
Row row(SustainedKey const& k, Present /*present*/) {
  return {.table = "sustained",
          .key = {{.name = "sid", .value = number(k.session.value)},
                  {.name = "inode", .value = number(k.ino.value)}},
          .unique = 2};
}
Row row(DelfileKey const& k, DelfileRecord record) {
  return {.table = "delfile",
          .key = {{.name = "inode", .value = number(k.ino.value)},
                  {.name = "length", .value = number(k.length)}},
          .values = {{.name = "expire", .value = record.deleted_sec}}};
}
Row row(DirStatKey const& k, DirStat const& stat) {
  return by_ino("dir_stats", k.ino,
                {{.name = "data_length", .value = stat.length},
                 {.name = "used_space", .value = stat.space},
                 {.name = "used_inodes", .value = stat.inodes}});
}
Row row(QuotaKey const& k, Quota const& quota) {
  return quota_row(k, quota);
}
Row row(AclKey const& k, AclRule const& rule) {
  return acl_row(k, rule);
}
Row row(DetachedKey const& k, std::int64_t added_sec) {
  return by_ino("detached_node", k.ino, {{.name = "added", .value = added_sec}});
}
Row row(DelayedSlicesKey const& k, std::vector<DelayedSlice> const& slices) {
  return {.table = "delslices",
          .key = {{.name = "chunkid", .value = number(k.compacted_into.value)},
                  {.name = "deleted", .value = k.deleted_sec}},
          .values = {{.name = "slices", .value = Bytes{encode_delayed_slices(slices)}}}};
}

template <class K>
concept OneRow = !(std::is_same_v<K, ChildKey> || std::is_same_v<K, ParentsKey> ||
                   std::is_same_v<K, HasEntriesKey> || std::is_same_v<K, FlocksKey> ||
                   std::is_same_v<K, PlocksKey>);

}  // namespace

Row row_of(Key const& key, Value const& value) {
  return std::visit(Overloaded{[&]<OneRow K>(K const& k) -> Row {
                                 auto const* record = record_of(k, value);
                                 return row(
                                     k, record == nullptr ? typename RecordOf<K>::type{} : *record);
                               },
                               [](auto const& /*k*/) -> Row {
                                 ZEST_ASSERT(false);
                                 return {};
                               }},
                    key);
}

Result<void> check_fits(Ino ino, Attr const& attr, std::uint32_t fields) {
  constexpr std::uint32_t kMax = INT32_MAX;
  auto const fits = [&](NodeField field, std::uint32_t value) {
    return (fields & field) == 0 || value <= kMax;
  };
  if (fits(kOwner, attr.uid) && fits(kOwner, attr.gid) && fits(kRdev, attr.rdev) &&
      fits(kNlink, attr.nlink)) {
    return {};
  }
  return Error(Errc::inval, Fault::semantic,
               fmt::format("node {}: uid {}, gid {} and device {} have to stay below 2^31 in this "
                           "volume's database",
                           ino.value, attr.uid, attr.gid, attr.rdev));
}

}  // namespace zest::meta::sql
