// POSIX ACLs (format/05 §11): the two attributes that hold them, and what other operations need.
#include "zest/format/acl.h"

#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"

namespace zest::meta {

Result<Attr> judged(Txn& txn, Ino ino, Attr const& node, std::uint32_t mask) {
  if (!txn.caller().check_permissions || txn.caller().uid == 0) {
    return node;
  }
  // Somebody may give the node an ACL, or another one, without a visible change of its mode.
  txn.expect_node(ino, kMode | kOwner | kAccessAcl);
  return txn.acls().judge(txn.context(), node, mask);
}

Result<void> check_permission(Txn& txn, Ino ino, Attr const& node, std::uint32_t mask) {
  ZEST_TRY(auto const seen, judged(txn, ino, node, mask));
  return check_access(txn.caller(), seen, mask);
}

Result<void> inherit_acls(Txn& txn, Attr const& dir, std::uint16_t mode, Attr& node) {
  ZEST_TRY(auto const rule, txn.acls().find(txn.context(), dir.default_acl));
  auto const inherited = inherit_acl(rule, mode);
  node.mode = inherited.mode;
  if (inherited.access.has_value()) {
    ZEST_TRY(node.access_acl, txn.acls().store(txn.context(), *inherited.access));
  }
  if (node.type == FileType::directory) {
    node.default_acl = dir.default_acl;
  }
  return {};
}

namespace ops {
namespace {

std::uint32_t id_of(Attr const& node, AclKind kind) noexcept {
  return kind == AclKind::access ? node.access_acl : node.default_acl;
}

// The node with this rule set; ENODATA never: taking away what is not there is fine, as on Linux.
Result<Attr> apply_acl(Txn& txn, AclRequest const& request, Attr node) {
  auto& id = request.kind == AclKind::access ? node.access_acl : node.default_acl;
  if (is_empty(request.rule)) {
    id = 0;
    return node;
  }
  auto const access = request.kind == AclKind::access;
  auto const rule = fill_absent(request.rule, node.mode);
  if (access) {
    node.mode = static_cast<std::uint16_t>((node.mode & 07000) | mode_of(rule));
  }
  if (access && is_minimal(rule)) {
    id = 0;
    return node;
  }
  ZEST_TRY(id, txn.acls().store(txn.context(), rule));
  return node;
}

}  // namespace

/// Trips: 1; 1 more for a rule that this client has not seen.
Result<std::string> get_acl(Txn& txn, Ino ino, AclKind kind) {
  ZEST_TRY(auto const node, txn.node(ino));
  auto const id = id_of(node, kind);
  if (id == 0) {
    return Errc::nodata;
  }
  ZEST_TRY(auto const rule, txn.acls().find(txn.context(), id));
  return build_acl_xattr(rule);
}

/// Errors, in this order: ENOENT, EPERM (in the trash), EPERM (neither root nor owner), EPERM
/// (immutable), ENOTSUP (symbolic link), EACCES (a default ACL of something that is no directory).
/// setgid goes where the kernel says so, or where the caller is not in the file's group and nobody
/// else has looked. Trips: 1 fetch, 1 commit; 2 more for a rule that the volume does not have yet.
Result<Attr> set_acl(Txn& txn, AclRequest const& request) {
  ZEST_TRY(auto const before, txn.node(request.ino));
  auto const& caller = txn.caller();
  if (lies_in_trash(before) || is_trash(request.ino) ||
      (caller.uid != 0 && caller.uid != before.uid) || (before.flags & kFlagImmutable) != 0) {
    return Errc::perm;
  }
  if (before.type == FileType::symlink) {
    return Errc::notsup;
  }
  if (request.kind == AclKind::default_for_children && before.type != FileType::directory) {
    return is_empty(request.rule) ? Result<Attr>(before) : Result<Attr>(Errc::acces);
  }
  ZEST_TRY(auto node, apply_acl(txn, request, before));
  auto const outside = caller.uid != 0 && caller.check_permissions && !caller.in_group(before.gid);
  if (request.kill_setgid || outside) {
    node.mode &= static_cast<std::uint16_t>(~kModeSetgid);
  }
  if (node == before) {
    return node;
  }
  txn.expect_node(request.ino,
                  kType | kMode | kOwner | kFlags | kParent | kAccessAcl | kDefaultAcl);
  txn.change(UpdateNode{.ino = request.ino,
                        .set = kMode | kAccessAcl | kDefaultAcl,
                        .values = node,
                        .raise_ctime = txn.now()});
  node.ctime = raise_time(node.ctime, txn.now());
  return node;
}

}  // namespace ops
}  // namespace zest::meta
