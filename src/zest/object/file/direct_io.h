// How objects meet the page cache.
//
// Large ones go past it: what a mount wrote or read is in its own cache and in the kernel's cache
// of its files, so a third copy would cost memory and most of the CPU. Small ones that are in it
// are read at once, without a thread that may wait.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "zest/base/bytes.h"

namespace zest::file_store {

/// Less than this takes the page cache: it is written without waiting for a disk.
inline constexpr std::size_t kDirectMin = 1u << 20;

/// Writes the longest prefix of `parts` that starts and ends on whole pages in memory, with
/// O_DIRECT, at the file's position. Returns its bytes: 0 when it is shorter than kDirectMin
/// or the file system does not take it, less than the prefix after an error (which the caller meets
/// again, if it is real, when it writes the rest in the usual way). Blocks.
std::size_t write_direct(int fd, std::span<ByteView const> parts) noexcept;

/// Reads from `offset` on with O_DIRECT, unless the page cache has it already (somebody wrote or
/// read it there). Returns the bytes read: 0 when `out` and `offset` are not on page boundaries,
/// `out` is shorter than kDirectMin or the file system does not take it; fewer than out.size() at
/// the file's end or after an error, as above. Blocks.
std::size_t read_direct(int fd, std::uint64_t offset, ByteSpan out) noexcept;

/// More than this is not copied on an event loop.
inline constexpr std::size_t kCachedMax = 128u << 10;

/// Fills `out` from `offset` on if the name and the bytes are in the kernel's caches; false when
/// they are not, or there is less. Never waits for a disk.
bool read_cached(char const* path, std::uint64_t offset, ByteSpan out) noexcept;

}  // namespace zest::file_store
