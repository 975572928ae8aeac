// Bounded memory for data in flight. Buffers are acquired before they are used; when the limit is
// reached the fiber waits, which is what makes writers feel back-pressure instead of the machine
// running out of memory.
#pragma once

#include <cstddef>
#include <memory>

#include "zest/base/bytes.h"
#include "zest/base/context.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"

namespace zest {

class BufferPool;

/// Memory of a pool, given back on destruction. Movable; page-aligned.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  [[nodiscard]] std::byte* data() noexcept { return data_; }
  [[nodiscard]] std::byte const* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] ByteSpan span() noexcept { return {data_, capacity_}; }
  explicit operator bool() const noexcept { return data_ != nullptr; }

 private:
  friend class BufferPool;
  Buffer(BufferPool* pool, std::byte* data, std::size_t capacity) noexcept
      : pool_(pool), data_(data), capacity_(capacity) {}
  BufferPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t capacity_ = 0;
};

/// Hands out buffers in power-of-two sizes from 4 KiB to 64 MiB, together at most `limit` bytes.
/// Freed buffers are kept for reuse, up to a quarter of the limit and within it together with those
/// in use. Any loop; outlives its buffers.
class BufferPool {
 public:
  BufferPool(std::size_t limit, Registry& metrics);
  ~BufferPool();
  BufferPool(BufferPool const&) = delete;
  BufferPool& operator=(BufferPool const&) = delete;

  /// A buffer of at least `size` bytes, content undefined; suspends while the pool is exhausted
  /// (FIFO). Errors: EINTR, ETIMEDOUT, EINVAL when `size` exceeds the whole pool.
  Result<Buffer> acquire(Context const& ctx, std::size_t size);
  /// The same without waiting: an empty buffer when there is no room.
  [[nodiscard]] Buffer try_acquire(std::size_t size) noexcept;
  [[nodiscard]] std::size_t used() const noexcept;
  [[nodiscard]] std::size_t limit() const noexcept;
  /// Fibers waiting in acquire(): the sign for writers to flush early.
  [[nodiscard]] std::size_t waiters() const noexcept;

 private:
  friend class Buffer;
  void release(std::byte* data, std::size_t capacity) noexcept;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest
