#include "zest/fuse/dispatcher.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "zest/runtime/loop.h"

namespace zest::fuse {
namespace {

/// The kernel asks by inode number, and the name that led it there may be old: another client has
/// replaced the file since. ESTALE makes it look the path up again, where ENOENT would be the
/// caller's answer although a file of that name existed all the time.
template <class T>
Result<T> stale_if_gone(Result<T> result) {
  return failed_with(result, Errc::noent) ? Result<T>(Errc::stale) : std::move(result);
}

/// A copy is reported in 32 bits by COPY_FILE_RANGE; whole pages keep the rest aligned.
constexpr std::uint64_t kCopyMax = 0xFFFFF000;

template <class T>
Reply reply_with(T const& value) {
  Reply reply;
  reply.append(value);
  return reply;
}

Reply reply_with_bytes(std::string bytes) {
  Reply reply;
  reply.set_body(std::move(bytes));
  return reply;
}

/// Operations on files that were opened with permission: a descriptor may be passed on.
bool works_on_handle(std::uint32_t opcode) noexcept {
  switch (opcode) {
    case FUSE_READ:
    case FUSE_WRITE:
    case FUSE_FLUSH:
    case FUSE_FSYNC:
    case FUSE_RELEASE:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
    case FUSE_FSYNCDIR:
    case FUSE_RELEASEDIR: return true;
    default: return false;
  }
}

/// GETXATTR and LISTXATTR: size 0 asks for the size, a smaller buffer is ERANGE.
Result<Reply> xattr_reply(std::string value, std::uint32_t size) {
  if (size == 0) {
    fuse_getxattr_out out{};
    out.size = static_cast<std::uint32_t>(value.size());
    return reply_with(out);
  }
  if (value.size() > size) {
    return Errc::range;
  }
  return reply_with_bytes(std::move(value));
}

}  // namespace

/// Instruments, looked up once; names of format/08 §7.
struct Dispatcher::Metrics {
  explicit Metrics(Registry& r)
      : registry(r),
        durations(r.histogram("fuse_ops_durations_histogram_seconds",
                              "Operations latency distributions.",
                              exponential_bounds(0.00001, 1.8, 29))),
        read_size(r.histogram("fuse_read_size_bytes", "Size of read distributions.", sizes())),
        written_size(
            r.histogram("fuse_written_size_bytes", "Size of write distributions.", sizes())),
        open_handles(r.gauge("fuse_open_handlers", "Number of open files and directories.")) {
    for (std::uint32_t op = 0; op < abi::kOpcodeEnd; ++op) {
      auto const label = "method=\"" + std::string(operation_name(op)) + "\"";
      operations[op] = &r.counter("fuse_ops_total", "Number of operations.", label);
    }
  }
  static std::vector<double> sizes() {
    std::vector<double> bounds;
    for (int i = 1; i <= 32; ++i) {
      bounds.push_back(4096.0 * i);
    }
    return bounds;
  }
  Counter& operation(std::uint32_t op) noexcept {
    return *operations[op < operations.size() ? op : 0];
  }

  Registry& registry;
  Histogram& durations;
  Histogram& read_size;
  Histogram& written_size;
  Gauge& open_handles;
  std::array<Counter*, abi::kOpcodeEnd> operations{};
};

/// One running request: an overload for each alternative of Request.
struct Dispatcher::Call {
  vfs::Vfs& vfs;
  DispatchOptions const& options;
  Metrics& metrics;
  Context const& ctx;

