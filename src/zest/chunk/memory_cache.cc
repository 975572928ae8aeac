#include "zest/chunk/memory_cache.h"

#include <algorithm>
#include <list>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "zest/runtime/mutex.h"

namespace zest {
namespace {

/// What a block costs besides its bytes: list node, map node, control block.
constexpr std::size_t kOverhead = 256;
/// The small queue's share. The paper's 10 % would be six blocks of 4 MiB in the default cache,
/// less than one reader's window.
constexpr std::size_t kSmallShare = 4;
constexpr std::uint8_t kUsesMax = 3;
constexpr std::size_t kShardsMax = 16;
/// Blocks that a shard should hold, so that chance doesn't fill one and leave another empty.
constexpr std::size_t kBlocksPerShard = 64;
/// Keys remembered of blocks that left the small queue, a shard.
constexpr std::size_t kGhostsMax = 4096;

struct Entry {
  BlockRef ref;
  SharedBlock block;
  std::size_t cost = 0;
  std::uint8_t uses = 0;
  bool ahead = false;
  bool in_main = false;
};
using Queue = std::list<Entry>;  // front = newest

}  // namespace

BlockBytes::BlockBytes(BufferPool& pool, std::size_t size)
    : pooled_(pool.try_acquire(size)), size_(size) {
  if (pooled_) {
    data_ = pooled_.data();
    capacity_ = pooled_.capacity();
  } else {
    heap_ = std::make_unique_for_overwrite<std::byte[]>(size);
    data_ = heap_.get();
    capacity_ = size;
  }
}

struct MemoryCache::Shard {
  mutable Mutex mutex;
  std::size_t bytes_max = 0;
  std::size_t bytes = 0;
  std::size_t small_bytes = 0;
  Queue small;
  Queue main;
  std::unordered_map<BlockRef, Queue::iterator, BlockRefHash> index;
  std::list<BlockRef> ghosts;  // front = newest
  std::unordered_map<BlockRef, std::list<BlockRef>::iterator, BlockRefHash> ghost_index;

  bool take_ghost(BlockRef const& ref) {
    auto const it = ghost_index.find(ref);
    if (it == ghost_index.end()) {
      return false;
    }
    ghosts.erase(it->second);
    ghost_index.erase(it);
    return true;
  }

  void add_ghost(BlockRef const& ref) {
    ghosts.push_front(ref);
    ghost_index[ref] = ghosts.begin();
    if (ghosts.size() > kGhostsMax) {
      ghost_index.erase(ghosts.back());
      ghosts.pop_back();
    }
  }

  /// Takes the entry out; its block moves to `dropped`, to be freed outside of the mutex.
  void drop(Queue& queue, Queue::iterator it, Queue& dropped) {
    bytes -= it->cost;
    if (!it->in_main) {
      small_bytes -= it->cost;
    }
    index.erase(it->ref);
    dropped.splice(dropped.begin(), queue, it);
  }

