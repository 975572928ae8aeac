#include "zest/meta/ops/ops.h"

namespace zest::meta::ops {

/// What the deletion by another client left is the delfile record: it becomes a node without a name
/// again, which `session` sustains. Whoever deletes the data claims the record first
/// (claim_delfile), and a claimed one is left alone. Extended attributes are lost.
///
/// Trips: 1 fetch, 1 commit.
Result<AdoptReply> adopt(Txn& txn, AdoptRequest const& request) {
  NodeKey const key{request.ino};
  DelfileKey const deleted{request.ino, request.seen.length};
  ZEST_CHECK(txn.fetch({key, deleted}));
  ZEST_TRY(auto const there, txn.get(key));
  if (there.has_value()) {
    return AdoptReply{.there = true};
  }
  ZEST_TRY(auto const record, txn.get(deleted));
  if (!record.has_value() || record->deleted_sec <= kDelfileClaimed) {
    return AdoptReply{};
  }
  auto node = request.seen;
  node.nlink = 0;
  node.ctime = raise_time(node.ctime, txn.now());
  txn.expect_unchanged(key);
  txn.expect_unchanged(deleted);
  txn.erase(deleted);
  txn.put(key, node);
  txn.fence(request.session);
  txn.put(SustainedKey{request.session, request.ino}, Present{});
  Usage const back{.space = static_cast<std::int64_t>(align_4k(node.length)), .inodes = 1};
  txn.add_usage(back.space, back.inodes);
  txn.add_owner_usage(node, back);
  return AdoptReply{.there = true, .brought_back = true};
}

/// True when the caller may delete the data of the file now: nobody brings it back any more. Trips:
/// 1 fetch, 1 commit.
Result<bool> claim_delfile(Txn& txn, DelfileKey const& key) {
  ZEST_TRY(auto const record, txn.get(key));
  if (!record.has_value()) {
    return false;
  }
  if (record->deleted_sec > kDelfileClaimed) {
    txn.expect_unchanged(key);
    txn.put(key, DelfileRecord{.deleted_sec = kDelfileClaimed});
  }
  return true;
}

}  // namespace zest::meta::ops
