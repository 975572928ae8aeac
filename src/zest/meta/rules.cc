#include "zest/meta/rules.h"

#include <fcntl.h>

namespace zest::meta {
namespace {

constexpr std::uint32_t kAccessAll = kRead | kWrite | kExecute;

Result<void> check_name_length(std::string_view name) {
  if (name.size() > kNameMax) {
    return Errc::nametoolong;
  }
  return {};
}

bool is_trash_name(Ino parent, std::string_view name) noexcept {
  return parent == kRootIno && name == ".trash";
}

}  // namespace

Result<void> check_mode(Caller const& caller, Attr const& attr, std::uint32_t mask) {
  if (caller.uid == 0) {
    auto const executable = attr.type == FileType::directory || (attr.mode & 0111) != 0;
    return (mask & kExecute) != 0 && !executable ? Result<void>(Errc::acces) : Result<void>();
  }
  // The owner's bits decide for the owner, even where group or others have more.
  std::uint32_t granted = attr.mode & 07U;
  if (caller.uid == attr.uid) {
    granted = (attr.mode >> 6) & 07U;
  } else if (caller.in_group(attr.gid)) {
    granted = (attr.mode >> 3) & 07U;
  }
  if ((mask & kAccessAll & ~granted) != 0) {
    return Errc::acces;
  }
  return {};
}

Result<void> check_access(Caller const& caller, Attr const& attr, std::uint32_t mask) {
  return caller.check_permissions ? check_mode(caller, attr, mask) : Result<void>();
}

Result<void> check_name(std::string_view name) {
  if (name.empty()) {
    return Errc::noent;
  }
  return check_name_length(name);
}

Result<void> check_new_name(Ino parent, std::string_view name) {
  ZEST_CHECK(check_name_length(name));
  if (name.empty() || name.find('/') != name.npos || name.find('\0') != name.npos) {
    return Errc::inval;
  }
  if (name == "." || name == "..") {
    return Errc::exist;
  }
  if (is_trash_name(parent, name)) {
    return Errc::perm;
  }
  return {};
}

Result<void> check_old_name(Ino parent, std::string_view name) {
  ZEST_CHECK(check_name(name));
  if (name == ".") {
    return Errc::inval;
  }
  if (name == "..") {
    return Errc::notempty;
  }
  if (is_trash_name(parent, name)) {
    return Errc::perm;
  }
  return {};
}

Result<void> check_add_entry(Caller const& caller, Ino ino, Attr const& dir, bool restore) {
  if (dir.type != FileType::directory) {
    return Errc::notdir;
  }
  if (is_trash(ino)) {
    return Errc::perm;
  }
  if (lies_in_trash(dir) && !restore) {
    return Errc::noent;
  }
  ZEST_CHECK(check_access(caller, dir, kWrite | kExecute));
  if ((dir.flags & kFlagImmutable) != 0) {
    return Errc::perm;
  }
  return {};
}

Result<void> check_take_entry(Caller const& caller, Ino ino, Attr const& dir) {
  if (dir.type != FileType::directory) {
    return Errc::notdir;
  }
  if (is_trash(ino) && caller.uid != 0) {
    return Errc::perm;
  }
  ZEST_CHECK(check_access(caller, dir, kWrite | kExecute));
  return check_node_flags(dir);
}

Result<void> check_take_node(Caller const& caller, Attr const& dir, Attr const& node) {
  ZEST_CHECK(check_sticky(caller, dir, node));
  return check_node_flags(node);
}

Result<void> check_sticky(Caller const& caller, Attr const& dir, Attr const& node) {
  if ((dir.mode & kModeSticky) != 0 && caller.uid != 0 && caller.uid != dir.uid &&
      caller.uid != node.uid) {
    return Errc::perm;
  }
  return {};
}

Result<void> check_node_flags(Attr const& node) {
  if ((node.flags & (kFlagImmutable | kFlagAppend)) != 0) {
    return Errc::perm;
  }
  return {};
}

std::uint32_t access_of_open_flags(std::uint32_t flags) noexcept {
  // O_EXEC is not on Linux; the kernel marks execve's open with FMODE_EXEC = 0x20 (__FMODE_EXEC).
  constexpr std::uint32_t kOpenForExec = 0x20;
  switch (flags & O_ACCMODE) {
    case O_WRONLY: return kWrite;
    case O_RDWR: return kRead | kWrite;
    default: return (flags & kOpenForExec) != 0 ? kExecute : kRead;
  }
}

Result<void> check_open(Caller const& caller, Attr const& node, std::uint32_t flags) {
  auto const mask = access_of_open_flags(flags);
  auto const writes = (mask & kWrite) != 0 || (flags & O_TRUNC) != 0;
  if (node.type == FileType::directory) {
    return Errc::isdir;
  }
  if (node.type == FileType::symlink) {
    return Errc::loop;
  }
  if (node.type != FileType::regular) {
    return Errc::nxio;
  }
  ZEST_CHECK(check_access(caller, node, mask));
  if (!writes) {
    return {};
  }
  if ((node.flags & kFlagImmutable) != 0 || lies_in_trash(node)) {
    return Errc::perm;
  }
  if ((node.flags & kFlagAppend) != 0 && ((flags & O_APPEND) == 0 || (flags & O_TRUNC) != 0)) {
    return Errc::perm;
  }
  return {};
}

NewNodeOwner new_node_owner(Caller const& caller, Attr const& dir, NewNodeWish const& wish) {
  NewNodeOwner owner{.uid = caller.uid, .gid = caller.gid, .mode = 0};
  owner.mode = static_cast<std::uint16_t>(wish.mode & 07777 & ~wish.umask);
  if (wish.type == FileType::symlink) {
    owner.mode = 0777;
  }
  if ((dir.mode & kModeSetgid) == 0) {
    return owner;
  }
  owner.gid = dir.gid;
  if (wish.type == FileType::directory) {
    owner.mode |= kModeSetgid;
  } else if (constexpr std::uint16_t kBoth = kModeSetgid | kModeGroupExecute;
             (owner.mode & kBoth) == kBoth && caller.uid != 0 && caller.check_permissions &&
             !caller.in_group(dir.gid)) {
    owner.mode &= static_cast<std::uint16_t>(~kModeSetgid);
  }
  return owner;
}

std::uint16_t mode_after_chown(Caller const& caller, FileType type, std::uint16_t mode) noexcept {
  if (type == FileType::directory || (mode & (kModeSetuid | kModeSetgid)) == 0) {
    return mode;
  }
  auto const both = caller.uid != 0 || (mode & kModeGroupExecute) != 0;
  return static_cast<std::uint16_t>(mode & (both ? 01777 : 03777));
}

std::uint16_t mode_after_write(Caller const& caller, Attr const& attr) noexcept {
  if (caller.uid == 0 || attr.type != FileType::regular) {
    return attr.mode;
  }
  auto mode = static_cast<std::uint16_t>(attr.mode & ~kModeSetuid);
  if ((mode & kModeGroupExecute) != 0) {
    mode &= static_cast<std::uint16_t>(~kModeSetgid);
  }
  return mode;
}

}  // namespace zest::meta
