#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"

namespace zest::meta::ops {

/// rmdir(2); returns the directory's inode.
///
/// Errors, in this order: names as unlink, ENOENT / ENOTDIR (parent), EPERM (from the trash, not
/// root; an hourly directory for everybody), EACCES, ENOENT (entry), EPERM (parent's flags, sticky,
/// own flags), ENOTDIR, ENOTEMPTY. That the directory is empty is a condition; it is read only
/// after a conflict, to tell ENOTEMPTY. Trips: 1 fetch, 1 commit; not empty: 2 fetches, 1 commit.
Result<Ino> rmdir(Txn& txn, VolumeView const& view, NameRequest const& request) {
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
  auto const ino = child->entry.ino;
  if (request.parent == kTrashIno) {
    return Errc::perm;
  }
  ZEST_TRY(auto const seen, judged(txn, request.parent, dir, kWrite | kExecute));
  ZEST_CHECK(check_take_entry(txn.caller(), request.parent, seen));
  if (child->attr.has_value()) {
    ZEST_CHECK(check_take_node(txn.caller(), dir, *child->attr));
  }
  if (child->entry.type != FileType::directory) {
    return Errc::notdir;
  }
  if (txn.attempt() > 0) {
    ZEST_TRY(auto const has_entries, txn.get(HasEntriesKey{ino}));
    if (has_entries.value_or(false)) {
      return Errc::notempty;
    }
  }

  txn.expect_node(request.parent, kTakeEntryFields);
  txn.expect_unchanged(key);
  txn.erase(EdgeKey{request.parent, std::string(request.name)});
  touch_dir(txn, request.parent, -1);
  if (child->attr.has_value()) {
    drop_directory(txn, view,
                   {.parent = request.parent,
                    .name = request.name,
                    .entry = child->entry,
                    .node = *child->attr});
  } else {
    txn.expect_empty_dir(ino);
  }
  return ino;
}

}  // namespace zest::meta::ops
