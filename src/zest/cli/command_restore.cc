// zest restore: brings back what was deleted in some hours.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "zest/admin/restore.h"
#include "zest/admin/volume.h"
#include "zest/cli/command.h"
#include "zest/cli/environment.h"
#include "zest/cli/options.h"
#include "zest/cli/output.h"

namespace zest::cli {
namespace {

constexpr std::uint64_t kThreadsDefault = 10;

struct RestoreOptions {
  std::string meta_url;
  std::vector<std::string> hours;
  bool put_back = false;
  std::uint64_t threads = kThreadsDefault;
  bool json = false;
};

void show_progress(admin::RestoreReport const& report) {
  fmt::print(stderr, "\r{} entries, {} restored … ", report.entries, report.restored);
}

Result<admin::RestoreReport> restore_hour(Workshop& shop, std::string const& hour,
                                          RestoreOptions const& options) {
  return shop.run([&](Context const& ctx) -> Result<admin::RestoreReport> {
    ZEST_TRY(auto setting, admin::load_setting(ctx, shop.engine()));
    ZEST_CHECK(check_features(setting, /*read_only=*/false));
    // Never started: names are moved without a session.
    meta::Meta meta(shop.engine(), std::move(setting), {.background_jobs = false}, shop.clock(),
                    shop.rng(), shop.log(), shop.metrics());
    admin::RestoreRequest request{
        .hour = hour, .put_back = options.put_back, .threads = options.threads};
    bool const shown = ::isatty(STDERR_FILENO) != 0;
    if (shown) {
      request.progress = show_progress;
    }
    request.problem = [](std::string_view name, Error const& why) {
      note(fmt::format("{} stays in the trash: {}", name, why.text()));
    };
    auto report = admin::restore(ctx, meta, request);
    if (shown) {
      fmt::print(stderr, "\r\033[K");
    }
    return report;
  });
}

Result<void> restore(Globals const& globals, RestoreOptions const& options) {
  if (::getuid() != 0) {
    return Error(Errc::perm, Fault::semantic, "only root can take files out of the trash");
  }
  ZEST_TRY(auto shop, Workshop::create(globals.short_log()));
  ZEST_CHECK(shop->open(options.meta_url, EngineUse::existing));
  auto all = nlohmann::ordered_json::array();
  std::uint64_t stayed = 0;
  for (auto const& hour : options.hours) {
    ZEST_TRY(auto const report, restore_hour(*shop, hour, options));
    stayed += report.conflicts + report.failed;
    if (options.json) {
      all.push_back({{"Hour", hour},
                     {"Entries", report.entries},
                     {"Restored", report.restored},
                     {"Left", report.left},
                     {"Conflicts", report.conflicts},
                     {"Failed", report.failed}});
      continue;
    }
    print(fmt::format("{}: {} of {} entries {}{}", hour, report.restored, report.entries,
                      options.put_back ? "restored" : "put below their directories in the trash",
                      report.left > 0
                          ? fmt::format("; {} belong outside, --put-back moves them", report.left)
                          : ""));
  }
  if (options.json) {
    print(all.dump(2));
  }
  if (stayed > 0) {
    return Error(Errc::exist, Fault::semantic,
                 fmt::format("{} entries stay in the trash, see above", stayed));
  }
  return {};
}

}  // namespace

void add_restore(CLI::App& app, Globals& globals, Selected& selected) {
  auto* command =
      app.add_subcommand("restore", "Bring back files that were deleted in an hour (root only)");
  auto options = std::make_shared<RestoreOptions>();  // shared by the declaration and the action
  command->add_option("META-URL", options->meta_url, "The database: sqlite3://PATH")->required();
  command
      ->add_option("HOUR", options->hours,
                   "Directories of the trash: YYYY-MM-DD-HH, in UTC, as /.trash shows them")
      ->required();
  command->add_flag("--put-back", options->put_back,
                    "Move everything to where it was; without it, only trees that were deleted in "
                    "the hour are put together again, inside of the trash");
  command->add_option("--threads", options->threads, "Entries moved at once")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--json", options->json, "The result as JSON");
  command->callback([&globals, &selected, options] {
    selected.action = [&globals, options] {
      auto const done = restore(globals, *options);
      return done.ok() ? kExitOk : fail("restore", done.error());
    };
  });
}

}  // namespace zest::cli
