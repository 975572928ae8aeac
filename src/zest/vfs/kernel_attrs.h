// Which attributes the kernel may still answer stat(2) and read(2) with.
//
// Attributes in a reply are good for the kernel until their time-out. Opening a file must show what
// another client's close made durable before that: so open compares what it fetched with what was
// handed out, and tells the kernel when they differ. Only data count: size and mtime.
//
// A table of fixed size, one slot a hash. Two inodes that meet in a slot: the later one stays, and
// for the other one the slot only remembers until when something may be cached.
#pragma once

#include <array>
#include <cstddef>
#include <mutex>
#include <vector>

#include "zest/base/clock.h"
#include "zest/format/types.h"

namespace zest::vfs {

/// Any thread, never suspends. Half a megabyte.
class KernelAttrs {
 public:
  KernelAttrs() : slots_(kSlots) {}

  /// `attr` is about to be handed out with this time-out.
  void hand_out(Ino ino, Attr const& attr, TimePoint now, Duration timeout);
  /// A write through this client, which the kernel knows of, replaced `old_mtime`.
  void wrote(Ino ino, WallTime old_mtime, Attr const& attr);
  /// May the kernel have other data of this inode than `attr` says?
  [[nodiscard]] bool differs(Ino ino, Attr const& attr, TimePoint now);
  /// The kernel has dropped what it had.
  void drop(Ino ino);

 private:
  static constexpr std::size_t kSlots = 8192;
  static constexpr std::size_t kLocks = 64;
  struct Slot {
    Ino ino;
    WallTime mtime;
    std::uint64_t length = 0;
    TimePoint until{};
    TimePoint others_until{};  ///< until then, inodes that were displaced may be cached
  };
  static std::size_t index(Ino ino) noexcept;
  std::mutex& lock_of(std::size_t slot) noexcept { return locks_[slot % kLocks]; }

  std::vector<Slot> slots_;
  std::array<std::mutex, kLocks> locks_;
};

}  // namespace zest::vfs
