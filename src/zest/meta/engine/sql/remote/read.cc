// Reading records: the statement of a key, and what its result says.
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "zest/format/locks.h"
#include "zest/format/slice.h"
#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/sql/remote/records.h"
#include "zest/meta/engine/sql/remote/row_reader.h"
#include "zest/meta/engine/sql/row_fields.h"

namespace zest::meta::sql {

namespace {

Statement by_inode(std::string text, Ino ino) {
  return {.text = std::move(text), .parameters = {number(ino.value)}};
}

}  // namespace

Statement select_record(Sql const& sql, Key const& key) {
  return std::visit(
      Overloaded{
          [&](ChildKey const& k) -> Statement {
            return {
                .text = fmt::format("SELECT e.inode,e.type,n.inode,{} FROM {} e LEFT JOIN {} n"
                                    " ON n.inode=e.inode WHERE e.parent=? AND e.name=?",
                                    node_column_names("n"), sql.table("edge"), sql.table("node")),
                .parameters = {number(k.parent.value), Bytes{k.name}}};
          },
          [&](ParentsKey const& k) {
            return by_inode(
                fmt::format("SELECT parent,COUNT(*) FROM {} WHERE inode=? GROUP BY parent",
                            sql.table("edge")),
                k.ino);
          },
          [&](HasEntriesKey const& k) {
            return by_inode(
                fmt::format("SELECT 1 FROM {} WHERE parent=? LIMIT 1", sql.table("edge")), k.ino);
          },
          [&](FlocksKey const& k) {
            return by_inode(
                fmt::format("SELECT sid,owner,ltype FROM {} WHERE inode=?", sql.table("flock")),
                k.ino);
          },
          [&](PlocksKey const& k) {
            return by_inode(
                fmt::format("SELECT sid,owner,records FROM {} WHERE inode=?", sql.table("plock")),
                k.ino);
          },
          [&](auto const& /*k*/) { return sql.select(row_of(key, Value())); },
      },
      key);
}

namespace {

FlockType read_flock_type(RowReader& row) {
  auto const code = row.integer('R', 'W');
  if (code != 'R' && code != 'W') {
    row.reject_last(code);
  }
  return code == 'W' ? FlockType::write : FlockType::read;
}

LockOwner read_owner(RowReader& row) {
  LockOwner owner;
  owner.session = SessionId{row.in_range_of<std::uint64_t>()};
  owner.owner = row.pattern();
  return owner;
}

Entry read_entry(RowReader& row) {
  Entry entry;
  entry.ino = row.ino();
  entry.type = row.file_type();
  return entry;
}

/// A decoder's result with the record's name in its error.
template <class T>
Result<T> decoded(Result<T> result, Key const& key) {
  if (!result.ok()) {
    return std::move(result).error().with(describe(key));
  }
  return result;
}

// One function a kind of key: the record of the result's first row.

Result<Attr> parse(NodeKey const& /*key*/, RowReader& row) {
  return read_attr(row);
}
Result<Entry> parse(EdgeKey const& /*key*/, RowReader& row) {
  auto const ino = row.ino();
  return Entry{.type = row.file_type(), .ino = ino};
}
Result<std::string> parse(SymlinkKey const& /*key*/, RowReader& row) {
  return std::string(row.bytes());
}
Result<std::string> parse(XattrKey const& /*key*/, RowReader& row) {
  return std::string(row.bytes());
}
Result<Slices> parse(ChunkKey const& key, RowReader& row) {
  return decoded(decode_slices(row.bytes()), key);
}
Result<bool> parse(HasEntriesKey const& /*key*/, RowReader& /*row*/) {
  return true;
}
Result<Child> parse(ChildKey const& /*key*/, RowReader& row) {
  Child child{.entry = read_entry(row), .attr = {}};
  if (!row.is_null()) {
    static_cast<void>(row.ino());
    child.attr = read_attr(row);
  }
  return child;
}
Result<std::int64_t> parse(SliceRefKey const& /*key*/, RowReader& row) {
  return row.in_range_of<std::int64_t>();
}
Result<FlockType> parse(FlockKey const& /*key*/, RowReader& row) {
  return read_flock_type(row);
}
Result<std::vector<LockRange>> parse(PlockKey const& key, RowReader& row) {
  return decoded(decode_locks(row.bytes()), key);
}
Result<SessionRecord> parse(SessionKey const& /*key*/, RowReader& row) {
  SessionRecord record;
  record.expire_sec = row.in_range_of<std::int64_t>();
  record.info = row.bytes();
  return record;
}
Result<Present> parse(SustainedKey const& /*key*/, RowReader& /*row*/) {
  return Present{};
}
Result<DelfileRecord> parse(DelfileKey const& /*key*/, RowReader& row) {
  return DelfileRecord{.deleted_sec = row.in_range_of<std::int64_t>()};
}
Result<DirStat> parse(DirStatKey const& /*key*/, RowReader& row) {
  DirStat stat;
  stat.length = row.in_range_of<std::int64_t>();
  stat.space = row.in_range_of<std::int64_t>();
  stat.inodes = row.in_range_of<std::int64_t>();
  return stat;
}
Result<Quota> parse(QuotaKey const& /*key*/, RowReader& row) {
  return read_quota_fields(row);
}
Result<AclRule> parse(AclKey const& key, RowReader& row) {
  return read_acl_fields(row, key);
}
Result<std::int64_t> parse(DetachedKey const& /*key*/, RowReader& row) {
  return row.in_range_of<std::int64_t>();
}
Result<std::vector<DelayedSlice>> parse(DelayedSlicesKey const& key, RowReader& row) {
  return decoded(decode_delayed_slices(row.bytes()), key);
}

// Sets of rows add up.

Result<void> add_row(Parents& parents, ParentsKey const& /*key*/, RowReader& row) {
  auto const parent = row.ino();
  parents[parent] = row.in_range_of<std::int64_t>();
  return {};
}
Result<void> add_row(Flocks& locks, FlocksKey const& /*key*/, RowReader& row) {
  auto const owner = read_owner(row);
  locks[owner] = read_flock_type(row);
  return {};
}
Result<void> add_row(Plocks& locks, PlocksKey const& key, RowReader& row) {
  auto const owner = read_owner(row);
  ZEST_TRY(auto ranges, decoded(decode_locks(row.bytes()), key));
  if (!ranges.empty()) {
    locks[owner] = std::move(ranges);
  }
  return {};
}

template <class K>
Result<Value> set_from(K const& key, ResultSet const& result) {
  typename RecordOf<K>::type set;
  for (auto const& cells : result.rows) {
    RowReader row(cells);
    auto added = add_row(set, key, row);
    if (row.failed()) {
      return row.error(key);
    }
    if (!added.ok()) {
      return std::move(added).error();
    }
  }
  return normalized(Value(std::move(set)));
}

template <class K>
Result<Value> row_from(K const& key, ResultSet const& result) {
  if (result.rows.empty()) {
    return std::is_same_v<K, HasEntriesKey> ? Value(false) : Value();
  }
  RowReader row(result.rows.front());
  auto record = parse(key, row);
  if (row.failed()) {
    return row.error(key);
  }
  if (!record.ok()) {
    return std::move(record).error();
  }
  return normalized(Value(*std::move(record)));
}

}  // namespace

Result<Value> record_from(Key const& key, ResultSet const& result) {
  return std::visit(Overloaded{
                        [&](ParentsKey const& k) { return set_from(k, result); },
                        [&](FlocksKey const& k) { return set_from(k, result); },
                        [&](PlocksKey const& k) { return set_from(k, result); },
                        [&](auto const& k) { return row_from(k, result); },
                    },
                    key);
}

}  // namespace zest::meta::sql
