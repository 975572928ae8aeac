#include "zest/meta/engine/sql/remote/listings.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "zest/format/slice.h"
#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/sql/remote/records.h"
#include "zest/meta/engine/sql/remote/row_reader.h"
#include "zest/meta/engine/sql/row_fields.h"

namespace zest::meta::sql {

namespace {

std::size_t page_size(std::size_t limit, std::size_t max = kListPageMax) {
  return std::clamp<std::size_t>(limit, 1, max);
}

Parameter limit_of(std::size_t limit) {
  return number(page_size(limit));
}

/// Calls `read(RowReader&)` for each row; stops at the first row that is corrupt, which is reported
/// as part of the record of `key`.
template <class Read>
Result<void> each_row(ResultSet const& result, Key const& key, Read const& read) {
  for (auto const& cells : result.rows) {
    RowReader row(cells);
    Result<void> done = read(row);
    if (row.failed()) {
      return row.error(key);
    }
    if (!done.ok()) {
      return done;
    }
  }
  return {};
}

}  // namespace

// ---- directories

Statement list_dir_statement(Sql const& sql, ListDir const& request) {
  Statement statement;
  if (request.attrs) {
    statement.text = fmt::format(
        "SELECT e.name,e.inode,e.type,n.inode,{} FROM {} e LEFT JOIN {} n ON n.inode=e.inode"
        " WHERE e.parent=? AND e.name>? ORDER BY e.name LIMIT ?",
        node_column_names("n"), sql.table("edge"), sql.table("node"));
  } else {
    statement.text = fmt::format(
        "SELECT e.name,e.inode,e.type FROM {} e WHERE e.parent=? AND e.name>?"
        " ORDER BY e.name LIMIT ?",
        sql.table("edge"));
  }
  // One entry more than asked for tells that there is a next page.
  statement.parameters = {number(request.dir.value), Bytes{request.from},
                          number(page_size(request.limit) + 1)};
  return statement;
}

Result<DirPage> dir_page_from(ListDir const& request, ResultSet const& result) {
  DirPage page;
  ZEST_CHECK(each_row(result, HasEntriesKey{request.dir}, [&](RowReader& row) -> Result<void> {
    DirEntry added{.name = std::string(row.bytes()), .entry = {}, .attr = {}};
    added.entry.ino = row.ino();
    added.entry.type = row.file_type();
    if (request.attrs && !row.is_null()) {
      static_cast<void>(row.ino());
      added.attr = read_attr(row);
    }
    if (row.failed()) {
      return row.error(EdgeKey{.parent = request.dir, .name = added.name});
    }
    page.entries.push_back(std::move(added));
    return {};
  }));
  if (page.entries.size() > page_size(request.limit)) {
    page.entries.pop_back();
    page.next = page.entries.back().name;
  }
  return page;
}

// ---- chunks

Statement list_chunks_statement(Sql const& sql, ChunkKey from, std::size_t limit, bool one_inode) {
  auto const ino = number(from.ino.value);
  auto const index = number(from.index.value);
  auto const rows = number(page_size(limit, kChunkPageMax) + 1);
  if (one_inode) {
    return {.text = fmt::format("SELECT inode,indx,slices FROM {} WHERE inode=? AND indx>=?"
                                " ORDER BY indx LIMIT ?",
                                sql.table("chunk")),
            .parameters = {ino, index, rows}};
  }
  // Not (inode,indx)>=(?,?), for which MySQL reads the whole index.
  return {.text = fmt::format("SELECT inode,indx,slices FROM {} WHERE inode>=?"
                              " AND (inode>? OR indx>=?) ORDER BY inode,indx LIMIT ?",
                              sql.table("chunk")),
          .parameters = {ino, ino, index, rows}};
}

Result<ChunkPage> chunk_page_from(ChunkKey from, std::size_t limit, ResultSet const& result) {
  ChunkPage page;
  ZEST_CHECK(each_row(result, from, [&](RowReader& row) -> Result<void> {
    ChunkKey key;
    key.ino = row.ino();
    key.index = ChunkIndex{row.in_range_of<std::uint32_t>()};
    if (row.failed()) {
      return {};
    }
    if (page.chunks.size() == page_size(limit, kChunkPageMax)) {
      page.next = key;
      return {};
    }
    auto slices = decode_slices(row.bytes());
    if (!slices.ok()) {
      return std::move(slices).error().with(describe(key));
    }
    page.chunks.emplace_back(key, *std::move(slices));
    return {};
  }));
  return page;
}

// ---- the rest

Statement list_xattrs_statement(Sql const& sql, Ino ino) {
  return {
      .text = fmt::format("SELECT name FROM {} WHERE inode=? ORDER BY name", sql.table("xattr")),
      .parameters = {number(ino.value)}};
}

Result<std::vector<std::string>> xattrs_from(Ino ino, ResultSet const& result) {
  std::vector<std::string> names;
  ZEST_CHECK(
      each_row(result, XattrKey{.ino = ino, .name = {}}, [&](RowReader& row) -> Result<void> {
        names.emplace_back(row.bytes());
        return {};
      }));
  return names;
}

Statement list_sessions_statement(Sql const& sql) {
  return {.text = fmt::format("SELECT sid,expire,info FROM {} ORDER BY sid", sql.table("session2")),
          .parameters = {}};
}

Result<std::vector<SessionEntry>> sessions_from(ResultSet const& result) {
  std::vector<SessionEntry> sessions;
  ZEST_CHECK(each_row(result, SessionKey{}, [&](RowReader& row) -> Result<void> {
    auto& added = sessions.emplace_back();
    added.session = SessionId{row.in_range_of<std::uint64_t>()};
    added.record.expire_sec = row.in_range_of<std::int64_t>();
    added.record.info = row.bytes();
    return {};
  }));
  return sessions;
}

Statement list_sustained_statement(Sql const& sql, SessionId session, std::size_t limit) {
  return {.text = fmt::format("SELECT inode FROM {} WHERE sid=? ORDER BY inode LIMIT ?",
                              sql.table("sustained")),
          .parameters = {number(session.value), limit_of(limit)}};
}

Statement list_locked_statement(Sql const& sql, SessionId session) {
  return {.text = fmt::format("SELECT inode FROM {} WHERE sid=? UNION SELECT inode FROM {}"
                              " WHERE sid=?",
                              sql.table("flock"), sql.table("plock")),
          .parameters = {number(session.value), number(session.value)}};
}

Result<std::vector<Ino>> inodes_from(Key const& key, ResultSet const& result) {
  std::vector<Ino> inodes;
  ZEST_CHECK(each_row(result, key, [&](RowReader& row) -> Result<void> {
    inodes.push_back(row.ino());
    return {};
  }));
  return inodes;
}

Statement list_delfiles_statement(Sql const& sql, std::int64_t before_sec, std::int64_t after,
                                  std::size_t limit) {
  return {.text = fmt::format("SELECT inode,length,expire FROM {} WHERE expire<=? AND inode>?"
                              " ORDER BY inode LIMIT ?",
                              sql.table("delfile")),
          .parameters = {before_sec, after, limit_of(limit)}};
}

Result<std::vector<DelfileEntry>> delfiles_from(ResultSet const& result) {
  std::vector<DelfileEntry> files;
  ZEST_CHECK(each_row(result, DelfileKey{}, [&](RowReader& row) -> Result<void> {
    auto& added = files.emplace_back();
    added.ino = row.ino();
    added.length = row.in_range_of<std::uint64_t>();
    added.deleted_sec = row.in_range_of<std::int64_t>();
    return {};
  }));
  return files;
}

Statement list_delayed_statement(Sql const& sql, std::int64_t before_sec, std::int64_t after,
                                 std::size_t limit) {
  return {.text = fmt::format("SELECT chunkid,deleted,slices FROM {} WHERE deleted<? AND chunkid>?"
                              " ORDER BY chunkid LIMIT ?",
                              sql.table("delslices")),
          .parameters = {before_sec, after, number(page_size(limit, kChunkPageMax))}};
}

Result<std::vector<DelayedEntry>> delayed_from(ResultSet const& result) {
  std::vector<DelayedEntry> entries;
  ZEST_CHECK(each_row(result, DelayedSlicesKey{}, [&](RowReader& row) -> Result<void> {
    DelayedEntry entry;
    entry.key.compacted_into = SliceId{row.in_range_of<std::uint64_t>()};
    entry.key.deleted_sec = row.in_range_of<std::int64_t>();
    auto slices = decode_delayed_slices(row.bytes());
    if (!slices.ok()) {
      return std::move(slices).error().with(describe(entry.key));
    }
    entry.slices = *std::move(slices);
    entries.push_back(std::move(entry));
    return {};
  }));
  return entries;
}

Statement list_detached_statement(Sql const& sql, std::int64_t before_sec, std::size_t limit) {
  return {.text = fmt::format("SELECT inode,added FROM {} WHERE added<? ORDER BY inode LIMIT ?",
                              sql.table("detached_node")),
          .parameters = {before_sec, limit_of(limit)}};
}

Result<std::vector<DetachedEntry>> detached_from(ResultSet const& result) {
  std::vector<DetachedEntry> entries;
  ZEST_CHECK(each_row(result, DetachedKey{}, [&](RowReader& row) -> Result<void> {
    auto& added = entries.emplace_back();
    added.ino = row.ino();
    added.added_sec = row.in_range_of<std::int64_t>();
    return {};
  }));
  return entries;
}

Statement list_garbage_statement(Sql const& sql, std::int64_t after, std::size_t limit) {
  return {.text = fmt::format("SELECT chunkid,size FROM {} WHERE refs<=0 AND chunkid>?"
                              " ORDER BY chunkid LIMIT ?",
                              sql.table("chunk_ref")),
          .parameters = {after, limit_of(limit)}};
}

Result<std::vector<DelayedSlice>> garbage_from(ResultSet const& result) {
  std::vector<DelayedSlice> slices;
  ZEST_CHECK(each_row(result, SliceRefKey{}, [&](RowReader& row) -> Result<void> {
    auto& added = slices.emplace_back();
    added.id = SliceId{row.in_range_of<std::uint64_t>()};
    added.size = row.in_range_of<std::uint32_t>();
    return {};
  }));
  return slices;
}

Statement list_quotas_statement(Sql const& sql) {
  return {.text = fmt::format("SELECT 0,inode,max_space,max_inodes,used_space,used_inodes FROM {}"
                              " UNION ALL SELECT qtype,qkey,max_space,max_inodes,used_space,"
                              "used_inodes FROM {}",
                              sql.table("dir_quota"), sql.table("user_group_quota")),
          .parameters = {}};
}

Result<std::vector<QuotaEntry>> quotas_from(ResultSet const& result) {
  std::vector<QuotaEntry> entries;
  ZEST_CHECK(each_row(result, QuotaKey{}, [&](RowReader& row) -> Result<void> {
    auto& added = entries.emplace_back();
    added.key.type = static_cast<QuotaType>(row.integer(0, 2));
    added.key.id = row.in_range_of<std::uint64_t>();
    added.quota = read_quota_fields(row);
    return {};
  }));
  return entries;
}

Statement list_acls_statement(Sql const& sql, std::uint32_t after) {
  return {.text = fmt::format("SELECT id,owner,{},mask,other,named_users,named_groups FROM {}"
                              " WHERE id>? ORDER BY id",
                              sql.quoted("group"), sql.table("acl")),
          .parameters = {number(after)}};
}

Result<std::vector<StoredAcl>> acls_from(ResultSet const& result) {
  std::vector<StoredAcl> rules;
  ZEST_CHECK(each_row(result, AclKey{}, [&](RowReader& row) -> Result<void> {
    StoredAcl stored;
    stored.id = row.in_range_of<std::uint32_t>();
    ZEST_TRY(stored.rule, read_acl_fields(row, AclKey{stored.id}));
    rules.push_back(std::move(stored));
    return {};
  }));
  return rules;
}

}  // namespace zest::meta::sql
