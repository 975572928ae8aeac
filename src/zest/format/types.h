// The records of a volume as values (format/00, 01). Encodings are in the files beside this one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "zest/base/clock.h"
#include "zest/base/types.h"

namespace zest {

constexpr Ino kRootIno{1};
/// Directory of the trash, `/.trash`; every inode from here on is in it (format/00 §2).
constexpr Ino kTrashIno{0x7FFFFFFF10000000};
constexpr std::uint64_t kChunkSize = std::uint64_t{1} << 26;  // 64 MiB
constexpr std::uint64_t kFileSizeMax = kChunkSize << 31;      // 2^57
constexpr std::size_t kNameMax = 255;
constexpr std::size_t kSymlinkMax = 4095;
constexpr std::size_t kXattrNameMax = 255;
constexpr std::size_t kXattrValueMax = 65536;

constexpr bool is_trash(Ino ino) noexcept {
  return ino.value >= kTrashIno.value;
}

/// Type codes as stored (format/00 §2.1); not the S_IFMT values.
enum class FileType : std::uint8_t {
  regular = 1,
  directory = 2,
  symlink = 3,
  fifo = 4,
  block_device = 5,
  char_device = 6,
  socket = 7,
};

/// S_IFREG and so on, for st_mode.
std::uint32_t to_mode_bits(FileType type) noexcept;

/// Inode flags (format/00 §2.2).
enum InodeFlag : std::uint8_t {
  kFlagImmutable = 0x01,
  kFlagAppend = 0x02,
  kFlagWindowsHidden = 0x04,
  kFlagWindowsSystem = 0x08,
  kFlagWindowsArchive = 0x10,
  kFlagSkipTrash = 0x20,
};

/// What a volume stores about an inode (format/01 §1).
struct Attr {
  std::uint8_t flags = 0;
  FileType type = FileType::regular;
  std::uint16_t mode = 0;  ///< 07777 bits only
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  WallTime atime;
  WallTime mtime;
  WallTime ctime;
  std::uint32_t nlink = 0;
  std::uint64_t length = 0;
  std::uint32_t rdev = 0;
  Ino parent;  ///< 0 = several parents, tracked in records of their own
  std::uint32_t access_acl = 0;
  std::uint32_t default_acl = 0;
  std::uint8_t tier = 0;
  friend bool operator==(Attr const&, Attr const&) = default;
};

/// A directory entry's value (format/01 §2).
struct Entry {
  FileType type = FileType::regular;
  Ino ino;
  friend bool operator==(Entry const&, Entry const&) = default;
};

/// One record of a chunk: bytes [off, off+len) of slice `id` (of `size` bytes) appear at `pos`
/// (format/01 §3).
struct SliceRecord {
  std::uint32_t pos = 0;
  SliceId id;  ///< 0 = zeros
  std::uint32_t size = 0;
  std::uint32_t off = 0;
  std::uint32_t len = 0;
  friend bool operator==(SliceRecord const&, SliceRecord const&) = default;
};

/// Bytes that a slice occupies in accounting: align4K, and 4096 for none (format/00 §3.1).
constexpr std::uint64_t align_4k(std::uint64_t length) noexcept {
  return length == 0 ? 4096 : ((length - 1) | 4095) + 1;
}

/// A POSIX lock range of one owner (format/01 §8.1); `end` is inclusive.
struct LockRange {
  enum class Type : std::uint32_t { read = 0, write = 1, unlock = 2 };
  Type type = Type::read;
  std::uint32_t pid = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  friend bool operator==(LockRange const&, LockRange const&) = default;
};

/// A session record (format/01 §9).
struct SessionInfo {
  std::string version;
  std::string host_name;
  std::vector<std::string> ip_addrs;
  std::string mount_point;
  std::string mount_time;  ///< RFC 3339
  std::int64_t process_id = 0;
};

/// Usage of the direct children of a directory (format/01 §5).
struct DirStat {
  std::int64_t length = 0;
  std::int64_t space = 0;
  std::int64_t inodes = 0;
  friend bool operator==(DirStat const&, DirStat const&) = default;
};

/// Slice waiting for its deletion (format/01 §4).
struct DelayedSlice {
  SliceId id;
  std::uint32_t size = 0;
  friend bool operator==(DelayedSlice const&, DelayedSlice const&) = default;
};

struct AclEntry {
  std::uint32_t id = 0;
  std::uint16_t perm = 0;
  friend bool operator==(AclEntry const&, AclEntry const&) = default;
};

/// An ACL rule (format/01 §7.1); 0xFFFF = entry absent.
struct AclRule {
  static constexpr std::uint16_t kAbsent = 0xFFFF;
  std::uint16_t owner = kAbsent;
  std::uint16_t group = kAbsent;
  std::uint16_t mask = kAbsent;
  std::uint16_t other = kAbsent;
  std::vector<AclEntry> named_users;
  std::vector<AclEntry> named_groups;
  friend bool operator==(AclRule const&, AclRule const&) = default;
};

}  // namespace zest
