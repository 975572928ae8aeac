#include "zest/meta/ops/ops.h"

namespace zest::meta::ops {

/// The slices of a chunk and the node they were read with. Errors: ENOENT, EPERM (no regular file).
/// Trips: 1.
Result<ChunkReply> read_chunk(Txn& txn, ChunkKey const& key) {
  ZEST_CHECK(txn.fetch({NodeKey{key.ino}, key}));
  ZEST_TRY(auto const node, txn.node(key.ino));
  if (node.type != FileType::regular) {
    return Errc::perm;
  }
  ChunkReply reply{.attr = node, .slices = {}};
  auto slices = txn.get(key);
  if (!slices.ok()) {
    return std::move(slices).error();
  }
  if (slices->has_value()) {
    reply.slices.swap(**slices);
  }
  return reply;
}

}  // namespace zest::meta::ops
