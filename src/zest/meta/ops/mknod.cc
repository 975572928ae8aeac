#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"

namespace zest::meta::ops {
namespace {

constexpr std::uint32_t kInt32Max = 0x7FFFFFFF;

Result<void> check_request(Txn const& txn, MknodRequest const& request) {
  if (!request.unnamed) {
    ZEST_CHECK(check_new_name(request.parent, request.name));
  }
  if (request.type == FileType::symlink) {
    if (request.target.size() > kSymlinkMax) {
      return Errc::nametoolong;
    }
    if (request.target.empty() || request.target.find('\0') != request.target.npos) {
      return Errc::inval;
    }
  }
  if (txn.capabilities().ids_fit_int32 &&
      (txn.caller().uid > kInt32Max || txn.caller().gid > kInt32Max || request.rdev > kInt32Max)) {
    return Errc::inval;
  }
  return {};
}

Result<Attr> new_node(Txn& txn, MknodRequest const& request, Attr const& dir) {
  auto const inherits = dir.default_acl != 0 && request.type != FileType::symlink;
  auto const umask = inherits ? std::uint16_t{0} : request.umask;
  auto const owner = new_node_owner(txn.caller(), dir,
                                    {.type = request.type, .mode = request.mode, .umask = umask});
  Attr node;
  node.flags = dir.flags & kFlagSkipTrash;
  node.type = request.type;
  node.mode = owner.mode;
  node.uid = owner.uid;
  node.gid = owner.gid;
  node.atime = node.mtime = node.ctime = txn.now();
  node.nlink = request.type == FileType::directory ? 2 : 1;
  if (request.type == FileType::directory) {
    node.length = 4096;
  } else if (request.type == FileType::symlink) {
    node.length = request.target.size();
  } else {
    node.rdev = request.rdev;
  }
  node.parent = request.parent;
  node.tier = dir.tier;
  if (inherits) {
    ZEST_CHECK(inherit_acls(txn, dir, owner.mode, node));
  }
  return node;
}

}  // namespace

/// mknod(2), mkdir(2), symlink(2) and the creating part of open(2).
///
/// Errors, in this order: ENAMETOOLONG, EINVAL, EEXIST (`.`, `..`), EPERM (`.trash`), ENOENT,
/// ENOTDIR, EPERM (in the trash), ENOENT (directory lies in the trash), EACCES, EPERM (immutable),
/// EEXIST, EDQUOT (user, group), ENOSPC, EDQUOT (directory). Linux tells EEXIST before EACCES and
/// EROFS where both hold; the kernel's own lookup sees to that. An unnamed file changes nothing in
/// its directory. Trips: 1 fetch, 1 commit; 2 more when a default ACL makes a rule that the volume
/// does not have yet.
Result<EntryReply> mknod(Txn& txn, VolumeView const& view, MknodRequest const& request, Ino fresh) {
  ZEST_CHECK(check_request(txn, request));
  EdgeKey const edge{request.parent, std::string(request.name)};
  ZEST_CHECK(txn.fetch({NodeKey{request.parent}, edge}));
  ZEST_TRY(auto const dir, txn.node(request.parent));
  ZEST_TRY(auto const seen, judged(txn, request.parent, dir, kWrite | kExecute));
  ZEST_CHECK(check_add_entry(txn.caller(), request.parent, seen));
  ZEST_TRY(auto const taken, txn.get(edge));
  if (taken.has_value()) {
    return Errc::exist;
  }
  ZEST_TRY(auto node, new_node(txn, request, dir));
  constexpr Usage kNewInode{.space = 4096, .inodes = 1};
  ZEST_CHECK(check_growth(txn, view, {.dir = request.parent, .node = node, .usage = kNewInode}));
  auto const is_dir = request.type == FileType::directory;

  txn.expect_node(request.parent, kAddEntryFields | kDefaultAcl | kTier);
  if (request.unnamed) {
    node.nlink = 0;
    txn.put(NodeKey{fresh}, node);
    txn.fence(view.session);
    txn.put(SustainedKey{view.session, fresh}, Present{});
    txn.add_usage(kNewInode.space, kNewInode.inodes);
    txn.add_owner_usage(node, kNewInode);
    return EntryReply{fresh, node};
  }
  txn.expect_unchanged(edge);
  txn.put(NodeKey{fresh}, node);
  txn.put(edge, Entry{request.type, fresh});
  if (request.type == FileType::symlink) {
    txn.put(SymlinkKey{fresh}, std::string(request.target));
  }
  if (is_dir && view.dir_stats) {
    txn.put(DirStatKey{fresh}, DirStat{});
  }
  touch_dir(txn, request.parent, is_dir ? 1 : 0);
  txn.add_usage(kNewInode.space, kNewInode.inodes);
  txn.add_owner_usage(node, kNewInode);
  count_entry(txn, view, request.parent, node, true);
  return EntryReply{fresh, node};
}

}  // namespace zest::meta::ops
