// zest clone: a copy of a file or tree that shares its data, made by the process that serves the
// mount.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "zest/cli/command.h"
#include "zest/cli/control_file.h"
#include "zest/cli/options.h"
#include "zest/cli/output.h"

namespace zest::cli {
namespace {

constexpr std::uint32_t kCloneCommand = 1006;
constexpr std::uint64_t kPreserveAttributes = 2;
constexpr std::uint64_t kThreadsDefault = 4;

struct CloneOptions {
  std::string source;
  std::string target;
  bool preserve = false;
  std::uint64_t threads = kThreadsDefault;
};

mode_t umask_of_process() {
  auto const mask = ::umask(0);
  ::umask(mask);
  return mask;
}

Result<void> clone(CloneOptions const& options) {
  ZEST_TRY(auto const source, find_mounted(options.source));
  if (source.ino == 0) {
    return Error(Errc::noent, Fault::semantic, options.source);
  }
  auto const into = options.target.ends_with('/') ? options.target + source.name : options.target;
  ZEST_TRY(auto const target, find_mounted(into));
  if (target.ino != 0) {
    return Error(Errc::exist, Fault::semantic, into + " exists already");
  }
  if (source.mount_root != target.mount_root) {
    return Error(Errc::xdev, Fault::semantic,
                 fmt::format("{} and {} are in different mounts; a clone shares data, so both have "
                             "to be in one",
                             options.source, into));
  }
  if (target.name.size() > 255) {
    return Error(Errc::nametoolong, Fault::semantic, into);
  }
  ControlRequest request(kCloneCommand);
  request.number(source.ino, 8).number(source.parent_ino, 8).number(target.parent_ino, 8);
  request.number(target.name.size(), 1).text(target.name).number(umask_of_process(), 2);
  request.number(options.preserve ? kPreserveAttributes : 0, 1).number(options.threads, 1);
  bool const shown = ::isatty(STDERR_FILENO) != 0;
  std::uint64_t entries = 0;
  auto done = control(source.mount_root, request, [&](std::uint64_t cloned, std::uint64_t total) {
    entries = cloned;
    if (shown) {
      fmt::print(stderr, "\r{} of {} entries … ", cloned, total);
    }
  });
  if (shown) {
    fmt::print(stderr, "\r\033[K");
  }
  if (!done.ok()) {
    return std::move(done).error().with(fmt::format("{} to {}", options.source, into));
  }
  print(fmt::format("{} entries cloned to {}", entries, into));
  return {};
}

}  // namespace

void add_clone(CLI::App& app, Globals& /*globals*/, Selected& selected) {
  auto* command = app.add_subcommand(
      "clone", "Copy a file or directory of a mounted volume without copying its data");
  auto options = std::make_shared<CloneOptions>();  // shared by the declaration and the action
  command->add_option("SRC", options->source, "What is copied")->required();
  command
      ->add_option("DST", options->target,
                   "The copy, in the same mount; must not exist. With / at the end: the directory "
                   "that it is put into")
      ->required();
  command->add_flag("-p,--preserve", options->preserve,
                    "Keep owner, group, mode and times (as far as the caller may)");
  command
      ->add_option("--threads", options->threads,
                   "How many workers the peer's mount uses; a mount of zest works in batches")
      ->check(CLI::Range(1, 255))
      ->capture_default_str();
  command->callback([&selected, options] {
    selected.action = [options] {
      auto const done = clone(*options);
      return done.ok() ? kExitOk : fail("clone", done.error());
    };
  });
}

}  // namespace zest::cli
