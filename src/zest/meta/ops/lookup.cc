#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"

namespace zest::meta::ops {
namespace {

Result<EntryReply> lookup_self_or_parent(Txn& txn, NameRequest const& request) {
  ZEST_TRY(auto const dir, txn.node(request.parent));
  if (dir.type != FileType::directory) {
    return Errc::notdir;
  }
  ZEST_CHECK(check_permission(txn, request.parent, dir, kExecute));
  if (request.name == ".") {
    return EntryReply{request.parent, dir};
  }
  ZEST_TRY(auto const parent, txn.node(dir.parent));
  return EntryReply{dir.parent, parent};
}

}  // namespace

/// lookup: the node that a name points to. An entry whose node is missing (a damaged volume) has
/// only its type.
///
/// Errors, in this order: ENOENT (empty), ENAMETOOLONG, ENOENT / ENOTDIR (directory; only where
/// permissions are ours to check, or nothing was found), EACCES, ENOENT. Trips: 1.
Result<EntryReply> lookup(Txn& txn, NameRequest const& request) {
  ZEST_CHECK(check_name(request.name));
  if (request.name == "." || request.name == "..") {
    return lookup_self_or_parent(txn, request);
  }
  if (request.parent == kRootIno && request.name == ".trash") {
    ZEST_TRY(auto const trash, txn.node(kTrashIno));
    return EntryReply{kTrashIno, trash};
  }
  ChildKey const key{request.parent, std::string(request.name)};
  if (txn.caller().check_permissions) {
    NodeKey const dir_key{request.parent};
    ZEST_CHECK(txn.fetch({key, dir_key}));
    ZEST_TRY(auto const dir, txn.node(request.parent));
    if (dir.type != FileType::directory) {
      return Errc::notdir;
    }
    ZEST_CHECK(check_permission(txn, request.parent, dir, kExecute));
  }
  ZEST_TRY(auto const child, txn.get(key));
  if (!child.has_value()) {
    return Errc::noent;
  }
  Attr bare;
  bare.type = child->entry.type;
  return EntryReply{child->entry.ino, child->attr.value_or(bare)};
}

}  // namespace zest::meta::ops
