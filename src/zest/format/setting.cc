#include "zest/format/setting.h"

#include <algorithm>
#include <bit>
#include <charconv>

#include <fmt/format.h>

#include "zest/format/go_json.h"
#include "zest/format/json_fields.h"

namespace zest {

namespace {

constexpr std::size_t kDocumentSizeMax = 16 * 1024 * 1024;
constexpr std::uint32_t kBlockSizeKibMin = 64;
constexpr std::uint32_t kBlockSizeKibMax = 16 * 1024;
constexpr std::int64_t kShardsMax = 256;

/// Writes an object as Go's MarshalIndent does with an empty prefix and indentation.
class ObjectWriter {
 public:
  explicit ObjectWriter(std::string& out) : out_(out) { out_ += "{"; }

  void text(std::string_view name, std::string_view value) {
    key(name);
    append_go_json_string(out_, value);
  }
  void number(std::string_view name, std::integral auto value) {
    key(name);
    fmt::format_to(std::back_inserter(out_), "{}", value);
  }
  void flag(std::string_view name, bool value) {
    key(name);
    out_ += value ? "true" : "false";
  }
  // The same for fields that Go omits when they are zero.
  void text_if(std::string_view name, std::string_view value) {
    if (!value.empty()) {
      text(name, value);
    }
  }
  void number_if(std::string_view name, std::integral auto value) {
    if (value != 0) {
      number(name, value);
    }
  }
  void flag_if(std::string_view name, bool value) {
    if (value) {
      flag(name, value);
    }
  }
  void key(std::string_view name) {
    out_ += empty_ ? "\n" : ",\n";
    empty_ = false;
    append_go_json_string(out_, name);
    out_ += ": ";
  }
  void close() { out_ += empty_ ? "}" : "\n}"; }