  // ---- names
  Result<Reply> operator()(Lookup const& in) const {
    ZEST_TRY(auto entry, vfs.lookup(ctx, in.parent, in.name));
    return reply_with(encode_entry(entry));
  }
  Result<Reply> operator()(Mknod const& in) const {
    ZEST_TRY(auto entry, vfs.mknod(ctx, in.request));
    return reply_with(encode_entry(entry));
  }
  Result<Reply> operator()(Mkdir const& in) const {
    ZEST_TRY(auto entry, vfs.mkdir(ctx, in.request));
    return reply_with(encode_entry(entry));
  }
  Result<Reply> operator()(Symlink const& in) const {
    ZEST_TRY(auto entry, vfs.symlink(ctx, in.parent, in.name, in.target));
    return reply_with(encode_entry(entry));
  }
  Result<Reply> operator()(Link const& in) const {
    ZEST_TRY(auto entry, vfs.link(ctx, in.ino, in.new_parent, in.new_name));
    return reply_with(encode_entry(entry));
  }
  Result<Reply> operator()(Unlink const& in) const {
    ZEST_CHECK(vfs.unlink(ctx, in.parent, in.name));
    return Reply{};
  }
  Result<Reply> operator()(Rmdir const& in) const {
    ZEST_CHECK(vfs.rmdir(ctx, in.parent, in.name));
    return Reply{};
  }
  Result<Reply> operator()(Rename const& in) const {
    ZEST_CHECK(vfs.rename(ctx, in.request));
    return Reply{};
  }
  Result<Reply> operator()(Readlink const& in) const {
    ZEST_TRY(auto target, vfs.readlink(ctx, in.ino));
    return reply_with_bytes(std::move(target));
  }

  // ---- nodes
  Result<Reply> operator()(Getattr const& in) const {
    ZEST_TRY(auto attr, stale_if_gone(vfs.getattr(ctx, in.ino, in.handle)));
    return reply_with(encode_attr_reply(in.ino, attr));
  }
  Result<Reply> operator()(Setattr const& in) const {
    ZEST_TRY(auto attr, stale_if_gone(vfs.setattr(ctx, in.request)));
    return reply_with(encode_attr_reply(in.request.attrs.ino, attr));
  }
  Result<Reply> operator()(Access const& in) const {
    ZEST_CHECK(stale_if_gone(vfs.access(ctx, in.ino, in.mask)));
    return Reply{};
  }
  Result<Reply> operator()(Statfs const& in) const {
    ZEST_TRY(auto stat, vfs.statfs(ctx, in.ino));
    return reply_with(encode_statfs(stat));
  }

  // ---- files
  Result<Reply> operator()(Open const& in) const {
    ZEST_TRY(auto open, stale_if_gone(vfs.open(ctx, in.ino, in.flags)));
    metrics.open_handles.add(1);
    return reply_with(encode_open(open));
  }
  Reply created(vfs::CreateReply const& made) const {
    metrics.open_handles.add(1);
    auto reply = reply_with(encode_entry(made.entry));
    reply.append(encode_open(made.open));
    return reply;
  }
  Result<Reply> operator()(Create const& in) const {
    ZEST_TRY(auto made, vfs.create(ctx, in.request, in.flags));
    return created(made);
  }
  Result<Reply> operator()(Tmpfile const& in) const {
    ZEST_TRY(auto made, vfs.tmpfile(ctx, in.request, in.flags));
    return created(made);
  }
  Result<Reply> operator()(Read const& in) const {
    ZEST_TRY(auto view, vfs.read(ctx, in.handle, in.offset, std::min(in.size, options.max_io)));
    metrics.read_size.observe(static_cast<double>(view.size()));
    Reply reply;
    reply.set_data(std::move(view));
    return reply;
  }
  Result<Reply> operator()(Write const& in) const {
    ZEST_TRY(auto written, vfs.write(ctx, in.handle, in.offset, in.bytes, in.kill_suidgid));
    metrics.written_size.observe(static_cast<double>(written));
    fuse_write_out out{};
    out.size = static_cast<std::uint32_t>(written);
    return reply_with(out);
  }
  Result<Reply> operator()(Flush const& in) const {
    ZEST_CHECK(vfs.flush(ctx, in.handle, in.lock_owner));
    return Reply{};
  }
  Result<Reply> operator()(Fsync const& in) const {
    ZEST_CHECK(vfs.fsync(ctx, in.handle, in.data_only));
    return Reply{};
  }
  Result<Reply> operator()(Release const& in) const {
    vfs.release(ctx, in.handle, in.flock_owner);
    metrics.open_handles.add(-1);
    return Reply{};
  }
  Result<Reply> operator()(Fallocate const& in) const {
    ZEST_CHECK(vfs.fallocate(ctx, in.handle, in.request));
    return Reply{};
  }
  Result<Reply> operator()(Lseek const& in) const {
    ZEST_TRY(auto offset, vfs.lseek(ctx, in.handle, in.offset, in.whence));
    return reply_with(fuse_lseek_out{offset});
  }
  Result<Reply> operator()(CopyFileRange const& in) const {
    auto request = in.request;
    request.length = std::min(request.length, kCopyMax);
    ZEST_TRY(auto copied, vfs.copy_file_range(ctx, request));
    if (in.wide_reply) {
      return reply_with(abi::CopyFileRangeOut{copied});
    }
    fuse_write_out out{};
    out.size = static_cast<std::uint32_t>(copied);
    return reply_with(out);
  }

