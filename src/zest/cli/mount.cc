#include "zest/cli/mount.h"

#include <fmt/format.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <memory>
#include <string_view>
#include <thread>

#include "zest/cli/command.h"
#include "zest/cli/daemon.h"
#include "zest/cli/environment.h"
#include "zest/cli/metrics_server.h"
#include "zest/cli/mount_helper.h"
#include "zest/cli/mount_record.h"
#include "zest/cli/output.h"
#include "zest/cli/served_volume.h"
#include "zest/format/session.h"
#include "zest/fuse/mount.h"
#include "zest/fuse/mount_table.h"

namespace zest::cli {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

/// Numeric addresses of all interfaces except loopback, for the session's record.
std::vector<std::string> ip_addresses() {
  std::vector<std::string> found;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) {
    return found;
  }
  for (auto const* at = list; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr ||
        (at->ifa_addr->sa_family != AF_INET && at->ifa_addr->sa_family != AF_INET6)) {
      continue;
    }
    auto const size =
        at->ifa_addr->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    std::array<char, NI_MAXHOST> text{};
    if (getnameinfo(at->ifa_addr, static_cast<socklen_t>(size), text.data(), text.size(), nullptr,
                    0, NI_NUMERICHOST) != 0) {
      continue;
    }
    std::string address = text.data();
    address.resize(std::min(address.find('%'), address.size()));
    if (!address.starts_with("127.") && address != "::1") {
      found.push_back(std::move(address));
    }
  }
  freeifaddrs(list);
  return found;
}

SessionInfo session_info(std::string const& mount_point) {
  return {.version = fmt::format("{}+zest.{}", kCompatibleVersion, version()),
          .host_name = host_name(),
          .ip_addrs = ip_addresses(),
          .mount_point = mount_point,
          .mount_time = format_rfc3339(SystemClock().wall()),
          .process_id = getpid()};
}

std::string label(std::string_view name, std::string_view value) {
  std::string quoted;
  for (char const c : value) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
    }
    quoted += c == '\n' ? ' ' : c;
  }
  return fmt::format("{}=\"{}\"", name, quoted);
}

std::string metric_labels(MountRequest const& request, std::string_view volume) {
  auto labels = fmt::format("{},{},{},{}", label("instance", host_name()),
                            label("juicefs_version", session_info({}).version),
                            label("mp", request.mount_point), label("vol_name", volume));
  for (auto const& [name, value] : request.metric_labels) {
    labels += "," + label(name, value);
  }
  return labels;
}

/// Refuses early what would fail late, with what to do about it.
Result<void> check_mount_point(MountRequest& request) {
  ZEST_TRY(request.mount_point, fuse::normalise_mount_point(request.mount_point));
  ZEST_TRY(auto const state, fuse::inspect_mount_point(request.mount_point));
  ZEST_TRY(auto const table, fuse::read_mount_table());
  bool const mounted = fuse::mount_at(table, request.mount_point).has_value();
  if (state == fuse::MountPointState::not_empty && !mounted && !request.force) {
    return Error(Errc::notempty, Fault::semantic,
                 fmt::format("{} is not empty, and the mount would hide its files: choose an empty "
                             "directory, or use --force",
                             request.mount_point));
  }
  return {};
}

/// Waits for signals on a thread of its own and unmounts; see mount_volume.
class SignalWatch {
 public:
  explicit SignalWatch(Logger& log) : log_(log) {
    sigemptyset(&signals_);
    for (int const number : {SIGINT, SIGTERM, SIGUSR2}) {
      sigaddset(&signals_, number);
    }
  }
  /// All threads inherit the mask, so call it before the first one is started.
  void block() const {
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGHUP, SIG_IGN);
  }
  void watch(fuse::FuseSession& session) {
    thread_ = std::thread([this, &session] { run(session); });
  }
  /// Ends the thread; the session still exists.
  void end() {
    if (thread_.joinable()) {
      ended_ = true;
      pthread_kill(thread_.native_handle(), SIGUSR2);
      thread_.join();
    }
  }
  ~SignalWatch() { end(); }
  SignalWatch(SignalWatch const&) = delete;
  SignalWatch& operator=(SignalWatch const&) = delete;

 private:
  void run(fuse::FuseSession& session) {
    int count = 0;
    bool busy = false;
    while (!ended_) {
      // While files are in use, try again from time to time.
      timespec const pause{.tv_sec = busy ? 0 : 3600, .tv_nsec = 500'000'000};
      int const number = sigtimedwait(&signals_, nullptr, &pause);
      if (number == SIGINT || number == SIGTERM) {
        ++count;
        log_.info("unmounting", {{"signal", number}, {"mount_point", session.mount_point()}});
      }
      if (count > 0 && !ended_) {
        busy = unmount(session, count > 1, busy);
      }
    }
  }

  /// Not through the session, whose unmount waits: a second signal could not be served then.
  /// Returns true when files are in use.
  bool unmount(fuse::FuseSession& session, bool force, bool known_busy) {
    if (force) {
      log_.warn("second signal: giving up what is under way");
    }
    auto const done = fuse::unmount_fuse(
        session.mount_point(), force ? fuse::UnmountMode::force : fuse::UnmountMode::normal);
    bool const busy = failed_with(done, Errc::busy);
    if (busy && !known_busy) {
      log_.warn("files are in use: the mount ends with their last user; a second signal forces it");
    }
    if (!busy) {
      report(done);
    }
    return busy;
  }

  void report(Result<void> const& done) {
    if (!done.ok()) {
      log_.warn("unmount failed", {{"error", done.error().text()}});
    }
  }

  Logger& log_;
  sigset_t signals_{};
  std::thread thread_;
  std::atomic<bool> ended_ = false;
};