 private:
  std::string& out_;
  bool empty_ = true;
};

void write_tiers(std::string& out, std::map<std::uint8_t, Tier> const& tiers) {
  if (tiers.empty()) {  // as the peer's nil map; its readers then fill in tier 0
    out += "null";
    return;
  }
  ObjectWriter all(out);
  for (auto const& [id, tier] :
       tiers) {  // one-digit keys: the order of numbers is Go's order of texts
    all.key(fmt::format("{}", id));
    ObjectWriter one(out);
    one.number("ID", tier.id);
    one.text("StorageClass", tier.storage_class);
    one.text("Tag", tier.tag);
    one.close();
  }
  all.close();
}

void read_tiers(JsonFields& fields, Setting& setting) {
  fields.read_objects("Tiers", [&](std::string_view key, JsonFields& tier_fields) {
    Tier tier;
    std::uint64_t id = 0;
    tier_fields.read("ID", id);
    tier_fields.read("StorageClass", tier.storage_class);
    tier_fields.read("Tag", tier.tag);
    if (key.size() != 1 || key[0] < '0' || key[0] > '3' || id > 3) {
      fields.fail("Tiers", "an object of tiers \"0\" to \"3\"");
      return;
    }
    tier.id = static_cast<std::uint8_t>(id);
    setting.tiers.insert_or_assign(static_cast<std::uint8_t>(key[0] - '0'), std::move(tier));
  });
  if (setting.tiers.empty()) {
    setting.tiers.emplace(0, Tier{.id = 0, .storage_class = setting.storage_class, .tag = {}});
  }
}

void read_fields(JsonFields& fields, Setting& s) {
  fields.read("Name", s.name);
  fields.read("UUID", s.uuid);
  fields.read("Storage", s.storage);
  fields.read("StorageClass", s.storage_class);
  read_tiers(fields, s);
  fields.read("Bucket", s.bucket);
  fields.read("AccessKey", s.access_key);
  fields.read("SecretKey", s.secret_key);
  fields.read("SessionToken", s.session_token);
  fields.read("BlockSize", s.block_size_kib);
  fields.read("Compression", s.compression);
  fields.read("Shards", s.shards);
  fields.read("HashPrefix", s.hash_prefix);
  fields.read("Capacity", s.capacity_bytes);
  fields.read("Inodes", s.inodes);
  fields.read("EncryptKey", s.encrypt_key);
  fields.read("EncryptAlgo", s.encrypt_algo);
  fields.read("KeyEncrypted", s.key_encrypted);
  fields.read("UploadLimit", s.upload_limit_mbps);
  fields.read("DownloadLimit", s.download_limit_mbps);
  fields.read("TrashDays", s.trash_days);
  fields.read("MetaVersion", s.meta_version);
  fields.read("MinClientVersion", s.min_client_version);
  fields.read("MaxClientVersion", s.max_client_version);
  fields.read("DirStats", s.dir_stats);
  fields.read("UserGroupQuota", s.user_group_quota);
  fields.read("EnableACL", s.enable_acl);
  fields.read("RangerRestUrl", s.ranger_rest_url);
  fields.read("RangerService", s.ranger_service);
  fields.read("ChangeLog", s.change_log);
  fields.read("ChangeLogMaxAge", s.change_log_age_max_sec);
  fields.read("ChangeLogMaxLines", s.change_log_lines_max);
  fields.read("KerbConf", s.kerb_conf);
}

Result<void> check_ranges(Setting const& s) {
  if (s.name.empty() || s.uuid.empty()) {
    return Error::corrupt("the Setting has no Name or no UUID");
  }
  // Not only powers of two: clients of long ago did not round.
  if (s.block_size_kib < kBlockSizeKibMin || s.block_size_kib > kBlockSizeKibMax) {
    return Error::corrupt(
        fmt::format("the Setting has the impossible BlockSize {} KiB", s.block_size_kib));
  }
  if (s.shards < 0 || s.shards > kShardsMax) {
    return Error::corrupt(
        fmt::format("the Setting has the impossible number of Shards {}", s.shards));
  }
  return {};
}

struct Version {
  std::uint64_t numbers[3] = {0, 0, 0};
  std::string_view pre;
};

Result<Version> parse_version(std::string_view text) {
  Version version;
  auto rest = text.substr(0, text.find('+'));
  if (auto const dash = rest.find('-'); dash != std::string_view::npos) {
    version.pre = rest.substr(dash + 1);
    rest = rest.substr(0, dash);
  }
  for (std::size_t i = 0; i < 3; ++i) {
    auto const* const end = rest.data() + rest.size();
    auto const [stop, failure] = std::from_chars(rest.data(), end, version.numbers[i]);
    bool const dot_follows = stop != end && *stop == '.';
    if (failure != std::errc{} || (i < 2 ? !dot_follows : stop != end)) {
      return Error(
          Errc::inval, Fault::semantic,
          fmt::format("\"{}\" is no version; it must look like 1.2.3 or 1.2.3-beta", text));
    }
    if (i < 2) {
      rest.remove_prefix(static_cast<std::size_t>(stop - rest.data()) + 1);
    }
  }
  return version;
}

Error refused(std::string message) {
  return {Errc::perm, Fault::semantic, std::move(message)};
}

}  // namespace

std::string encode_setting(Setting const& s) {
  std::string out;
  ObjectWriter object(out);
  object.text("Name", s.name);
  object.text("UUID", s.uuid);
  object.text("Storage", s.storage);
  object.text_if("StorageClass", s.storage_class);
  object.key("Tiers");
  write_tiers(out, s.tiers);
  object.text("Bucket", s.bucket);
  object.text_if("AccessKey", s.access_key);
  object.text_if("SecretKey", s.secret_key);
  object.text_if("SessionToken", s.session_token);
  object.number("BlockSize", s.block_size_kib);
  object.text_if("Compression", s.compression);
  object.number_if("Shards", s.shards);
  object.flag_if("HashPrefix", s.hash_prefix);
  object.number_if("Capacity", s.capacity_bytes);
  object.number_if("Inodes", s.inodes);
  object.text_if("EncryptKey", s.encrypt_key);
  object.text_if("EncryptAlgo", s.encrypt_algo);
  object.flag_if("KeyEncrypted", s.key_encrypted);
  object.number_if("UploadLimit", s.upload_limit_mbps);
  object.number_if("DownloadLimit", s.download_limit_mbps);
  object.number("TrashDays", s.trash_days);
  object.number_if("MetaVersion", s.meta_version);
  object.text_if("MinClientVersion", s.min_client_version);
  object.text_if("MaxClientVersion", s.max_client_version);
  object.flag_if("DirStats", s.dir_stats);
  object.flag_if("UserGroupQuota", s.user_group_quota);
  object.flag("EnableACL", s.enable_acl);
  object.text_if("RangerRestUrl", s.ranger_rest_url);
  object.text_if("RangerService", s.ranger_service);
  object.flag_if("ChangeLog", s.change_log);
  object.number_if("ChangeLogMaxAge", s.change_log_age_max_sec);
  object.number_if("ChangeLogMaxLines", s.change_log_lines_max);
  object.text_if("KerbConf", s.kerb_conf);
  object.close();
  return out;
}

Result<Setting> decode_setting(std::string_view json) {
  ZEST_TRY(auto fields, JsonFields::parse(json, "the Setting", kDocumentSizeMax));
  Setting setting;
  read_fields(fields, setting);
  ZEST_CHECK(fields.finish());
  ZEST_CHECK(check_ranges(setting));
  return setting;
}

Setting redact(Setting setting) {
  for (auto* secret : {&setting.secret_key, &setting.session_token, &setting.encrypt_key}) {
    if (!secret->empty()) {
      *secret = kRedactedSecret;
    }
  }
  return setting;
}

Result<std::strong_ordering> compare_versions(std::string_view a, std::string_view b) {
  ZEST_TRY(auto const left, parse_version(a));
  ZEST_TRY(auto const right, parse_version(b));
  for (std::size_t i = 0; i < 3; ++i) {
    if (auto const order = left.numbers[i] <=> right.numbers[i]; order != 0) {
      return order;
    }
  }
  if (left.pre.empty() || right.pre.empty()) {
    return left.pre.empty() <=> right.pre.empty();
  }
  return left.pre.compare(right.pre) <=> 0;
}

Result<void> check_client_version(Setting const& setting, std::string_view version) {
  if (setting.meta_version > kMetaVersionMax) {
    return refused(
        fmt::format("volume {} has metadata version {}, this client knows {}: use a newer client",
                    setting.name, setting.meta_version, kMetaVersionMax));
  }
  if (!setting.min_client_version.empty()) {
    ZEST_TRY(auto const order, compare_versions(version, setting.min_client_version));
    if (order < 0) {
      return refused(fmt::format(
          "volume {} wants clients of version {} or later, this one counts as {}: use a newer one",
          setting.name, setting.min_client_version, version));
    }
  }
  if (!setting.max_client_version.empty()) {
    ZEST_TRY(auto const order, compare_versions(version, setting.max_client_version));
    if (order > 0) {
      return refused(
          fmt::format("volume {} wants clients of version {} or earlier, this one counts as {}: "
                      "use an older one or "
                      "raise MaxClientVersion",
                      setting.name, setting.max_client_version, version));
    }
  }
  return {};
}

Result<void> raise_min_version(Setting& setting, std::string_view version) {
  if (!setting.min_client_version.empty()) {
    ZEST_TRY(auto const order, compare_versions(setting.min_client_version, version));
    if (order >= 0) {
      return {};
    }
  }
  setting.min_client_version = version;
  return {};
}

Result<void> raise_min_version_for_features(Setting& setting) {
  ZEST_CHECK(raise_min_version(setting, "1.1.0-A"));
  if (setting.enable_acl) {
    ZEST_CHECK(raise_min_version(setting, "1.2.0-A"));
  }
  if (!setting.ranger_rest_url.empty() || !setting.ranger_service.empty()) {
    ZEST_CHECK(raise_min_version(setting, "1.3.0-A"));
  }
  bool const has_tiers =
      std::ranges::any_of(setting.tiers, [](auto const& tier) { return tier.first != 0; });
  if (!setting.kerb_conf.empty() || has_tiers) {
    ZEST_CHECK(raise_min_version(setting, "1.4.0-A"));
  }
  return {};
}

Result<void> validate_volume_name(std::string_view name) {
  auto const is_alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  auto const is_inner = [&](char c) { return is_alnum(c) || c == '-'; };
  if (name.size() < 3 || name.size() > 63 || !is_alnum(name.front()) || !is_alnum(name.back()) ||
      !std::ranges::all_of(name, is_inner)) {
    return Error(Errc::inval, Fault::semantic,
                 fmt::format("\"{}\" cannot name a volume: use 3 to 63 characters of a-z, 0-9 and "
                             "'-', with a letter or "
                             "digit first and last",
                             name));
  }
  return {};
}

std::uint32_t round_block_size_kib(std::uint64_t requested_kib) noexcept {
  auto const clamped = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(requested_kib, kBlockSizeKibMin, kBlockSizeKibMax));
  return std::bit_floor(clamped);
}

}  // namespace zest
