// Did a commit happen whose reply was lost?
#pragma once

#include <cstdint>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"

namespace zest::meta {

enum class Fate : std::uint8_t {
  happened,
  /// It can be tried again: should it still be under way, its conditions fail after the new
  /// attempt.
  not_happened,
  /// Others have changed the same directory or file since, and nothing tells who did what.
  unknown,
};

/// Looks at what `commit` would have left behind. One trip.
///
/// What proves that it happened: an inode or slice that it made (their ids belong to one attempt),
/// or the very time stamp that it gave a node. What proves that it did not: a node that still has
/// the time stamp of before. That an entry is gone proves nothing: another client may have removed
/// it, and each of the two must be told its own fate. Records that only this client writes (locks,
/// sessions, sustained inodes) and changes that may be made twice (chmod, setxattr) are compared by
/// value.
Result<Fate> fate_of(Engine& engine, Context const& ctx, Commit const& commit);

}  // namespace zest::meta
