// Units of the semaphore are bytes of handed-out capacity: it brings the limit, the FIFO and the
// waiting. Free buffers are linked through their own first bytes, so giving one back allocates
// nothing and cannot fail.
#include "zest/runtime/buffer_pool.h"

#include <sys/mman.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "zest/base/assert.h"
#include "zest/base/types.h"
#include "zest/runtime/mutex.h"
#include "zest/runtime/sanitizers.h"
#include "zest/runtime/sync.h"

namespace zest {
namespace {

constexpr std::size_t kSmallest = 4 * kKiB;
constexpr std::size_t kLargest = 64 * kMiB;
constexpr int kSmallestBits = std::countr_zero(kSmallest);
constexpr std::size_t kClasses = std::bit_width(kLargest / kSmallest);
// Below this malloc serves; above, buffers are mappings of their own, which go back to the system
// at once.
constexpr std::size_t kMapped = 1 * kMiB;
// Large pages save three quarters of the cost of first touching a block.
constexpr std::size_t kHugePage = 2 * kMiB;

std::size_t capacity_for(std::size_t size) noexcept {
  return size <= kSmallest ? kSmallest : std::bit_ceil(size);
}
std::size_t class_of(std::size_t capacity) noexcept {
  return static_cast<std::size_t>(std::countr_zero(capacity) - kSmallestBits);
}

std::byte* allocate(std::size_t capacity) noexcept {
  if (capacity < kMapped) {
    return static_cast<std::byte*>(std::aligned_alloc(kSmallest, capacity));
  }
  void* const memory =
      ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return nullptr;
  }
  if (capacity >= kHugePage) {
    ::madvise(memory, capacity, MADV_HUGEPAGE);  // advice: failure costs speed only
  }
  return static_cast<std::byte*>(memory);
}

void deallocate(std::byte* memory, std::size_t capacity) noexcept {
  if (capacity < kMapped) {
    std::free(memory);
  } else {
    ::munmap(memory, capacity);
  }
}

}  // namespace

struct BufferPool::Impl {
  Impl(std::size_t bytes, Registry& metrics)
      : limit(bytes),
        room(bytes),
        used_gauge(metrics.gauge("used_buffer_size_bytes", "Memory of buffers in use.")) {}

  /// A free or new buffer for capacity that was already taken from `room`; null when the system has
  /// none.
  std::byte* take(std::size_t capacity) noexcept;
  std::byte* take_free(std::size_t index) noexcept;
  void give(std::byte* memory, std::size_t capacity) noexcept;
  /// Returns free buffers to the system, the largest first, until at most `bytes` are kept.
  void trim(std::size_t bytes) noexcept;

  std::size_t const limit;
  Semaphore room;
  Gauge& used_gauge;

  Mutex mutex;
  std::array<std::byte*, kClasses> free_lists{};
  std::size_t free_bytes = 0;
};

Buffer::Buffer(Buffer&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      capacity_(std::exchange(other.capacity_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  Buffer taken(std::move(other));
  std::swap(pool_, taken.pool_);
  std::swap(data_, taken.data_);
  std::swap(capacity_, taken.capacity_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) {
    pool_->release(data_, capacity_);
  }
}

BufferPool::BufferPool(std::size_t limit, Registry& metrics)
    : impl_(std::make_unique<Impl>(limit, metrics)) {}

BufferPool::~BufferPool() {
  ZEST_ASSERT(used() == 0);  // a buffer outlived its pool
  impl_->trim(0);
}

Result<Buffer> BufferPool::acquire(Context const& ctx, std::size_t size) {
  if (size > kLargest || capacity_for(size) > impl_->limit) {
    return Error(Errc::inval, Fault::semantic,
                 "a buffer larger than the buffer pool was asked for");
  }
  auto const capacity = capacity_for(size);
  ZEST_CHECK(impl_->room.acquire(ctx, capacity));
  auto* const memory = impl_->take(capacity);
  if (memory == nullptr) {
    impl_->room.release(capacity);
    return Error::transient(Errc::nomem, "the system has no memory for a buffer");
  }
  return Buffer(this, memory, capacity);
}

Buffer BufferPool::try_acquire(std::size_t size) noexcept {
  if (size > kLargest || !impl_->room.try_acquire(capacity_for(size))) {
    return {};
  }
  auto const capacity = capacity_for(size);
  auto* const memory = impl_->take(capacity);
  if (memory == nullptr) {
    impl_->room.release(capacity);
    return {};
  }
  return {this, memory, capacity};
}

std::size_t BufferPool::used() const noexcept {
  return impl_->limit - impl_->room.available();
}
std::size_t BufferPool::limit() const noexcept {
  return impl_->limit;
}
std::size_t BufferPool::waiters() const noexcept {
  return impl_->room.waiters();
}

void BufferPool::release(std::byte* data, std::size_t capacity) noexcept {
  impl_->give(data, capacity);
  // After the memory, so that whoever is let in finds it in the free list.
  impl_->room.release(capacity);
}

std::byte* BufferPool::Impl::take(std::size_t capacity) noexcept {
  std::byte* memory = nullptr;
  {
    std::lock_guard const lock(mutex);
    memory = take_free(class_of(capacity));
  }
  if (memory == nullptr) {
    trim(room.available());  // used and free ones together stay within the limit
    memory = allocate(capacity);
  }
  if (memory == nullptr) {
    trim(0);
    memory = allocate(capacity);
  }
  if (memory != nullptr) {
    used_gauge.add(static_cast<std::int64_t>(capacity));
  }
  return memory;
}

std::byte* BufferPool::Impl::take_free(std::size_t index) noexcept {
  std::byte* const memory = free_lists[index];
  if (memory != nullptr) {
    std::memcpy(&free_lists[index], memory, sizeof free_lists[index]);
    free_bytes -= kSmallest << index;
  }
  return memory;
}

void BufferPool::Impl::give(std::byte* memory, std::size_t capacity) noexcept {
  used_gauge.add(-static_cast<std::int64_t>(capacity));
  {
    std::lock_guard const lock(mutex);
    if (free_bytes + capacity <= limit / 4) {
      auto& first = free_lists[class_of(capacity)];
      std::memcpy(memory, &first, sizeof first);
      first = memory;
      free_bytes += capacity;
      return;
    }
  }
  deallocate(memory, capacity);
}

void BufferPool::Impl::trim(std::size_t bytes) noexcept {
  std::lock_guard const lock(mutex);
  for (std::size_t index = kClasses; index-- > 0;) {
    while (free_bytes > bytes && free_lists[index] != nullptr) {
      deallocate(take_free(index), kSmallest << index);
    }
  }
}

}  // namespace zest
