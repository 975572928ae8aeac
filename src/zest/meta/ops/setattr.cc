// chmod(2), chown(2), utimensat(2) and inode flags: all attribute changes but the size.
#include "zest/format/acl.h"
#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"
#include "zest/meta/statistics.h"

namespace zest::meta::ops {
namespace {

constexpr std::uint8_t kKnownFlags = kFlagImmutable | kFlagAppend | kFlagWindowsHidden |
                                     kFlagWindowsSystem | kFlagWindowsArchive | kFlagSkipTrash;

bool owns(Caller const& caller, Attr const& node) noexcept {
  return caller.uid == 0 || caller.uid == node.uid;
}

bool changes_something(SetattrRequest const& request) noexcept {
  return request.mode || request.uid || request.gid || request.atime || request.mtime ||
         request.atime_now || request.mtime_now || request.flags;
}

// Linux: nothing of an immutable or append-only inode changes but its flags; the times of an
// append-only one may be set to now.
Result<void> check_flags_allow(Attr const& node, SetattrRequest const& request) {
  auto const explicit_change =
      request.mode || request.uid || request.gid || request.atime || request.mtime;
  auto const now_only = request.atime_now || request.mtime_now;
  if ((node.flags & kFlagImmutable) != 0 && (explicit_change || now_only)) {
    return Errc::perm;
  }
  if ((node.flags & kFlagAppend) != 0 && explicit_change) {
    return Errc::perm;
  }
  return {};
}

Result<void> apply_owner(Caller const& caller, SetattrRequest const& request, Attr& node) {
  if (!request.uid && !request.gid) {
    return {};
  }
  if (caller.uid != 0) {
    if (request.uid && (*request.uid != node.uid || caller.uid != node.uid)) {
      return Errc::perm;
    }
    if (request.gid && caller.uid != node.uid) {
      return Errc::perm;
    }
    if (request.gid && *request.gid != node.gid && caller.check_permissions &&
        !caller.in_group(*request.gid)) {
      return Errc::perm;
    }
  }
  // Linux clears the bits on every chown, also one that changes nothing.
  node.mode = mode_after_chown(caller, node.type, node.mode);
  node.uid = request.uid.value_or(node.uid);
  node.gid = request.gid.value_or(node.gid);
  return {};
}

Result<void> apply_mode(Caller const& caller, SetattrRequest const& request, Attr const& before,
                        Attr& node) {
  if (!request.mode) {
    return {};
  }
  auto mode = static_cast<std::uint16_t>(*request.mode & 07777);
  if (request.uid || request.gid) {
    // The kernel turns "chown clears setuid" into a mode of its own; the rule above decides
    // instead.
    mode |= static_cast<std::uint16_t>(before.mode & (kModeSetuid | kModeSetgid));
    mode = mode_after_chown(caller, node.type, mode);
  } else if (!owns(caller, before) &&
             (caller.check_permissions || ((mode ^ before.mode) & 01777) != 0 ||
              (mode & ~before.mode) != 0)) {
    return Errc::perm;
  }
  if ((mode & kModeSetgid) != 0 && caller.uid != 0 && caller.check_permissions &&
      !caller.in_group(node.gid)) {
    mode &= static_cast<std::uint16_t>(~kModeSetgid);
  }
  node.mode = mode;
  return {};
}

struct TimesWish {
  WallTime now;
  std::optional<bool> may_write;
};

Result<void> apply_times(Caller const& caller, SetattrRequest const& request, TimesWish const& wish,
                         Attr& node) {
  auto const now = wish.now;
  auto const explicit_time = request.atime || request.mtime;
  if (explicit_time && !owns(caller, node)) {
    return Errc::perm;
  }
  if ((request.atime_now || request.mtime_now) && !owns(caller, node)) {
    if (!wish.may_write.has_value()) {
      ZEST_CHECK(check_access(caller, node, kWrite));
    } else if (!*wish.may_write) {
      return Errc::acces;
    }
  }
  node.atime = request.atime_now ? now : request.atime.value_or(node.atime);
  node.mtime = request.mtime_now ? now : request.mtime.value_or(node.mtime);
  return {};
}

Result<void> apply_flags(Caller const& caller, SetattrRequest const& request, Attr& node) {
  if (!request.flags) {
    return {};
  }
  if (caller.uid != 0) {
    return Errc::perm;
  }
  if ((*request.flags & ~kKnownFlags) != 0) {
    return Errc::notsup;
  }
  node.flags = *request.flags;
  return {};
}

}  // namespace

/// The rules of setattr. Errors, in this order: EPERM (in the trash), EPERM (immutable,
/// append-only), EPERM (chown, chgrp), EPERM (chmod), EPERM (explicit times without ownership),
/// EACCES (times to now without write access), EPERM / ENOTSUP (flags).
///
/// Where the kernel checks permissions, a caller who is not the owner may still take setuid and
/// setgid away by a mode: that is how the kernel says "somebody wrote".
Result<Attr> apply_setattr(Caller const& caller, Attr const& before, SetattrRequest const& request,
                           WallTime now, std::optional<bool> may_write) {
  if (lies_in_trash(before) || is_trash(request.ino)) {
    return Errc::perm;
  }
  ZEST_CHECK(check_flags_allow(before, request));
  auto node = before;
  ZEST_CHECK(apply_owner(caller, request, node));
  ZEST_CHECK(apply_mode(caller, request, before, node));
  ZEST_CHECK(apply_times(caller, request, {.now = now, .may_write = may_write}, node));
  ZEST_CHECK(apply_flags(caller, request, node));
  return node;
}

namespace {

// What the access ACL says about times that are set to now; nothing where the mode bits decide.
Result<std::optional<bool>> may_write_by_acl(Txn& txn, SetattrRequest const& request,
                                             Attr const& node) {
  if ((!request.atime_now && !request.mtime_now) || node.access_acl == 0) {
    return std::optional<bool>();
  }
  ZEST_TRY(auto const seen, judged(txn, request.ino, node, kWrite));
  return std::optional(check_access(txn.caller(), seen, kWrite).ok());
}

// The inode belongs to somebody else now (format/05 §8); where only the user or the group changed,
// the other one's sum is nothing.
void count_owners(Txn& txn, Ino ino, Attr const& before, Attr const& node) {
  auto const stat = dir_stat_of(before);
  txn.expect_node(ino, kLength);
  txn.add_owner_usage(before, {.space = -stat.space, .inodes = -1});
  txn.add_owner_usage(node, {.space = stat.space, .inodes = 1});
}

// chmod(2) of a node with an access ACL changes the rule (format/05 §8).
Result<void> rewrite_acl(Txn& txn, Attr& node) {
  ZEST_TRY(auto const rule, txn.acls().find(txn.context(), node.access_acl));
  auto const changed = with_mode(rule, node.mode);
  if (changed != rule) {
    ZEST_TRY(node.access_acl, txn.acls().store(txn.context(), changed));
  }
  return {};
}

}  // namespace

/// setattr. Changes ctime whenever something was asked for, as Linux does (the peer: only when a
/// value became another one). Errors: ENOENT, then those of apply_setattr; EINVAL for ids that the
/// engine cannot store. Trips: 1 fetch, 1 commit; a chmod of a node with an ACL: 2 more for a rule
/// that the volume does not have yet.
Result<Attr> setattr(Txn& txn, SetattrRequest const& request) {
  constexpr std::uint32_t kInt32Max = 0x7FFFFFFF;
  ZEST_TRY(auto const before, txn.node(request.ino));
  ZEST_TRY(auto const may_write, may_write_by_acl(txn, request, before));
  ZEST_TRY(auto node, apply_setattr(txn.caller(), before, request, txn.now(), may_write));
  if (!changes_something(request)) {
    return node;
  }
  if (txn.capabilities().ids_fit_int32 && (node.uid > kInt32Max || node.gid > kInt32Max)) {
    return Errc::inval;
  }
  if (request.mode && node.access_acl != 0) {
    ZEST_CHECK(rewrite_acl(txn, node));
  }
  UpdateNode update{.ino = request.ino, .set = 0, .values = node, .raise_ctime = txn.now()};
  update.set |= request.mode || request.uid || request.gid ? kMode | kOwner : 0U;
  update.set |= request.atime || request.atime_now ? kAtime : 0U;
  update.set |= request.mtime || request.mtime_now ? kMtime : 0U;
  update.set |= request.flags ? kFlags : 0U;
  update.set |= request.mode ? kAccessAcl : 0U;
  txn.expect_node(request.ino, kType | kMode | kOwner | kFlags | kParent | kAccessAcl |
                                   txn.reply_fields(request.ino));
  if (node.uid != before.uid || node.gid != before.gid) {
    count_owners(txn, request.ino, before, node);
  }
  txn.change(std::move(update));
  node.ctime = raise_time(node.ctime, txn.now());
  return node;
}

}  // namespace zest::meta::ops
