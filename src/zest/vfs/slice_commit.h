// How written slices become durable: their blocks are stored, then their records committed, in the
// order in which readers may see them (docs/decisions/0010-shared-objects.md).
#pragma once

#include <cstddef>
#include <cstdint>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/vfs/env.h"
#include "zest/vfs/file_state.h"

namespace zest::vfs {

/// Freezes all open slices up to number `last`; `file.writing` is held, so no SliceWriter is in
/// use. With `durable` they are stored power-cut safe.
void freeze(FileState& file, std::uint64_t last, bool durable);
/// Starts background fibers for frozen slices beyond those that the caller (`mine`) takes care of
/// itself.
void start_helpers(Env& env, FilePtr const& file, std::size_t mine);
/// Commits everything up to number `last`, together with whoever is at it already. Errors of
/// commits are in FileState::error; EINTR, ETIMEDOUT while it waits for others.
Result<void> drain(Env& env, FilePtr const& file, Context const& ctx, std::uint64_t last);

}  // namespace zest::vfs
