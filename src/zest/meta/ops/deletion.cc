// What follows the loss of a file's last name: sustained inodes, chunks, slices.
#include "zest/meta/ops/ops.h"
#include "zest/meta/ops/slice_refs.h"

namespace zest::meta::ops {

/// The last close of an unlinked file, or the cleanup of its session. A node that is gone, or has
/// names again, only loses the session's record. Trips: 1 fetch, 1 commit.
Result<UnlinkReply> delete_sustained(Txn& txn, SessionId session, Ino ino) {
  NodeKey const key{ino};
  ZEST_TRY(auto const node, txn.get(key));
  txn.erase(SustainedKey{session, ino});
  if (!node.has_value() || node->nlink > 0) {
    return UnlinkReply{.ino = ino};
  }
  txn.expect_node(ino, kNlink | kLength | kType | kOwner);
  destroy_node(txn, ino, *node);
  return UnlinkReply{.ino = ino, .data_unused = true, .length = node->length};
}

/// Trips: 2 fetches, 1 commit.
Result<std::vector<DelayedSlice>> drop_chunk(Txn& txn, ChunkKey const& key) {
  ZEST_TRY(auto const slices, txn.get(key));
  if (!slices.has_value()) {
    return std::vector<DelayedSlice>{};
  }
  auto const counts = count_slices(*slices);
  std::vector<Key> keys;
  add_ref_keys(keys, counts);
  ZEST_CHECK(txn.fetch(keys));
  txn.expect_unchanged(key);
  txn.erase(key);
  return drop_references(txn, counts);
}

/// A list that another client ended meanwhile is left alone, so each reference goes once. Trips: 2
/// fetches, 1 commit.
Result<std::vector<DelayedSlice>> drop_delayed(Txn& txn, DelayedSlicesKey const& key) {
  ZEST_TRY(auto const slices, txn.get(key));
  if (!slices.has_value()) {
    return std::vector<DelayedSlice>{};
  }
  SliceCounts counts;
  for (auto const& slice : *slices) {
    if (slice.id.value != 0) {
      ++counts[SliceRefKey{slice.id, slice.size}];
    }
  }
  std::vector<Key> keys;
  add_ref_keys(keys, counts);
  ZEST_CHECK(txn.fetch(keys));
  txn.expect_unchanged(key);
  txn.erase(key);
  return drop_references(txn, counts);
}

/// A slice that is used again, or was forgotten by another client, is left alone. Trips: 1 fetch,
/// 1 commit.
Result<void> forget_slices(Txn& txn, std::vector<DelayedSlice> const& slices) {
  std::vector<Key> keys;
  keys.reserve(slices.size());
  for (auto const& slice : slices) {
    keys.emplace_back(SliceRefKey{slice.id, slice.size});
  }
  ZEST_CHECK(txn.fetch(keys));
  for (auto const& slice : slices) {
    SliceRefKey const key{slice.id, slice.size};
    ZEST_TRY(auto const references, txn.get(key));
    if (references.has_value() && *references <= 0) {
      txn.expect_unchanged(key);
      txn.erase(key);
    }
  }
  return {};
}

}  // namespace zest::meta::ops
