// zest mount: the options, and what they mean to the parts of a mounted volume.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "zest/cli/command.h"
#include "zest/cli/mount.h"
#include "zest/cli/options.h"
#include "zest/cli/output.h"
#include "zest/cli/storage_options.h"

namespace zest::cli {
namespace {

/// Text forms that become enumerators; everything else is parsed into the request directly.
struct MountOptions {
  MountRequest request;
  std::string log_file;
  bool read_only = false;
  bool case_insensitive = false;
  std::string transport = "auto";
  std::string loop = "auto";
  std::string sync = "close";
  std::string atime = "noatime";
  std::string labels;
  std::string metrics = "127.0.0.1:9567";
  std::uint64_t max_fuse_io = kMiB;
  std::uint64_t max_readahead = 0;
  std::uint64_t cache_bytes = 100 * kMiB;
  std::vector<std::string> raw;
};

constexpr std::array kPeerOptions{
    PeerOption{.name = "--writeback", .why = "upload in the background after close"},
    PeerOption{
        .name = "--upload-delay", .takes_value = true, .why = "delayed uploads", .neutral = "0"},
    PeerOption{.name = "--upload-hours", .takes_value = true, .why = "uploads at certain hours"},
    PeerOption{
        .name = "--upload-limit", .takes_value = true, .why = "bandwidth limits", .neutral = "0"},
    PeerOption{
        .name = "--download-limit", .takes_value = true, .why = "bandwidth limits", .neutral = "0"},
    PeerOption{.name = "--root-squash", .takes_value = true, .why = "mapping of root"},
    PeerOption{.name = "--all-squash", .takes_value = true, .why = "mapping of users"},
    PeerOption{.name = "--enable-cap", .why = "security.capability attributes"},
    PeerOption{.name = "--enable-selinux", .why = "security.selinux attributes"},
    PeerOption{.name = "--storage-class", .takes_value = true, .why = "storage classes"},
    PeerOption{.name = "--tag", .takes_value = true, .why = "object tags"},
    PeerOption{.name = "--consul", .takes_value = true, .why = "registration with Consul"},
    PeerOption{
        .name = "--no-usage-report", .refused = false, .why = "zest reports nothing to anybody"},
    PeerOption{.name = "--no-syslog", .refused = false, .why = "zest never uses syslog"},
    PeerOption{.name = "--backup-meta",
               .takes_value = true,
               .refused = false,
               .why = "this version makes no automatic backups of the metadata",
               .neutral = "0"},
    PeerOption{.name = "--backup-skip-trash", .refused = false, .why = "there are no backups"},
    PeerOption{.name = "--cache-dir",
               .takes_value = true,
               .refused = false,
               .why = "this version caches in memory only",
               .neutral = "memory"},
    PeerOption{
        .name = "--cache-mode", .takes_value = true, .refused = false, .why = "no disk cache yet"},
    PeerOption{
        .name = "--cache-items", .takes_value = true, .refused = false, .why = "no disk cache yet"},
    PeerOption{.name = "--cache-eviction",
               .takes_value = true,
               .refused = false,
               .why = "no disk cache yet"},
    PeerOption{.name = "--cache-scan-interval",
               .takes_value = true,
               .refused = false,
               .why = "no disk cache yet"},
    PeerOption{.name = "--cache-expire",
               .takes_value = true,
               .refused = false,
               .why = "no disk cache yet"},
    PeerOption{.name = "--free-space-ratio",
               .takes_value = true,
               .refused = false,
               .why = "no disk cache yet"},
    PeerOption{.name = "--verify-cache-checksum",
               .takes_value = true,
               .refused = false,
               .why = "no disk cache yet"},
    PeerOption{.name = "--cache-partial-only", .refused = false, .why = "no disk cache yet"},
    PeerOption{.name = "--max-stage-write",
               .takes_value = true,
               .refused = false,
               .why = "nothing is staged"},
    PeerOption{.name = "--writeback-threshold-size",
               .takes_value = true,
               .refused = false,
               .why = "nothing is staged"},
    PeerOption{.name = "--prefetch",
               .takes_value = true,
               .refused = false,
               .why = "read-ahead adapts by itself; see --max-readahead"},
    PeerOption{.name = "--open-cache",
               .takes_value = true,
               .refused = false,
               .why = "attributes of open files are always checked",
               .neutral = "0"},
    PeerOption{.name = "--open-cache-limit",
               .takes_value = true,
               .refused = false,
               .why = "attributes of open files are always checked"},
    PeerOption{
        .name = "--readdir-cache", .refused = false, .why = "the kernel does not cache listings"},
    PeerOption{.name = "--skip-dir-nlink",
               .takes_value = true,
               .refused = false,
               .why = "it concerns other engines"},
    PeerOption{.name = "--skip-dir-mtime",
               .takes_value = true,
               .refused = false,
               .why = "directories always get their time"},
    PeerOption{.name = "--sort-dir", .refused = false, .why = "the engine lists in its own order"},
    PeerOption{.name = "--fast-statfs", .refused = false, .why = "statfs is fast anyway"},
    PeerOption{.name = "--network-interfaces",
               .takes_value = true,
               .refused = false,
               .why = "the session lists all addresses"},
    PeerOption{.name = "--disable-transparent-hugepage",
               .refused = false,
               .why = "it concerns the peer's runtime"},
};

std::string default_log() {
  char const* home = std::getenv("HOME");
  return geteuid() == 0 || home == nullptr ? "/var/log/zest.log"
                                           : std::string(home) + "/.zest/zest.log";
}

void add_kernel_options(CLI::App& command, MountOptions& o) {
  auto& r = o.request;
  command.add_option("-o", o.raw, "Options of mount(8) and FUSE, separated by commas")
      ->type_name("OPTIONS");
  command
      .add_option("--transport", o.transport,
                  "How the kernel is talked to: uring (Linux 6.14, fuse.enable_uring), dev, auto")
      ->check(CLI::IsMember({"auto", "dev", "uring"}))
      ->type_name("KIND")
      ->capture_default_str();
  command.add_option("--threads", r.loops.loops, "Event loops; 0 = one a core")
      ->check(CLI::Range(0, 256))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--loop", o.loop, "Kind of event loop: uring, epoll, auto")
      ->check(CLI::IsMember({"auto", "uring", "epoll"}))
      ->type_name("KIND")
      ->capture_default_str();
  add_size(command, "--max-fuse-io", o.max_fuse_io, kKiB,
           "Largest request of the kernel, 4K to 1M");
  command.add_flag("--writeback-cache", r.fuse.writeback_cache,
                   "Let the kernel collect small writes before it passes them on");
  add_octal(command, "--umask", r.fuse.umask, 0777,
            "Umask for all new files instead of the caller's");
  command.add_flag("--enable-xattr", r.vfs.enable_xattr, "User extended attributes");
  command.add_flag("--enable-ioctl", r.vfs.enable_ioctl, "chattr and lsattr: flags i and a");
  command.add_flag("--hide-internal", r.vfs.hide_internal, "Leave virtual files out of listings");
  command.add_flag("--prefix-internal", r.vfs.prefix_internal, "Virtual files begin with .jfs");
  add_duration(command, "--attr-cache", r.vfs.attr_timeout, "How long the kernel keeps attributes");
  add_duration(command, "--entry-cache", r.vfs.entry_timeout,
               "How long the kernel keeps names of files");
  add_duration(command, "--dir-entry-cache", r.vfs.dir_entry_timeout,
               "How long the kernel keeps names of directories");
  add_duration(command, "--negative-entry-cache", r.vfs.negative_timeout,
               "How long the kernel remembers that a name does not exist");
}

void add_volume_options(CLI::App& command, MountOptions& o) {
  auto& r = o.request;
  command.add_flag("--read-only", o.read_only, "Nothing can be changed (also -o ro)");
  command.add_flag("--case-insensitive", o.case_insensitive,
                   "Names that differ in upper and lower case only are the same; each name that is "
                   "not found as it is costs a look through its directory");
  command.add_option("--subdir", r.subdir, "Directory of the volume to mount; created if missing")
      ->type_name("PATH");
  command
      .add_option("--sync", o.sync,
                  "What survives a power cut: fsync (what fsync was called for), close (closed "
                  "files too), never (scratch data)")
      ->check(CLI::IsMember({"fsync", "close", "never"}))
      ->type_name("POLICY")
      ->capture_default_str();
  command.add_option("--atime-mode", o.atime, "noatime, relatime or strictatime")
      ->check(CLI::IsMember({"noatime", "relatime", "strictatime"}))
      ->type_name("MODE")
      ->capture_default_str();
  add_duration(command, "--heartbeat", r.meta.heartbeat, "How often the session says it is alive");
  command.add_flag_function(
      "--no-bgjob",
      [&r](std::int64_t count) {
        r.meta.background_jobs = count <= 0;
        r.vfs.background_jobs = count <= 0;
      },
      "No clean-up jobs for the volume by this client");
  command.add_option("--max-deletes", r.vfs.deletions_max, "Deletions of data at once")
      ->check(CLI::Range(1, 10000))
      ->type_name("N")
      ->capture_default_str();
}

void add_data_options(CLI::App& command, MountOptions& o) {
  auto& r = o.request;
  command.add_option("--storage", r.storage, "Kind of storage instead of the Setting's")
      ->type_name("KIND");
  command.add_option("--bucket", r.bucket, "Place of the data instead of the Setting's")
      ->type_name("PLACE");
  command.add_flag("--check-storage", r.check_storage, "Test the storage before mounting");
  add_size(command, "--buffer-size", r.buffer_bytes, kMiB,
           "Memory for data under way; a number alone is MiB");
  add_size(command, "--cache-size", o.cache_bytes, kMiB,
           "Block cache, in memory in this version, at most a quarter of the machine's; a number "
           "alone is MiB");
  command.add_flag("--cache-large-write", r.blocks.cache_full_writes,
                   "Keep written full blocks in the cache");
  add_size(command, "--max-readahead", o.max_readahead, kMiB,
           "Read-ahead of one open file; a number alone is MiB; 0 = 32M");
  command.add_option("--max-uploads", r.blocks.uploads_max, "Uploads at once")
      ->check(CLI::Range(1, 10000))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--max-downloads", r.blocks.downloads_max, "Downloads at once")
      ->check(CLI::Range(1, 10000))
      ->type_name("N")
      ->capture_default_str();
  add_duration(command, "--get-timeout", r.blocks.get_timeout, "Most time of one download");
  add_duration(command, "--put-timeout", r.blocks.put_timeout, "Most time of one upload");
  command.add_option("--io-retries", r.blocks.retries, "Further tries of a failed transfer")
      ->check(CLI::Range(0, 1000))
      ->type_name("N")
      ->capture_default_str();
}

void add_process_options(CLI::App& command, MountOptions& o) {
  auto& r = o.request;
  command.add_flag("-d,--background", r.background,
                   "Go to the background once the mount works; failures are reported as without");
  command.add_option("--log", o.log_file, "Log file in the background")
      ->type_name("FILE")
      ->default_str("/var/log/zest.log, for users ~/.zest/zest.log");
  command.add_flag("--force", r.force,
                   "Mount over a mount of the same volume, or over a directory with files");
  command.add_flag("--update-fstab", r.update_fstab,
                   "Add or refresh this mount in /etc/fstab, and create /sbin/mount.zest");
  command
      .add_option("--metrics", o.metrics,
                  "Address of Prometheus metrics; another port when it is taken; off = none")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  command.add_option("--custom-labels", o.labels, "Labels of all metrics: name:value;name:value")
      ->type_name("LABELS");
}

template <class T>
T chosen(std::string const& text, std::initializer_list<std::pair<std::string_view, T>> values) {
  for (auto const& [name, value] : values) {
    if (name == text) {
      return value;
    }
  }
  return values.begin()->second;  // the parser admits only names of the list
}

/// The cache is in memory, so a size meant for a disk has to be cut.
std::uint64_t bounded_cache(std::uint64_t wanted, std::vector<std::string>& notes) {
  auto const memory = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                      static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  auto const limit = memory / 4;
  if (wanted <= limit) {
    return wanted;
  }
  notes.push_back(
      fmt::format("--cache-size is {} MiB: this version caches in memory, and takes at "
                  "most a quarter of it",
                  limit / kMiB));
  return limit;
}

Result<std::vector<std::pair<std::string, std::string>>> parse_labels(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> labels;
  while (!text.empty()) {
    auto const end = std::min(text.find(';'), text.size());
    auto const one = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    auto const colon = one.find(':');
    if (colon == std::string_view::npos || colon == 0 ||
        one.substr(0, colon).find_first_not_of(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") !=
            std::string_view::npos) {
      return Error(Errc::inval, Fault::semantic,
                   fmt::format("--custom-labels: \"{}\" is not name:value", one));
    }
    labels.emplace_back(one.substr(0, colon), one.substr(colon + 1));
  }
  return labels;
}

/// `nonempty` was an option of old FUSE; to us it's the same as --force for files.
std::string joined_raw(std::vector<std::string> const& raw, bool& force) {
  std::string all = fmt::format("{}", fmt::join(raw, ","));
  std::string kept;
  while (!all.empty()) {
    auto const end = std::min(all.find(','), all.size());
    auto const one = all.substr(0, end);
    all.erase(0, end + 1);
    if (one == "nonempty") {
      force = true;
    } else if (!one.empty()) {
      kept += (kept.empty() ? "" : ",") + one;
    }
  }
  return kept;
}

Result<void> complete(MountOptions& o, Globals& globals) {
  auto& r = o.request;
  using fuse::TransportKind;
  r.fuse.transport = chosen<TransportKind>(o.transport, {{"auto", TransportKind::automatic},
                                                         {"dev", TransportKind::dev},
                                                         {"uring", TransportKind::uring}});
  r.loops.kind = chosen<LoopKind>(
      o.loop,
      {{"auto", LoopKind::automatic}, {"uring", LoopKind::uring}, {"epoll", LoopKind::epoll}});
  if (r.fuse.transport == TransportKind::uring && r.loops.kind == LoopKind::epoll) {
    return Error(Errc::inval, Fault::semantic, "--transport uring needs --loop uring");
  }
  r.vfs.sync = chosen<vfs::SyncPolicy>(o.sync, {{"close", vfs::SyncPolicy::close},
                                                {"fsync", vfs::SyncPolicy::fsync},
                                                {"never", vfs::SyncPolicy::never}});
  r.meta.atime = chosen<meta::AtimeMode>(o.atime, {{"noatime", meta::AtimeMode::noatime},
                                                   {"relatime", meta::AtimeMode::relatime},
                                                   {"strictatime", meta::AtimeMode::strictatime}});
  if (o.max_fuse_io < 4 * kKiB || o.max_fuse_io > kMiB) {
    return Error(Errc::inval, Fault::semantic, "--max-fuse-io must be from 4K to 1M");
  }
  if (r.buffer_bytes < 32 * kMiB) {
    return Error(Errc::inval, Fault::semantic, "--buffer-size must be at least 32M");
  }
  if (r.meta.heartbeat < std::chrono::seconds(1)) {
    return Error(Errc::inval, Fault::semantic, "--heartbeat must be at least 1s");
  }
  r.fuse.max_io = static_cast<std::uint32_t>(o.max_fuse_io / 4096 * 4096);
  r.vfs.read_only = o.read_only;
  r.meta.case_insensitive = o.case_insensitive;
  r.cache_bytes = bounded_cache(o.cache_bytes, globals.notes);
  if (o.max_readahead != 0) {
    r.vfs.readahead_max = o.max_readahead;
  }
  r.fuse.allow_other = geteuid() == 0;
  r.fuse.raw_options = joined_raw(o.raw, r.force);
  r.metrics_address = o.metrics == "off" ? "" : o.metrics;
  ZEST_TRY(r.metric_labels, parse_labels(o.labels));
  if (r.bucket) {
    ZEST_TRY(r.bucket, normal_bucket(r.storage.value_or("file"), *r.bucket));
  }
  return {};
}

void set_up_log(MountOptions& o, Globals const& globals) {
  auto& log = o.request.log;
  log.level = globals.level();
  log.color = !globals.no_color;
  if (!o.request.background && o.log_file.empty()) {
    return;
  }
  std::error_code failed;
  auto const path =
      std::filesystem::absolute(o.log_file.empty() ? default_log() : o.log_file, failed);
  std::filesystem::create_directories(path.parent_path(), failed);
  log.file = path.string();
  log.color = false;
}

/// What --update-fstab writes: every option that was given, except those about this one start.
std::vector<std::string> fstab_options(CLI::App const& command) {
  std::vector<std::string> options;
  for (auto const* option : command.get_options()) {
    auto const name = option->get_name();
    if (option->count() == 0 || option->get_positional() || name == "--update-fstab" ||
        name == "--background" || name == "--force") {
      continue;
    }
    if (name == "-o") {
      options.insert(options.end(), option->results().begin(), option->results().end());
    } else if (option->get_expected_max() == 0) {
      options.push_back(name.substr(2));
    } else {
      options.push_back(fmt::format("{}={}", name.substr(2), option->results().back()));
    }
  }
  return options;
}

}  // namespace

void add_mount(CLI::App& app, Globals& globals, Selected& selected) {
  auto* command = app.add_subcommand("mount", "Mount a volume");
  auto options = std::make_shared<MountOptions>();  // shared by the declaration and the action
  command->add_option("META-URL", options->request.meta_url, "The database: sqlite3://PATH")
      ->required();
  command->add_option("MOUNTPOINT", options->request.mount_point, "An empty directory")->required();
  add_process_options(*command, *options);
  add_volume_options(*command, *options);
  add_kernel_options(*command, *options);
  add_data_options(*command, *options);
  add_peer_options(*command, kPeerOptions, globals.notes);
  command->callback([command, &globals, &selected, options] {
    auto const completed = complete(*options, globals);
    if (!completed.ok()) {
      selected.action = [text = completed.error().text()] {
        note("mount: " + text);
        return kExitUsage;
      };
      return;
    }
    set_up_log(*options, globals);
    options->request.fstab_options = fstab_options(*command);
    selected.action = [options] { return mount_volume(std::move(options->request)); };
  });
}

}  // namespace zest::cli
