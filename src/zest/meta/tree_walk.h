// Walks over a whole tree, for sums: page by page, with memory that grows with the depth only.
#pragma once

#include <functional>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"

namespace zest::meta {

/// Hears of every entry below a directory; an error ends the walk.
using TreeVisit = std::function<Result<void>(DirEntry const& entry)>;

/// Calls `visit` for every entry below `dir`, with attributes where the node is there; a directory
/// before what it holds, otherwise in no order. Hard links come once a name. What changes meanwhile
/// is seen before or after its change. One trip a thousand entries, at least one a directory. May
/// suspend. Corrupt: deeper than any path can be.
Result<void> walk_tree(Context const& ctx, Engine& engine, Ino dir, TreeVisit const& visit);

/// What lies below a directory, without itself, as directory quotas count it: every entry at least
/// 4 KiB, hard links once a name.
Result<Usage> tree_usage(Context const& ctx, Engine& engine, Ino dir);

/// What one entry counts: its length in units of 4 KiB, at least one.
Usage usage_of(DirEntry const& entry) noexcept;

}  // namespace zest::meta
