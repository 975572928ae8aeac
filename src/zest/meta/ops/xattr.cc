#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"

namespace zest::meta::ops {
namespace {

Result<void> check_xattr_name(std::string_view name) {
  if (name.empty()) {
    return Errc::inval;
  }
  if (name.size() > kXattrNameMax) {
    return Errc::range;
  }
  return {};
}

// Who may change attributes of a namespace, as Linux has it.
Result<void> check_change(Txn& txn, Attr const& node, XattrRequest const& request) {
  auto const& caller = txn.caller();
  auto const name = request.name;
  ZEST_CHECK(check_node_flags(node));
  if (name.starts_with("trusted.")) {
    return caller.uid == 0 ? Result<void>() : Result<void>(Errc::perm);
  }
  if (name.starts_with("user.")) {
    return check_permission(txn, request.ino, node, kWrite);
  }
  if (caller.uid != 0 && caller.check_permissions && caller.uid != node.uid) {
    return Errc::perm;
  }
  return {};
}

}  // namespace

/// getxattr(2). Errors, in this order: EINVAL (empty), ERANGE (long name), ENOENT, EACCES, ENODATA.
/// Trips: 1.
Result<std::string> getxattr(Txn& txn, XattrRequest const& request) {
  ZEST_CHECK(check_xattr_name(request.name));
  XattrKey const key{request.ino, std::string(request.name)};
  ZEST_CHECK(txn.fetch({NodeKey{request.ino}, key}));
  ZEST_TRY(auto const node, txn.node(request.ino));
  if (request.name.starts_with("user.")) {
    ZEST_CHECK(check_permission(txn, request.ino, node, kRead));
  }
  ZEST_TRY(auto value, txn.get(key));
  if (!value.has_value()) {
    return Errc::nodata;
  }
  return *std::move(value);
}

/// setxattr(2); changes ctime, as Linux does.
///
/// Errors, in this order: EINVAL (empty name, flags), ERANGE (long name, long value), ENOENT, EPERM
/// (immutable, append-only, `trusted.` unless root), EACCES, EEXIST (create), ENODATA (replace).
/// Trips: 1 fetch, 1 commit.
Result<void> setxattr(Txn& txn, XattrRequest const& request) {
  ZEST_CHECK(check_xattr_name(request.name));
  if ((request.flags & ~(kXattrCreate | kXattrReplace)) != 0 ||
      request.flags == (kXattrCreate | kXattrReplace)) {
    return Errc::inval;
  }
  if (request.value.size() > txn.capabilities().xattr_value_max) {
    return Errc::range;
  }
  XattrKey const key{request.ino, std::string(request.name)};
  ZEST_CHECK(txn.fetch({NodeKey{request.ino}, key}));
  ZEST_TRY(auto const node, txn.node(request.ino));
  ZEST_CHECK(check_change(txn, node, request));
  ZEST_TRY(auto const value, txn.get(key));
  if (request.flags == kXattrCreate && value.has_value()) {
    return Errc::exist;
  }
  if (request.flags == kXattrReplace && !value.has_value()) {
    return Errc::nodata;
  }
  txn.expect_node(request.ino, kMode | kOwner | kFlags);
  if (request.flags != 0) {
    txn.expect_unchanged(key);
  }
  txn.put(key, std::string(request.value));
  txn.change(UpdateNode{.ino = request.ino, .raise_ctime = txn.now()});
  return {};
}

/// removexattr(2). Errors: as setxattr without flags and value; ENODATA. Trips: 1 fetch, 1 commit.
Result<void> removexattr(Txn& txn, XattrRequest const& request) {
  ZEST_CHECK(check_xattr_name(request.name));
  XattrKey const key{request.ino, std::string(request.name)};
  ZEST_CHECK(txn.fetch({NodeKey{request.ino}, key}));
  ZEST_TRY(auto const node, txn.node(request.ino));
  ZEST_CHECK(check_change(txn, node, request));
  ZEST_TRY(auto const value, txn.get(key));
  if (!value.has_value()) {
    return Errc::nodata;
  }
  txn.expect_node(request.ino, kMode | kOwner | kFlags);
  txn.expect_unchanged(key);
  txn.erase(key);
  txn.change(UpdateNode{.ino = request.ino, .raise_ctime = txn.now()});
  return {};
}

}  // namespace zest::meta::ops
