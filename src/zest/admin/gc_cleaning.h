// The part of gc that needs no look at the store: removing what waits for it, and compaction.
// Internal to gc.
#pragma once

#include "zest/admin/gc.h"

namespace zest::admin {

/// With `remove`: expired trash, copies without a name, deleted files, delayed slices whose time is
/// over, slices that nobody uses. With `compact`: merges slices. Counts the deleted files in any
/// case. May suspend.
Result<void> clean_before_gc(Context const& ctx, GcVolume const& volume, GcRequest const& request,
                             GcReport& report);

}  // namespace zest::admin
