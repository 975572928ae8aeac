#include <algorithm>

#include "zest/meta/ops/ops.h"

namespace zest::meta::ops {
namespace {

/// Where in the chunk the records end; EINVAL when one leaves its chunk or slice, or names another
/// slice.
Result<std::uint64_t> end_of_records(Slices const& records) {
  std::uint64_t end = 0;
  for (auto const& record : records) {
    auto const& first = records.front();
    if (record.len == 0 || std::uint64_t{record.pos} + record.len > kChunkSize ||
        std::uint64_t{record.off} + record.len > std::max(record.size, record.len) ||
        record.id != first.id || record.size != first.size) {
      return Errc::inval;
    }
    end = std::max(end, std::uint64_t{record.pos} + record.len);
  }
  if (records.empty()) {
    return Errc::inval;
  }
  return end;
}

}  // namespace

/// Commits one written slice: appends its records, grows the file, raises mtime and ctime.
///
/// Flags and permissions were checked at open. The old length is a condition, because usage is
/// exact, and so is the old mtime, so that a change by another client cannot hide behind this
/// one's; where the caller assumed the node (Txn::assume_node), nothing is read. Errors, in this
/// order: EINVAL (record leaves its chunk or slice), ENOENT, EPERM (no regular file), EDQUOT,
/// ENOSPC. Trips: 1 commit, and 1 fetch where the node isn't known.
Result<WriteSliceReply> write_slice(Txn& txn, VolumeView const& view,
                                    WriteSliceRequest const& request) {
  ZEST_TRY(auto const written, end_of_records(request.slices));
  ZEST_TRY(auto node, txn.node(request.ino));
  if (node.type != FileType::regular) {
    return Errc::perm;
  }
  auto const end = request.index.value * kChunkSize + written;
  auto const length = std::max(node.length, end);
  ZEST_CHECK(account_length(txn, view, request.ino, node, length));

  txn.expect_node(request.ino, kType | kLength | kMtime | txn.reply_fields(request.ino));
  txn.change(UpdateNode{.ino = request.ino,
                        .grow_length = end,
                        .raise_mtime = request.mtime,
                        .raise_ctime = txn.now()});
  txn.change(AppendSlices{{request.ino, request.index}, request.slices, false});
  if (auto const& slice = request.slices.front(); slice.id.value != 0) {
    txn.change(NewSlice{slice.id, slice.size, static_cast<std::int64_t>(request.slices.size())});
  }
  auto const replaced_mtime = node.mtime;
  node.length = length;
  node.mtime = raise_time(node.mtime, request.mtime);
  node.ctime = raise_time(node.ctime, txn.now());
  return WriteSliceReply{.attr = node, .replaced_mtime = replaced_mtime};
}

}  // namespace zest::meta::ops
