// zest fsck: are all blocks there that the metadata name?
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "zest/admin/fsck.h"
#include "zest/admin/volume.h"
#include "zest/cli/command.h"
#include "zest/cli/environment.h"
#include "zest/cli/options.h"
#include "zest/cli/output.h"
#include "zest/cli/units.h"

namespace zest::cli {
namespace {

constexpr std::array kPeerOptions{
    PeerOption{.name = "--path", .takes_value = true, .why = "checking a part of the tree"},
    PeerOption{.name = "--repair", .why = "repairing directories"},
    PeerOption{.name = "-r,--recursive", .why = "checking a part of the tree"},
    PeerOption{.name = "--repair-dir-mode", .takes_value = true, .why = "repairing directories"},
    PeerOption{.name = "--sync-dir-stat", .why = "repairing directory statistics"},
};

struct FsckOptions {
  std::string meta_url;
  bool json = false;
};

void show_progress(admin::FsckReport const& report) {
  fmt::print(stderr, "\r{} blocks, {} … ", report.blocks, format_size(report.bytes));
}

Result<admin::FsckReport> check(Workshop& shop) {
  return shop.run([&](Context const& ctx) -> Result<admin::FsckReport> {
    ZEST_TRY(auto setting, admin::load_setting(ctx, shop.engine()));
    ZEST_CHECK(decrypt_secrets(setting));
    ZEST_TRY(auto const store, open_store(setting, shop.pool()));
    admin::FsckRequest request;
    if (isatty(STDERR_FILENO) != 0) {
      request.progress = show_progress;
    }
    auto report = admin::check_blocks(ctx, shop.engine(), *store, setting, request);
    if (request.progress) {
      fmt::print(stderr, "\r\033[K");
    }
    return report;
  });
}

void print_json(admin::FsckReport const& report) {
  nlohmann::ordered_json object{{"Chunks", report.chunks},
                                {"Slices", report.slices},
                                {"Blocks", report.blocks},
                                {"Bytes", report.bytes},
                                {"Broken", report.broken}};
  object["Examples"] = nlohmann::ordered_json::array();
  for (auto const& block : report.examples) {
    object["Examples"].push_back(
        {{"Inode", block.ino.value}, {"Path", block.path}, {"Key", block.key}, {"Why", block.why}});
  }
  print(object.dump(2));
}

Result<void> fsck(Globals const& globals, FsckOptions const& options) {
  ZEST_TRY(auto shop, Workshop::create(globals.short_log()));
  ZEST_CHECK(shop->open(options.meta_url, EngineUse::read_only));
  ZEST_TRY(auto const report, check(*shop));
  if (options.json) {
    print_json(report);
  } else {
    for (auto const& block : report.examples) {
      print(fmt::format("inode {} {}: block {}: {}", block.ino.value,
                        block.path.empty() ? "(no path)" : block.path, block.key, block.why));
    }
    print(fmt::format("{} slices with {} blocks ({}) in {} chunks: {}", report.slices,
                      report.blocks, format_size(report.bytes), report.chunks,
                      report.broken == 0 ? "all there" : fmt::format("{} broken", report.broken)));
  }
  if (report.broken > 0) {
    return Error(Errc::io, Fault::semantic,
                 fmt::format("{} blocks are missing or damaged", report.broken));
  }
  return {};
}

}  // namespace

void add_fsck(CLI::App& app, Globals& globals, Selected& selected) {
  auto* command =
      app.add_subcommand("fsck", "Check that every block that the metadata name is in the storage");
  auto options = std::make_shared<FsckOptions>();  // shared by the declaration and the action
  command->add_option("META-URL", options->meta_url, "The database: sqlite3://PATH")->required();
  command->add_flag("--json", options->json, "The result as one JSON object");
  add_peer_options(*command, kPeerOptions, globals.notes);
  command->callback([&globals, &selected, options] {
    selected.action = [&globals, options] {
      auto const done = fsck(globals, *options);
      return done.ok() ? kExitOk : fail("fsck", done.error());
    };
  });
}

}  // namespace zest::cli
