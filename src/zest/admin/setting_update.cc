#include "zest/admin/setting_update.h"

#include <fmt/format.h>

#include <compare>
#include <utility>

namespace zest::admin {
namespace {

constexpr std::int64_t kShardsMax = 256;

template <class T>
void assign(T& field, std::optional<T> const& change) {
  if (change) {
    field = *change;
  }
}

Error bad_value(std::string message) {
  return {Errc::inval, Fault::semantic, std::move(message)};
}

Result<void> check_values(Setting const& setting) {
  ZEST_CHECK(validate_volume_name(setting.name));
  auto const& compression = setting.compression;
  if (compression != "none" && !compression.empty() && compression != "lz4" &&
      compression != "zstd") {
    return bad_value(fmt::format("unknown compression \"{}\": use none, lz4 or zstd", compression));
  }
  if (setting.shards < 0 || setting.shards > kShardsMax) {
    return bad_value(fmt::format("--shards must be from 0 to {}", kShardsMax));
  }
  if (setting.trash_days < 0) {
    return bad_value("--trash-days must not be negative");
  }
  if (setting.upload_limit_mbps < 0 || setting.download_limit_mbps < 0) {
    return bad_value("a bandwidth limit must not be negative");
  }
  if (!setting.max_client_version.empty()) {
    ZEST_CHECK(compare_versions(setting.max_client_version, "0.0.0"));
  }
  return {};
}

Result<void> apply_secrets(Setting& setting, SettingChanges const& changes) {
  bool const any = changes.secret_key || changes.session_token || changes.encrypt_key;
  if (!any && !changes.encrypt_secret) {
    return {};
  }
  ZEST_CHECK(decrypt_secrets(setting));
  assign(setting.secret_key, changes.secret_key);
  assign(setting.session_token, changes.session_token);
  assign(setting.encrypt_key, changes.encrypt_key);
  return encrypt_secrets(setting);
}

}  // namespace

Setting new_setting(std::string uuid) {
  Setting setting;
  setting.uuid = std::move(uuid);
  setting.storage = "file";
  setting.tiers[0] = Tier{};
  setting.block_size_kib = 4096;
  setting.compression = "none";
  setting.encrypt_algo = "aes256gcm-rsa";
  setting.trash_days = 1;
  setting.meta_version = kMetaVersionMax;
  setting.dir_stats = true;
  return setting;
}

Result<void> apply_changes(Setting& setting, SettingChanges const& changes) {
  assign(setting.name, changes.name);
  assign(setting.storage, changes.storage);
  assign(setting.bucket, changes.bucket);
  assign(setting.access_key, changes.access_key);
  if (changes.storage_class) {
    setting.storage_class = *changes.storage_class;
    setting.tiers[0].storage_class = *changes.storage_class;
  }
  if (changes.block_size_kib) {
    if (*changes.block_size_kib <= 0) {
      return bad_value("--block-size must be positive");
    }
    setting.block_size_kib =
        round_block_size_kib(static_cast<std::uint64_t>(*changes.block_size_kib));
  }
  assign(setting.compression, changes.compression);
  assign(setting.shards, changes.shards);
  assign(setting.hash_prefix, changes.hash_prefix);
  assign(setting.capacity_bytes, changes.capacity_bytes);
  assign(setting.inodes, changes.inodes);
  assign(setting.trash_days, changes.trash_days);
  assign(setting.dir_stats, changes.dir_stats);
  assign(setting.enable_acl, changes.enable_acl);
  assign(setting.user_group_quota, changes.user_group_quota);
  assign(setting.upload_limit_mbps, changes.upload_limit_mbps);
  assign(setting.download_limit_mbps, changes.download_limit_mbps);
  if (changes.min_client_version) {
    ZEST_TRY(auto const order,
             compare_versions(*changes.min_client_version, setting.min_client_version));
    if (order < 0) {
      return bad_value(fmt::format("--min-client-version can only be raised; it is {} now",
                                   setting.min_client_version));
    }
    setting.min_client_version = *changes.min_client_version;
  }
  assign(setting.max_client_version, changes.max_client_version);
  assign(setting.encrypt_algo, changes.encrypt_algo);
  ZEST_CHECK(apply_secrets(setting, changes));
  ZEST_CHECK(check_values(setting));
  return raise_min_version_for_features(setting);
}

Result<void> check_unchangeable(Setting const& before, Setting const& after) {
  auto check = [](std::string_view what, auto const& was, auto const& is) -> Result<void> {
    if (was == is) {
      return {};
    }
    return Error(Errc::perm, Fault::semantic,
                 fmt::format("the {} of an existing volume cannot be changed (it is {}, not {})",
                             what, was, is));
  };
  auto compression = [](Setting const& s) {
    return s.compression.empty() ? "none" : s.compression;
  };
  ZEST_CHECK(check("name", before.name, after.name));
  ZEST_CHECK(check("block size", fmt::format("{} KiB", before.block_size_kib),
                   fmt::format("{} KiB", after.block_size_kib)));
  ZEST_CHECK(check("compression", compression(before), compression(after)));
  ZEST_CHECK(check("number of shards", before.shards, after.shards));
  ZEST_CHECK(check("hash prefix", before.hash_prefix, after.hash_prefix));
  if (before.enable_acl && !after.enable_acl) {
    return Error(Errc::perm, Fault::semantic,
                 "POSIX ACLs cannot be switched off: inodes of the volume may have some");
  }
  return {};
}

std::vector<SettingDifference> differences(Setting const& before, Setting const& after) {
  std::vector<SettingDifference> found;
  auto add = [&found](std::string_view name, auto const& was, auto const& is) {
    if (was != is) {
      found.push_back({std::string(name), fmt::format("{}", was), fmt::format("{}", is)});
    }
  };
  auto add_secret = [&found](std::string_view name, std::string const& was, std::string const& is) {
    if (was != is) {
      auto shown = [](std::string const& s) {
        return s.empty() ? "" : std::string(kRedactedSecret);
      };
      found.push_back({std::string(name), shown(was), shown(is)});
    }
  };
  add("storage", before.storage, after.storage);
  add("bucket", before.bucket, after.bucket);
  add("access-key", before.access_key, after.access_key);
  add_secret("secret-key", before.secret_key, after.secret_key);
  add_secret("session-token", before.session_token, after.session_token);
  add("storage-class", before.storage_class, after.storage_class);
  add("capacity", before.capacity_bytes, after.capacity_bytes);
  add("inodes", before.inodes, after.inodes);
  add("trash-days", before.trash_days, after.trash_days);
  add("dir-stats", before.dir_stats, after.dir_stats);
  add("user-group-quota", before.user_group_quota, after.user_group_quota);
  add("enable-acl", before.enable_acl, after.enable_acl);
  add("upload-limit", before.upload_limit_mbps, after.upload_limit_mbps);
  add("download-limit", before.download_limit_mbps, after.download_limit_mbps);
  add("min-client-version", before.min_client_version, after.min_client_version);
  add("max-client-version", before.max_client_version, after.max_client_version);
  return found;
}

}  // namespace zest::admin
