// Listings of the engine: each in bounded memory, page by page.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/format/redis_key.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/redis/client.h"
#include "zest/meta/engine/redis/scripts.h"

namespace zest::meta::redis {

/// What all listings need.
struct Volume {
  Client& client;
  Scripts const& scripts;
  RedisKeys const& keys;
};

/// `secret` keys the hashes of names in cursors. One trip.
Result<DirPage> list_dir(Volume const& volume, Context const& ctx, ListDir const& request,
                         std::uint64_t secret);
Result<std::vector<std::string>> list_xattrs(Volume const& volume, Context const& ctx, Ino ino);
/// `end`: the file has no chunk from there on; nothing: as its node says.
Result<ChunkPage> list_chunks(Volume const& volume, Context const& ctx, ChunkKey from,
                              std::optional<std::uint64_t> end, std::size_t limit);
Result<ChunkPage> list_all_chunks(Volume const& volume, Context const& ctx,
                                  std::optional<ChunkKey> from, std::size_t limit);
Result<std::vector<SessionEntry>> list_sessions(Volume const& volume, Context const& ctx);
Result<std::vector<Ino>> list_sustained(Volume const& volume, Context const& ctx, SessionId session,
                                        std::size_t limit);
Result<std::vector<DelfileEntry>> list_delfiles(Volume const& volume, Context const& ctx,
                                                std::int64_t before_sec, std::size_t limit);
Result<std::vector<DelayedEntry>> list_delayed_slices(Volume const& volume, Context const& ctx,
                                                      std::int64_t before_sec, std::size_t limit);
Result<std::vector<DetachedEntry>> list_detached(Volume const& volume, Context const& ctx,
                                                 std::int64_t before_sec, std::size_t limit);
Result<std::vector<DelayedSlice>> list_garbage_slices(Volume const& volume, Context const& ctx,
                                                      std::size_t limit);
Result<std::vector<Ino>> list_locked(Volume const& volume, Context const& ctx, SessionId session);
Result<std::vector<QuotaEntry>> list_quotas(Volume const& volume, Context const& ctx);
Result<std::vector<StoredAcl>> list_acls(Volume const& volume, Context const& ctx,
                                         std::uint32_t after);
/// Deletes all keys with the volume's prefix, which must not be empty.
Result<void> delete_all_keys(Volume const& volume, Context const& ctx);

}  // namespace zest::meta::redis
