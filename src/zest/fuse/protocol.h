// FUSE requests as typed values: pure functions from bytes to requests. No I/O, no state.
//
// A request is a header, one fixed argument structure (possibly empty) and a payload of names or
// data. Over /dev/fuse they follow each other in one buffer; over io_uring they arrive in three
// places. RawRequest is what both have in common; decode() checks every length and string, because
// what comes through a descriptor isn't trusted: truncated or impossible bytes give EINVAL, never
// an out-of-bounds access.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "zest/base/bytes.h"
#include "zest/base/result.h"
#include "zest/base/types.h"
#include "zest/format/types.h"
#include "zest/fuse/kernel_abi.h"
#include "zest/meta/meta.h"
#include "zest/vfs/vfs.h"

namespace zest::fuse {

/// One request as it arrived; refers to the transport's buffer.
struct RawRequest {
  fuse_in_header header{};
  ByteView argument;  ///< the operation's fixed structure
  ByteView payload;   ///< names, data
};

/// Size of the fixed argument of `opcode`; 0 for those without one and for unknown operations.
std::size_t argument_size(std::uint32_t opcode) noexcept;

/// Splits what one read() of /dev/fuse returned. Errors: EINVAL when it cannot be a request
/// (shorter than a header, or its length field differs from the number of bytes).
Result<RawRequest> split_device_request(ByteView bytes);

/// The same for an io_uring entry: the headers as the kernel filled them, the payload buffer
/// (`payload` may be longer than what is used). EINVAL when the sizes are impossible.
Result<RawRequest> split_ring_request(abi::UringRequestHeader const& headers, ByteView payload);

/// True for SETLKW that takes a lock: it may wait without end. (An unlock by flock(2) comes as
/// SETLKW too, but never waits.)
bool waits_for_lock(RawRequest const& raw) noexcept;

/// Name of an operation for metrics and logs: "lookup", "setattr"…; "unknown" for others.
std::string_view operation_name(std::uint32_t opcode) noexcept;

// ---- requests; string views refer to the payload

struct Lookup {
  Ino parent;
  std::string_view name;
};
/// FORGET and BATCH_FORGET: node ids are inode numbers, so there is nothing to drop. No reply.
struct Forget {};
struct Getattr {
  Ino ino;
  std::optional<vfs::Handle> handle;
};
struct Setattr {
  vfs::SetattrRequest request;
};
struct Readlink {
  Ino ino;
};
struct Symlink {
  Ino parent;
  std::string_view name;
  std::string_view target;
};
struct Mknod {
  meta::MknodRequest request;
};
struct Mkdir {
  meta::MknodRequest request;
};
struct Unlink {
  Ino parent;
  std::string_view name;
};
struct Rmdir {
  Ino parent;
  std::string_view name;
};
/// RENAME and RENAME2.
struct Rename {
  meta::RenameRequest request;
};
struct Link {
  Ino ino;
  Ino new_parent;
  std::string_view new_name;
};
struct Open {
  Ino ino;
  std::uint32_t flags = 0;
};
struct Create {
  meta::MknodRequest request;
  std::uint32_t flags = 0;
};
struct Tmpfile {
  meta::MknodRequest request;
  std::uint32_t flags = 0;
};
struct Read {
  Ino ino;
  vfs::Handle handle;
  std::uint64_t offset = 0;
  std::uint32_t size = 0;
};
struct Write {
  Ino ino;
  vfs::Handle handle;
  std::uint64_t offset = 0;
  ByteView bytes;
  bool kill_suidgid = false;
};
struct Statfs {
  Ino ino;
};
struct Release {
  Ino ino;
  vfs::Handle handle;
  std::optional<std::uint64_t> flock_owner;
};
struct Flush {
  Ino ino;
  vfs::Handle handle;
  std::uint64_t lock_owner = 0;
};
struct Fsync {
  Ino ino;
  vfs::Handle handle;
  bool data_only = false;
};
struct Setxattr {
  Ino ino;
  std::string_view name;
  std::string_view value;
  std::uint32_t flags = 0;
  bool kill_setgid = false;  ///< an ACL is set by somebody who may not keep the setgid bit
};
struct Getxattr {
  Ino ino;
  std::string_view name;
  std::uint32_t size = 0;  ///< 0 asks for the size only
};
struct Listxattr {
  Ino ino;
  std::uint32_t size = 0;
};
struct Removexattr {
  Ino ino;
  std::string_view name;
};
struct Init {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::uint32_t max_readahead = 0;
  std::uint64_t flags = 0;
};
struct Opendir {
  Ino ino;
};
/// READDIR and READDIRPLUS.
struct Readdir {
  Ino ino;
  vfs::Handle handle;
  std::uint64_t offset = 0;
  std::uint32_t size = 0;
  bool plus = false;
};
struct Releasedir {
  Ino ino;
  vfs::Handle handle;
};
struct Fsyncdir {
  Ino ino;
  vfs::Handle handle;
};
struct Getlk {
  vfs::LockArgs lock;
};
/// SETLK and SETLKW.
struct Setlk {
  vfs::LockArgs lock;
  bool flock = false;
};
struct Access {
  Ino ino;
  std::uint32_t mask = 0;
};
struct Interrupt {
  std::uint64_t unique = 0;  ///< of the request to be interrupted
};
struct Ioctl {
  Ino ino;
  std::uint32_t command = 0;
  ByteView input;
  std::uint32_t output_size = 0;
};
struct Fallocate {
  vfs::Handle handle;
  meta::FallocateRequest request;
};
struct Lseek {
  Ino ino;
  vfs::Handle handle;
  std::uint64_t offset = 0;
  int whence = 0;
};
/// COPY_FILE_RANGE and its 64-bit form, which differ in the reply.
struct CopyFileRange {
  vfs::CopyRangeRequest request;
  bool wide_reply = false;
};
struct Destroy {};
/// Known and unknown operations that this file system doesn't have: ENOSYS.
struct Unsupported {};

using Request =
    std::variant<Lookup, Forget, Getattr, Setattr, Readlink, Symlink, Mknod, Mkdir, Unlink, Rmdir,
                 Rename, Link, Open, Create, Tmpfile, Read, Write, Statfs, Release, Flush, Fsync,
                 Setxattr, Getxattr, Listxattr, Removexattr, Init, Opendir, Readdir, Releasedir,
                 Fsyncdir, Getlk, Setlk, Access, Interrupt, Ioctl, Fallocate, Lseek, CopyFileRange,
                 Destroy, Unsupported>;

/// What else decoding depends on.
struct DecodeOptions {
  /// FUSE_SETXATTR_EXT was negotiated: the long form of SETXATTR.
  bool setxattr_ext = true;
  /// Replaces the caller's umask.
  std::optional<std::uint16_t> umask;
};

/// The typed form of `raw`. Errors: EINVAL for bytes that no kernel sends.
Result<Request> decode(RawRequest const& raw, DecodeOptions const& options);

}  // namespace zest::fuse
