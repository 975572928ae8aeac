// Did a commit happen whose reply was lost?
#pragma once

#include <cstdint>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"

namespace zest::meta {

enum class Outcome : std::uint8_t {
  happened,
  not_happened,  ///< it can be tried again
  unknown,       ///< others changed the same records meanwhile: the caller must be told so
};

/// Looks at what `commit` would have left behind; a commit is all or nothing, so one record that
/// tells is enough. What tells, and why: docs/decisions/0003-lost-replies.md. One trip.
Result<Outcome> outcome_of(Engine& engine, Context const& ctx, Commit const& commit);

}  // namespace zest::meta
