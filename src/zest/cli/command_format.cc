// zest format: creates a volume or updates its Setting.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "zest/admin/volume.h"
#include "zest/cli/command.h"
#include "zest/cli/environment.h"
#include "zest/cli/options.h"
#include "zest/cli/output.h"
#include "zest/cli/setting_json.h"
#include "zest/cli/storage_options.h"

namespace zest::cli {
namespace {

struct FormatOptions {
  std::string meta_url;
  std::string name;
  std::optional<std::uint64_t> block_size;
  admin::FormatRequest request;
};

constexpr std::array kPeerOptions{
    PeerOption{.name = "--encrypt-rsa-key", .takes_value = true, .why = "encryption of data"},
    PeerOption{.name = "--encrypt-algo",
               .takes_value = true,
               .why = "encryption of data",
               .neutral = "aes256gcm-rsa"},
    PeerOption{.name = "--tag", .takes_value = true, .why = "object tags"},
    PeerOption{.name = "--ranger-rest-url", .takes_value = true, .why = "Apache Ranger"},
    PeerOption{.name = "--ranger-service", .takes_value = true, .why = "Apache Ranger"},
    PeerOption{.name = "--kerberos-config-file", .takes_value = true, .why = "Kerberos"},
    PeerOption{.name = "--shards",
               .takes_value = true,
               .why = "spreading over several buckets",
               .neutral = "0"},
};

/// What a new volume gets besides the options; an existing one keeps its own.
Result<void> complete(FormatOptions& options, std::optional<Setting> const& existing) {
  auto& changes = options.request.changes;
  changes.name = options.name;
  credentials_from_environment(changes);
  if (options.block_size) {
    changes.block_size_kib = static_cast<std::int64_t>(*options.block_size / kKiB);
  }
  if (!existing && !changes.bucket) {
    changes.bucket = default_bucket();
  }
  if (changes.bucket) {
    auto const& storage = changes.storage ? *changes.storage
                          : existing      ? existing->storage
                                          : "file";
    ZEST_TRY(changes.bucket, normal_bucket(storage, *changes.bucket));
  }
  return {};
}

Result<admin::FormatReply> format_on(Workshop& shop, FormatOptions& options) {
  return shop.run([&](Context const& ctx) -> Result<admin::FormatReply> {
    ZEST_TRY(auto const document, shop.engine().load_setting(ctx));
    std::optional<Setting> existing;
    if (document) {
      ZEST_TRY(existing, decode_setting(*document));
    }
    ZEST_CHECK(complete(options, existing));
    admin::Access const access{
        .engine = shop.engine(),
        .open_store = [&shop](Setting const& s) { return open_store(s, shop.pool()); },
        .rng = shop.rng(),
        .clock = shop.clock()};
    return admin::format_volume(ctx, access, options.request);
  });
}

Result<admin::FormatReply> format(Globals const& globals, FormatOptions& options) {
  ZEST_CHECK(validate_volume_name(options.name));
  ZEST_TRY(auto shop, Workshop::create(globals.short_log()));
  ZEST_CHECK(shop->open(options.meta_url, EngineUse::create));
  return format_on(*shop, options);
}

std::string_view outcome_text(admin::FormatReply::Outcome outcome) {
  switch (outcome) {
    case admin::FormatReply::Outcome::created: return "created";
    case admin::FormatReply::Outcome::updated: return "updated";
    case admin::FormatReply::Outcome::unchanged: return "is there already, nothing changed";
  }
  return "";
}

int run_format(Globals const& globals, FormatOptions& options) {
  options.request.check_storage = std::getenv("JFS_NO_CHECK_OBJECT_STORAGE") == nullptr;
  auto const reply = format(globals, options);
  if (!reply.ok()) {
    return fail("format", reply.error());
  }
  if (!globals.quiet) {
    auto const place = reply->storage.empty() ? "" : ", data in " + reply->storage;
    note(fmt::format("volume {} {}{}", reply->setting.name, outcome_text(reply->outcome), place));
    print(setting_json(reply->setting));
  }
  return kExitOk;
}

}  // namespace

void add_format(CLI::App& app, Globals& globals, Selected& selected) {
  auto* command = app.add_subcommand("format", "Create a volume, or update its Setting");
  auto options = std::make_shared<FormatOptions>();  // shared by the declaration and the action
  command->add_option("META-URL", options->meta_url, "The database: sqlite3://PATH")->required();
  command->add_option("NAME", options->name, "Name of the volume: a-z, 0-9 and -")->required();
  auto& changes = options->request.changes;
  add_storage_options(*command, changes);
  add_size(*command, "--block-size", options->block_size, kKiB,
           "Size of a block; a number alone is KiB; 64K to 16M, rounded down to a power of two "
           "(default 4M)");
  command->add_option("--compress", changes.compression, "Compression of blocks: none, lz4 or zstd")
      ->type_name("METHOD");
  add_switch(*command, "--hash-prefix", changes.hash_prefix, "Spread objects over hashed prefixes");
  add_switch(*command, "--enable-acl", changes.enable_acl,
             "POSIX ACLs (setfacl); cannot be switched off again");
  command->add_flag("--force", options->request.force,
                    "Change what normally cannot change, and use a storage that is not empty");
  command->add_flag("--no-update", options->request.no_update,
                    "Leave a volume that is there already as it is");
  add_peer_options(*command, kPeerOptions, globals.notes);
  command->callback([&globals, &selected, options] {
    selected.action = [&globals, options] { return run_format(globals, *options); };
  });
}

}  // namespace zest::cli
