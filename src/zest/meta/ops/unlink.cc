#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"

namespace zest::meta::ops {

/// unlink(2).
///
/// Errors, in this order: ENOENT (empty), ENAMETOOLONG, EINVAL / ENOTEMPTY (`.`, `..`), EPERM
/// (`.trash`), ENOENT / ENOTDIR (directory), EPERM (from the trash, not root), EACCES, ENOENT
/// (entry), EPERM (directory's flags, sticky), EPERM (file's flags), EISDIR as Linux (the peer:
/// EPERM). Trips: 1 fetch, 1 commit; 1 more for a hard link that goes to the trash.
Result<UnlinkReply> unlink(Txn& txn, VolumeView const& view, NameRequest const& request,
                           OpenCheck& opens) {
  ZEST_CHECK(check_old_name(request.parent, request.name));
  ChildKey const key{request.parent, std::string(request.name)};
  ZEST_CHECK(txn.fetch({NodeKey{request.parent}, key}));
  ZEST_TRY(auto const dir, txn.node(request.parent));
  if (dir.type != FileType::directory) {
    return Errc::notdir;
  }
  ZEST_CHECK(check_permission(txn, request.parent, dir, kExecute));
  ZEST_TRY(auto const child, txn.get(key));
  if (!child.has_value()) {
    return Errc::noent;
  }
  ZEST_TRY(auto const seen, judged(txn, request.parent, dir, kWrite | kExecute));
  ZEST_CHECK(check_take_entry(txn.caller(), request.parent, seen));
  if (child->attr.has_value()) {
    ZEST_CHECK(check_take_node(txn.caller(), dir, *child->attr));
  }
  if (child->entry.type == FileType::directory) {
    return Errc::isdir;
  }

  txn.expect_node(request.parent, kTakeEntryFields);
  txn.expect_unchanged(key);
  txn.erase(EdgeKey{request.parent, std::string(request.name)});
  touch_dir(txn, request.parent);
  if (!child->attr.has_value()) {
    return UnlinkReply{.ino = child->entry.ino};  // An entry without a node: only the name goes.
  }
  return drop_file_name(
      txn, view,
      {.parent = request.parent, .name = request.name, .entry = child->entry, .node = *child->attr},
      opens);
}

}  // namespace zest::meta::ops
