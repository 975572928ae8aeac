// zest compact: merges the slices of files, done by the process that serves the mount.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "zest/cli/command.h"
#include "zest/cli/control_file.h"
#include "zest/cli/output.h"

namespace zest::cli {
namespace {

constexpr std::uint32_t kCompactCommand = 1008;
constexpr std::uint64_t kThreadsDefault = 10;

struct CompactOptions {
  std::vector<std::string> paths;
  std::uint64_t threads = kThreadsDefault;
  bool json = false;
};

Result<std::uint64_t> compact(std::string const& path, std::uint64_t threads) {
  ZEST_TRY(auto const target, find_mounted(path));
  if (target.ino == 0) {
    return Error(Errc::noent, Fault::semantic, path);
  }
  ControlRequest request(kCompactCommand);
  request.number(target.ino, 8).number(threads, 2);
  bool const shown = ::isatty(STDERR_FILENO) != 0;
  std::uint64_t chunks = 0;
  auto done = control(target.mount_root, request, [&](std::uint64_t found, std::uint64_t merged) {
    chunks = merged;
    if (shown) {
      fmt::print(stderr, "\r{} of {} chunks … ", merged, found);
    }
  });
  if (shown) {
    fmt::print(stderr, "\r\033[K");
  }
  if (!done.ok()) {
    return std::move(done).error().with(path);
  }
  return chunks;
}

int compact_all(CompactOptions const& options) {
  auto all = nlohmann::ordered_json::array();
  int code = kExitOk;
  for (auto const& path : options.paths) {
    auto const chunks = compact(path, options.threads);
    if (!chunks.ok()) {
      code = fail("compact", chunks.error());
    } else if (options.json) {
      all.push_back({{"Path", path}, {"Chunks", *chunks}});
    } else {
      print(fmt::format("{}: {} chunks with several slices compacted", path, *chunks));
    }
  }
  if (options.json) {
    print(all.dump(2));
  }
  return code;
}

}  // namespace

void add_compact(CLI::App& app, Globals& /*globals*/, Selected& selected) {
  auto* command = app.add_subcommand(
      "compact",
      "Merge the slices of files in a mounted volume, so that reading needs fewer objects");
  auto options = std::make_shared<CompactOptions>();  // shared by the declaration and the action
  command->add_option("PATH", options->paths, "Files, or directories with all files below them")
      ->required();
  command
      ->add_option("-p,--threads", options->threads,
                   "Chunks that are merged at once (a mount of zest: at most 64)")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  command->add_flag("--json", options->json, "The result as JSON");
  command->callback(
      [&selected, options] { selected.action = [options] { return compact_all(*options); }; });
}

}  // namespace zest::cli
