// /proc/self/mountinfo, and what is at a mount point.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/result.h"

namespace zest::fuse {

struct MountEntry {
  int id = 0;
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::string mount_point;
  std::string options;  ///< of the mount: ro, nosuid…
  std::string type;     ///< "fuse.zest"
  std::string source;   ///< "ZestFS:name"
  std::string super_options;
};

/// Lines of mountinfo, in order: of several mounts at one place the last is on top. Octal escapes
/// (blank, tab, newline, backslash) are undone; lines that cannot be parsed are skipped.
std::vector<MountEntry> parse_mountinfo(std::string_view text);

/// The table of this process. Blocks shortly (procfs).
Result<std::vector<MountEntry>> read_mount_table();

/// What is mounted on top at exactly `path` (absolute, normalised), if anything.
std::optional<MountEntry> mount_at(std::vector<MountEntry> const& table, std::string_view path);

/// `path` made absolute and free of ".", ".." and symbolic links, without touching the last
/// component's file system: works on a dead mount point too, where stat() fails.
Result<std::string> normalise_mount_point(std::string const& path);

enum class MountPointState : std::uint8_t {
  usable,     ///< an empty directory, possibly the root of some mount
  not_empty,  ///< a directory with files, which the mount would hide
  dead,       ///< a FUSE mount whose server is gone (ENOTCONN)
};

/// Looks at a normalised mount point. Errors: ENOENT, ENOTDIR, EACCES… with a message that says
/// what to do.
Result<MountPointState> inspect_mount_point(std::string const& path);

}  // namespace zest::fuse
