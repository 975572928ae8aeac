// zest format: creates a volume or updates its Setting.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
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
  std::optional<std::string> key_file;
  admin::FormatRequest request;
};

constexpr std::array kPeerOptions{
    PeerOption{.name = "--tag", .takes_value = true, .why = "object tags"},
    PeerOption{.name = "--ranger-rest-url", .takes_value = true, .why = "Apache Ranger"},
    PeerOption{.name = "--ranger-service", .takes_value = true, .why = "Apache Ranger"},
    PeerOption{.name = "--kerberos-config-file", .takes_value = true, .why = "Kerberos"},
};

/// The text of a key file. Errors name the file and show nothing of it.
Result<std::string> read_key(std::string const& path) {
  constexpr std::size_t kKeyBytesMax = 32 * kKiB;  // RSA with 16384 bits is 13 KiB
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return Error::from_errno(errno, "--encrypt-rsa-key " + path);
  }
  std::string text(kKeyBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (file.bad() || text.empty() || text.size() > kKeyBytesMax) {
    return Error(Errc::inval, Fault::semantic, "--encrypt-rsa-key " + path + " is no key file");
  }
  return text;
}

/// An encrypted volume stays so under its key: other objects of it could not be read any more.
Result<void> complete_encryption(FormatOptions& options, bool exists) {
  auto& changes = options.request.changes;
  if (exists && (options.key_file || changes.encrypt_algo)) {
    return Error(Errc::perm, Fault::semantic,
                 "the encryption of an existing volume cannot be changed: leave out "
                 "--encrypt-rsa-key and --encrypt-algo");
  }
  if (options.key_file) {
    ZEST_TRY(changes.encrypt_key, read_key(*options.key_file));
  }
  return {};
}

/// What a new volume gets besides the options; an existing one keeps its own.
Result<void> complete(FormatOptions& options, std::optional<Setting> const& existing) {
  auto& changes = options.request.changes;
  changes.name = options.name;
  credentials_from_environment(changes);
  ZEST_CHECK(complete_encryption(options, existing.has_value()));
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
  command
      ->add_option("--encrypt-rsa-key", options->key_file,
                   "Encrypt data under the RSA private key in this PEM file; its passphrase is in "
                   "the variable JFS_RSA_PASSPHRASE")
      ->type_name("FILE");
  command
      ->add_option("--encrypt-algo", changes.encrypt_algo,
                   "Cipher of data: aes256gcm-rsa (default) or chacha20-rsa")
      ->type_name("CIPHER");
  command
      ->add_option("--shards", changes.shards,
                   "Spread objects over this many buckets (at most 256); --bucket then has a %d "
                   "for the number")
      ->type_name("N");
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
