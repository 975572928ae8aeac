#include "zest/meta/ops/slice_refs.h"

namespace zest::meta::ops {

SliceCounts count_slices(std::span<SliceRecord const> records) {
  SliceCounts counts;
  for (auto const& record : records) {
    if (record.id.value != 0) {
      ++counts[SliceRefKey{record.id, record.size}];
    }
  }
  return counts;
}

void add_ref_keys(std::vector<Key>& keys, SliceCounts const& counts) {
  for (auto const& [key, count] : counts) {
    keys.emplace_back(key);
  }
}

Result<std::vector<DelayedSlice>> drop_references(Txn& txn, SliceCounts const& counts) {
  std::vector<DelayedSlice> unused;
  for (auto const& [key, count] : counts) {
    ZEST_TRY(auto const references, txn.get(key));
    txn.expect_unchanged(key);
    txn.change(AddSliceRef{key.id, key.size, -count});
    // A slice without a record had its one reference here (format/00 §7.2).
    if (references.value_or(count) - count <= 0) {
      unused.push_back({key.id, key.size});
    }
  }
  return unused;
}

}  // namespace zest::meta::ops
