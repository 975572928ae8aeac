// How a read finds its bytes, per block:
//
//   cache → a read of the block under way (wait for it) → a ranged read (random reader, first time)
//         → read the whole block and cache it
//
// Reads under way are merged: the first fiber that wants a block leads the flight, the others wait
// for its end. If the leader's own request was given up (EINTR, deadline) the flight ends
// "abandoned" and one of the others leads a new one: nobody gets somebody else's EINTR.
//
// No deadlock by memory: a flight takes its share of `read_memory` while it holds nothing that
// another flight waits for, and gives it back when the bytes are in. From then on they belong to
// the cache and to the readers' views, which never wait for anything.
#include "zest/chunk/block_store.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "zest/base/assert.h"
#include "zest/chunk/block_io.h"
#include "zest/chunk/memory_cache.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/mutex.h"

namespace zest {
namespace {

/// A block that was read in pieces this often is worth reading whole, unless the store is near:
/// there the kernel caches it, a piece costs next to nothing, and where the cache is smaller than
/// what is read, each block would push another one out.
constexpr std::uint32_t kRangedReadsMax = 3;
/// A piece of at most this part of its block is read alone.
constexpr std::uint32_t kRangedShare = 4;
/// Blocks whose ranged reads are remembered.
constexpr std::size_t kRememberedMax = 4096;
/// Blocks of one slice that are deleted at once.
constexpr std::size_t kDeletesPerSlice = 8;

/// Counts ranged reads of blocks, approximately: two generations, the older one is forgotten when
/// the younger is full.
class RangedReads {
 public:
  /// Adds one; returns how many there were.
  std::uint32_t add(BlockRef const& ref) {
    std::lock_guard const lock(mutex_);
    if (auto const it = young_.find(ref); it != young_.end()) {
      return ++it->second;
    }
    if (young_.size() >= kRememberedMax / 2) {
      old_ = std::exchange(young_, {});
    }
    auto const it = old_.find(ref);
    return young_[ref] = 1 + (it == old_.end() ? 0 : it->second);
  }

 private:
  using Counts = std::unordered_map<BlockRef, std::uint32_t, BlockRefHash>;
  Mutex mutex_;
  Counts young_;
  Counts old_;
};

/// A read of a whole block under way.
struct Flight {
  Event ended;
  // Written by the leader before `ended` is set, read after it.
  SharedBlock block;
  std::optional<Error> error;
  bool abandoned = false;
};

struct BlockRange {
  BlockRef ref;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
};

}  // namespace

struct BlockStore::Impl {
  Impl(ObjectStore& store, BlockStoreConfig c, BufferPool& pool, BlockingPool& cpu_pool, Rng& rng,
       Logger& logger, Registry& metrics)
      : config(std::move(c)),
        buffers(pool),
        log(logger),
        read_limit(std::max<std::size_t>(pool.limit() / 3, 2 * std::size_t{config.block_size})),
        memory(config.cache_bytes + read_limit, memory_metrics),
        cache(config.cache_bytes, config.block_size, metrics),
        io(store, config, cpu_pool, rng, logger, metrics),
        read_memory(read_limit),
        prefetches(std::max<std::size_t>(config.prefetches_max, 1)) {}

  Result<void> read_range(Context const& ctx, BlockRange const& range, bool whole_blocks,
                          DataView& out);
  Result<SharedBlock> read_block(Context const& ctx, BlockRef const& ref, bool ahead);
  Result<SharedBlock> fetch(Context const& ctx, BlockRef const& ref, bool ahead);
  Result<SharedBlock> fetch_range(Context const& ctx, BlockRange const& range);
  [[nodiscard]] bool in_flight(BlockRef const& ref);
  [[nodiscard]] bool read_alone(BlockRange const& range, bool whole_blocks);
  void prefetch_block(BlockRef const& ref);
  void cache_parts(BlockRef const& ref, std::span<ByteView const> parts);

  /// The part of block `index` inside [offset, end) of a slice.
  [[nodiscard]] BlockRange range_of(SliceId id, std::uint32_t slice_size, std::uint32_t index,
                                    std::uint32_t offset, std::uint32_t end) const noexcept {
    auto const start = index * config.block_size;
    auto const size = block_length(slice_size, config.block_size, index);
    auto const from = std::max(offset, start);
    return {.ref = {.id = id, .index = index, .size = size},
            .offset = from - start,
            .length = std::min(end, start + size) - from};
  }

  BlockStoreConfig const config;
  BufferPool& buffers;
  Logger& log;
  std::size_t const read_limit;
  Registry memory_metrics;  // of `memory`, which is not the pool that the peer's metric means
  BufferPool memory;        // recycles the blocks of reads and of the cache
  MemoryCache cache;
  BlockIo io;
  Semaphore read_memory;  // bytes of reads under way
  Semaphore prefetches;
  RangedReads ranged_reads;
  std::function<void()> memory_pressure;

