#include <limits>

#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"
#include "zest/meta/statistics.h"

namespace zest::meta::ops {

/// link(2): one more name for a file, or the first one of a file made by O_TMPFILE.
///
/// Errors, in this order: names as mknod, ENOENT (file, or unlinked already), ENOENT / ENOTDIR /
/// EPERM / EACCES (directory, as mknod), EEXIST, EPERM (file is a directory, immutable,
/// append-only), EMLINK, EDQUOT (directory). Trips: 1 fetch, 1 commit; 1 more for a file
/// without a name.
Result<EntryReply> link(Txn& txn, VolumeView const& view, LinkRequest const& request) {
  ZEST_CHECK(check_new_name(request.parent, request.name));
  EdgeKey const edge{request.parent, std::string(request.name)};
  ZEST_CHECK(txn.fetch({NodeKey{request.ino}, NodeKey{request.parent}, edge}));
  ZEST_TRY(auto node, txn.node(request.ino));
  auto const first_name = node.nlink == 0;
  SustainedKey const sustained{view.session, request.ino};
  if (first_name) {
    if (!request.unnamed) {
      return Errc::noent;  // Its last close deletes it whatever happens now.
    }
    ZEST_TRY(auto const ours, txn.get(sustained));
    if (!ours.has_value()) {
      return Errc::noent;  // The session was lost, and the file with it.
    }
    txn.expect_unchanged(sustained);
  }
  ZEST_TRY(auto const dir, txn.node(request.parent));
  ZEST_TRY(auto const seen, judged(txn, request.parent, dir, kWrite | kExecute));
  ZEST_CHECK(check_add_entry(txn.caller(), request.parent, seen));
  ZEST_TRY(auto const taken, txn.get(edge));
  if (taken.has_value()) {
    return Errc::exist;
  }
  if (node.type == FileType::directory) {
    return Errc::perm;
  }
  ZEST_CHECK(check_node_flags(node));
  if (node.nlink == std::numeric_limits<std::uint32_t>::max()) {
    return Errc::mlink;
  }

  if (view.quotas != nullptr) {
    // The volume and the owners have the file already; each directory counts every name.
    auto const added = dir_stat_of(node);
    ZEST_CHECK(view.quotas->check_dir(txn.context(), request.parent,
                                      {.space = added.space, .inodes = added.inodes}));
  }

  txn.expect_node(request.parent, kAddEntryFields);
  txn.expect_node(request.ino,
                  kType | kFlags | kParent | kNlink | kLength | txn.reply_fields(request.ino));
  txn.expect_unchanged(edge);
  UpdateNode update{.ino = request.ino, .set = kParent, .add_nlink = 1, .raise_ctime = txn.now()};
  if (first_name) {
    txn.erase(sustained);
    update.values.parent = request.parent;
  } else {
    // From now on the parents are records of their own, for ever (format/05 §7).
    if (node.parent) {
      txn.change(AddParent{request.ino, node.parent, 1});
    }
    txn.change(AddParent{request.ino, request.parent, 1});
  }
  node.parent = update.values.parent;
  txn.put(edge, Entry{node.type, request.ino});
  txn.change(std::move(update));
  touch_dir(txn, request.parent);
  count_entry(txn, view, request.parent, node, true);

  ++node.nlink;
  node.ctime = raise_time(node.ctime, txn.now());
  return EntryReply{request.ino, node};
}

}  // namespace zest::meta::ops
