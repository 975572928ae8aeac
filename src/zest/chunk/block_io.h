// Blocks to and from the object store: names, compression, limits, time-outs, retries, metrics. No
// caching. Internal to chunk.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/chunk/block_store.h"
#include "zest/chunk/compress.h"
#include "zest/format/object_name.h"
#include "zest/object/store.h"
#include "zest/runtime/pool.h"
#include "zest/runtime/sync.h"

namespace zest {

/// All calls may suspend; any loop.
///
/// What fails for a passing reason (Fault::transient), a short object and a damaged one are tried
/// again, `retries` times, with growing pauses; each try has the configured time-out; the context's
/// deadline and stop end everything (ETIMEDOUT, EINTR). Answers (ENOENT, ENOSPC…) are returned at
/// once. What is left becomes EIO with a message that names the key, except ENOSPC, EDQUOT, EROFS.
class BlockIo {
 public:
  BlockIo(ObjectStore& store, BlockStoreConfig const& config, BlockingPool& cpu_pool, Rng& rng,
          Logger& log, Registry& metrics);

  /// Ranges of a block can be read alone: not when it's compressed.
  [[nodiscard]] bool ranges() const noexcept;
  /// See StoreCapabilities::near.
  [[nodiscard]] bool near() const noexcept;

  /// Fills `out`, whose size is the block's. ENOENT: no such object.
  Result<void> get(Context const& ctx, BlockRef const& ref, ByteSpan out);
  /// Fills `out` from `offset`; only when ranges().
  Result<void> get_range(Context const& ctx, BlockRef const& ref, std::uint32_t offset,
                         ByteSpan out);
  /// Stores the concatenation of `parts`, ref.size bytes.
  Result<void> put(Context const& ctx, BlockRef const& ref, std::span<ByteView const> parts);
  Result<void> remove(Context const& ctx, BlockRef const& ref);
  /// One request for all; never repeated: a failed flush has lost the data, a second one would
  /// succeed and say nothing about it.
  Result<void> sync(Context const& ctx, std::span<BlockRef const> refs);

 private:
  struct Method {
    std::string_view name;
    Duration timeout;
    Semaphore& slots;
    Histogram& durations;
    Counter& bytes;
  };
  using Attempt = std::function<Result<void>(Context const&)>;

  [[nodiscard]] std::string key_of(BlockRef const& ref) const;
  Result<void> run(Context const& ctx, Method& method, std::string_view key,
                   Attempt const& attempt);
  Result<void> run_once(Context const& ctx, Method& method, Attempt const& attempt);
  Result<void> pause(Context const& ctx, int attempt);
  Result<void> get_exact(Context const& ctx, std::string const& key, ByteRange range, ByteSpan out);
  Result<void> get_compressed(Context const& ctx, std::string const& key, ByteSpan out);
  Result<std::size_t> compress_parts(std::span<ByteView const> parts, std::size_t size,
                                     std::vector<std::byte>& out);

  ObjectStore& store_;
  BlockStoreConfig const& config_;
  Compression const compression_;
  BlockingPool& cpu_pool_;
  Rng& rng_;
  Logger& log_;
  Semaphore uploads_;
  Semaphore downloads_;
  Semaphore deletes_;
  Counter& errors_;
  Gauge& uploading_;
  Method get_method_;
  Method put_method_;
  Method delete_method_;
};

}  // namespace zest
