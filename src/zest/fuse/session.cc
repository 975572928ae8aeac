#include "zest/fuse/session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>

#include "zest/fuse/dev_transport.h"
#include "zest/fuse/dispatcher.h"
#include "zest/fuse/mount_table.h"
#include "zest/fuse/negotiate.h"
#include "zest/fuse/notifier.h"
#include "zest/fuse/uring_transport.h"

namespace zest::fuse {
namespace {

/// How long the kernel may take to send INIT; it's queued by mount(2) itself.
constexpr int kInitTimeoutMs = 10'000;

/// Reads one request, waiting for it. Blocks.
Result<std::size_t> read_blocking(int fd, ByteSpan buffer) {
  for (;;) {
    auto const n = ::read(fd, buffer.data(), buffer.size());
    int const error = n < 0 ? errno : 0;
    if (n >= 0) {
      return static_cast<std::size_t>(n);
    }
    if (error == EAGAIN) {
      pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
      if (::poll(&wait, 1, kInitTimeoutMs) == 0) {
        return Error(Errc::timedout, Fault::semantic, "the kernel sent no FUSE_INIT");
      }
    } else if (error != EINTR && error != ENOENT) {
      return Error::from_errno(error, "read FUSE_INIT");
    }
  }
}

Result<void> send_init(int fd, std::uint64_t unique, int error, fuse_init_out const& out) {
  struct Message {
    fuse_out_header header;
    fuse_init_out body;
  } message{};
  message.header.unique = unique;
  message.header.error = -error;
  message.header.len = sizeof message.header;
  if (error == 0) {
    message.body = out;
    message.header.len = sizeof message;
  }
  if (::write(fd, &message, message.header.len) < 0) {
    return Error::from_errno(errno, "answer FUSE_INIT");
  }
  return {};
}

/// Takes the connection through FUSE_INIT. Blocks.
Result<Negotiated> handshake(int fd, InitWish const& wish) {
  std::vector<std::byte> buffer(FUSE_MIN_READ_BUFFER + (1u << 20));
  for (;;) {
    ZEST_TRY(auto n, read_blocking(fd, buffer));
    ZEST_TRY(auto raw, split_device_request(ByteView(buffer).first(n)));
    ZEST_TRY(auto request, decode(raw, {}));
    auto const* init = std::get_if<Init>(&request);
    if (init == nullptr) {
      return Error(Errc::io, Fault::bug, "the first FUSE request isn't INIT");
    }
    auto reply = negotiate(*init, wish);
    if (!reply.ok()) {
      static_cast<void>(send_init(fd, raw.header.unique, EPROTO, {}));
      return std::move(reply).error();
    }
    ZEST_CHECK(send_init(fd, raw.header.unique, 0, reply->out));
    if (reply->agreed.minor != 0) {
      return reply->agreed;
    }
  }
}

/// Lets the kernel read ahead in requests as large as we take; its own default is 128 KiB. Only
/// root may; without it reads are smaller, nothing else.
void widen_read_ahead(MountEntry const& entry, std::uint32_t bytes) {
  auto const path =
      fmt::format("/sys/class/bdi/{}:{}/read_ahead_kb", entry.device_major, entry.device_minor);
  UniqueFd const fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  auto const text = std::to_string(bytes / 1024);
  if (fd) {
    static_cast<void>(::write(fd.get(), text.data(), text.size()) < 0);
  }
}

/// Why io_uring can't be used, from what can be known before mounting.
Result<void> check_uring(LoopGroup& loops) {
  if (!UringTransport::supported(loops)) {
    return Error(Errc::notsup, Fault::semantic, "the event loops don't run on io_uring");
  }
  constexpr char const* kSwitch = "/sys/module/fuse/parameters/enable_uring";
  char value = '?';
  UniqueFd const fd(::open(kSwitch, O_RDONLY | O_CLOEXEC));
  if (!fd) {
    return Error(Errc::notsup, Fault::semantic,
                 "this kernel has no FUSE over io_uring (Linux 6.14 or newer)");
  }
  if (::read(fd.get(), &value, 1) != 1 || value != 'Y') {
    return Error(Errc::notsup, Fault::semantic,
                 fmt::format("it's switched off in the kernel: write Y to {} or boot with "
                             "fuse.enable_uring=1",
                             kSwitch));
  }
  return {};
}

}  // namespace

struct FuseSession::Impl {
  Impl(FuseConfig c, vfs::Vfs& v, LoopGroup& l, Logger& lg, Registry& m)
      : config(std::move(c)), vfs(v), loops(l), log(lg), metrics(m) {}