  // ---- directories
  Result<Reply> operator()(Opendir const& in) const {
    ZEST_TRY(auto open, stale_if_gone(vfs.opendir(ctx, in.ino)));
    metrics.open_handles.add(1);
    return reply_with(encode_opendir(open));
  }
  Result<Reply> operator()(Readdir const& in) const {
    auto const& config = vfs.config();
    DirentWriter writer({.size = std::min(in.size, options.max_io),
                         .plus = in.plus,
                         .entry_timeout = config.entry_timeout,
                         .dir_entry_timeout = config.dir_entry_timeout,
                         .attr_timeout = config.attr_timeout});
    ZEST_CHECK(vfs.readdir(ctx, in.handle, in.offset, in.plus,
                           [&writer](vfs::DirItem const& item) { return writer.add(item); }));
    return reply_with_bytes(writer.take());
  }
  Result<Reply> operator()(Releasedir const& in) const {
    vfs.releasedir(ctx, in.handle);
    metrics.open_handles.add(-1);
    return Reply{};
  }
  Result<Reply> operator()(Fsyncdir const& in) const {
    ZEST_CHECK(vfs.fsyncdir(ctx, in.handle));
    return Reply{};
  }

  // ---- extended attributes, flags
  Result<Reply> operator()(Getxattr const& in) const {
    ZEST_TRY(auto value, vfs.getxattr(ctx, in.ino, in.name));
    return xattr_reply(std::move(value), in.size);
  }
  Result<Reply> operator()(Setxattr const& in) const {
    auto const flags = in.flags | (in.kill_setgid ? meta::kXattrKillSetgid : 0U);
    ZEST_CHECK(vfs.setxattr(ctx, in.ino, in.name, in.value, flags));
    return Reply{};
  }
  Result<Reply> operator()(Listxattr const& in) const {
    ZEST_TRY(auto names, vfs.listxattr(ctx, in.ino));
    return xattr_reply(std::move(names), in.size);
  }
  Result<Reply> operator()(Removexattr const& in) const {
    ZEST_CHECK(vfs.removexattr(ctx, in.ino, in.name));
    return Reply{};
  }
  /// The kernel passes flags as 32 bits, programs through the old ioctl as long: both are
  /// little-endian prefixes of one another.
  Result<Reply> operator()(Ioctl const& in) const {
    fuse_ioctl_out out{};
    if (in.command == FS_IOC_GETFLAGS || in.command == FS_IOC32_GETFLAGS) {
      ZEST_TRY(std::uint64_t const flags, vfs.get_flags(ctx, in.ino));
      auto reply = reply_with(out);
      std::array<char, sizeof flags> bytes;
      std::memcpy(bytes.data(), &flags, sizeof flags);
      reply.set_body(std::string(bytes.data(), std::min<std::size_t>(in.output_size, 8)));
      return reply;
    }
    if (in.command == FS_IOC_SETFLAGS || in.command == FS_IOC32_SETFLAGS) {
      std::uint32_t flags = 0;
      if (in.input.size() < sizeof flags) {
        return Errc::inval;
      }
      std::memcpy(&flags, in.input.data(), sizeof flags);
      ZEST_CHECK(vfs.set_flags(ctx, in.ino, flags));
      return reply_with(out);
    }
    // chattr(1) and FS_IOC_SETFLAGS read the attributes in this form before they change them.
    if (in.command == FS_IOC_FSGETXATTR) {
      ZEST_TRY(auto const flags, vfs.get_flags(ctx, in.ino));
      fsxattr attributes{};
      attributes.fsx_xflags = ((flags & FS_IMMUTABLE_FL) != 0 ? FS_XFLAG_IMMUTABLE : 0u) |
                              ((flags & FS_APPEND_FL) != 0 ? FS_XFLAG_APPEND : 0u);
      auto reply = reply_with(out);
      auto const bytes = as_text(std::as_bytes(std::span(&attributes, 1)));
      reply.set_body(std::string(bytes.substr(0, in.output_size)));
      return reply;
    }
    return Errc::notty;
  }

