// Being called by mount(8) as /sbin/mount.zest, and the line in /etc/fstab (format/08 §6).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/result.h"

namespace zest::cli {

/// What an option of an fstab line is to the command `mount`.
enum class MountFlag : std::uint8_t {
  none,   ///< none of its options
  plain,  ///< a switch
  value,  ///< takes a value
};
using MountFlagOf = std::function<MountFlag(std::string_view name)>;

/// True when the program was called by mount(8): as mount.zest or mount.juicefs, or with the
/// variable CALL_VIA_MOUNT set.
bool called_by_mount(char const* program);

/// Makes `mount -d [--flags] META-URL MOUNTPOINT` of `META-URL MOUNTPOINT -o a,b=c`: drops what
/// only mount(8) understands, turns options that `mount` knows into flags, and hands the rest on to
/// FUSE.
std::vector<std::string> translate_mount(std::vector<std::string> const& arguments,
                                         MountFlagOf const& flag_of);

struct FstabEntry {
  std::string meta_url;
  std::string mount_point;
  std::vector<std::string> options;  ///< `name` or `name=value`, without dashes
};

/// `text` of an fstab with the line of this mount added, or replaced when there is one.
std::string updated_fstab(std::string_view text, FstabEntry const& entry);

/// Updates /etc/fstab (through a temporary file and a rename) and makes /sbin/mount.zest a link to
/// this program. Needs root. An URL with a password is refused: fstab is readable for everybody.
Result<void> update_fstab(FstabEntry const& entry);

}  // namespace zest::cli
