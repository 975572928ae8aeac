// What `zest info` tells about a file or directory, read from the metadata without a mount.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/format/setting.h"
#include "zest/format/types.h"
#include "zest/meta/engine.h"

namespace zest::admin {

/// A part of a file: `length` bytes at `pos` of chunk `chunk`, from `offset` of `object`; a hole
/// without a name.
struct ObjectRow {
  std::uint64_t chunk = 0;
  std::string object;  ///< key with the volume's prefix; in raw mode the slice's id
  std::uint64_t size = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t pos = 0;
};

struct FileInfo {
  Ino ino;
  Attr attr;
  std::uint64_t files = 0;   ///< all but directories
  std::uint64_t dirs = 0;    ///< with itself
  std::uint64_t length = 0;  ///< bytes of all files
  std::uint64_t size = 0;    ///< bytes in accounting: each inode at least 4 KiB
  std::vector<std::string> paths;
  std::vector<ObjectRow> objects;  ///< of a regular file
};

struct InfoRequest {
  Ino ino = kRootIno;
  bool recursive = false;  ///< directories: everything below, not only the direct children
  bool raw = false;        ///< slice records as stored, not what a reader sees of them
};

/// ENOENT when there is no such inode. Cost: one trip a thousand entries; finding a name reads its
/// whole directory. May suspend.
Result<FileInfo> file_info(Context const& ctx, meta::Engine& engine, Setting const& setting,
                           InfoRequest const& request);

/// The path of a directory in the volume; nothing when it is gone. Corrupt: it is not connected to
/// the root. Cost: every directory above it is listed to find the names.
Result<std::optional<std::string>> path_of(Context const& ctx, meta::Engine& engine, Ino dir);

/// The inode of an absolute path in the volume; symbolic links are not followed. ENOENT, ENOTDIR.
Result<Ino> resolve_path(Context const& ctx, meta::Engine& engine, std::string_view path);

}  // namespace zest::admin
