// Commits that are larger than a server takes in one transaction, in steps that are safe to stop
// after.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "zest/meta/engine.h"

namespace zest::meta::kv {

/// The steps, in order. Stopping after any of them loses nothing: a slice with a reference too many
/// is only never collected, and zeros stand where the file was to be cut off (or end) anyway.
struct SplitCommit {
  /// More references. Undone when the rest is refused.
  std::vector<Commit> references;
  std::vector<Commit> undo;
  /// Zeros over chunks that exist (truncation), each under all the conditions.
  std::vector<Commit> zeros;
  /// All the rest, at once.
  Commit rest;
};

/// Nothing when the commit has no parts that may go ahead of the rest. `step_max`: most changes of
/// a step.
std::optional<SplitCommit> split_commit(Commit const& commit, std::size_t step_max);

}  // namespace zest::meta::kv
