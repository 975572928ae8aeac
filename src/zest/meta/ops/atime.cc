#include "zest/meta/ops/ops.h"

namespace zest::meta::ops {

/// format/05 §13.
bool wants_atime(AtimeMode mode, Attr const& node, WallTime now) noexcept {
  constexpr std::int64_t kDaySec = 24 * 3600;
  if (mode == AtimeMode::noatime) {
    return false;
  }
  auto const age = nanoseconds_between(now, node.atime);
  if (node.mtime > node.atime || node.ctime > node.atime || age > kDaySec * 1'000'000'000) {
    return true;
  }
  return mode == AtimeMode::strictatime && age > 1'000'000'000;
}

/// Trips: 1 commit; a node that is gone needs none.
Result<void> touch_atime(Txn& txn, Ino ino) {
  if (txn.attempt() > 0) {
    return {};  // The first commit found no node: nothing to do.
  }
  UpdateNode update{.ino = ino, .set = kAtime};
  update.values.atime = txn.now();
  txn.change(std::move(update));
  return {};
}

}  // namespace zest::meta::ops
