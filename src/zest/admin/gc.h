// What `zest gc` does: finds and removes objects that nobody needs (format/06 §5), and removes what
// waits for its deletion.
//
// Leaked objects are those whose slice the metadata don't name. Slices are listed first (chunks,
// then delayed and pending ones: a slice only ever moves that way), then objects. What looks leaked
// and is to be removed is looked up in a second listing of the metadata right before: a slice that
// was committed or moved to another file while the first one ran is found then. Objects younger
// than the grace time are never touched, by the store's own clock, because a slice's objects exist
// before its record.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/chunk/block_store.h"
#include "zest/format/setting.h"
#include "zest/meta/meta.h"
#include "zest/object/store.h"
#include "zest/runtime/pool.h"

namespace zest::admin {

/// The format's protection window: a slice is committed within it after its first upload.
constexpr Duration kGcGrace = std::chrono::hours(1);

struct GcCount {
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;  ///< as stored
};

struct GcReport {
  // What waited for its deletion.
  std::uint64_t deleted_files = 0;  ///< found
  std::uint64_t cleaned_files = 0;
  std::uint64_t cleaned_trash = 0;     ///< files whose trash period is over
  std::uint64_t cleaned_detached = 0;  ///< copies that never got their name
  std::uint64_t cleaned_slices = 0;
  std::uint64_t compacted_chunks = 0;
  std::uint64_t compacted_slices = 0;
  std::uint64_t compacted_bytes = 0;
  // What the metadata name.
  std::uint64_t slices = 0;         ///< records; a slice that several name counts each time
  std::uint64_t spilled_bytes = 0;  ///< of the temporary file for them
  // Objects.
  GcCount scanned;
  GcCount valid;
  GcCount delayed;
  GcCount pending;
  GcCount young;    ///< not judged
  GcCount unknown;  ///< names that no block has: left alone
  GcCount leaked;
  GcCount removed;           ///< of the leaked
  std::uint64_t kept = 0;    ///< looked leaked, but had come into use when looked at again
  std::uint64_t failed = 0;  ///< could not be removed
};

struct GcRequest {
  /// Removes what is leaked and what waits for its deletion.
  bool remove = false;
  /// Merges the slices of every chunk that has several.
  bool compact = false;
  std::uint64_t threads = 10;  ///< chunks or objects at once
  Duration grace = kGcGrace;
  std::string temp_directory = "/var/tmp";
  std::size_t slices_in_memory = 4u << 20;  ///< 64 MiB
  /// Called on the calling fiber, now and then.
  std::function<void(GcReport const&)> progress;
  /// Called with each leaked object (any fiber of the loop).
  std::function<void(ObjectInfo const&)> leaked;
};

/// The volume that gc works on. `store` and the store below `blocks` are the same.
struct GcVolume {
  meta::Meta& meta;
  ObjectStore& store;
  BlockStore& blocks;
  Setting const& setting;
  BlockingPool& pool;
  Clock const& clock;
  Rng& rng;
};

/// Runs while clients work. Memory: 64 MiB for slices (16 bytes each; more go to a temporary file),
/// 24 MiB for leaked objects, and the lists of delayed and of pending slices as the engine gives
/// them (some 40 bytes a slice). It can be stopped and run again at any time. A failed removal is
/// counted, not an error; errors are those of engine, store and temporary file. May suspend; one
/// loop.
Result<GcReport> collect_garbage(Context const& ctx, GcVolume const& volume,
                                 GcRequest const& request);

}  // namespace zest::admin