  Mutex mutex;
  std::unordered_map<BlockRef, std::shared_ptr<Flight>, BlockRefHash>
      flights;  // shared: leader and waiters; guarded by `mutex`
  Scope scope;  // prefetches
};

BlockStore::BlockStore(ObjectStore& store, BlockStoreConfig config, BufferPool& buffers,
                       BlockingPool& cpu_pool, Rng& rng, Logger& log, Registry& metrics)
    : impl_(
          std::make_unique<Impl>(store, std::move(config), buffers, cpu_pool, rng, log, metrics)) {}

BlockStore::~BlockStore() {
  impl_->scope.request_stop();
  impl_->scope.join();
}

BlockStoreConfig const& BlockStore::config() const noexcept {
  return impl_->config;
}
BufferPool& BlockStore::buffers() noexcept {
  return impl_->buffers;
}
void BlockStore::on_memory_pressure(std::function<void()> notify) {
  impl_->memory_pressure = std::move(notify);
}
void BlockStore::report_memory_pressure() {
  if (impl_->memory_pressure) {
    impl_->memory_pressure();
  }
}

Result<void> BlockStore::read(Context const& ctx, SliceId id, std::uint32_t slice_size,
                              std::uint32_t offset, std::uint32_t length, bool whole_blocks,
                              DataView& out) {
  if (offset > slice_size || length > slice_size - offset) {
    return Error(Errc::inval, Fault::bug, "read beyond the end of a slice");
  }
  if (length == 0) {
    return {};
  }
  if (id.value == 0) {
    out.append_zeros(length);
    return {};
  }
  auto const block_size = impl_->config.block_size;
  auto const end = offset + length;
  auto const first = offset / block_size;
  auto const last = (end - 1) / block_size;
  if (whole_blocks) {
    // The blocks behind the first are read while the first is.
    for (auto index = first + 1; index <= last; ++index) {
      impl_->prefetch_block(impl_->range_of(id, slice_size, index, offset, end).ref);
    }
  }
  for (auto index = first; index <= last; ++index) {
    ZEST_CHECK(impl_->read_range(ctx, impl_->range_of(id, slice_size, index, offset, end),
                                 whole_blocks, out));
  }
  return {};
}

Result<void> BlockStore::Impl::read_range(Context const& ctx, BlockRange const& range,
                                          bool whole_blocks, DataView& out) {
  auto const touch = whole_blocks && range.offset > 0 ? Touch::continued : Touch::use;
  auto block = cache.find(range.ref, touch);
  cache.count(block != nullptr, range.length);
  if (!block) {
    if (read_alone(range, whole_blocks)) {
      ZEST_TRY(block, fetch_range(ctx, range));
      auto const bytes = block->view();
      out.append(bytes, std::move(block));
      return {};
    }
    ZEST_TRY(block, read_block(ctx, range.ref, false));
  }
  auto const bytes = block->view().subspan(range.offset, range.length);
  out.append(bytes, std::move(block));
  return {};
}

/// Should only the range be read, not its block?
bool BlockStore::Impl::read_alone(BlockRange const& range, bool whole_blocks) {
  if (!io.ranges() || range.length == range.ref.size) {
    return false;
  }
  if (!cache.enabled()) {
    return true;  // nothing would keep the rest
  }
  return !whole_blocks && range.length <= range.ref.size / kRangedShare && !in_flight(range.ref) &&
         (io.near() || ranged_reads.add(range.ref) <= kRangedReadsMax);
}

bool BlockStore::Impl::in_flight(BlockRef const& ref) {
  std::lock_guard const lock(mutex);
  return flights.contains(ref);
}

Result<SharedBlock> BlockStore::Impl::read_block(Context const& ctx, BlockRef const& ref,
                                                 bool ahead) {
  while (true) {
    std::shared_ptr<Flight> flight;
    bool leader = false;
    {
      std::lock_guard const lock(mutex);
      auto& slot = flights[ref];
      if (!slot) {
        slot = std::make_shared<Flight>();
        leader = true;
      }
      flight = slot;
    }
    if (leader) {
      // The flight before this one may have ended between the look into the cache and here.
      auto block = cache.find(ref, Touch::continued);
      auto result = block ? Result<SharedBlock>(std::move(block)) : fetch(ctx, ref, ahead);
      if (result.ok()) {
        flight->block = *result;
      } else {
        auto const code = result.error().code();
        flight->abandoned = code == Errc::intr || code == Errc::timedout;
        flight->error = result.error().clone();
      }
      {
        std::lock_guard const lock(mutex);
        flights.erase(ref);
      }
      flight->ended.set();
      return result;
    }
    ZEST_CHECK(flight->ended.wait(ctx));
    if (flight->block) {
      return flight->block;
    }
    if (!flight->abandoned) {
      return flight->error->clone();
    }
  }
}

Result<SharedBlock> BlockStore::Impl::fetch(Context const& ctx, BlockRef const& ref, bool ahead) {
  ZEST_CHECK(read_memory.acquire(ctx, ref.size));
  auto const block = std::make_shared<BlockBytes>(memory, ref.size);
  auto const result = io.get(ctx, ref, block->span());
  read_memory.release(ref.size);
  if (!result.ok()) {
    return result.error().clone();
  }
  if (cache.enabled()) {
    cache.insert(ref, block, ahead);
  }
  return SharedBlock(block);
}

Result<SharedBlock> BlockStore::Impl::fetch_range(Context const& ctx, BlockRange const& range) {
  ZEST_CHECK(read_memory.acquire(ctx, range.length));
  auto const block = std::make_shared<BlockBytes>(memory, range.length);
  auto const result = io.get_range(ctx, range.ref, range.offset, block->span());
  read_memory.release(range.length);
  if (!result.ok()) {
    return result.error().clone();
  }
  return SharedBlock(block);
}

void BlockStore::prefetch(SliceId id, std::uint32_t slice_size, std::uint32_t offset,
                          std::uint32_t length) {
  if (id.value == 0 || length == 0 || offset >= slice_size) {
    return;
  }
  auto const end = offset + std::min(length, slice_size - offset);
  auto const block_size = impl_->config.block_size;
  for (auto index = offset / block_size; index <= (end - 1) / block_size; ++index) {
    impl_->prefetch_block(impl_->range_of(id, slice_size, index, offset, end).ref);
  }
}

/// Starts reading a block ahead, if there is room; never waits.
void BlockStore::Impl::prefetch_block(BlockRef const& ref) {
  if (!cache.enabled() || cache.contains(ref) || in_flight(ref) || read_memory.waiters() > 0 ||
      scope.token().stop_requested() || !prefetches.try_acquire()) {
    return;
  }
  scope.spawn([this, ref] {
    Context ctx;
    ctx.stop = scope.token();
    // Whoever needs the block will meet the same error and report it.
    (void)read_block(ctx, ref, true);
    prefetches.release();
  });
}

Result<void> BlockStore::write_block(Context const& ctx, BlockRef const& ref, Buffer block,
                                     std::uint32_t length, bool cache) {
  ByteView const parts[] = {ByteView(block.data(), length)};
  return write_block(ctx, ref, parts, cache);
}

Result<void> BlockStore::write_block(Context const& ctx, BlockRef const& ref,
                                     std::span<ByteView const> parts, bool cache) {
  ZEST_CHECK(impl_->io.put(ctx, ref, parts));
  if (cache && impl_->cache.enabled()) {
    impl_->cache_parts(ref, parts);
  }
  return {};
}

void BlockStore::Impl::cache_parts(BlockRef const& ref, std::span<ByteView const> parts) {
  auto const block = std::make_shared<BlockBytes>(memory, ref.size);
  auto out = block->span();
  for (auto const part : parts) {
    ZEST_ASSERT(part.size() <= out.size());
    std::memcpy(out.data(), part.data(), part.size());
    out = out.subspan(part.size());
  }
  ZEST_ASSERT(out.empty());
  cache.insert(ref, block);
}

Result<void> BlockStore::remove_slice(Context const& ctx, SliceId id, std::uint32_t slice_size) {
  auto const count = block_count(slice_size, impl_->config.block_size);
  if (id.value == 0 || count == 0) {
    return {};
  }
  // All fibers run on this loop, so they share `next` and `error` without a lock.
  std::uint32_t next = 0;
  std::optional<Error> error;
  auto const remove_some = [&] {
    while (next < count && !error) {
      auto const index = next++;
      BlockRef const ref{.id = id,
                         .index = index,
                         .size = block_length(slice_size, impl_->config.block_size, index)};
      impl_->cache.erase(ref);
      if (auto result = impl_->io.remove(ctx, ref); !result.ok() && !error) {
        error = std::move(result).error();
      }
    }
  };
  Scope workers;
  for (std::size_t i = 1; i < std::min<std::size_t>(count, kDeletesPerSlice); ++i) {
    workers.spawn(remove_some);
  }
  remove_some();
  workers.join();
  if (error) {
    return std::move(*error);
  }
  return {};
}

Result<void> BlockStore::sync_slice(Context const& ctx, SliceId id, std::uint32_t slice_size) {
  std::vector<BlockRef> refs;
  auto const block_size = impl_->config.block_size;
  for (std::uint32_t i = 0; id.value != 0 && i < block_count(slice_size, block_size); ++i) {
    refs.push_back({.id = id, .index = i, .size = block_length(slice_size, block_size, i)});
  }
  return refs.empty() ? Result<void>() : impl_->io.sync(ctx, refs);
}

}  // namespace zest
