// Listings: their statements, and what the results say. All in the order of a key, so that pages
// follow each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/sql/remote/sql_text.h"

namespace zest::meta::sql {

/// A result is held in memory: no page is larger than this, whatever is asked for.
inline constexpr std::size_t kListPageMax = std::size_t{1} << 16;
/// Pages of chunks and of delayed slices carry up to 64 KiB a row.
inline constexpr std::size_t kChunkPageMax = 256;

/// Directories and chunks need what was asked for to make the next page.
Statement list_dir_statement(Sql const& sql, ListDir const& request);
Result<DirPage> dir_page_from(ListDir const& request, ResultSet const& result);
Statement list_chunks_statement(Sql const& sql, ChunkKey from, std::size_t limit, bool one_inode);
Result<ChunkPage> chunk_page_from(ChunkKey from, std::size_t limit, ResultSet const& result);

Statement list_xattrs_statement(Sql const& sql, Ino ino);
Result<std::vector<std::string>> xattrs_from(Ino ino, ResultSet const& result);
Statement list_sessions_statement(Sql const& sql);
Result<std::vector<SessionEntry>> sessions_from(ResultSet const& result);
Statement list_sustained_statement(Sql const& sql, SessionId session, std::size_t limit);
Statement list_locked_statement(Sql const& sql, SessionId session);
/// Of either.
Result<std::vector<Ino>> inodes_from(Key const& key, ResultSet const& result);
Statement list_delfiles_statement(Sql const& sql, std::int64_t before_sec, std::int64_t after,
                                  std::size_t limit);
Result<std::vector<DelfileEntry>> delfiles_from(ResultSet const& result);
Statement list_delayed_statement(Sql const& sql, std::int64_t before_sec, std::int64_t after,
                                 std::size_t limit);
Result<std::vector<DelayedEntry>> delayed_from(ResultSet const& result);
Statement list_detached_statement(Sql const& sql, std::int64_t before_sec, std::size_t limit);
Result<std::vector<DetachedEntry>> detached_from(ResultSet const& result);
Statement list_garbage_statement(Sql const& sql, std::int64_t after, std::size_t limit);
Result<std::vector<DelayedSlice>> garbage_from(ResultSet const& result);
Statement list_quotas_statement(Sql const& sql);
Result<std::vector<QuotaEntry>> quotas_from(ResultSet const& result);
Statement list_acls_statement(Sql const& sql, std::uint32_t after);
Result<std::vector<StoredAcl>> acls_from(ResultSet const& result);

}  // namespace zest::meta::sql
