// Rows of the peer's tables (format/03) as typed records: reading.
//
// Functions run on a connection's thread, inside or outside of a transaction. A row that cannot be
// (type, range, NULL) is Error::corrupt with the key in its message.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/sql/sqlite_connection.h"

namespace zest::meta::sqlite {

/// The record, normalized; monostate = absent.
Result<Value> read_record(Connection& connection, Key const& key);
Result<std::optional<Attr>> read_node(Connection& connection, Ino ino);
Result<Slices> read_chunk(Connection& connection, ChunkKey const& key);
Result<Value> read_quota(Connection& connection, QuotaKey const& key);
Result<Value> read_acl(Connection& connection, AclKey const& key);
Result<Value> read_delayed(Connection& connection, DelayedSlicesKey const& key);

Result<DirPage> list_dir(Connection& connection, ListDir const& request);
Result<std::vector<std::string>> list_xattrs(Connection& connection, Ino ino);
/// From `from` on, of one inode or of all.
Result<ChunkPage> list_chunks(Connection& connection, ChunkKey from, std::size_t limit,
                              bool one_inode);
Result<std::vector<SessionEntry>> list_sessions(Connection& connection);
Result<std::vector<Ino>> list_sustained(Connection& connection, SessionId session,
                                        std::size_t limit);
Result<std::vector<DelfileEntry>> list_delfiles(Connection& connection, std::int64_t before_sec,
                                                std::size_t limit);
Result<std::vector<DelayedSlice>> list_garbage_slices(Connection& connection, std::size_t limit);
Result<std::vector<Ino>> list_locked(Connection& connection, SessionId session);
Result<std::vector<DelayedEntry>> list_delayed_slices(Connection& connection,
                                                      std::int64_t before_sec, std::size_t limit);
Result<std::vector<DetachedEntry>> list_detached(Connection& connection, std::int64_t before_sec,
                                                 std::size_t limit);
Result<std::vector<QuotaEntry>> list_quotas(Connection& connection);
Result<std::vector<StoredAcl>> list_acls(Connection& connection, std::uint32_t after);

/// A row of the counter table; empty when there is none.
Result<std::optional<std::int64_t>> read_counter(Connection& connection, std::string_view name);
Result<Usage> read_usage(Connection& connection);
/// Empty when the file holds no volume.
Result<std::optional<std::string>> load_setting(Connection& connection);

}  // namespace zest::meta::sqlite
