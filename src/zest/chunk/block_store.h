// Slices and blocks over an object store, with an in-memory block cache.
//
// A block is the unit of storage (one object) and of caching. Equal reads under way are merged; a
// random reader gets only the range that it needs; uploads and downloads are bounded. Keys get no
// volume prefix here: the store that is passed in has it already (PrefixStore).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/chunk/data_view.h"
#include "zest/format/object_name.h"
#include "zest/format/types.h"
#include "zest/object/store.h"
#include "zest/runtime/buffer_pool.h"
#include "zest/runtime/pool.h"
#include "zest/runtime/sync.h"

namespace zest {

struct BlockStoreConfig {
  std::uint32_t block_size = 4u << 20;  ///< bytes, from the Setting
  bool hash_prefix = false;
  std::string compression = "none";      ///< none, lz4, zstd
  std::size_t cache_bytes = 256u << 20;  ///< in-memory block cache; 0 = none
  std::size_t uploads_max = 20;
  std::size_t downloads_max = 200;
  Duration get_timeout = std::chrono::seconds(60);  ///< of one try
  Duration put_timeout = std::chrono::seconds(60);  ///< of one try
  int retries = 10;                                 ///< after the first try, with growing pauses
  bool cache_full_writes = false;  ///< written full blocks go to the cache too, not only short ones
  std::size_t prefetches_max = 16;  ///< blocks that prefetch() reads at once
};

class BlockStore {
 public:
  /// `buffers` bounds the memory of data on its way to the store. Blocks on their way from it are
  /// bounded by half of that limit again, and the cache by cache_bytes; a reader never waits for a
  /// buffer that a writer holds, or the other way round. Views that read() made must be gone before
  /// the BlockStore goes. Create and destroy it on a loop or on a foreign thread that may block.
  BlockStore(ObjectStore& store, BlockStoreConfig config, BufferPool& buffers,
             BlockingPool& cpu_pool, Rng& rng, Logger& log, Registry& metrics);
  ~BlockStore();
  BlockStore(BlockStore const&) = delete;
  BlockStore& operator=(BlockStore const&) = delete;

  [[nodiscard]] BlockStoreConfig const& config() const noexcept;
  [[nodiscard]] BufferPool& buffers() noexcept;

  /// Appends bytes [offset, offset + length) of a slice of `slice_size` bytes to `out`.
  /// `whole_blocks` says that the rest of the blocks will be wanted too (sequential reader): they
  /// are read whole and cached. Errors: ENOENT when a block's object is missing (the caller
  /// re-reads metadata: the slice may have been compacted away), EIO after retries.
  Result<void> read(Context const& ctx, SliceId id, std::uint32_t slice_size, std::uint32_t offset,
                    std::uint32_t length, bool whole_blocks, DataView& out);
  /// Starts reading the blocks that hold the range into the cache, if there is room; does not wait,
  /// never fails.
  void prefetch(SliceId id, std::uint32_t slice_size, std::uint32_t offset, std::uint32_t length);

  /// Stores one block; returns when the object is there. `block` is the data, `length` its plain
  /// length. With `cache` the data ends up in the cache, as a copy: the buffer goes back to its
  /// pool. Every try has put_timeout; there are `retries` more. Errors: ENOSPC, EDQUOT, EROFS from
  /// the store, EINTR, ETIMEDOUT from the context, EIO for the rest.
  Result<void> write_block(Context const& ctx, BlockRef const& ref, Buffer block,
                           std::uint32_t length, bool cache);
  /// The same for a block in several parts, ref.size bytes together, which stay valid until return.
  Result<void> write_block(Context const& ctx, BlockRef const& ref, std::span<ByteView const> parts,
                           bool cache);
  /// Deletes all blocks of a slice; missing ones are fine.
  Result<void> remove_slice(Context const& ctx, SliceId id, std::uint32_t slice_size);
  /// Makes the blocks of a slice survive a power cut.
  Result<void> sync_slice(Context const& ctx, SliceId id, std::uint32_t slice_size);

  /// `notify` is called when a write finds the buffer pool exhausted, on the writer's loop; it must
  /// not suspend (Event::set is fine). Whoever keeps open SliceWriters with data in them finishes
  /// the idle ones then, see SliceWriter::write. Set it before the first write.
  void on_memory_pressure(std::function<void()> notify);
  /// Calls it; for writers.
  void report_memory_pressure();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Collects one slice: bytes are copied once, into buffers of the pool, which grow with the slice
/// (a slice of ten bytes takes 4 KiB). They gather in blocks from the buffer pool, a full block is
/// uploaded at once while writing goes on. One fiber at a time calls it (the caller holds the
/// file's lock); uploads run on fibers of its own scope.
class SliceWriter {
 public:
  /// How a block's memory grows.
  enum class Memory : std::uint8_t {
    stepwise,      ///< with what is written: for files, most of which are small
    whole_blocks,  ///< a block's worth at its first byte: for writers of a known large size. With
                   ///< the id set from the start, write() then never fails with EAGAIN.
  };
  explicit SliceWriter(BlockStore& store, Memory memory = Memory::stepwise);
  ~SliceWriter();  ///< Abandons what was not finished; uploaded blocks become garbage for gc unless
                   ///< abort() ran.
  SliceWriter(SliceWriter const&) = delete;
  SliceWriter& operator=(SliceWriter const&) = delete;

  /// Bytes written so far, counted from the slice's start (highest end).
  [[nodiscard]] std::uint32_t length() const noexcept;
  /// Bytes [0, uploaded_end()) are given to uploads and cannot be overwritten any more.
  [[nodiscard]] std::uint32_t frozen_end() const noexcept;
  /// Writes at `offset` (≥ frozen_end()); a gap is filled with zeros. Waits for buffers:
  /// back-pressure. Full blocks are given to upload once set_id() was called.
  ///
  /// EAGAIN: the pool is exhausted and this writer holds bytes that are not on their way to the
  /// store; if it waited with them in its hand, writers could wait for each other for ever. The
  /// caller finishes and commits this slice and makes the *whole* write again with a new writer,
  /// which may wait because it holds nothing. (A part of the bytes may be in this slice: harmless,
  /// they are the same.) Other errors: EINTR, ETIMEDOUT; EINVAL beyond 64 MiB; what an upload
  /// failed with, from then on always.
  Result<void> write(Context const& ctx, std::uint32_t offset, ByteView bytes);
  /// Appends bytes [offset, …) that are still in memory to `out`, if all of the range is; false
  /// otherwise. No copy: a later write to the same place shows through, and `out` keeps the memory
  /// from the pool while it lives.
  bool read(std::uint32_t offset, std::uint32_t length, DataView& out) const;
  /// The id under which blocks are stored; needed before the first upload.
  void set_id(SliceId id);
  [[nodiscard]] SliceId id() const noexcept;
  /// Uploads the rest and waits for all; afterwards the slice's blocks are stored (with `durable`:
  /// power-cut safe). No write may follow. After EINTR or ETIMEDOUT uploads go on and finish() may
  /// be called again; the error of an upload is final.
  Result<void> finish(Context const& ctx, bool durable);
  /// The same for several slices that fit into one block, none of which has uploaded anything: one
  /// object of this slice's id holds this slice's bytes and then those of `others`, which end here.
  Result<void> finish_with(Context const& ctx, bool durable, std::span<SliceWriter* const> others);
  /// Removes what was uploaded; for slices whose commit failed for good.
  void abort(Context const& ctx) noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest
