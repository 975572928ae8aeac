#include <algorithm>
#include <map>

#include "zest/meta/ops/ops.h"
#include "zest/meta/ops/slice_refs.h"

namespace zest::meta::ops {

/// Replaces the records `seen[skipped…]` at the head of a chunk by `merged`, whose blocks are
/// stored.
///
/// mtime stays (format/06 §4). Replaced slices are kept for the trash period (`delay`) or lose a
/// reference; those without any are returned. Errors: EINVAL when the chunk no longer begins with
/// `seen`, or nothing is replaced. Trips: 1 fetch, 1 commit.
Result<std::vector<DelayedSlice>> compact_chunk(Txn& txn, CompactRequest const& request) {
  if (request.skipped >= request.seen.size()) {
    return Errc::inval;
  }
  auto const replaced = std::span(request.seen).subspan(request.skipped);
  auto const counts = count_slices(replaced);
  std::vector<Key> keys{request.key};
  if (!request.delay) {
    add_ref_keys(keys, counts);
  }
  ZEST_CHECK(txn.fetch(keys));
  ZEST_TRY(auto const found, txn.get(request.key));
  auto const& slices = found.value_or(Slices{});
  if (slices.size() < request.seen.size() ||
      !std::equal(request.seen.begin(), request.seen.end(), slices.begin())) {
    return Errc::inval;
  }

  txn.expect_chunk_prefix(request.key, request.seen);
  Slices head(request.seen.begin(),
              request.seen.begin() + static_cast<std::ptrdiff_t>(request.skipped));
  head.push_back(request.merged);
  txn.change(ReplaceChunkPrefix{request.key, request.seen.size(), std::move(head)});
  txn.change(NewSlice{request.merged.id, request.merged.size});
  if (!request.delay) {
    return drop_references(txn, counts);
  }
  std::vector<DelayedSlice> delayed;
  for (auto const& slice : replaced) {
    if (slice.id.value != 0) {
      delayed.push_back({slice.id, slice.size});
    }
  }
  if (!delayed.empty()) {
    txn.change(DelaySlices{request.merged.id, txn.now().sec, std::move(delayed)});
  }
  return std::vector<DelayedSlice>{};
}

}  // namespace zest::meta::ops
