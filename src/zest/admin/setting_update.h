// What `format` and `config` change in a Setting, and the rules for that (format/00 §4.3, §5).
// Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "zest/base/result.h"
#include "zest/format/setting.h"

namespace zest::admin {

/// Fields to be set; absent = as it is. Secrets are plain text.
struct SettingChanges {
  std::optional<std::string> name;
  std::optional<std::string> storage;
  std::optional<std::string> bucket;
  std::optional<std::string> access_key;
  std::optional<std::string> secret_key;
  std::optional<std::string> session_token;
  std::optional<std::string> storage_class;
  std::optional<std::string> encrypt_key;  ///< PEM text; of new volumes only
  std::optional<std::string> encrypt_algo;
  std::optional<std::int64_t> block_size_kib;
  std::optional<std::string> compression;
  std::optional<std::int64_t> shards;
  std::optional<bool> hash_prefix;
  std::optional<std::uint64_t> capacity_bytes;
  std::optional<std::uint64_t> inodes;
  std::optional<std::int64_t> trash_days;
  std::optional<bool> dir_stats;
  std::optional<bool> enable_acl;
  std::optional<bool> user_group_quota;
  std::optional<std::int64_t> upload_limit_mbps;
  std::optional<std::int64_t> download_limit_mbps;
  std::optional<std::string> min_client_version;
  std::optional<std::string> max_client_version;
  bool encrypt_secret = false;  ///< encrypt secrets that are stored as plain text
};

/// A fresh volume with the peer's defaults and `uuid`, before changes.
Setting new_setting(std::string uuid);

/// Applies `changes`. Secrets are decrypted, replaced and encrypted again, so `setting` may hold
/// either form; secrets that were plain stay plain unless one of them changes or it is asked for.
/// MinClientVersion is raised to what the features need. Errors (EINVAL, ENOTSUP) are for people.
Result<void> apply_changes(Setting& setting, SettingChanges const& changes);

/// Refuses (EPERM) a difference in what can never change once data exist: name, block size,
/// compression, shards, hash prefix; and to take POSIX ACLs away again.
Result<void> check_unchangeable(Setting const& before, Setting const& after);

/// One line for people.
struct SettingDifference {
  std::string name;  ///< as the option is called
  std::string before;
  std::string after;
};
/// What changed, in the order of the options; secrets read `removed`.
std::vector<SettingDifference> differences(Setting const& before, Setting const& after);

}  // namespace zest::admin
