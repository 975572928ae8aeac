// Identifiers of the field, as types of their own so that they cannot be mixed up.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace zest {

/// Inode number. 1 is the root, 0 is "none" or "several parents" (format/00 §2).
struct Ino {
  std::uint64_t value = 0;
  friend auto operator<=>(Ino, Ino) = default;
  explicit operator bool() const noexcept { return value != 0; }
};

/// Id of a slice, unique in a volume; 0 stands for zeros without an object.
struct SliceId {
  std::uint64_t value = 0;
  friend auto operator<=>(SliceId, SliceId) = default;
};

/// Number of a 64 MiB window of a file.
struct ChunkIndex {
  std::uint32_t value = 0;
  friend auto operator<=>(ChunkIndex, ChunkIndex) = default;
};

/// Id of a client's session in a volume; 0 = none (tools, read-only mounts).
struct SessionId {
  std::uint64_t value = 0;
  friend auto operator<=>(SessionId, SessionId) = default;
};

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;

}  // namespace zest

template <>
struct std::hash<zest::Ino> {
  std::size_t operator()(zest::Ino ino) const noexcept {
    return std::hash<std::uint64_t>{}(ino.value * 0x9E3779B97F4A7C15ULL);
  }
};
template <>
struct std::hash<zest::SliceId> {
  std::size_t operator()(zest::SliceId id) const noexcept {
    return std::hash<std::uint64_t>{}(id.value * 0x9E3779B97F4A7C15ULL);
  }
};