  void evict_one(Queue& dropped) {
    if (small_bytes * kSmallShare > bytes_max || main.empty()) {
      auto const it = std::prev(small.end());
      if (it->uses > 0) {
        it->uses = 0;
        it->in_main = true;
        small_bytes -= it->cost;
        main.splice(main.begin(), small, it);
      } else {
        add_ghost(it->ref);
        drop(small, it, dropped);
      }
      return;
    }
    auto const it = std::prev(main.end());
    if (it->uses > 0) {
      --it->uses;
      main.splice(main.begin(), main, it);
    } else {
      drop(main, it, dropped);
    }
  }
};

MemoryCache::MemoryCache(std::size_t bytes_max, std::size_t block_size, Registry& metrics)
    : bytes_max_(bytes_max),
      blocks_gauge_(metrics.gauge("blockcache_blocks", "Blocks in the cache.")),
      bytes_gauge_(metrics.gauge("blockcache_bytes", "Bytes of blocks in the cache.")),
      hits_(metrics.counter("blockcache_hits", "Reads served by the cache.")),
      misses_(metrics.counter("blockcache_miss", "Reads that the cache could not serve.")),
      hit_bytes_(metrics.counter("blockcache_hit_bytes", "Bytes read from the cache.")),
      miss_bytes_(metrics.counter("blockcache_miss_bytes", "Bytes the cache could not serve.")),
      evictions_(metrics.counter("blockcache_evicts", "Blocks evicted from the cache.")),
      writes_(metrics.counter("blockcache_writes", "Blocks put into the cache.")),
      write_bytes_(metrics.counter("blockcache_write_bytes", "Bytes put into the cache.")) {
  auto const count =
      std::clamp<std::size_t>(bytes_max / (block_size * kBlocksPerShard), 1, kShardsMax);
  for (std::size_t i = 0; i < count; ++i) {
    shards_.push_back(std::make_unique<Shard>());
    shards_.back()->bytes_max = bytes_max / count;
  }
}

MemoryCache::~MemoryCache() = default;

MemoryCache::Shard& MemoryCache::shard_of(BlockRef const& ref) const noexcept {
  return *shards_[(BlockRefHash{}(ref) >> 17) % shards_.size()];
}

SharedBlock MemoryCache::find(BlockRef const& ref, Touch touch) {
  auto& shard = shard_of(ref);
  std::lock_guard const lock(shard.mutex);
  auto const it = shard.index.find(ref);
  if (it == shard.index.end()) {
    return nullptr;
  }
  auto& entry = *it->second;
  if (touch == Touch::use && !std::exchange(entry.ahead, false) && entry.uses < kUsesMax) {
    ++entry.uses;
  }
  return entry.block;
}

bool MemoryCache::contains(BlockRef const& ref) const {
  auto const& shard = shard_of(ref);
  std::lock_guard const lock(shard.mutex);
  return shard.index.contains(ref);
}

void MemoryCache::insert(BlockRef const& ref, SharedBlock block, bool ahead) {
  auto const cost = block->capacity() + kOverhead;
  auto const size = block->view().size();
  Queue dropped;
  auto& shard = shard_of(ref);
  if (cost > shard.bytes_max) {
    return;
  }
  {
    std::lock_guard const lock(shard.mutex);
    if (shard.index.contains(ref)) {
      return;  // blocks are immutable: the same bytes
    }
    while (shard.bytes + cost > shard.bytes_max) {
      shard.evict_one(dropped);
    }
    bool const in_main = shard.take_ghost(ref);
    auto& queue = in_main ? shard.main : shard.small;
    queue.push_front({.ref = ref,
                      .block = std::move(block),
                      .cost = cost,
                      .uses = 0,
                      .ahead = ahead,
                      .in_main = in_main});
    shard.index[ref] = queue.begin();
    shard.bytes += cost;
    shard.small_bytes += in_main ? 0 : cost;
  }
  writes_.add();
  write_bytes_.add(size);
  evictions_.add(dropped.size());
  blocks_gauge_.add(1 - static_cast<std::int64_t>(dropped.size()));
  std::int64_t change = static_cast<std::int64_t>(cost);
  for (auto const& entry : dropped) {
    change -= static_cast<std::int64_t>(entry.cost);
  }
  bytes_gauge_.add(change);
}

void MemoryCache::erase(BlockRef const& ref) {
  Queue dropped;
  {
    auto& shard = shard_of(ref);
    std::lock_guard const lock(shard.mutex);
    auto const it = shard.index.find(ref);
    if (it == shard.index.end()) {
      return;
    }
    auto const entry = it->second;
    shard.drop(entry->in_main ? shard.main : shard.small, entry, dropped);
  }
  blocks_gauge_.add(-1);
  bytes_gauge_.add(-static_cast<std::int64_t>(dropped.front().cost));
}

void MemoryCache::count(bool hit, std::size_t bytes) noexcept {
  (hit ? hits_ : misses_).add();
  (hit ? hit_bytes_ : miss_bytes_).add(bytes);
}

std::size_t MemoryCache::bytes() const noexcept {
  std::size_t sum = 0;
  for (auto const& shard : shards_) {
    std::lock_guard const lock(shard->mutex);
    sum += shard->bytes;
  }
  return sum;
}

}  // namespace zest
