// zest umount: unmounts, and waits until the process behind has stored everything.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "zest/cli/command.h"
#include "zest/cli/mount_record.h"
#include "zest/cli/output.h"
#include "zest/fuse/mount.h"
#include "zest/fuse/mount_table.h"

namespace zest::cli {
namespace {

struct UmountOptions {
  std::string mount_point;
  bool force = false;
  bool flush = false;
};

Result<void> check_is_ours(std::string const& place) {
  ZEST_TRY(auto const table, fuse::read_mount_table());
  auto const entry = fuse::mount_at(table, place);
  if (!entry) {
    return Error(Errc::inval, Fault::semantic, fmt::format("nothing is mounted at {}", place));
  }
  if (!entry->type.starts_with("fuse")) {
    return Error(
        Errc::inval, Fault::semantic,
        fmt::format("{} is a mount of type {}, not of zest: use umount(8)", place, entry->type));
  }
  return {};
}

/// Data that were written are safe only once the process has ended; uploads may take their time, so
/// there is no limit, only a sign of life.
void wait_for_end(MountedBy const& process) {
  constexpr auto kPatience = std::chrono::seconds(10);
  while (!process.wait_ended(kPatience)) {
    note(fmt::format("process {} is still storing data; waiting for it", process.facts().pid));
  }
}

Result<void> umount(UmountOptions const& options) {
  ZEST_TRY(auto const place, fuse::normalise_mount_point(options.mount_point));
  ZEST_CHECK(check_is_ours(place));
  ZEST_TRY(auto const process, MountedBy::find(place));
  auto done = fuse::unmount_fuse(
      place, options.force ? fuse::UnmountMode::force : fuse::UnmountMode::normal);
  if (!done.ok() && done.error().code() == Errc::busy) {
    return std::move(done).error().with(fmt::format(
        "{} is in use (lsof or fuser -m show by whom; --force unmounts it anyway)", place));
  }
  ZEST_CHECK(std::move(done));
  if (process) {
    wait_for_end(*process);
  }
  return {};
}

}  // namespace

void add_umount(CLI::App& app, Globals& /*globals*/, Selected& selected) {
  auto* command =
      app.add_subcommand("umount", "Unmount a volume and wait until everything written is stored");
  auto options = std::make_shared<UmountOptions>();  // shared by the declaration and the action
  command->add_option("MOUNTPOINT", options->mount_point, "Where it is mounted")->required();
  command->add_flag("-f,--force", options->force,
                    "Also when it is in use or its process is gone; requests under way fail");
  command->add_flag("--flush", options->flush, "Accepted: umount always waits for stored data");
  command->callback([&selected, options] {
    selected.action = [options] {
      auto const done = umount(*options);
      return done.ok() ? kExitOk : fail("umount", done.error());
    };
  });
}

}  // namespace zest::cli
