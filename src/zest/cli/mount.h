// zest mount without its command line: builds a mounted volume, serves it, takes it down.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "zest/admin/setting_update.h"
#include "zest/base/log.h"
#include "zest/base/types.h"
#include "zest/chunk/block_store.h"
#include "zest/fuse/session.h"
#include "zest/meta/meta.h"
#include "zest/runtime/loop_group.h"
#include "zest/vfs/vfs.h"

namespace zest::cli {

struct MountRequest {
  std::string meta_url;
  std::string mount_point;
  bool background = false;
  bool force = false;  ///< mount over a mount of the same volume, or over files
  bool check_storage = false;
  bool update_fstab = false;
  std::vector<std::string> fstab_options;
  LogConfig log;
  std::string subdir;
  /// Where this client reaches the data, when not as the Setting says.
  std::optional<std::string> storage;
  std::optional<std::string> bucket;
  std::string metrics_address;  ///< empty: no server
  std::vector<std::pair<std::string, std::string>> metric_labels;
  std::uint64_t buffer_bytes = 300 * kMiB;
  std::uint64_t cache_bytes = 100 * kMiB;
  LoopGroupOptions loops;
  fuse::FuseConfig fuse;
  vfs::VfsConfig vfs;
  BlockStoreConfig blocks;
  meta::MetaConfig meta;
};

/// Mounts and serves until the file system is unmounted or a signal ends it; in the background, the
/// calling process returns once the mount works. Returns the exit code.
///
/// SIGINT and SIGTERM unmount (when files are in use: lazily, ending with their last user); a
/// second one aborts what is under way. SIGHUP is ignored. Not before everything written is stored
/// does it return.
int mount_volume(MountRequest request);

}  // namespace zest::cli
