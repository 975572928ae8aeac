#include <array>
#include <cstring>
#include <type_traits>

#include "zest/fuse/protocol.h"

namespace zest::fuse {
namespace {

constexpr std::uint32_t kModeBits = 07777;
constexpr std::uint32_t kTypeMask = 0170000;
/// RENAME_NOREPLACE, RENAME_EXCHANGE and RENAME_WHITEOUT; higher bits are ours alone (meta).
constexpr std::uint32_t kRenameFlags = 7;

/// Name and argument size of each operation, indexed by opcode.
struct Operation {
  std::string_view name = "unknown";
  std::size_t argument = 0;
};

constexpr std::array<Operation, abi::kOpcodeEnd> make_operations() {
  std::array<Operation, abi::kOpcodeEnd> t{};
  t[FUSE_LOOKUP] = {"lookup", 0};
  t[FUSE_FORGET] = {"forget", sizeof(fuse_forget_in)};
  t[FUSE_GETATTR] = {"getattr", sizeof(fuse_getattr_in)};
  t[FUSE_SETATTR] = {"setattr", sizeof(fuse_setattr_in)};
  t[FUSE_READLINK] = {"readlink", 0};
  t[FUSE_SYMLINK] = {"symlink", 0};
  t[FUSE_MKNOD] = {"mknod", sizeof(fuse_mknod_in)};
  t[FUSE_MKDIR] = {"mkdir", sizeof(fuse_mkdir_in)};
  t[FUSE_UNLINK] = {"unlink", 0};
  t[FUSE_RMDIR] = {"rmdir", 0};
  t[FUSE_RENAME] = {"rename", sizeof(fuse_rename_in)};
  t[FUSE_LINK] = {"link", sizeof(fuse_link_in)};
  t[FUSE_OPEN] = {"open", sizeof(fuse_open_in)};
  t[FUSE_READ] = {"read", sizeof(fuse_read_in)};
  t[FUSE_WRITE] = {"write", sizeof(fuse_write_in)};
  t[FUSE_STATFS] = {"statfs", 0};
  t[FUSE_RELEASE] = {"release", sizeof(fuse_release_in)};
  t[FUSE_FSYNC] = {"fsync", sizeof(fuse_fsync_in)};
  t[FUSE_SETXATTR] = {"setxattr", sizeof(fuse_setxattr_in)};
  t[FUSE_GETXATTR] = {"getxattr", sizeof(fuse_getxattr_in)};
  t[FUSE_LISTXATTR] = {"listxattr", sizeof(fuse_getxattr_in)};
  t[FUSE_REMOVEXATTR] = {"removexattr", 0};
  t[FUSE_FLUSH] = {"flush", sizeof(fuse_flush_in)};
  t[FUSE_INIT] = {"init", sizeof(fuse_init_in)};
  t[FUSE_OPENDIR] = {"opendir", sizeof(fuse_open_in)};
  t[FUSE_READDIR] = {"readdir", sizeof(fuse_read_in)};
  t[FUSE_RELEASEDIR] = {"releasedir", sizeof(fuse_release_in)};
  t[FUSE_FSYNCDIR] = {"fsyncdir", sizeof(fuse_fsync_in)};
  t[FUSE_GETLK] = {"getlk", sizeof(fuse_lk_in)};
  t[FUSE_SETLK] = {"setlk", sizeof(fuse_lk_in)};
  t[FUSE_SETLKW] = {"setlkw", sizeof(fuse_lk_in)};
  t[FUSE_ACCESS] = {"access", sizeof(fuse_access_in)};
  t[FUSE_CREATE] = {"create", sizeof(fuse_create_in)};
  t[FUSE_INTERRUPT] = {"interrupt", sizeof(fuse_interrupt_in)};
  t[FUSE_BMAP] = {"bmap", sizeof(fuse_bmap_in)};
  t[FUSE_DESTROY] = {"destroy", 0};
  t[FUSE_IOCTL] = {"ioctl", sizeof(fuse_ioctl_in)};
  t[FUSE_POLL] = {"poll", sizeof(fuse_poll_in)};
  t[FUSE_NOTIFY_REPLY] = {"notify_reply", 0};
  t[FUSE_BATCH_FORGET] = {"batch_forget", sizeof(fuse_batch_forget_in)};
  t[FUSE_FALLOCATE] = {"fallocate", sizeof(fuse_fallocate_in)};
  t[FUSE_READDIRPLUS] = {"readdirplus", sizeof(fuse_read_in)};
  t[FUSE_RENAME2] = {"rename2", sizeof(fuse_rename2_in)};
  t[FUSE_LSEEK] = {"lseek", sizeof(fuse_lseek_in)};
  t[FUSE_COPY_FILE_RANGE] = {"copy_file_range", sizeof(fuse_copy_file_range_in)};
  t[FUSE_SYNCFS] = {"syncfs", sizeof(fuse_syncfs_in)};
  t[FUSE_TMPFILE] = {"tmpfile", sizeof(fuse_create_in)};
  t[abi::kOpStatx] = {"statx", 0};
  t[abi::kOpCopyFileRange64] = {"copy_file_range", sizeof(fuse_copy_file_range_in)};
  return t;
}
constexpr auto kOperations = make_operations();

/// Copies the fixed argument; buffers needn't be aligned. A shorter structure (older kernel) is an
/// error here, except INIT's, which grew.
template <class T>
Result<T> argument(RawRequest const& raw) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (raw.argument.size() < sizeof(T)) {
    return Errc::inval;
  }
  T value;
  std::memcpy(&value, raw.argument.data(), sizeof(T));
  return value;
}

/// Takes one NUL-terminated string off the front of `rest`.
Result<std::string_view> take_string(ByteView& rest) {
  auto const text = as_text(rest);
  auto const end = text.find('\0');
  if (end == std::string_view::npos) {
    return Errc::inval;
  }
  rest = rest.subspan(end + 1);
  return text.substr(0, end);
}

/// A name of a directory entry: not empty, no slash. How long it may be is decided by meta.
Result<std::string_view> take_name(ByteView& rest) {
  ZEST_TRY(auto name, take_string(rest));
  if (name.empty() || name.find('/') != std::string_view::npos) {
    return Errc::inval;
  }
  return name;
}

Result<FileType> type_of_mode(std::uint32_t mode) {
  switch (mode & kTypeMask) {
    case 0:
    case 0100000: return FileType::regular;
    case 0040000: return FileType::directory;
    case 0120000: return FileType::symlink;
    case 0010000: return FileType::fifo;
    case 0060000: return FileType::block_device;
    case 0020000: return FileType::char_device;
    case 0140000: return FileType::socket;
    default: return Errc::inval;
  }
}

Ino node(RawRequest const& raw) {
  return Ino{raw.header.nodeid};
}

std::uint16_t umask_of(std::uint32_t callers, DecodeOptions const& options) {
  return options.umask.value_or(static_cast<std::uint16_t>(callers & 0777));
}

WallTime wall_time(std::uint64_t sec, std::uint32_t nsec) {
  return {static_cast<std::int64_t>(sec), nsec};
}

Result<Request> decode_setattr(RawRequest const& raw) {
  ZEST_TRY(auto in, argument<fuse_setattr_in>(raw));
  vfs::SetattrRequest out;
  out.attrs.ino = node(raw);
  if ((in.valid & FATTR_MODE) != 0) {
    out.attrs.mode = static_cast<std::uint16_t>(in.mode & kModeBits);
  }
  if ((in.valid & FATTR_UID) != 0) {
    out.attrs.uid = in.uid;
  }
  if ((in.valid & FATTR_GID) != 0) {
    out.attrs.gid = in.gid;
  }
  if (in.atimensec > 999'999'999 || in.mtimensec > 999'999'999) {
    return Errc::inval;
  }
  if ((in.valid & FATTR_ATIME_NOW) != 0) {
    out.attrs.atime_now = true;
  } else if ((in.valid & FATTR_ATIME) != 0) {
    out.attrs.atime = wall_time(in.atime, in.atimensec);
  }
  if ((in.valid & FATTR_MTIME_NOW) != 0) {
    out.attrs.mtime_now = true;
  } else if ((in.valid & FATTR_MTIME) != 0) {
    out.attrs.mtime = wall_time(in.mtime, in.mtimensec);
  }
  if ((in.valid & FATTR_SIZE) != 0) {
    out.size = in.size;
  }
  if ((in.valid & FATTR_FH) != 0) {
    out.handle = vfs::Handle{in.fh};
  }
  out.kill_suidgid = (in.valid & FATTR_KILL_SUIDGID) != 0;
  return Request(Setattr{std::move(out)});
}

/// The common part of MKNOD, MKDIR, CREATE and TMPFILE.
struct NewNode {
  std::uint32_t mode = 0;
  std::uint32_t umask = 0;
  std::uint32_t rdev = 0;
};
Result<meta::MknodRequest> new_node(RawRequest const& raw, NewNode const& in,
                                    DecodeOptions const& options) {
  std::string_view name;
  if (raw.header.opcode != FUSE_TMPFILE) {  // an unnamed file comes with the name "/"
    auto rest = raw.payload;
    ZEST_TRY(name, take_name(rest));
  }
  ZEST_TRY(auto type, type_of_mode(in.mode));
  return meta::MknodRequest{.parent = node(raw),
                            .name = name,
                            .type = type,
                            .mode = static_cast<std::uint16_t>(in.mode & kModeBits),
                            .umask = umask_of(in.umask, options),
                            .rdev = in.rdev};
}

Result<Request> decode_mknod(RawRequest const& raw, DecodeOptions const& options) {
  ZEST_TRY(auto in, argument<fuse_mknod_in>(raw));
  ZEST_TRY(auto request, new_node(raw, {in.mode, in.umask, in.rdev}, options));
  if (request.type == FileType::directory || request.type == FileType::symlink) {
    return Errc::inval;
  }
  return Request(Mknod{request});
}

Result<Request> decode_mkdir(RawRequest const& raw, DecodeOptions const& options) {
  ZEST_TRY(auto in, argument<fuse_mkdir_in>(raw));
  ZEST_TRY(auto request, new_node(raw, {in.mode & kModeBits, in.umask, 0}, options));
  request.type = FileType::directory;
  return Request(Mkdir{request});
}

Result<Request> decode_create(RawRequest const& raw, DecodeOptions const& options) {
  ZEST_TRY(auto in, argument<fuse_create_in>(raw));
  ZEST_TRY(auto request, new_node(raw, {in.mode, in.umask, 0}, options));
  if (request.type != FileType::regular) {
    return Errc::inval;
  }
  if (raw.header.opcode == FUSE_TMPFILE) {
    return Request(Tmpfile{request, in.flags});
  }
  return Request(Create{request, in.flags});
}

Result<Request> decode_symlink(RawRequest const& raw) {
  auto rest = raw.payload;
  ZEST_TRY(auto name, take_name(rest));
  ZEST_TRY(auto target, take_string(rest));
  return Request(Symlink{node(raw), name, target});
}

Result<Request> decode_rename(RawRequest const& raw) {
  fuse_rename2_in in{};
  if (raw.header.opcode == FUSE_RENAME) {
    ZEST_TRY(auto old, argument<fuse_rename_in>(raw));
    in.newdir = old.newdir;
  } else {
    ZEST_TRY(in, argument<fuse_rename2_in>(raw));
  }
  if ((in.flags & ~kRenameFlags) != 0) {
    return Errc::inval;
  }
  auto rest = raw.payload;
  ZEST_TRY(auto name, take_name(rest));
  ZEST_TRY(auto new_name, take_name(rest));
  return Request(Rename{{.parent = node(raw),
                         .name = name,
                         .new_parent = Ino{in.newdir},
                         .new_name = new_name,
                         .flags = in.flags}});
}

Result<Request> decode_link(RawRequest const& raw) {
  ZEST_TRY(auto in, argument<fuse_link_in>(raw));
  auto rest = raw.payload;
  ZEST_TRY(auto name, take_name(rest));
  return Request(Link{Ino{in.oldnodeid}, node(raw), name});
}

Result<Request> decode_write(RawRequest const& raw) {
  ZEST_TRY(auto in, argument<fuse_write_in>(raw));
  if (in.size > raw.payload.size()) {
    return Errc::inval;
  }
  return Request(Write{.ino = node(raw),
                       .handle = {in.fh},
                       .offset = in.offset,
                       .bytes = raw.payload.first(in.size),
                       .kill_suidgid = (in.write_flags & FUSE_WRITE_KILL_SUIDGID) != 0});
}

Result<Request> decode_release(RawRequest const& raw) {
  ZEST_TRY(auto in, argument<fuse_release_in>(raw));
  if (raw.header.opcode == FUSE_RELEASEDIR) {
    return Request(Releasedir{node(raw), {in.fh}});
  }
  Release out{.ino = node(raw), .handle = {in.fh}};
  if ((in.release_flags & FUSE_RELEASE_FLOCK_UNLOCK) != 0) {
    out.flock_owner = in.lock_owner;
  }
  return Request(out);
}

Result<Request> decode_setxattr(RawRequest const& raw, DecodeOptions const& options) {
  fuse_setxattr_in in{};
  auto rest = raw.payload;
  if (options.setxattr_ext) {
    ZEST_TRY(in, argument<fuse_setxattr_in>(raw));
  } else {
    // The short form: the second half of what was taken for the argument belongs to the payload,
    // which is contiguous on /dev/fuse (the only transport of kernels that old).
    if (raw.argument.size() < FUSE_COMPAT_SETXATTR_IN_SIZE ||
        raw.argument.data() + raw.argument.size() != raw.payload.data()) {
      return Errc::inval;
    }
    std::memcpy(&in, raw.argument.data(), FUSE_COMPAT_SETXATTR_IN_SIZE);
    rest = {raw.argument.data() + FUSE_COMPAT_SETXATTR_IN_SIZE,
            raw.argument.size() - FUSE_COMPAT_SETXATTR_IN_SIZE + raw.payload.size()};
  }
  ZEST_TRY(auto name, take_string(rest));
  if (name.empty() || in.size > rest.size()) {
    return Errc::inval;
  }
  auto const kill_setgid =
      options.setxattr_ext && (in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
  return Request(Setxattr{node(raw), name, as_text(rest.first(in.size)), in.flags, kill_setgid});
}

Result<Request> decode_getxattr(RawRequest const& raw) {
  ZEST_TRY(auto in, argument<fuse_getxattr_in>(raw));
  if (raw.header.opcode == FUSE_LISTXATTR) {
    return Request(Listxattr{node(raw), in.size});
  }
  auto rest = raw.payload;
  ZEST_TRY(auto name, take_string(rest));
  if (name.empty()) {
    return Errc::inval;
  }
  return Request(Getxattr{node(raw), name, in.size});
}

/// INIT grew with the protocol: the first 16 bytes are always there, flags2 only with INIT_EXT.
Result<Request> decode_init(RawRequest const& raw) {
  constexpr std::size_t kOldSize = 16;
  if (raw.argument.size() < kOldSize) {
    return Errc::inval;
  }
  fuse_init_in in{};
  std::memcpy(&in, raw.argument.data(), std::min(sizeof in, raw.argument.size()));
  std::uint64_t flags = in.flags;
  if ((in.flags & FUSE_INIT_EXT) != 0) {
    flags |= std::uint64_t{in.flags2} << 32;
  }
  return Request(Init{in.major, in.minor, in.max_readahead, flags});
}

Result<Request> decode_read(RawRequest const& raw) {
  ZEST_TRY(auto in, argument<fuse_read_in>(raw));
  if (raw.header.opcode == FUSE_READ) {
    return Request(Read{node(raw), {in.fh}, in.offset, in.size});
  }
  return Request(
      Readdir{node(raw), {in.fh}, in.offset, in.size, raw.header.opcode == FUSE_READDIRPLUS});
}

Result<Request> decode_fsync(RawRequest const& raw) {
  ZEST_TRY(auto in, argument<fuse_fsync_in>(raw));
  if (raw.header.opcode == FUSE_FSYNCDIR) {
    return Request(Fsyncdir{node(raw), {in.fh}});
  }
  return Request(Fsync{node(raw), {in.fh}, (in.fsync_flags & FUSE_FSYNC_FDATASYNC) != 0});
}

Result<Request> decode_lock(RawRequest const& raw) {
  ZEST_TRY(auto in, argument<fuse_lk_in>(raw));
  if (in.lk.type > static_cast<std::uint32_t>(LockRange::Type::unlock) || in.lk.start > in.lk.end) {
    return Errc::inval;
  }
  vfs::LockArgs lock{.ino = node(raw),
                     .handle = {in.fh},
                     .owner = in.owner,
                     .range = {.type = static_cast<LockRange::Type>(in.lk.type),
                               .pid = in.lk.pid,
                               .start = in.lk.start,
                               .end = in.lk.end},
                     .wait = raw.header.opcode == FUSE_SETLKW};
  if (raw.header.opcode == FUSE_GETLK) {
    return Request(Getlk{lock});
  }
  return Request(Setlk{lock, (in.lk_flags & FUSE_LK_FLOCK) != 0});
}

Result<Request> decode_ioctl(RawRequest const& raw) {
  ZEST_TRY(auto in, argument<fuse_ioctl_in>(raw));
  if (in.in_size > raw.payload.size()) {
    return Errc::inval;
  }
  return Request(Ioctl{node(raw), in.cmd, raw.payload.first(in.in_size), in.out_size});
}

Result<Request> decode_fallocate(RawRequest const& raw) {
  ZEST_TRY(auto in, argument<fuse_fallocate_in>(raw));
  return Request(Fallocate{
      {in.fh}, {.ino = node(raw), .mode = in.mode, .offset = in.offset, .length = in.length}});
}

Result<Request> decode_copy(RawRequest const& raw) {
  ZEST_TRY(auto in, argument<fuse_copy_file_range_in>(raw));
  return Request(CopyFileRange{{.in = node(raw),
                                .handle_in = {in.fh_in},
                                .offset_in = in.off_in,
                                .out = Ino{in.nodeid_out},
                                .handle_out = {in.fh_out},
                                .offset_out = in.off_out,
                                .length = in.len,
                                .flags = static_cast<std::uint32_t>(in.flags)},
                               raw.header.opcode == abi::kOpCopyFileRange64});
}

/// LOOKUP, UNLINK, RMDIR, REMOVEXATTR: a node and a string.
template <class T>
Result<Request> decode_named(RawRequest const& raw) {
  auto rest = raw.payload;
  ZEST_TRY(auto name, take_name(rest));
  return Request(T{node(raw), name});
}

Result<Request> decode_removexattr(RawRequest const& raw) {
  auto rest = raw.payload;
  ZEST_TRY(auto name, take_string(rest));
  if (name.empty()) {
    return Errc::inval;
  }
  return Request(Removexattr{node(raw), name});
}

Result<Request> decode_small(RawRequest const& raw) {
  switch (raw.header.opcode) {
    case FUSE_GETATTR: {
      ZEST_TRY(auto in, argument<fuse_getattr_in>(raw));
      Getattr out{node(raw), {}};
      if ((in.getattr_flags & FUSE_GETATTR_FH) != 0) {
        out.handle = vfs::Handle{in.fh};
      }
      return Request(out);
    }
    case FUSE_OPEN: {
      ZEST_TRY(auto in, argument<fuse_open_in>(raw));
      return Request(Open{node(raw), in.flags});
    }
    case FUSE_FLUSH: {
      ZEST_TRY(auto in, argument<fuse_flush_in>(raw));
      return Request(Flush{node(raw), {in.fh}, in.lock_owner});
    }
    case FUSE_ACCESS: {
      ZEST_TRY(auto in, argument<fuse_access_in>(raw));
      return Request(Access{node(raw), in.mask});
    }
    case FUSE_INTERRUPT: {
      ZEST_TRY(auto in, argument<fuse_interrupt_in>(raw));
      return Request(Interrupt{in.unique});
    }
    case FUSE_LSEEK: {
      ZEST_TRY(auto in, argument<fuse_lseek_in>(raw));
      return Request(Lseek{node(raw), {in.fh}, in.offset, static_cast<int>(in.whence)});
    }
    default: return Request(Unsupported{});
  }
}

}  // namespace

std::size_t argument_size(std::uint32_t opcode) noexcept {
  return opcode < kOperations.size() ? kOperations[opcode].argument : 0;
}

bool waits_for_lock(RawRequest const& raw) noexcept {
  if (raw.header.opcode != FUSE_SETLKW) {
    return false;
  }
  auto const in = argument<fuse_lk_in>(raw);
  return in.ok() && in->lk.type != static_cast<std::uint32_t>(LockRange::Type::unlock);
}

std::string_view operation_name(std::uint32_t opcode) noexcept {
  return opcode < kOperations.size() ? kOperations[opcode].name : Operation{}.name;
}

Result<RawRequest> split_device_request(ByteView bytes) {
  RawRequest raw;
  if (bytes.size() < sizeof raw.header) {
    return Errc::inval;
  }
  std::memcpy(&raw.header, bytes.data(), sizeof raw.header);
  if (raw.header.len != bytes.size()) {
    return Errc::inval;
  }
  auto body = bytes.subspan(sizeof raw.header);
  // Extensions (security contexts, groups) stand behind everything else; none is negotiated.
  std::size_t const extensions = std::size_t{raw.header.total_extlen} * 8;
  if (extensions > body.size()) {
    return Errc::inval;
  }
  body = body.first(body.size() - extensions);
  auto const fixed = std::min(argument_size(raw.header.opcode), body.size());
  raw.argument = body.first(fixed);
  raw.payload = body.subspan(fixed);
  return raw;
}

Result<RawRequest> split_ring_request(abi::UringRequestHeader const& headers, ByteView payload) {
  RawRequest raw;
  std::memcpy(&raw.header, headers.in_out, sizeof raw.header);
  std::size_t const extensions = std::size_t{raw.header.total_extlen} * 8;
  std::size_t const used = headers.ent.payload_size;
  if (used > payload.size() || extensions > used) {
    return Errc::inval;
  }
  auto const fixed = argument_size(raw.header.opcode);
  if (fixed > sizeof headers.op_in) {
    return Errc::inval;
  }
  raw.argument = ByteView(headers.op_in, fixed);
  raw.payload = payload.first(used - extensions);
  return raw;
}

Result<Request> decode(RawRequest const& raw, DecodeOptions const& options) {
  switch (raw.header.opcode) {
    case FUSE_LOOKUP: return decode_named<Lookup>(raw);
    case FUSE_UNLINK: return decode_named<Unlink>(raw);
    case FUSE_RMDIR: return decode_named<Rmdir>(raw);
    case FUSE_REMOVEXATTR: return decode_removexattr(raw);
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_NOTIFY_REPLY: return Request(Forget{});
    case FUSE_SETATTR: return decode_setattr(raw);
    case FUSE_READLINK: return Request(Readlink{node(raw)});
    case FUSE_SYMLINK: return decode_symlink(raw);
    case FUSE_MKNOD: return decode_mknod(raw, options);
    case FUSE_MKDIR: return decode_mkdir(raw, options);
    case FUSE_CREATE:
    case FUSE_TMPFILE: return decode_create(raw, options);
    case FUSE_RENAME:
    case FUSE_RENAME2: return decode_rename(raw);
    case FUSE_LINK: return decode_link(raw);
    case FUSE_READ:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS: return decode_read(raw);
    case FUSE_WRITE: return decode_write(raw);
    case FUSE_STATFS: return Request(Statfs{node(raw)});
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR: return decode_release(raw);
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR: return decode_fsync(raw);
    case FUSE_SETXATTR: return decode_setxattr(raw, options);
    case FUSE_GETXATTR:
    case FUSE_LISTXATTR: return decode_getxattr(raw);
    case FUSE_INIT: return decode_init(raw);
    case FUSE_OPENDIR: return Request(Opendir{node(raw)});
    case FUSE_GETLK:
    case FUSE_SETLK:
    case FUSE_SETLKW: return decode_lock(raw);
    case FUSE_DESTROY: return Request(Destroy{});
    case FUSE_IOCTL: return decode_ioctl(raw);
    case FUSE_FALLOCATE: return decode_fallocate(raw);
    case FUSE_COPY_FILE_RANGE:
    case abi::kOpCopyFileRange64: return decode_copy(raw);
    default: return decode_small(raw);
  }
}

}  // namespace zest::fuse