  // ---- locks
  Result<Reply> operator()(Getlk const& in) const {
    ZEST_TRY(auto range, vfs.getlk(ctx, in.lock));
    return reply_with(encode_lock(range));
  }
  Result<Reply> operator()(Setlk const& in) const {
    if (in.flock) {
      ZEST_CHECK(vfs.flock(ctx, in.lock));
    } else {
      ZEST_CHECK(vfs.setlk(ctx, in.lock));
    }
    return Reply{};
  }

  // ---- the rest
  Result<Reply> operator()(Destroy const&) const { return Reply{}; }
  /// STATX too: it would only add a birth time, which volumes don't have, and answering it makes
  /// the kernel ask at each stat(2) instead of using its cached attributes.
  Result<Reply> operator()(Unsupported const&) const { return Errc::nosys; }
  /// A second INIT, or a notice where a reply is wanted, is not something that a kernel sends.
  Result<Reply> operator()(Init const&) const { return Errc::io; }
  Result<Reply> operator()(Forget const&) const { return Errc::io; }
  Result<Reply> operator()(Interrupt const&) const { return Errc::io; }
};

Dispatcher::Dispatcher(vfs::Vfs& vfs, DispatchOptions options, Logger& log, Registry& metrics)
    : vfs_(vfs), options_(options), log_(log), metrics_(std::make_unique<Metrics>(metrics)) {}

Dispatcher::~Dispatcher() = default;

bool Dispatcher::is_notice(std::uint32_t opcode) noexcept {
  return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT ||
         opcode == FUSE_NOTIFY_REPLY;
}

bool Dispatcher::notice(RawRequest const& raw) {
  if (raw.header.opcode != FUSE_INTERRUPT) {
    return true;
  }
  auto request = decode(raw, options_.decode);
  if (!request.ok()) {
    return true;
  }
  auto const unique = std::get<Interrupt>(*request).unique;
  return interrupts_.interrupt(unique) != InterruptTable::Outcome::unknown;
}

Reply Dispatcher::serve(RawRequest const& raw, std::stop_source& stop) {
  auto const& header = raw.header;
  auto* loop = Loop::current();
  auto const start = loop->now();
  auto request = decode(raw, options_.decode);
  Result<Reply> result = Errc::inval;
  if (request.ok() && options_.only_user && header.uid != *options_.only_user && header.uid != 0 &&
      !works_on_handle(header.opcode)) {
    result = Errc::acces;
  } else if (request.ok()) {
    interrupts_.add(
        {.unique = header.unique, .pid = header.pid, .kind = interruptible(raw), .stop = &stop});
    Context const ctx{.caller = {.uid = header.uid, .gid = header.gid, .pid = header.pid},
                      .stop = stop.get_token()};
    result = std::visit(Call{.vfs = vfs_, .options = options_, .metrics = *metrics_, .ctx = ctx},
                        *request);
    interrupts_.remove(header.unique);
  } else {
    log_.warn("FUSE request cannot be decoded", {{"operation", operation_name(header.opcode)},
                                                 {"inode", header.nodeid},
                                                 {"length", header.len}});
  }
  metrics_->operation(header.opcode).add();
  std::chrono::duration<double> const seconds = loop->now() - start;
  metrics_->durations.observe(seconds.count());
  return finish(raw, std::move(result));
}

Reply Dispatcher::finish(RawRequest const& raw, Result<Reply> result) {
  if (result.ok()) {
    return *std::move(result);
  }
  auto const& error = result.error();
  if (error.fault() != Fault::semantic || error.code() == Errc::io) {
    auto const label = std::string("errno=\"") + ::strerrorname_np(error.number()) + "\"";
    metrics_->registry.counter("fuse_ops_io_errors", "Number of failed operations.", label).add();
    auto const level = error.fault() == Fault::transient || error.fault() == Fault::conflict
                           ? LogLevel::warn
                           : LogLevel::error;
    log_.log(level, "operation failed",
             {{"operation", operation_name(raw.header.opcode)},
              {"inode", raw.header.nodeid},
              {"pid", raw.header.pid},
              {"error", error.text()}});
  }
  return Reply::failure(error.number());
}

}  // namespace zest::fuse