/// A server that cannot be started is worth a warning, not the mount.
std::unique_ptr<MetricsServer> start_metrics(MountRequest const& request, ServedVolume& volume,
                                             Logger& log) {
  if (request.metrics_address.empty()) {
    return nullptr;
  }
  auto server =
      MetricsServer::start(request.metrics_address, metric_labels(request, volume.setting().name),
                           volume.loops().loop(0), volume.metrics(), log);
  if (!server.ok()) {
    log.warn("no metrics",
             {{"address", request.metrics_address}, {"error", server.error().text()}});
    return nullptr;
  }
  log.info("metrics", {{"url", fmt::format("http://{}/metrics", (*server)->address())}});
  return *std::move(server);
}

/// A descriptor for each open file of a store and each connection; the usual soft limit is 1024.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

Result<void> serve(MountRequest& request, MetaUrl const& url, Readiness& readiness, Logger& log,
                   SignalWatch& signals) {
  request.vfs.mount_point = request.mount_point;
  request.vfs.version = std::string(version());
  request.meta.session = session_info(request.mount_point);
  ZEST_TRY(auto volume, ServedVolume::create(request, url, log));
  auto const name = volume->setting().name;
  // The lock is kept to the very end: who waits for it knows that everything is stored.
  auto record = MountRecord::create({.mount_point = request.mount_point,
                                     .meta_url = url.redacted,
                                     .volume = name,
                                     .root_ino = volume->root().value,
                                     .pid = getpid()},
                                    request.force);
  if (!record.ok()) {
    static_cast<void>(volume->stop());
    return std::move(record).error();
  }
  request.fuse.mount_point = request.mount_point;
  request.fuse.fs_name = name;
  request.fuse.over_same_volume = request.force;
  auto session = fuse::FuseSession::mount(request.fuse, volume->vfs(), volume->loops(), log,
                                          volume->metrics());
  if (!session.ok()) {
    static_cast<void>(volume->stop());
    return std::move(session).error();
  }
  auto metrics = start_metrics(request, *volume, log);
  signals.watch(**session);
  log.info("volume ready", {{"volume", name},
                            {"mount_point", request.mount_point},
                            {"data", volume->storage()},
                            {"transport", (*session)->transport()},
                            {"loop", volume->loops().loop(0).name()},
                            {"loops", volume->loops().size()}});
  readiness.succeed(fmt::format("volume {} is ready at {}", name, request.mount_point));
  (*session)->wait();
  signals.end();
  metrics.reset();
  session->reset();
  auto stopped = volume->stop();
  volume.reset();
  log.info("unmounted", {{"volume", request.fuse.fs_name}});
  return stopped;
}

Result<MetaUrl> prepare(MountRequest& request) {
  ZEST_TRY(auto const password, password_from_environment(request.meta_url));
  ZEST_TRY(auto url, parse_meta_url(request.meta_url, password));
  url = absolute_url(std::move(url));
  ZEST_CHECK(check_mount_point(request));
  ZEST_TRY(auto const options, fuse::parse_raw_options(request.fuse.raw_options));
  bool const read_only = request.vfs.read_only || options.read_only;
  request.vfs.read_only = read_only;
  request.meta.read_only = read_only;
  request.fuse.read_only = read_only;
  request.vfs.writeback_cache = request.fuse.writeback_cache || options.writeback_cache;
  return url;
}

}  // namespace

int mount_volume(MountRequest request) {
  auto const url = prepare(request);
  if (!url.ok()) {
    return fail("mount", url.error());
  }
  Readiness readiness;
  if (request.background) {
    auto fork = Fork::go_background();
    if (!fork.ok()) {
      return fail("mount", fork.error());
    }
    if (fork->exit_code) {
      return *fork->exit_code;
    }
    readiness = std::move(fork->readiness);
    // A daemon must not keep the caller's directory busy; all paths are absolute by now.
    static_cast<void>(chdir("/"));
  }
  raise_file_limit();
  Logger log(request.log);
  SignalWatch signals(log);
  signals.block();
  if (request.update_fstab) {
    auto const done = update_fstab({.meta_url = url->redacted,
                                    .mount_point = request.mount_point,
                                    .options = request.fstab_options});
    if (!done.ok()) {
      readiness.fail("mount: --update-fstab: " + done.error().text());
      return kExitFailure;
    }
  }
  auto const done = serve(request, *url, readiness, log, signals);
  if (!done.ok()) {
    log.error("mount failed",
              {{"mount_point", request.mount_point}, {"error", done.error().text()}});
    readiness.fail(
        fmt::format("mount {} on {}: {}", url->redacted, request.mount_point, done.error().text()));
    return kExitFailure;
  }
  return kExitOk;
}

}  // namespace zest::cli
