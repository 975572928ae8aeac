// Objects as files below one directory, as the peer's `file` storage keeps them (format/00 §1.4).
//
// Object `k` is the plain file `{root}{k}`. A put writes a temporary sibling and renames it, so
// that readers see the whole object or none. Every call is one hop to the blocking pool.
#pragma once

#include <memory>
#include <string>

#include "zest/base/result.h"
#include "zest/object/store.h"
#include "zest/runtime/pool.h"

namespace zest {

struct FileStoreOptions {
  std::string root;  ///< absolute directory; a trailing '/' is added where it is missing
  /// A put returns only when the object and the directories on its path are on the disk. Without
  /// it, sync() does that later for many objects at once.
  bool fsync_on_put = false;
};

/// Makes a store over the directory; touches no disk yet (see ObjectStore::create). EINVAL when the
/// root is no absolute path. `pool` outlives the store.
///
/// Keys are relative paths: empty components, "." and ".." are EINVAL, and so are keys that end
/// with
/// '/' except in remove(), which takes away an empty directory then. A put below a root that does
/// not exist is EIO and doesn't create it: an unmounted disk must not be filled in silently on the
/// disk below its mount point.
Result<std::unique_ptr<ObjectStore>> make_file_store(FileStoreOptions options, BlockingPool& pool);

}  // namespace zest
