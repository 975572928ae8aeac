#include "zest/meta/engine/sql/sqlite_read.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "zest/format/locks.h"
#include "zest/format/slice.h"
#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/sql/sqlite_query.h"
#include "zest/meta/engine/sql/sqlite_rows.h"

namespace zest::meta::sqlite {

namespace {

Entry read_entry(RowReader& row) {
  Entry entry;
  entry.ino = row.ino();
  entry.type = row.file_type();
  return entry;
}

Result<Value> read_child(Connection& connection, ChildKey const& key) {
  ZEST_TRY(auto statement,
           connection.prepare("SELECT e.inode,e.type,n.inode IS NULL," ZEST_SQL_ATTR_COLUMNS
                              " FROM jfs_edge e LEFT JOIN jfs_node n ON n.inode=e.inode"
                              " WHERE e.parent=? AND e.name=?"));
  ZEST_TRY(bool const found, statement.bind(key.parent, Blob{key.name}).step());
  if (!found) {
    return Value();
  }
  RowReader row(statement);
  Child child{.entry = read_entry(row), .attr = {}};
  if (row.integer(0, 1) == 0) {
    child.attr = read_attr(row);
  }
  if (row.failed()) {
    return row.error(key);
  }
  return Value(child);
}

Result<Value> read_parents(Connection& connection, ParentsKey const& key) {
  ZEST_TRY(
      auto statement,
      connection.prepare("SELECT parent,count(*) FROM jfs_edge WHERE inode=? GROUP BY parent"));
  statement.bind(key.ino);
  Parents parents;
  ZEST_CHECK(each_row(statement, key, [&](RowReader& row) -> Result<void> {
    auto const parent = row.ino();
    parents[parent] = row.in_range_of<std::int64_t>();
    return {};
  }));
  return Value(std::move(parents));
}

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

Result<Value> read_flocks(Connection& connection, FlocksKey const& key) {
  ZEST_TRY(auto statement,
           connection.prepare("SELECT sid,owner,ltype FROM jfs_flock WHERE inode=?"));
  statement.bind(key.ino);
  Flocks locks;
  ZEST_CHECK(each_row(statement, key, [&](RowReader& row) -> Result<void> {
    auto const owner = read_owner(row);
    locks[owner] = read_flock_type(row);
    return {};
  }));
  return Value(std::move(locks));
}

Result<std::vector<LockRange>> ranges_of(std::string_view bytes, Key const& key) {
  auto ranges = decode_locks(bytes);
  if (!ranges.ok()) {
    return std::move(ranges).error().with(describe(key));
  }
  return ranges;
}

Result<Value> read_plocks(Connection& connection, PlocksKey const& key) {
  ZEST_TRY(auto statement,
           connection.prepare("SELECT sid,owner,records FROM jfs_plock WHERE inode=?"));
  statement.bind(key.ino);
  Plocks locks;
  ZEST_CHECK(each_row(statement, key, [&](RowReader& row) -> Result<void> {
    auto const owner = read_owner(row);
    ZEST_TRY(auto ranges, ranges_of(row.bytes(), key));
    if (!ranges.empty()) {
      locks[owner] = std::move(ranges);
    }
    return {};
  }));
  return Value(std::move(locks));
}

Result<Value> read_plock(Connection& connection, PlockKey const& key) {
  ZEST_TRY(auto statement,
           connection.prepare("SELECT records FROM jfs_plock WHERE inode=? AND sid=? AND owner=?"));
  ZEST_TRY(bool const found, statement.bind(key.ino, key.session, key.owner).step());
  if (!found) {
    return Value();
  }
  ZEST_TRY(auto ranges, ranges_of(statement.bytes(0), key));
  return Value(std::move(ranges));
}

Result<Slices> slices_of(std::string_view bytes, ChunkKey const& key) {
  auto slices = decode_slices(bytes);
  if (!slices.ok()) {
    return std::move(slices).error().with(describe(key));
  }
  return slices;
}

/// The kinds of records that one row with a fixed number of columns holds.
Result<Value> read_text(Connection& connection, Key const& key) {
  auto const text = [](RowReader& row) { return Value(std::string(row.bytes())); };
  if (auto const* link = std::get_if<SymlinkKey>(&key)) {
    return one_row(connection, key, "SELECT target FROM jfs_symlink WHERE inode=?", text,
                   link->ino);
  }
  auto const& xattr = std::get<XattrKey>(key);
  return one_row(connection, key, "SELECT value FROM jfs_xattr WHERE inode=? AND name=?", text,
                 xattr.ino, Text{xattr.name});
}

Result<Value> read_session(Connection& connection, SessionKey const& key) {
  return one_row(
      connection, key, "SELECT expire,info FROM jfs_session2 WHERE sid=?",
      [](RowReader& row) {
        SessionRecord record;
        record.expire_sec = row.in_range_of<std::int64_t>();
        record.info = row.bytes();
        return Value(std::move(record));
      },
      key.session);
}

Result<Value> read_dir_stat(Connection& connection, DirStatKey const& key) {
  return one_row(
      connection, key, "SELECT data_length,used_space,used_inodes FROM jfs_dir_stats WHERE inode=?",
      [](RowReader& row) {
        DirStat stat;
        stat.length = row.in_range_of<std::int64_t>();
        stat.space = row.in_range_of<std::int64_t>();
        stat.inodes = row.in_range_of<std::int64_t>();
        return Value(stat);
      },
      key.ino);
}

}  // namespace

Result<std::optional<Attr>> read_node(Connection& connection, Ino ino) {
  ZEST_TRY(auto value, one_row(
                           connection, NodeKey{ino},
                           "SELECT " ZEST_SQL_ATTR_COLUMNS " FROM jfs_node n WHERE n.inode=?",
                           [](RowReader& row) { return Value(read_attr(row)); }, ino));
  auto const* attr = std::get_if<Attr>(&value);
  return attr == nullptr ? std::optional<Attr>() : std::optional<Attr>(*attr);
}

Result<Slices> read_chunk(Connection& connection, ChunkKey const& key) {
  ZEST_TRY(auto statement,
           connection.prepare("SELECT slices FROM jfs_chunk WHERE inode=? AND indx=?"));
  ZEST_TRY(bool const found, statement.bind(key.ino, key.index).step());
  if (!found) {
    return Slices();
  }
  return slices_of(statement.bytes(0), key);
}

Result<Value> read_record(Connection& connection, Key const& key) {
  auto& c = connection;
  auto const present = [](RowReader&) { return Value(Present()); };
  auto result = std::visit(
      Overloaded{
          [&](NodeKey const& k) -> Result<Value> {
            ZEST_TRY(auto attr, read_node(c, k.ino));
            return attr ? Value(*attr) : Value();
          },
          [&](EdgeKey const& k) {
            return one_row(
                c, key, "SELECT inode,type FROM jfs_edge WHERE parent=? AND name=?",
                [](RowReader& row) { return Value(read_entry(row)); }, k.parent, Blob{k.name});
          },
          [&](ChildKey const& k) { return read_child(c, k); },
          [&](SymlinkKey const& /*k*/) { return read_text(c, key); },
          [&](XattrKey const& /*k*/) { return read_text(c, key); },
          [&](ChunkKey const& k) -> Result<Value> {
            ZEST_TRY(auto slices, read_chunk(c, k));
            return Value(std::move(slices));
          },
          [&](ParentsKey const& k) { return read_parents(c, k); },
          [&](HasEntriesKey const& k) {
            return one_row(
                c, key, "SELECT EXISTS(SELECT 1 FROM jfs_edge WHERE parent=?)",
                [](RowReader& row) { return Value(row.integer(0, 1) == 1); }, k.ino);
          },
          [&](SliceRefKey const& k) {
            return one_row(
                c, key, "SELECT refs FROM jfs_chunk_ref WHERE chunkid=?",
                [](RowReader& row) { return Value(row.in_range_of<std::int64_t>()); }, k.id);
          },
          [&](FlocksKey const& k) { return read_flocks(c, k); },
          [&](FlockKey const& k) {
            return one_row(
                c, key, "SELECT ltype FROM jfs_flock WHERE inode=? AND sid=? AND owner=?",
                [](RowReader& row) { return Value(read_flock_type(row)); }, k.ino, k.session,
                k.owner);
          },
          [&](PlocksKey const& k) { return read_plocks(c, k); },
          [&](PlockKey const& k) { return read_plock(c, k); },
          [&](SessionKey const& k) { return read_session(c, k); },
          [&](SustainedKey const& k) {
            return one_row(c, key, "SELECT 1 FROM jfs_sustained WHERE sid=? AND inode=?", present,
                           k.session, k.ino);
          },
          [&](DelfileKey const& k) {
            return one_row(
                c, key, "SELECT expire FROM jfs_delfile WHERE inode=? AND length=?",
                [](RowReader& row) {
                  return Value(DelfileRecord{.deleted_sec = row.in_range_of<std::int64_t>()});
                },
                k.ino, k.length);
          },
          [&](DirStatKey const& k) { return read_dir_stat(c, k); },
          [&](QuotaKey const& k) { return read_quota(c, k); },
          [&](AclKey const& k) { return read_acl(c, k); },
          [&](DetachedKey const& k) {
            return one_row(
                c, key, "SELECT added FROM jfs_detached_node WHERE inode=?",
                [](RowReader& row) { return Value(row.in_range_of<std::int64_t>()); }, k.ino);
          },
          [&](DelayedSlicesKey const& k) { return read_delayed(c, k); },
      },
      key);
  if (!result.ok()) {
    return result;
  }
  return normalized(*std::move(result));
}

// ---- listings

namespace {

Result<DirPage> list_names(Connection& connection, ListDir const& request) {
  DirPage page;
  ZEST_TRY(auto statement, connection.prepare("SELECT inode,type,name FROM jfs_edge"
                                              " WHERE parent=? AND name>? ORDER BY name LIMIT ?"));
  statement.bind(request.dir, Blob{request.from}, sql_limit(request.limit) + 1);
  ZEST_CHECK(each_row(statement, HasEntriesKey{request.dir}, [&](RowReader& row) -> Result<void> {
    auto const entry = read_entry(row);
    page.entries.push_back({.name = std::string(row.bytes()), .entry = entry, .attr = {}});
    return {};
  }));
  return page;
}

Result<DirPage> list_children(Connection& connection, ListDir const& request) {
  DirPage page;
  ZEST_TRY(auto statement,
           connection.prepare("SELECT e.inode,e.type,e.name,n.inode IS NULL," ZEST_SQL_ATTR_COLUMNS
                              " FROM jfs_edge e LEFT JOIN jfs_node n ON n.inode=e.inode"
                              " WHERE e.parent=? AND e.name>? ORDER BY e.name LIMIT ?"));
  statement.bind(request.dir, Blob{request.from}, sql_limit(request.limit) + 1);
  ZEST_CHECK(each_row(statement, HasEntriesKey{request.dir}, [&](RowReader& row) -> Result<void> {
    auto const entry = read_entry(row);
    DirEntry added{.name = std::string(row.bytes()), .entry = entry, .attr = {}};
    if (row.integer(0, 1) == 0) {
      added.attr = read_attr(row);
    }
    if (row.failed()) {
      return row.error(EdgeKey{.parent = request.dir, .name = added.name});
    }
    page.entries.push_back(std::move(added));
    return {};
  }));
  return page;
}

}  // namespace

Result<DirPage> list_dir(Connection& connection, ListDir const& request) {
  ZEST_TRY(auto page,
           request.attrs ? list_children(connection, request) : list_names(connection, request));
  // One entry more than asked for tells that there is a next page.
  if (std::cmp_greater(page.entries.size(), sql_limit(request.limit))) {
    page.entries.pop_back();
    page.next = page.entries.back().name;
  }
  return page;
}

Result<std::vector<std::string>> list_xattrs(Connection& connection, Ino ino) {
  std::vector<std::string> names;
  ZEST_TRY(auto statement,
           connection.prepare("SELECT name FROM jfs_xattr WHERE inode=? ORDER BY name"));
  statement.bind(ino);
  ZEST_CHECK(
      each_row(statement, XattrKey{.ino = ino, .name = {}}, [&](RowReader& row) -> Result<void> {
        names.emplace_back(row.bytes());
        return {};
      }));
  return names;
}

Result<ChunkPage> list_chunks(Connection& connection, ChunkKey from, std::size_t limit,
                              bool one_inode) {
  ChunkPage page;
  ZEST_TRY(
      auto statement,
      connection.prepare(one_inode ? "SELECT inode,indx,slices FROM jfs_chunk"
                                     " WHERE inode=? AND indx>=? ORDER BY indx LIMIT ?"
                                   : "SELECT inode,indx,slices FROM jfs_chunk"
                                     " WHERE (inode,indx)>=(?,?) ORDER BY inode,indx LIMIT ?"));
  statement.bind(from.ino, from.index, sql_limit(limit) + 1);
  ZEST_CHECK(each_row(statement, from, [&](RowReader& row) -> Result<void> {
    ChunkKey key;
    key.ino = row.ino();
    key.index = ChunkIndex{row.in_range_of<std::uint32_t>()};
    if (row.failed()) {
      return {};
    }
    if (std::cmp_equal(page.chunks.size(), sql_limit(limit))) {
      page.next = key;
      return {};
    }
    ZEST_TRY(auto slices, slices_of(row.bytes(), key));
    page.chunks.emplace_back(key, std::move(slices));
    return {};
  }));
  return page;
}

Result<std::vector<SessionEntry>> list_sessions(Connection& connection) {
  std::vector<SessionEntry> sessions;
  ZEST_TRY(auto statement,
           connection.prepare("SELECT sid,expire,info FROM jfs_session2 ORDER BY sid"));
  ZEST_CHECK(each_row(statement, SessionKey{}, [&](RowReader& row) -> Result<void> {
    auto& added = sessions.emplace_back();
    added.session = SessionId{row.in_range_of<std::uint64_t>()};
    added.record.expire_sec = row.in_range_of<std::int64_t>();
    added.record.info = row.bytes();
    return {};
  }));
  return sessions;
}

Result<std::vector<Ino>> list_sustained(Connection& connection, SessionId session,
                                        std::size_t limit) {
  std::vector<Ino> inodes;
  ZEST_TRY(
      auto statement,
      connection.prepare("SELECT inode FROM jfs_sustained WHERE sid=? ORDER BY inode LIMIT ?"));
  statement.bind(session, sql_limit(limit));
  ZEST_CHECK(each_row(statement, SustainedKey{.session = session, .ino = {}},
                      [&](RowReader& row) -> Result<void> {
                        inodes.push_back(row.ino());
                        return {};
                      }));
  return inodes;
}

Result<std::vector<DelfileEntry>> list_delfiles(Connection& connection, std::int64_t before_sec,
                                                std::size_t limit) {
  std::vector<DelfileEntry> files;
  ZEST_TRY(auto statement, connection.prepare("SELECT inode,length,expire FROM jfs_delfile"
                                              " WHERE expire<=? ORDER BY inode LIMIT ?"));
  statement.bind(before_sec, sql_limit(limit));
  ZEST_CHECK(each_row(statement, DelfileKey{}, [&](RowReader& row) -> Result<void> {
    auto& added = files.emplace_back();
    added.ino = row.ino();
    added.length = row.in_range_of<std::uint64_t>();
    added.deleted_sec = row.in_range_of<std::int64_t>();
    return {};
  }));
  return files;
}

Result<std::vector<DelayedSlice>> list_garbage_slices(Connection& connection, std::size_t limit) {
  std::vector<DelayedSlice> slices;
  ZEST_TRY(auto statement,
           connection.prepare("SELECT chunkid,size FROM jfs_chunk_ref WHERE refs<=0 LIMIT ?"));
  statement.bind(sql_limit(limit));
  ZEST_CHECK(each_row(statement, SliceRefKey{}, [&](RowReader& row) -> Result<void> {
    auto& added = slices.emplace_back();
    added.id = SliceId{row.in_range_of<std::uint64_t>()};
    added.size = row.in_range_of<std::uint32_t>();
    return {};
  }));
  return slices;
}

Result<std::vector<Ino>> list_locked(Connection& connection, SessionId session) {
  std::vector<Ino> inodes;
  ZEST_TRY(auto statement, connection.prepare("SELECT inode FROM jfs_flock WHERE sid=?1 UNION"
                                              " SELECT inode FROM jfs_plock WHERE sid=?1"));
  statement.bind(session);
  ZEST_CHECK(each_row(statement, SessionKey{session}, [&](RowReader& row) -> Result<void> {
    inodes.push_back(row.ino());
    return {};
  }));
  return inodes;
}

// ---- counters and the volume

Result<std::optional<std::int64_t>> read_counter(Connection& connection, std::string_view name) {
  ZEST_TRY(auto statement, connection.prepare("SELECT value FROM jfs_counter WHERE name=?"));
  ZEST_TRY(bool const found, statement.bind(Text{name}).step());
  if (!found) {
    return std::optional<std::int64_t>();
  }
  if (!statement.is_integer(0)) {
    return Error::corrupt(fmt::format("counter {} is no number", name));
  }
  return std::optional(statement.integer(0));
}

Result<Usage> read_usage(Connection& connection) {
  ZEST_TRY(auto const space, read_counter(connection, "usedSpace"));
  ZEST_TRY(auto const inodes, read_counter(connection, "totalInodes"));
  return Usage{.space = space.value_or(0), .inodes = inodes.value_or(0)};
}

Result<std::optional<std::string>> load_setting(Connection& connection) {
  ZEST_TRY(bool const exists, connection.has_table("jfs_setting"));
  if (!exists) {
    return std::optional<std::string>();
  }
  ZEST_TRY(auto statement, connection.prepare("SELECT value FROM jfs_setting WHERE name='format'"));
  ZEST_TRY(bool const found, statement.step());
  if (!found) {
    return std::optional<std::string>();
  }
  return std::optional(std::string(statement.bytes(0)));
}

}  // namespace zest::meta::sqlite
