#include <algorithm>

#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"

namespace zest::meta::ops {
namespace {

constexpr std::uint32_t kCollapseRange = 0x08;
constexpr std::uint32_t kInsertRange = 0x20;

Result<void> check_request(FallocateRequest const& request) {
  constexpr std::uint32_t kKnown = kFallocKeepSize | kFallocPunchHole | kFallocZeroRange;
  if (request.mode == kCollapseRange || request.mode == kInsertRange) {
    return Errc::notsup;
  }
  if ((request.mode & (kCollapseRange | kInsertRange)) != 0 || request.length == 0) {
    return Errc::inval;
  }
  if ((request.mode & ~kKnown) != 0) {
    return Errc::notsup;
  }
  auto const punch = (request.mode & kFallocPunchHole) != 0;
  auto const zero = (request.mode & kFallocZeroRange) != 0;
  if ((punch && (request.mode & kFallocKeepSize) == 0) || (punch && zero)) {
    return Errc::inval;
  }
  if (request.offset >= kFileSizeMax || request.length > kFileSizeMax - request.offset) {
    return Errc::fbig;
  }
  return {};
}

}  // namespace

/// fallocate(2): reserves nothing really; grows the file, and writes zeros for holes and zero
/// ranges.
///
/// Errors, in this order: ENOTSUP (collapse, insert, unknown modes), EINVAL (modes together, length
/// 0), EFBIG, ENOENT, EPIPE (FIFO), EISDIR, EPERM (other types, immutable, append-only unless only
/// keep-size), EACCES, EDQUOT, ENOSPC. Trips: 1 fetch, 1 commit.
Result<Attr> fallocate(Txn& txn, VolumeView const& view, FallocateRequest const& request) {
  ZEST_CHECK(check_request(request));
  ZEST_TRY(auto node, txn.node(request.ino));
  if (node.type == FileType::fifo) {
    return Errc::pipe;
  }
  if (node.type == FileType::directory) {
    return Errc::isdir;
  }
  if (node.type != FileType::regular || (node.flags & kFlagImmutable) != 0) {
    return Errc::perm;
  }
  if ((node.flags & kFlagAppend) != 0 && (request.mode & ~kFallocKeepSize) != 0) {
    return Errc::perm;
  }
  ZEST_CHECK(check_permission(txn, request.ino, node, kWrite));

  auto const end = request.offset + request.length;
  auto const keep = (request.mode & kFallocKeepSize) != 0;
  auto const length = keep ? node.length : std::max(node.length, end);
  ZEST_CHECK(account_length(txn, view, request.ino, node, length));
  txn.expect_node(request.ino,
                  kType | kMode | kOwner | kFlags | kLength | txn.reply_fields(request.ino));
  txn.change(UpdateNode{.ino = request.ino,
                        .grow_length = length,
                        .raise_mtime = txn.now(),
                        .raise_ctime = txn.now()});
  if ((request.mode & (kFallocPunchHole | kFallocZeroRange)) != 0) {
    ZEST_CHECK(append_zeros(txn, request.ino, request.offset, std::min(end, node.length)));
  }
  node.length = length;
  node.mtime = raise_time(node.mtime, txn.now());
  node.ctime = raise_time(node.ctime, txn.now());
  return node;
}

}  // namespace zest::meta::ops
