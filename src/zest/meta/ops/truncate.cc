#include <algorithm>

#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"

namespace zest::meta::ops {

/// truncate(2), ftruncate(2) (`by_handle`: permissions were checked at open).
///
/// Zeros are appended for shrinking and for growing alike (format/05 §9). mtime and ctime change
/// also when the length stays, as on Linux. setuid and setgid go unless root truncates. Errors, in
/// this order: EFBIG, ENOENT, EISDIR, EINVAL (no regular file), EPERM (immutable, append-only, in
/// the trash), EACCES, EDQUOT, ENOSPC. Trips: 1 fetch, 1 commit; more than 64 chunks: listing them.
Result<Attr> truncate(Txn& txn, VolumeView const& view, TruncateRequest const& request) {
  if (request.length >= kFileSizeMax) {
    return Errc::fbig;
  }
  ZEST_TRY(auto node, txn.node(request.ino));
  if (node.type == FileType::directory) {
    return Errc::isdir;
  }
  if (node.type != FileType::regular) {
    return Errc::inval;
  }
  ZEST_CHECK(check_node_flags(node));
  if (!request.by_handle) {
    if (lies_in_trash(node)) {
      return Errc::perm;
    }
    ZEST_CHECK(check_permission(txn, request.ino, node, kWrite));
  }
  ZEST_CHECK(account_length(txn, view, request.ino, node, request.length));
  txn.expect_node(request.ino, kType | kMode | kOwner | kFlags | kParent | kLength |
                                   txn.reply_fields(request.ino));

  UpdateNode update{
      .ino = request.ino, .set = kLength, .raise_mtime = txn.now(), .raise_ctime = txn.now()};
  update.values.length = request.length;
  auto const mode = mode_after_write(txn.caller(), node);
  if (mode != node.mode) {
    update.set |= kMode;
    update.values.mode = mode;
  }
  txn.change(std::move(update));
  ZEST_CHECK(append_zeros(txn, request.ino, std::min(node.length, request.length),
                          std::max(node.length, request.length)));
  node.length = request.length;
  node.mode = mode;
  node.mtime = raise_time(node.mtime, txn.now());
  node.ctime = raise_time(node.ctime, txn.now());
  return node;
}

}  // namespace zest::meta::ops
