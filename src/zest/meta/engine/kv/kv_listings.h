// Listings of a volume: ranges of the store, page by page. One trip a page of at most 1024 pairs, and
// one more for attributes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/kv/kv_records.h"
#include "zest/meta/engine/kv/kv_store.h"

namespace zest::meta::kv {

/// Thread-safe, as the store is. What each call promises: Engine.
class Listings {
 public:
  Listings(Store& store, Layout const& layout) : store_(store), layout_(layout) {}

  Result<DirPage> dir(Context const& ctx, ListDir const& request) const;
  Result<std::vector<std::string>> xattrs(Context const& ctx, Ino ino) const;
  Result<ChunkPage> chunks(Context const& ctx, ChunkKey from, std::size_t limit) const;
  Result<ChunkPage> all_chunks(Context const& ctx, std::optional<ChunkKey> from,
                               std::size_t limit) const;
  Result<std::vector<SessionEntry>> sessions(Context const& ctx) const;
  Result<std::vector<Ino>> sustained(Context const& ctx, SessionId session,
                                     std::size_t limit) const;
  Result<std::vector<DelfileEntry>> delfiles(Context const& ctx, std::int64_t before_sec,
                                             std::size_t limit) const;
  Result<std::vector<DelayedEntry>> delayed_slices(Context const& ctx, std::int64_t before_sec,
                                                   std::size_t limit) const;
  Result<std::vector<DetachedEntry>> detached(Context const& ctx, std::int64_t before_sec,
                                              std::size_t limit) const;
  Result<std::vector<DelayedSlice>> garbage_slices(Context const& ctx, std::size_t limit) const;
  Result<std::vector<Ino>> locked(Context const& ctx, SessionId session) const;
  Result<std::vector<QuotaEntry>> quotas(Context const& ctx) const;
  Result<std::vector<StoredAcl>> acls(Context const& ctx, std::uint32_t after) const;

 private:
  /// A pair with its key taken apart. False ends the scan.
  using Visit = std::function<Result<bool>(KvKey const& key, Pair const& pair)>;
  /// Visits the pairs of `range` in order, in pages of range.limit.
  Result<void> scan(Context const& ctx, Range range, Visit const& visit) const;
  Result<void> add_attrs(Context const& ctx, std::vector<DirEntry>& entries) const;

  Store& store_;
  Layout const& layout_;
};

}  // namespace zest::meta::kv
