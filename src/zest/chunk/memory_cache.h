// Blocks in memory, bounded in bytes, with a replacement that a long scan cannot flush.
//
// S3-FIFO: a new block enters a small queue; only if it is asked for again before it leaves that
// queue it moves to the main queue, otherwise its key stays behind in a ghost list, and a block
// that comes back from there goes straight to the main queue. A scan so pushes out only other
// scans. All steps are O(1) amortised; a hit changes one counter.
//
// One sequential reader hits a block 32 times in pieces of 128 KiB: that is one use. So the caller
// says which hits count (Touch).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "zest/base/bytes.h"
#include "zest/base/metrics.h"
#include "zest/format/object_name.h"
#include "zest/runtime/buffer_pool.h"

namespace zest {

struct BlockRefHash {
  std::size_t operator()(BlockRef const& ref) const noexcept {
    auto h = ref.id.value * 0x9E3779B97F4A7C15ULL + ref.index;
    h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93ULL;
    return h ^ (h >> 32) ^ ref.size;
  }
};

/// The bytes of a block (or of a range of one); immutable once others see them.
class BlockBytes {
 public:
  /// Memory for `size` bytes from `pool`; from the heap when the pool is exhausted.
  BlockBytes(BufferPool& pool, std::size_t size);
  BlockBytes(BlockBytes const&) = delete;
  BlockBytes& operator=(BlockBytes const&) = delete;

  [[nodiscard]] ByteSpan span() noexcept { return {data_, size_}; }
  [[nodiscard]] ByteView view() const noexcept { return {data_, size_}; }
  /// Memory that it takes.
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

 private:
  Buffer pooled_;
  std::unique_ptr<std::byte[]> heap_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

/// Shared: the cache and the readers whose replies are under way hold a block at once.
using SharedBlock = std::shared_ptr<BlockBytes const>;

enum class Touch : std::uint8_t {
  use,        ///< counts as a use of the block
  continued,  ///< the next piece of a use that was counted
};

/// Thread-safe; never suspends.
class MemoryCache {
 public:
  /// `bytes_max` 0 keeps nothing. `block_size` only decides how finely the cache is divided.
  MemoryCache(std::size_t bytes_max, std::size_t block_size, Registry& metrics);
  ~MemoryCache();
  MemoryCache(MemoryCache const&) = delete;
  MemoryCache& operator=(MemoryCache const&) = delete;

  [[nodiscard]] bool enabled() const noexcept { return bytes_max_ > 0; }
  /// The block, or empty. Does not count hits and misses: see count().
  [[nodiscard]] SharedBlock find(BlockRef const& ref, Touch touch);
  [[nodiscard]] bool contains(BlockRef const& ref) const;
  /// `ahead` marks a prefetched block: its first use doesn't count as one more.
  void insert(BlockRef const& ref, SharedBlock block, bool ahead = false);
  void erase(BlockRef const& ref);

  /// Counts a lookup in the metrics.
  void count(bool hit, std::size_t bytes) noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept;

 private:
  struct Shard;
  [[nodiscard]] Shard& shard_of(BlockRef const& ref) const noexcept;

  std::size_t const bytes_max_;
  std::vector<std::unique_ptr<Shard>> shards_;
  Gauge& blocks_gauge_;
  Gauge& bytes_gauge_;
  Counter& hits_;
  Counter& misses_;
  Counter& hit_bytes_;
  Counter& miss_bytes_;
  Counter& evictions_;
  Counter& writes_;
  Counter& write_bytes_;
};

}  // namespace zest
