// The rules of POSIX and of the volume format as pure functions, each written once and tested
// alone.
//
// A rule returns the errno that the operation ends with. Where the peer's errno differs from
// Linux's, Linux's is taken; the set of what succeeds is that of format/05. The rules of mode bits
// (EACCES) hold only for callers whose permissions nobody has checked yet
// (Caller::check_permissions); sticky bits, ownership and inode flags always hold.
#pragma once

#include <cstdint>
#include <string_view>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/format/types.h"

namespace zest::meta {

/// Access bits, as in access(2).
enum AccessBit : std::uint32_t { kExecute = 1, kWrite = 2, kRead = 4 };

/// The mode bits of setuid, setgid, sticky and group-execute.
constexpr std::uint16_t kModeSetuid = 04000;
constexpr std::uint16_t kModeSetgid = 02000;
constexpr std::uint16_t kModeSticky = 01000;
constexpr std::uint16_t kModeGroupExecute = 00010;

/// Does `mode` grant the caller all bits of `mask`? EACCES. Root may do all but execute what nobody
/// may execute (directories: everything).
Result<void> check_mode(Caller const& caller, Attr const& attr, std::uint32_t mask);
/// check_mode() where the kernel has not done it.
Result<void> check_access(Caller const& caller, Attr const& attr, std::uint32_t mask);

/// A name to look up: ENOENT when empty, ENAMETOOLONG.
Result<void> check_name(std::string_view name);
/// A name to be given: ENAMETOOLONG; EINVAL when empty or with '/' or NUL; EEXIST for `.` and `..`;
/// EPERM for `.trash` in the root.
Result<void> check_new_name(Ino parent, std::string_view name);
/// A name to be removed or moved: ENAMETOOLONG, EINVAL for `.`, ENOTEMPTY for `..`, EPERM for
/// `.trash` in the root.
Result<void> check_old_name(Ino parent, std::string_view name);

/// May an entry be added to `dir`? ENOTDIR; EPERM in the trash (`restore`: allowed); ENOENT for a
/// directory that lies in the trash; EACCES without W+X; EPERM immutable.
Result<void> check_add_entry(Caller const& caller, Ino ino, Attr const& dir, bool restore = false);
/// May an entry be taken from `dir`? ENOTDIR; EPERM in the trash unless root; EACCES without W+X;
/// EPERM immutable or append-only.
Result<void> check_take_entry(Caller const& caller, Ino ino, Attr const& dir);
/// The node's own say when one of its names is taken: EPERM by the sticky bit of `dir`, immutable,
/// append-only.
Result<void> check_take_node(Caller const& caller, Attr const& dir, Attr const& node);
/// EPERM when `dir` is sticky and the caller is neither root nor owner of `dir` or `node`.
Result<void> check_sticky(Caller const& caller, Attr const& dir, Attr const& node);
/// EPERM when immutable or append-only.
Result<void> check_node_flags(Attr const& node);

/// May `node` be opened with these O_* flags? EISDIR (directory for writing), ELOOP (symbolic
/// link), ENXIO (other special files), EACCES, EPERM (immutable, append-only without O_APPEND or
/// with O_TRUNC, in the trash).
Result<void> check_open(Caller const& caller, Attr const& node, std::uint32_t flags);
/// The access bits that O_* flags ask for.
std::uint32_t access_of_open_flags(std::uint32_t flags) noexcept;

/// A directory whose parent is an hourly trash directory, or a file whose only name is in one.
constexpr bool lies_in_trash(Attr const& attr) noexcept {
  return attr.parent.value > kTrashIno.value;
}

/// Owner, group and mode of a new node (format/05 §3): umask, the directory's setgid.
struct NewNodeOwner {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint16_t mode = 0;
};
struct NewNodeWish {
  FileType type = FileType::regular;
  std::uint16_t mode = 0;
  std::uint16_t umask = 0;
};
NewNodeOwner new_node_owner(Caller const& caller, Attr const& dir, NewNodeWish const& wish);

/// setuid and setgid after a change of owner, as ext4 does it: nothing for directories; else setuid
/// goes, and setgid too unless root changes a file without group-execute.
std::uint16_t mode_after_chown(Caller const& caller, FileType type, std::uint16_t mode) noexcept;
/// setuid and setgid after data changed: both rights go unless root writes; setgid without
/// group-execute (mandatory locking of old) stays.
std::uint16_t mode_after_write(Caller const& caller, Attr const& attr) noexcept;

}  // namespace zest::meta
