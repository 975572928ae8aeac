// zest status and zest info: what a volume and a file are made of.
#include <fmt/format.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zest/admin/file_info.h"
#include "zest/admin/status.h"
#include "zest/admin/volume.h"
#include "zest/cli/command.h"
#include "zest/cli/environment.h"
#include "zest/cli/mount_record.h"
#include "zest/cli/options.h"
#include "zest/cli/output.h"
#include "zest/cli/setting_json.h"
#include "zest/cli/units.h"
#include "zest/fuse/mount_table.h"

namespace zest::cli {
namespace {

// ---- status

constexpr std::array kStatusPeerOptions{
    PeerOption{.name = "-m,--more", .why = "more statistics (trash, deleted files)"},
};

struct StatusOptions {
  std::string meta_url;
  std::uint64_t session = 0;
};

Result<void> status(Globals const& globals, StatusOptions const& options) {
  ZEST_TRY(auto shop, Workshop::create(globals.short_log()));
  ZEST_CHECK(shop->open(options.meta_url, EngineUse::read_only));
  ZEST_TRY(auto found, shop->run([&](Context const& ctx) {
    return admin::volume_status(ctx, shop->engine(), shop->clock(), shop->rng(), shop->log(),
                                shop->metrics());
  }));
  if (options.session != 0) {
    std::erase_if(found.sessions, [&options](meta::SessionEntry const& entry) {
      return entry.session.value != options.session;
    });
    if (found.sessions.empty()) {
      return Error(Errc::noent, Fault::semantic,
                   fmt::format("volume {} has no session {}", found.setting.name, options.session));
    }
  }
  print(status_json(found));
  return {};
}

// ---- info

constexpr std::array kInfoPeerOptions{
    PeerOption{.name = "--strict", .refused = false, .why = "counts are always exact here"},
};

struct InfoOptions {
  std::vector<std::string> places;
  std::uint64_t inode = 0;
  bool recursive = false;
  bool raw = false;
};

/// A file to be shown: how it was named, and its inode in the volume.
struct Target {
  std::string label;
  Ino ino;
  std::string path;  ///< in the volume, where no inode is known yet
};

/// Where `path` is mounted, and by which process.
Result<std::pair<MountedBy, fuse::MountEntry>> mount_of(std::string const& path) {
  ZEST_TRY(auto const normal, fuse::normalise_mount_point(path));
  ZEST_TRY(auto const table, fuse::read_mount_table());
  for (auto place = normal; !place.empty();
       place = place == "/" ? "" : place.substr(0, std::max<std::size_t>(place.rfind('/'), 1))) {
    auto const entry = fuse::mount_at(table, place);
    if (!entry) {
      continue;
    }
    ZEST_TRY(auto found, MountedBy::find(place));
    if (found) {
      return std::pair(*std::move(found), *entry);
    }
    break;
  }
  return Error(Errc::inval, Fault::semantic,
               fmt::format("{} is not in a volume that a zest of this user has mounted; "
                           "`zest info META-URL PATH-IN-VOLUME` works without a mount",
                           path));
}

void print_info(std::string const& label, admin::FileInfo const& info, bool raw) {
  print(fmt::format("{} :\n  inode: {}\n  files: {}\n   dirs: {}", label, info.ino.value,
                    info.files, info.dirs));
  print(fmt::format(" length: {}{}\n   size: {} ({} Bytes)", format_size(info.length),
                    info.length >= kKiB ? fmt::format(" ({} Bytes)", info.length) : "",
                    format_size(info.size), info.size));
  if (info.paths.size() == 1) {
    print("   path: " + info.paths.front());
  } else {
    print("  paths:");
    for (auto const& path : info.paths) {
      print("\t" + path);
    }
  }
  if (info.objects.empty()) {
    return;
  }
  print(raw ? " slices:" : " objects:");
  std::size_t width = 10;
  for (auto const& row : info.objects) {
    width = std::max(width, row.object.size());
  }
  auto const rule = fmt::format("+{:-<12}+{:-<{}}+{:-<10}+{:-<10}+{:-<10}+{:-<10}+", "", "",
                                width + 2, "", "", "", "");
  print(rule);
  print(fmt::format("| {:>10} | {:>{}} | {:>8} | {:>8} | {:>8} | {:>8} |", "chunkIndex",
                    raw ? "sliceId" : "objectName", width, "size", "offset", "length", "pos"));
  print(rule);
  for (auto const& row : info.objects) {
    print(fmt::format("| {:>10} | {:>{}} | {:>8} | {:>8} | {:>8} | {:>8} |", row.chunk, row.object,
                      width, row.size, row.offset, row.length, row.pos));
  }
  print(rule);
}

Result<void> show(Globals const& globals, std::string const& meta_url,
                  std::vector<Target> const& targets, InfoOptions const& options) {
  ZEST_TRY(auto shop, Workshop::create(globals.short_log()));
  ZEST_CHECK(shop->open(meta_url, EngineUse::read_only));
  for (auto const& target : targets) {
    auto const info = shop->run([&](Context const& ctx) -> Result<admin::FileInfo> {
      ZEST_TRY(auto const setting, admin::load_setting(ctx, shop->engine()));
      auto ino = target.ino;
      if (!ino) {
        ZEST_TRY(ino, admin::resolve_path(ctx, shop->engine(), target.path));
      }
      return admin::file_info(ctx, shop->engine(), setting,
                              {.ino = ino, .recursive = options.recursive, .raw = options.raw});
    });
    if (!info.ok()) {
      return info.error().clone().with(target.label);
    }
    print_info(target.label, *info, options.raw);
  }
  return {};
}

/// A path below a mount point: its inode number is the volume's, except for the mount's root.
Result<void> show_mounted(Globals const& globals, std::string const& path,
                          InfoOptions const& options) {
  struct stat found{};
  if (lstat(path.c_str(), &found) != 0) {
    return Error::from_errno(errno, path);
  }
  ZEST_TRY(auto const mount, mount_of(path));
  auto const& facts = mount.first.facts();
  std::vector<Target> const targets{
      {.label = path, .ino = Ino{found.st_ino == 1 ? facts.root_ino : found.st_ino}, .path = {}}};
  return show(globals, facts.meta_url, targets, options);
}

Result<void> info(Globals const& globals, InfoOptions const& options) {
  auto const& first = options.places.front();
  bool const by_url = first.find("://") != std::string::npos;
  if (options.inode != 0) {
    std::vector<Target> const targets{
        {.label = fmt::format("{}", options.inode), .ino = Ino{options.inode}, .path = {}}};
    if (by_url) {
      return show(globals, first, targets, options);
    }
    ZEST_TRY(auto const mount, mount_of(first));
    return show(globals, mount.first.facts().meta_url, targets, options);
  }
  if (by_url) {
    std::vector<Target> targets;
    for (std::size_t i = 1; i < options.places.size(); ++i) {
      targets.push_back({.label = options.places[i], .ino = {}, .path = options.places[i]});
    }
    if (targets.empty()) {
      targets.push_back({.label = "/", .ino = kRootIno, .path = {}});
    }
    return show(globals, first, targets, options);
  }
  for (auto const& path : options.places) {
    ZEST_CHECK(show_mounted(globals, path, options));
  }
  return {};
}

}  // namespace

void add_status(CLI::App& app, Globals& globals, Selected& selected) {
  auto* command = app.add_subcommand("status", "Show a volume: Setting, sessions, usage (JSON)");
  auto options = std::make_shared<StatusOptions>();  // shared by the declaration and the action
  command->add_option("META-URL", options->meta_url, "The database: sqlite3://PATH")->required();
  command->add_option("-s,--session", options->session, "Only the session with this id")
      ->type_name("SID");
  add_peer_options(*command, kStatusPeerOptions, globals.notes);
  command->callback([&globals, &selected, options] {
    selected.action = [&globals, options] {
      auto const done = status(globals, *options);
      return done.ok() ? kExitOk : fail("status", done.error());
    };
  });
}

void add_info(CLI::App& app, Globals& globals, Selected& selected) {
  auto* command = app.add_subcommand(
      "info", "Show what a file or directory is made of: inode, counts, paths, objects");
  auto options = std::make_shared<InfoOptions>();  // shared by the declaration and the action
  command
      ->add_option("PATH", options->places,
                   "Paths below a mount point; or a META-URL and paths in its volume")
      ->required();
  command
      ->add_option("-i,--inode", options->inode,
                   "An inode number instead of a path; PATH then says in which volume")
      ->type_name("N");
  command->add_flag("-r,--recursive", options->recursive, "Count everything below a directory");
  command->add_flag("--raw", options->raw, "Slices as stored instead of objects that readers see");
  add_peer_options(*command, kInfoPeerOptions, globals.notes);
  command->callback([&globals, &selected, options] {
    selected.action = [&globals, options] {
      auto const done = info(globals, *options);
      return done.ok() ? kExitOk : fail("info", done.error());
    };
  });
}

}  // namespace zest::cli
