// Names in the trash (format/00 §2, §7): hourly directories and the entries in them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "zest/base/clock.h"
#include "zest/base/result.h"
#include "zest/base/types.h"

namespace zest {

/// The hourly directory of `time`: `YYYY-MM-DD-HH` in UTC.
std::string trash_dir_name(WallTime time);

/// The start of the hour in seconds since 1970; EINVAL for a text that trash_dir_name would not
/// make.
Result<std::int64_t> parse_trash_dir_name(std::string_view name);

/// The name of a deleted entry: `{parent}-{inode}-{name}`, cut at 255 bytes.
std::string trash_entry_name(Ino parent, Ino ino, std::string_view name);

struct TrashEntryName {
  Ino parent;
  Ino ino;
  std::string name;  ///< the original name, maybe without its end
};
/// The inverse; EINVAL for other texts.
Result<TrashEntryName> parse_trash_entry_name(std::string_view name);

}  // namespace zest
