// The options that `format` and `config` share: where the data are, and the limits of a volume.
#pragma once

#include <string>
#include <string_view>

#include "zest/admin/setting_update.h"
#include "zest/base/result.h"

namespace CLI {
class App;
}  // namespace CLI

namespace zest::cli {

/// Declares --storage, --bucket, credentials, --capacity, --inodes and --trash-days on `command`.
void add_storage_options(CLI::App& command, admin::SettingChanges& changes);

/// Fills in credentials from ACCESS_KEY, SECRET_KEY and SESSION_TOKEN where no option gave them.
void credentials_from_environment(admin::SettingChanges& changes);

/// The bucket as a Setting stores it: for `file`, an absolute directory with a slash at its end.
Result<std::string> normal_bucket(std::string_view storage, std::string const& bucket);

/// /var/jfs for root, ~/.juicefs/local for everybody else.
std::string default_bucket();

}  // namespace zest::cli
