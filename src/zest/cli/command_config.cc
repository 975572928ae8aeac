// zest config: shows or changes the Setting of a volume.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <string>

#include "zest/admin/volume.h"
#include "zest/cli/command.h"
#include "zest/cli/environment.h"
#include "zest/cli/options.h"
#include "zest/cli/output.h"
#include "zest/cli/setting_json.h"
#include "zest/cli/storage_options.h"

namespace zest::cli {
namespace {

struct ConfigOptions {
  std::string meta_url;
  bool yes = false;
  bool changing = false;  ///< any option that changes something was given
  admin::ConfigRequest request;
};

constexpr std::array kPeerOptions{
    PeerOption{.name = "--tag", .takes_value = true, .why = "object tags"},
    PeerOption{.name = "--tier", .takes_value = true, .why = "storage tiers", .neutral = "0"},
    PeerOption{.name = "--changelog", .why = "the change log"},
    PeerOption{.name = "--changelog-max-age", .takes_value = true, .why = "the change log"},
    PeerOption{.name = "--changelog-max-lines", .takes_value = true, .why = "the change log"},
    PeerOption{.name = "--ranger-rest-url", .takes_value = true, .why = "Apache Ranger"},
    PeerOption{.name = "--ranger-service", .takes_value = true, .why = "Apache Ranger"},
    PeerOption{.name = "--kerberos-config-file", .takes_value = true, .why = "Kerberos"},
};

Result<admin::ConfigReply> change(Workshop& shop, admin::ConfigRequest& request) {
  return shop.run([&](Context const& ctx) -> Result<admin::ConfigReply> {
    auto& changes = request.changes;
    if (changes.bucket) {
      ZEST_TRY(auto const before, admin::load_setting(ctx, shop.engine()));
      ZEST_TRY(changes.bucket,
               normal_bucket(changes.storage ? *changes.storage : before.storage, *changes.bucket));
    }
    admin::Access const access{
        .engine = shop.engine(),
        .open_store = [&shop](Setting const& s) { return open_store(s, shop.pool()); },
        .rng = shop.rng(),
        .clock = shop.clock()};
    return admin::config_volume(ctx, access, request);
  });
}

void print_changes(admin::ConfigReply const& reply) {
  if (reply.changed.empty()) {
    print("Nothing changed.");
    return;
  }
  std::size_t width = 0;
  for (auto const& change : reply.changed) {
    width = std::max(width, change.name.size());
  }
  for (auto const& change : reply.changed) {
    print(fmt::format("{:>{}}: {} -> {}", change.name, width, change.before, change.after));
  }
}

Result<void> config(Globals const& globals, ConfigOptions& options) {
  ZEST_TRY(auto shop, Workshop::create(globals.short_log()));
  if (!options.changing) {
    ZEST_CHECK(shop->open(options.meta_url, EngineUse::read_only));
    ZEST_TRY(auto const setting, shop->run([&](Context const& ctx) {
      return admin::load_setting(ctx, shop->engine());
    }));
    print(setting_json(setting));
    return {};
  }
  ZEST_CHECK(shop->open(options.meta_url, EngineUse::existing));
  ZEST_TRY(auto const reply, change(*shop, options.request));
  print_changes(reply);
  return {};
}

}  // namespace

void add_config(CLI::App& app, Globals& globals, Selected& selected) {
  auto* command = app.add_subcommand("config", "Show or change the Setting of a volume");
  auto options = std::make_shared<ConfigOptions>();  // shared by the declaration and the action
  command->add_option("META-URL", options->meta_url, "The database: sqlite3://PATH")->required();
  auto& changes = options->request.changes;
  add_storage_options(*command, changes);
  add_bandwidth(*command, "--upload-limit", changes.upload_limit_mbps,
                "Limit of uploads of each client, Mbps (stored; this version's mount ignores it)");
  add_bandwidth(
      *command, "--download-limit", changes.download_limit_mbps,
      "Limit of downloads of each client, Mbps (stored; this version's mount ignores it)");
  command
      ->add_option("--min-client-version", changes.min_client_version,
                   "Oldest version that may connect")
      ->type_name("VERSION");
  command
      ->add_option("--max-client-version", changes.max_client_version,
                   "Newest version that may connect")
      ->type_name("VERSION");
  add_switch(*command, "--dir-stats", changes.dir_stats, "Keep statistics of each directory");
  add_switch(*command, "--user-group-quota", changes.user_group_quota,
             "Count what users and groups have; switching it on counts the whole volume");
  add_switch(*command, "--enable-acl", changes.enable_acl,
             "POSIX ACLs (setfacl); cannot be switched off again. Mounts that are there already "
             "enforce them when they are mounted anew");
  command->add_flag("--encrypt-secret", changes.encrypt_secret,
                    "Encrypt secrets that are stored as plain text");
  command->add_flag("-y,--yes", options->yes, "Accepted for scripts: nothing is asked anyway");
  command->add_flag("--force", options->request.force,
                    "Skip the storage test and the comparison of limits with the usage");
  add_peer_options(*command, kPeerOptions, globals.notes);
  command->callback([command, &globals, &selected, options] {
    for (auto const* option : command->get_options()) {
      auto const name = option->get_name();
      options->changing = options->changing || (option->count() > 0 && name != "META-URL" &&
                                                name != "--yes" && name != "--force");
    }
    selected.action = [&globals, options] {
      auto const done = config(globals, *options);
      return done.ok() ? kExitOk : fail("config", done.error());
    };
  });
}

}  // namespace zest::cli
