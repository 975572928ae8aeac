#include "zest/meta/ops/ops.h"

namespace zest::meta::ops {

/// readlink(2). Errors, in this order: ENOENT, EINVAL (no symbolic link), EIO (target missing).
/// Trips: 1.
Result<std::string> readlink(Txn& txn, Ino ino) {
  ZEST_CHECK(txn.fetch({NodeKey{ino}, SymlinkKey{ino}}));
  ZEST_TRY(auto const node, txn.node(ino));
  if (node.type != FileType::symlink) {
    return Errc::inval;
  }
  ZEST_TRY(auto const target, txn.get(SymlinkKey{ino}));
  if (!target.has_value()) {
    return Error::corrupt("symbolic link " + std::to_string(ino.value) + " has no target");
  }
  return *target;
}

}  // namespace zest::meta::ops
