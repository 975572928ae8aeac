// Did a commit happen whose reply was lost?
#pragma once

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"

namespace zest::meta {

/// Looks at what `commit` would have left behind: true when all of it is there. Puts and erased
/// records, slices appended, fields set and time stamps raised are looked at; counters are not. One
/// trip.
///
/// False means it can be tried again: what another client did in the meantime makes its conditions
/// fail, and what is there already is not done twice, because bodies read again.
Result<bool> was_applied(Engine& engine, Context const& ctx, Commit const& commit);

}  // namespace zest::meta
