// Taking references of slices away, for whatever drops records of chunks.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "zest/meta/txn.h"

namespace zest::meta::ops {

/// How often each slice (without zeros) occurs in records.
using SliceCounts = std::map<SliceRefKey, std::int64_t>;
SliceCounts count_slices(std::span<SliceRecord const> records);

/// Announces the reference counts.
void add_ref_keys(std::vector<Key>& keys, SliceCounts const& counts);

/// Takes the references away and returns the slices that nobody uses after that. The counts are
/// conditions, so exactly one of several clients that drop the last references hears of the slice.
Result<std::vector<DelayedSlice>> drop_references(Txn& txn, SliceCounts const& counts);

}  // namespace zest::meta::ops
