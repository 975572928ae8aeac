#include "zest/object/file/direct_io.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>

#include "zest/runtime/socket.h"

namespace zest::file_store {
namespace {

// What disks and file systems of today ask for at most; a prefix that does not fit costs nothing.
constexpr std::size_t kPage = 4096;
constexpr std::size_t kVectorsMax = 1024;  // IOV_MAX of Linux

bool on_page(void const* memory) noexcept {
  return reinterpret_cast<std::uintptr_t>(memory) % kPage == 0;
}

/// The part of `parts` from byte `done` on that can go out directly.
struct Batch {
  std::array<iovec, kVectorsMax> vectors;
  std::size_t count = 0;
  std::size_t bytes = 0;
};

void collect(std::span<ByteView const> parts, std::size_t done, Batch& batch) noexcept {
  batch.count = 0;
  batch.bytes = 0;
  for (auto part : parts) {
    if (done >= part.size()) {
      done -= part.size();
      continue;
    }
    part = part.subspan(done);
    done = 0;
    auto const whole = part.size() - part.size() % kPage;
    if (!on_page(part.data()) || whole == 0 || batch.count == kVectorsMax) {
      return;
    }
    // writev only reads from where iov_base points to.
    batch.vectors[batch.count++] = {const_cast<std::byte*>(part.data()), whole};
    batch.bytes += whole;
    if (whole != part.size()) {
      return;
    }
  }
}

/// Asks by mincore(2): a read with RWF_NOWAIT would start the kernel's read-ahead.
bool cached(int fd, std::uint64_t offset) noexcept {
  auto* const map = ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (map == MAP_FAILED) {
    return false;
  }
  unsigned char present = 0;
  auto const known = ::mincore(map, kPage, &present) == 0;
  ::munmap(map, kPage);
  return known && (present & 1) != 0;
}

/// 5.12 knows RESOLVE_CACHED; network file systems do without RWF_NOWAIT.
std::atomic<bool> knows_cached{true};

}  // namespace

bool read_cached(char const* path, std::uint64_t offset, ByteSpan out) noexcept {
  if (!knows_cached.load(std::memory_order_relaxed)) {
    return false;
  }
  open_how how{.flags = O_RDONLY | O_CLOEXEC, .mode = 0, .resolve = RESOLVE_CACHED};
  UniqueFd const fd(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how)));
  ssize_t n = -1;
  if (fd) {
    iovec const all{out.data(), out.size()};
    n = ::preadv2(fd.get(), &all, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  }
  if (n < 0 && (errno == ENOSYS || errno == EINVAL || errno == EOPNOTSUPP)) {
    knows_cached.store(false, std::memory_order_relaxed);
  }
  return n == static_cast<ssize_t>(out.size());
}

std::size_t write_direct(int fd, std::span<ByteView const> parts) noexcept {
  Batch batch;
  collect(parts, 0, batch);
  auto const flags = ::fcntl(fd, F_GETFL);
  if (batch.bytes < kDirectMin || flags < 0 || ::fcntl(fd, F_SETFL, flags | O_DIRECT) != 0) {
    return 0;
  }
  std::size_t done = 0;
  while (batch.count > 0) {
    auto const n = ::writev(fd, batch.vectors.data(), static_cast<int>(batch.count));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      break;
    }
    done += static_cast<std::size_t>(n);
    if (static_cast<std::size_t>(n) % kPage != 0) {
      break;
    }
    collect(parts, done, batch);
  }
  static_cast<void>(::fcntl(fd, F_SETFL, flags));
  return done;
}

std::size_t read_direct(int fd, std::uint64_t offset, ByteSpan out) noexcept {
  if (out.size() < kDirectMin || offset % kPage != 0 || !on_page(out.data()) ||
      cached(fd, offset)) {
    return 0;
  }
  auto const flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_DIRECT) != 0) {
    return 0;
  }
  std::size_t done = 0;
  while (out.size() - done >= kPage) {
    auto const wanted = (out.size() - done) - (out.size() - done) % kPage;
    auto const n = ::pread(fd, out.data() + done, wanted, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      break;
    }
    done += static_cast<std::size_t>(n);
    if (static_cast<std::size_t>(n) % kPage != 0) {
      break;  // the end of the file
    }
  }
  static_cast<void>(::fcntl(fd, F_SETFL, flags));
  return done;
}

}  // namespace zest::file_store
