// Memory of a writer. A block is a list of segments that double the block's capacity as it grows
// (4 KiB, 4, 8 … 2 MiB), so that a small slice takes little and nothing is copied a second time:
// the store takes a block in parts. Blocks behind the first start with a quarter of a block.
//
// Full blocks at the front are frozen: their segments belong to an upload fiber from then on, which
// drops them when the object is stored. So [0, frozen_end) never changes again, and each object is
// written once, under its final name.
//
// The rule against deadlock: a writer waits for memory for long only while it holds no unfrozen
// bytes. Frozen ones come back by themselves. See SliceWriter::write for what its caller does.
//
// The fiber that calls and the upload fibers may be on different loops; `mutex` guards what they
// share: the segment lists, the number of uploads, the first error.
#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

#include "zest/base/assert.h"
#include "zest/chunk/block_store.h"
#include "zest/format/types.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/mutex.h"

namespace zest {
namespace {

constexpr std::uint32_t kSegmentMin = 4096;  // the pool's smallest buffer
// How long a writer that holds unfrozen bytes waits for memory: others may be waiting for what it
// holds.
constexpr Duration kPatience = std::chrono::milliseconds(40);

struct Segment {
  std::shared_ptr<Buffer> memory;  // shared: writer or upload, and views of readers
  std::uint32_t size = 0;          // of its capacity, what the block uses
};

struct Block {
  std::vector<Segment> segments;
  std::uint32_t capacity = 0;
};

}  // namespace

struct SliceWriter::Impl {
  Impl(BlockStore& s, Memory m) : store(s), block_size(s.config().block_size), memory(m) {}

  Result<void> put_bytes(Context const& ctx, std::uint32_t offset, std::uint32_t size,
                         std::byte const* from);
  Result<void> reserve(Context const& ctx, std::uint32_t index, std::uint32_t size);
  Result<Buffer> acquire(Context const& ctx, std::uint32_t wanted, std::uint32_t needed);
  void copy_in(Block const& block, std::uint32_t offset, std::uint32_t size,
               std::byte const* from) noexcept;
  void freeze_full();
  void upload(std::uint32_t index, std::uint32_t size);
  void run_upload(std::uint32_t index, std::uint32_t size);
  void collect(std::uint32_t index, std::uint32_t size, std::vector<Segment>& segments,
               std::vector<ByteView>& parts) const;
  [[nodiscard]] bool holds_unfrozen() const noexcept;
  [[nodiscard]] bool failed() const;
  Result<void> first_error() const;
  [[nodiscard]] std::uint32_t segment_size(Block const& block, std::uint32_t index,
                                           std::uint32_t needed) const noexcept;

  BlockStore& store;
  std::uint32_t const block_size;
  Memory const memory;
  // The calling fiber's own.
  SliceId id;
  std::uint32_t length = 0;
  std::uint32_t frozen_end = 0;
  bool finished = false;

  mutable Mutex mutex;
  std::vector<Block> blocks;
  std::size_t uploading = 0;
  std::optional<Error> error;   // the first one; later uploads are not tried
  std::shared_ptr<Event> idle;  // shared: a waiter that gave up may be gone when it is set

  Scope scope;
};

SliceWriter::SliceWriter(BlockStore& store, Memory memory)
    : impl_(std::make_unique<Impl>(store, memory)) {}

SliceWriter::~SliceWriter() {
  impl_->scope.request_stop();
  impl_->scope.join();
}

std::uint32_t SliceWriter::length() const noexcept {
  return impl_->length;
}
std::uint32_t SliceWriter::frozen_end() const noexcept {
  return impl_->frozen_end;
}
SliceId SliceWriter::id() const noexcept {
  return impl_->id;
}

void SliceWriter::set_id(SliceId id) {
  ZEST_ASSERT(id.value != 0 && impl_->id.value == 0);
  impl_->id = id;
  impl_->freeze_full();
}

Result<void> SliceWriter::write(Context const& ctx, std::uint32_t offset, ByteView bytes) {
  ZEST_ASSERT(!impl_->finished && offset >= impl_->frozen_end);
  if (bytes.size() > kChunkSize || offset > kChunkSize - bytes.size()) {
    return Error(Errc::inval, Fault::bug, "a slice would leave its chunk");
  }
  ZEST_CHECK(impl_->first_error());
  if (offset > impl_->length) {
    ZEST_CHECK(impl_->put_bytes(ctx, impl_->length, offset - impl_->length, nullptr));
  }
  return impl_->put_bytes(ctx, offset, static_cast<std::uint32_t>(bytes.size()), bytes.data());
}

/// Writes `size` bytes from `from`, or zeros; block by block, so that full ones leave meanwhile.
Result<void> SliceWriter::Impl::put_bytes(Context const& ctx, std::uint32_t offset,
                                          std::uint32_t size, std::byte const* from) {
  while (size > 0) {
    auto const index = offset / block_size;
    auto const in_block = offset % block_size;
    auto const step = std::min(size, block_size - in_block);
    ZEST_CHECK(reserve(ctx, index, in_block + step));
    copy_in(blocks[index], in_block, step, from);
    offset += step;
    size -= step;
    from = from == nullptr ? nullptr : from + step;
    length = std::max(length, offset);
    freeze_full();
  }
  return {};
}

/// Gives block `index` room for its first `size` bytes.
Result<void> SliceWriter::Impl::reserve(Context const& ctx, std::uint32_t index,
                                        std::uint32_t size) {
  if (index >= blocks.size()) {
    std::lock_guard const lock(mutex);
    blocks.resize(index + 1);
  }
  // Only this fiber changes the segments of blocks that aren't frozen: it reads them without the
  // mutex, but an append may race with resize() in nobody's favour, so it takes it.
  while (blocks[index].capacity < size) {
    auto const needed = size - blocks[index].capacity;
    auto const wanted = segment_size(blocks[index], index, needed);
    ZEST_TRY(auto buffer, acquire(ctx, wanted, needed));
    auto const room = block_size - blocks[index].capacity;
    auto const use = static_cast<std::uint32_t>(std::min<std::size_t>(buffer.capacity(), room));
    std::lock_guard const lock(mutex);
    blocks[index].segments.push_back(
        {.memory = std::make_shared<Buffer>(std::move(buffer)), .size = use});
    blocks[index].capacity += use;
  }
  return {};
}

std::uint32_t SliceWriter::Impl::segment_size(Block const& block, std::uint32_t index,
                                              std::uint32_t needed) const noexcept {
  if (memory == Memory::whole_blocks) {
    return block_size - block.capacity;
  }
  auto const start = index == 0 ? kSegmentMin : std::max(kSegmentMin, block_size / 4);
  auto const growth = std::max(start, std::bit_floor(block.capacity));
  return std::min(std::max(std::bit_ceil(needed), growth),
                  std::bit_floor(block_size - block.capacity));
}

/// A buffer of `wanted` bytes, or a smaller one when memory is short.
Result<Buffer> SliceWriter::Impl::acquire(Context const& ctx, std::uint32_t wanted,
                                          std::uint32_t needed) {
  auto& pool = store.buffers();
  if (auto buffer = pool.try_acquire(wanted)) {
    return buffer;
  }
  auto const least = memory == Memory::whole_blocks
                         ? wanted
                         : std::min(wanted, std::max(kSegmentMin, std::bit_ceil(needed)));
  if (auto buffer = least < wanted ? pool.try_acquire(least) : Buffer()) {
    return buffer;
  }
  // Uploads under way give memory back soon; a slice that is cut short is an object and a record
  // more for ever.
  Context patient = ctx;
  patient.deadline = std::min(ctx.deadline, Loop::current()->now() + kPatience);
  auto waited = pool.acquire(patient, least);
  if (!failed_with(waited, Errc::timedout)) {
    return waited;
  }
  store.report_memory_pressure();
  if (holds_unfrozen()) {
    return Errc::again;
  }
  return pool.acquire(ctx, least);
}

bool SliceWriter::Impl::holds_unfrozen() const noexcept {
  for (std::size_t i = frozen_end / block_size; i < blocks.size(); ++i) {
    if (!blocks[i].segments.empty()) {
      return true;
    }
  }
  return false;
}

void SliceWriter::Impl::copy_in(Block const& block, std::uint32_t offset, std::uint32_t size,
                                std::byte const* from) noexcept {
  std::uint32_t start = 0;
  for (auto const& segment : block.segments) {
    auto const end = start + segment.size;
    if (size > 0 && offset < end) {
      auto const step = std::min(size, end - offset);
      auto* const to = segment.memory->data() + (offset - start);
      if (from == nullptr) {
        std::memset(to, 0, step);
      } else {
        std::memcpy(to, from, step);
        from += step;
      }
      offset += step;
      size -= step;
    }
    start = end;
  }
  ZEST_ASSERT(size == 0);
}

void SliceWriter::Impl::freeze_full() {
  while (id.value != 0 && length - frozen_end >= block_size) {
    auto const index = frozen_end / block_size;
    frozen_end += block_size;
    upload(index, block_size);
  }
}

void SliceWriter::Impl::upload(std::uint32_t index, std::uint32_t size) {
  {
    std::lock_guard const lock(mutex);
    ++uploading;
  }
  scope.spawn([this, index, size] { run_upload(index, size); });
}

/// Appends the first `size` bytes of a block. Copies the list: readers still find the bytes until
/// they are stored.
void SliceWriter::Impl::collect(std::uint32_t index, std::uint32_t size,
                                std::vector<Segment>& segments,
                                std::vector<ByteView>& parts) const {
  std::lock_guard const lock(mutex);
  for (auto const& segment : blocks[index].segments) {
    if (size == 0) {
      break;
    }
    auto const n = std::min(segment.size, size);
    segments.push_back(segment);
    parts.push_back(ByteView(segment.memory->data(), n));
    size -= n;
  }
  ZEST_ASSERT(size == 0);
}

void SliceWriter::Impl::run_upload(std::uint32_t index, std::uint32_t size) {
  std::vector<Segment> segments;
  std::vector<ByteView> parts;
  collect(index, size, segments, parts);
  std::optional<Error> mine;
  if (!failed()) {
    Context ctx;
    ctx.stop = scope.token();
    bool const cache = size < block_size || store.config().cache_full_writes;
    auto result = store.write_block(ctx, {.id = id, .index = index, .size = size}, parts, cache);
    if (!result.ok()) {
      mine = std::move(result).error();
    }
  }
  segments.clear();
  std::shared_ptr<Event> wake;
  std::vector<Segment> stored;  // freed outside of the mutex
  {
    std::lock_guard const lock(mutex);
    stored = std::exchange(blocks[index].segments, {});
    if (mine && !error) {
      error = std::move(mine);
    }
    if (--uploading == 0) {
      wake = std::exchange(idle, nullptr);
    }
  }
  stored.clear();
  if (wake) {
    wake->set();
  }
}

bool SliceWriter::Impl::failed() const {
  std::lock_guard const lock(mutex);
  return error.has_value();
}

Result<void> SliceWriter::Impl::first_error() const {
  std::lock_guard const lock(mutex);
  if (error) {
    return error->clone();
  }
  return {};
}

bool SliceWriter::read(std::uint32_t offset, std::uint32_t size, DataView& out) const {
  if (offset > impl_->length || size > impl_->length - offset) {
    return false;
  }
  DataView view;
  auto const end = offset + size;
  std::lock_guard const lock(impl_->mutex);
  while (offset < end) {
    auto const& block = impl_->blocks[offset / impl_->block_size];
    auto start = offset - offset % impl_->block_size;
    auto const before = offset;
    for (auto const& segment : block.segments) {
      auto const segment_end = start + segment.size;
      if (offset < end && offset < segment_end) {
        auto const n = std::min(end, segment_end) - offset;
        view.append(ByteView(segment.memory->data() + (offset - start), n), segment.memory);
        offset += n;
      }
      start = segment_end;
    }
    if (offset == before) {
      return false;  // stored already, its memory is gone
    }
  }
  out.append(std::move(view));
  return true;
}

Result<void> SliceWriter::finish(Context const& ctx, bool durable) {
  auto& self = *impl_;
  ZEST_ASSERT(self.id.value != 0);
  self.finished = true;
  if (self.length > self.frozen_end) {
    auto const index = self.frozen_end / self.block_size;
    auto const size = self.length - self.frozen_end;
    self.frozen_end = self.length;
    self.upload(index, size);
  }
  std::shared_ptr<Event> idle;
  {
    std::lock_guard const lock(self.mutex);
    if (self.uploading > 0) {
      if (!self.idle) {
        self.idle = std::make_shared<Event>();
      }
      idle = self.idle;
    }
  }
  if (idle) {
    ZEST_CHECK(idle->wait(ctx));
  }
  ZEST_CHECK(self.first_error());
  return durable ? self.store.sync_slice(ctx, self.id, self.length) : Result<void>();
}

Result<void> SliceWriter::finish_with(Context const& ctx, bool durable,
                                      std::span<SliceWriter* const> others) {
  auto& self = *impl_;
  ZEST_ASSERT(self.id.value != 0 && self.length > 0);
  std::vector<Segment> segments;  // keeps the memory, which readers see until the commit
  std::vector<ByteView> parts;
  std::uint32_t size = 0;
  auto const take = [&](Impl& from) {
    ZEST_ASSERT(from.frozen_end == 0);
    from.finished = true;
    from.collect(0, from.length, segments, parts);
    size += from.length;
  };
  take(self);
  for (auto* const other : others) {
    take(*other->impl_);
  }
  ZEST_ASSERT(size <= self.block_size);
  self.frozen_end = size;
  auto stored =
      self.store.write_block(ctx, {.id = self.id, .index = 0, .size = size}, parts,
                             size < self.block_size || self.store.config().cache_full_writes);
  if (stored.ok() && durable) {
    stored = self.store.sync_slice(ctx, self.id, size);
  }
  return stored;
}

void SliceWriter::abort(Context const& ctx) noexcept {
  auto& self = *impl_;
  self.finished = true;
  self.scope.request_stop();
  self.scope.join();
  {
    std::lock_guard const lock(self.mutex);
    self.blocks.clear();
    if (!self.error) {
      self.error = Error(Errc::canceled);
    }
  }
  if (self.id.value != 0 && self.frozen_end > 0) {
    // Names follow from the size of what was frozen: full blocks, and after finish() the last one.
    // What cannot be removed now is garbage that gc finds.
    (void)self.store.remove_slice(ctx, self.id, self.frozen_end);
  }
}

}  // namespace zest