  /// Checks the mount point; removes a dead mount from it.
  Result<void> prepare_mount_point();
  /// Mounts, negotiates and starts the transports. After an error nothing is left.
  Result<void> attach(bool over_io_uring);
  /// attach() with io_uring as far as configured and possible, else without.
  Result<void> attach_configured();
  Result<void> start_transports(Negotiated const& agreed);
  /// Takes back what a failed attach() did.
  void discard();
  void wait_for_transports();
  /// What is mounted at the mount point, if it's this session's.
  [[nodiscard]] bool still_mounted() const;
  void wait();

  FuseConfig config;
  vfs::Vfs& vfs;
  LoopGroup& loops;
  Logger& log;
  Registry& metrics;
  MountOptions mount_options;
  std::optional<std::uint32_t> only_user;  ///< allow_root
  std::optional<MountEntry> entry;         ///< our line of the mount table
  UniqueFd device;
  std::unique_ptr<Dispatcher> dispatcher;
  std::unique_ptr<Notifier> notifier;
  std::unique_ptr<Transport> dev_transport;
  std::unique_ptr<Transport> uring_transport;  ///< or none
  std::mutex waiting;                          ///< wait() may be called by several threads
  bool ended = false;
};

Result<void> FuseSession::Impl::prepare_mount_point() {
  ZEST_TRY(auto raw, parse_raw_options(config.raw_options));
  ZEST_TRY(mount_options.mount_point, normalise_mount_point(config.mount_point));
  mount_options.source = raw.source ? *raw.source : "ZestFS:" + config.fs_name;
  if (raw.subtype) {
    mount_options.subtype = *raw.subtype;
  }
  mount_options.max_read = std::min(raw.max_read ? *raw.max_read : config.max_io, config.max_io);
  mount_options.allow_other = config.allow_other || raw.allow_other || raw.allow_root;
  mount_options.read_only = config.read_only || raw.read_only;
  mount_options.flags = (default_mount_flags() | raw.set_flags) & ~raw.clear_flags;
  config.writeback_cache = config.writeback_cache || raw.writeback_cache;
  if (raw.allow_root) {
    only_user = ::geteuid();
  }

  ZEST_TRY(auto state, inspect_mount_point(mount_options.mount_point));
  if (state == MountPointState::dead) {
    log.warn("removing a dead mount", {{"mount_point", mount_options.mount_point}});
    ZEST_CHECK(unmount_fuse(mount_options.mount_point, UnmountMode::lazy));
    ZEST_TRY(state, inspect_mount_point(mount_options.mount_point));
  }
  ZEST_TRY(auto table, read_mount_table());
  auto const top = mount_at(table, mount_options.mount_point);
  if (top && top->source == mount_options.source && top->type.starts_with("fuse") &&
      !config.over_same_volume) {
    return Error(Errc::busy, Fault::semantic,
                 fmt::format("{} is mounted on {} already: unmount it, or use --force to mount on "
                             "top of it",
                             top->source, mount_options.mount_point));
  }
  if (state == MountPointState::not_empty && !top) {
    log.warn("the mount point isn't empty, its files are hidden while mounted",
             {{"mount_point", mount_options.mount_point}});
  }
  return {};
}

Result<void> FuseSession::Impl::attach_configured() {
  if (config.transport == TransportKind::dev) {
    return attach(false);
  }
  auto usable = check_uring(loops);
  if (usable.ok()) {
    usable = attach(true);
    if (usable.ok()) {
      return {};
    }
  }
  if (config.transport == TransportKind::uring) {
    return std::move(usable).error().with("FUSE over io_uring");
  }
  if (failed_with(usable, Errc::notsup)) {
    log.info("FUSE over io_uring isn't used", {{"reason", usable.error().text()}});
    return attach(false);
  }
  // The first attempt failed for a reason of its own; without io_uring it will too, unless the
  // queues were it.
  log.warn("FUSE over io_uring failed, trying without", {{"error", usable.error().text()}});
  return attach(false);
}

Result<void> FuseSession::Impl::attach(bool over_io_uring) {
  ZEST_TRY(device, mount_fuse(mount_options));
  auto result = [&]() -> Result<void> {
    ZEST_TRY(auto agreed, handshake(device.get(), {.max_io = config.max_io,
                                                   .writeback_cache = config.writeback_cache,
                                                   .posix_acl = vfs.config().enable_acl,
                                                   .over_io_uring = over_io_uring}));
    if (over_io_uring && !agreed.over_io_uring) {
      return Error(Errc::notsup, Fault::semantic, "the kernel doesn't offer it");
    }
    if (vfs.config().enable_acl && (agreed.flags & FUSE_POSIX_ACL) == 0) {
      return Error(Errc::notsup, Fault::semantic,
                   "the volume has POSIX ACLs, which this kernel's FUSE cannot enforce");
    }
    ZEST_CHECK(start_transports(agreed));
    return {};
  }();
  if (!result.ok()) {
    discard();
  }
  return result;
}

Result<void> FuseSession::Impl::start_transports(Negotiated const& agreed) {
  DispatchOptions options;
  options.decode = {.setxattr_ext = agreed.setxattr_ext, .umask = config.umask};
  options.max_io = agreed.max_write;
  options.only_user = only_user;
  dispatcher = std::make_unique<Dispatcher>(vfs, options, log, metrics);
  DevTransportOptions dev{.max_write = agreed.max_write};
  if (agreed.over_io_uring) {
    dev.lanes_max = 1;  // only FORGET and INTERRUPT come there
  }
  dev_transport = std::make_unique<DevTransport>(device.get(), dev, loops, *dispatcher, log);
  ZEST_CHECK(dev_transport->start());
  if (agreed.over_io_uring) {
    uring_transport = std::make_unique<UringTransport>(
        device.get(),
        UringTransportOptions{.max_write = agreed.max_write,
                              .depth = config.uring_depth,
                              .memory_max = config.uring_memory_max},
        loops, *dispatcher, log);
    ZEST_CHECK(uring_transport->start());
  }
  notifier = std::make_unique<Notifier>(device.get(), log, metrics);
  vfs.set_invalidator(
      {.inode = [n = notifier.get()](
                    Ino ino, std::uint64_t offset,
                    std::uint64_t length) { n->invalidate_inode(ino, offset, length); },
       .entry = [n = notifier.get()](
                    Ino parent, std::string const& name) { n->invalidate_entry(parent, name); },
       .inode_now = [n = notifier.get()](Ino ino,
                                         bool pages) { n->invalidate_inode_now(ino, pages); },
       .names = [n = notifier.get()] { n->invalidate_names(); }});
  return {};
}

void FuseSession::Impl::wait_for_transports() {
  if (dev_transport) {
    dev_transport->wait();
  }
  if (uring_transport) {
    uring_transport->wait();
  }
}

void FuseSession::Impl::discard() {
  static_cast<void>(unmount_fuse(mount_options.mount_point, UnmountMode::lazy));
  wait_for_transports();
  uring_transport.reset();
  dev_transport.reset();
  dispatcher.reset();
  device.reset();
}

bool FuseSession::Impl::still_mounted() const {
  auto table = read_mount_table();
  if (!table.ok() || !entry) {
    return false;
  }
  return std::ranges::any_of(*table, [&](MountEntry const& e) { return e.id == entry->id; });
}

void FuseSession::Impl::wait() {
  std::lock_guard const lock(waiting);
  if (ended) {
    return;
  }
  wait_for_transports();
  vfs.set_invalidator({});
  notifier.reset();
  ended = true;
}

Result<std::unique_ptr<FuseSession>> FuseSession::mount(FuseConfig config, vfs::Vfs& vfs,
                                                        LoopGroup& loops, Logger& log,
                                                        Registry& metrics) {
  config.max_io = std::clamp<std::uint32_t>(config.max_io, 4096, 1u << 20);
  auto impl = std::make_unique<Impl>(std::move(config), vfs, loops, log, metrics);
  ZEST_CHECK(impl->prepare_mount_point());
  ZEST_CHECK(impl->attach_configured());
  ZEST_TRY(auto table, read_mount_table());
  impl->entry = mount_at(table, impl->mount_options.mount_point);
  if (impl->entry) {
    widen_read_ahead(*impl->entry, impl->mount_options.max_read);
  }
  log.info("mounted", {{"mount_point", impl->mount_options.mount_point},
                       {"source", impl->mount_options.source},
                       {"transport", impl->uring_transport ? "uring" : "dev"}});
  // tidy: allow(new) the constructor is private
  return std::unique_ptr<FuseSession>(new FuseSession(std::move(impl)));
}

FuseSession::FuseSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

FuseSession::~FuseSession() {
  if (!impl_->ended && impl_->still_mounted()) {
    static_cast<void>(unmount_fuse(impl_->mount_options.mount_point, UnmountMode::force));
  }
  impl_->wait();
}

void FuseSession::wait() {
  impl_->wait();
}

Result<void> FuseSession::unmount(UnmountMode mode) {
  if (impl_->still_mounted()) {
    auto result = unmount_fuse(impl_->mount_options.mount_point, mode);
    if (!result.ok() && impl_->still_mounted()) {
      return result;
    }
  }
  impl_->wait();
  return {};
}

std::string_view FuseSession::transport() const noexcept {
  return impl_->uring_transport ? "uring" : "dev";
}

std::string const& FuseSession::mount_point() const noexcept {
  return impl_->mount_options.mount_point;
}

}  // namespace zest::fuse
