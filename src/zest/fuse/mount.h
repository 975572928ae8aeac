// mount(2), fusermount3 and their undoing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/runtime/socket.h"

namespace zest::fuse {

struct MountOptions {
  std::string mount_point;  ///< normalised
  std::string source;       ///< "ZestFS:{Name}"
  std::string subtype = "zest";
  std::uint32_t max_read = 0;  ///< bytes; 0 = the kernel's
  bool allow_other = false;
  bool read_only = false;
  unsigned long flags = 0;  ///< MS_*, without MS_RDONLY
};

/// What `-o` asked for besides mount(2)'s flags.
struct RawOptions {
  unsigned long set_flags = 0;
  unsigned long clear_flags = 0;
  bool read_only = false;
  bool allow_other = false;
  bool allow_root = false;  ///< only root and the mounting user
  bool writeback_cache = false;
  std::optional<std::string> source;   ///< fsname=
  std::optional<std::string> subtype;  ///< subtype=
  std::optional<std::uint32_t> max_read;
};

/// Translates a comma-separated `-o` list. What only concerns fstab and init (defaults, _netdev,
/// nofail, noauto, user, x-…) is ignored; EINVAL names an option that isn't known.
Result<RawOptions> parse_raw_options(std::string_view text);

/// nosuid and nodev are the default, as for every FUSE mount.
unsigned long default_mount_flags() noexcept;

/// Mounts and returns the connected descriptor, nonblocking; INIT is waiting in it. As root with
/// mount(2), otherwise through fusermount3. Blocks; from any thread that isn't a loop's. Errors say
/// what to do (ENOENT: fusermount3 is missing; EPERM…).
Result<UniqueFd> mount_fuse(MountOptions const& options);

enum class UnmountMode : std::uint8_t {
  normal,  ///< EBUSY while somebody uses it
  lazy,    ///< gone from the tree at once, ends with its last user
  force,   ///< aborts what is under way, then lazy
};

/// Unmounts what is on top at `mount_point` (normalised). EINVAL when nothing is. Blocks; not from
/// a loop's thread, as the unmount may send requests that the loop answers.
Result<void> unmount_fuse(std::string const& mount_point, UnmountMode mode);

}  // namespace zest::fuse
