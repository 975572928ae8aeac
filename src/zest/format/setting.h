// The Setting: the one JSON document that describes a volume (format/00 §4).
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "zest/base/result.h"

namespace zest {

/// Storage class and object tag (`key=value`) of one tier.
struct Tier {
  std::uint8_t id = 0;
  std::string storage_class;
  std::string tag;
  friend bool operator==(Tier const&, Tier const&) = default;
};

/// Fields in the order of the document, with the peer's zero values; defaults of a new volume are
/// `format`'s business.
struct Setting {
  std::string name;  ///< object key prefix; immutable
  std::string uuid;  ///< identity, key of the secrets' encryption, folder in disk caches; immutable
  std::string storage;
  std::string storage_class;
  std::map<std::uint8_t, Tier> tiers;  ///< 0…3; decoding fills in tier 0
  std::string bucket;
  std::string access_key;            ///< plain text
  std::string secret_key;            ///< secret
  std::string session_token;         ///< secret
  std::int64_t block_size_kib = 0;   ///< immutable
  std::string compression;           ///< "", none, lz4, zstd; immutable
  std::int64_t shards = 0;           ///< immutable
  bool hash_prefix = false;          ///< immutable
  std::uint64_t capacity_bytes = 0;  ///< 0 = unlimited
  std::uint64_t inodes = 0;          ///< 0 = unlimited
  std::string encrypt_key;           ///< PEM of a private key; secret
  std::string encrypt_algo;
  bool key_encrypted = false;  ///< the three secrets are ciphertext
  std::int64_t upload_limit_mbps = 0;
  std::int64_t download_limit_mbps = 0;
  std::int64_t trash_days = 0;
  std::int64_t meta_version = 0;
  std::string min_client_version;
  std::string max_client_version;
  bool dir_stats = false;
  bool user_group_quota = false;
  bool enable_acl = false;
  std::string ranger_rest_url;
  std::string ranger_service;
  bool change_log = false;
  std::int64_t change_log_age_max_sec = 0;
  std::int64_t change_log_lines_max = 0;
  std::string kerb_conf;

  friend bool operator==(Setting const&, Setting const&) = default;

  [[nodiscard]] std::uint32_t block_size_bytes() const noexcept {
    return static_cast<std::uint32_t>(block_size_kib * 1024);
  }
};

/// The highest MetaVersion that clients of this format understand.
constexpr std::int64_t kMetaVersionMax = 1;
/// The release of the peer whose format this is; stored in sessions and compared with the Setting's
/// bounds.
constexpr std::string_view kCompatibleVersion = "1.4.1";
/// Stands for a secret in everything shown to people.
constexpr std::string_view kRedactedSecret = "removed";

/// The document byte for byte as the peer writes it: one field a line, no indentation, Go's
/// escapes.
std::string encode_setting(Setting const& setting);

/// Reads a document in any JSON formatting; unknown fields are ignored, null and missing ones are
/// zero.
///
/// Corrupt: no JSON object, a field of a wrong type or out of range, a missing Name or UUID, an
/// impossible block size. The message never shows a value. Does not look at versions: see
/// check_client_version.
Result<Setting> decode_setting(std::string_view json);

/// A copy whose non-empty secrets read `removed`.
Setting redact(Setting setting);

/// Encrypts the three secrets under the UUID, if any is set and they are plain; fresh nonces from
/// OpenSSL. Fails with ENOTSUP where EncryptAlgo asks for a cipher that this OpenSSL lacks
/// (SM4-GCM).
Result<void> encrypt_secrets(Setting& setting);

/// Turns the three secrets into plain text, if they are encrypted. EINVAL with a message that says
/// what to do when a secret was removed (dumps) or does not decrypt under the UUID.
Result<void> decrypt_secrets(Setting& setting);

/// Orders `major.minor.patch[-pre][+build]`: by numbers, then a pre-release before its release,
/// then pre-releases as text. EINVAL for anything else.
Result<std::strong_ordering> compare_versions(std::string_view a, std::string_view b);

/// Refuses (EPERM, with a message for people) when MetaVersion is unknown or `version` is outside
/// the bounds.
Result<void> check_client_version(Setting const& setting, std::string_view version);

/// Raises MinClientVersion to `version` unless it is at least that already.
Result<void> raise_min_version(Setting& setting, std::string_view version);

/// Raises MinClientVersion to what the enabled features need: 1.1.0-A for every new volume, 1.2.0-A
/// for ACLs, 1.3.0-A for Ranger, 1.4.0-A for Kerberos and for tiers beyond tier 0.
Result<void> raise_min_version_for_features(Setting& setting);

/// 3…63 characters of a-z, 0-9 and '-', neither first nor last a '-'; EINVAL with a message
/// otherwise.
Result<void> validate_volume_name(std::string_view name);

/// What `format` makes of a requested block size: a power of two, not above it, from 64 KiB to 16
/// MiB.
std::uint32_t round_block_size_kib(std::uint64_t requested_kib) noexcept;

}  // namespace zest
