// What `zest fsck` checks: every block that the metadata name is in the store, with its size.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/format/setting.h"
#include "zest/format/types.h"
#include "zest/meta/engine.h"
#include "zest/object/store.h"

namespace zest::admin {

/// A block that a file needs and that isn't there, or not as it should be.
struct BrokenBlock {
  Ino ino;
  std::string key;  ///< without the volume's prefix
  std::string why;
  std::string path;  ///< a name of the file in the volume; empty when it has none
};

struct FsckReport {
  std::uint64_t chunks = 0;
  std::uint64_t slices = 0;  ///< records with data; a slice that several name counts each time
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;            ///< plain bytes of these blocks
  std::uint64_t broken = 0;           ///< blocks
  std::vector<BrokenBlock> examples;  ///< at most a hundred, by inode and key, with paths
};

struct FsckRequest {
  /// Called now and then with the blocks seen so far, on the calling fiber.
  std::function<void(FsckReport const&)> progress;
};

/// Walks all chunks page by page, in bounded memory, and looks at each block with a bounded number
/// of requests under way. May run while clients work: a block is broken only if its file still
/// names it after it was found missing. Blocks of deleted files don't count. Errors are those of
/// engine and store; a broken volume is no error but a report. May suspend.
Result<FsckReport> check_blocks(Context const& ctx, meta::Engine& engine, ObjectStore& store,
                                Setting const& setting, FsckRequest const& request);

}  // namespace zest::admin
