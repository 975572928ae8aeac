#include "zest/cli/storage_options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "zest/base/error.h"
#include "zest/base/types.h"
#include "zest/cli/options.h"

namespace zest::cli {
namespace {

void from_environment(std::optional<std::string>& value, char const* name) {
  // Read before the first thread is started.
  char const* found = std::getenv(name);
  if (!value && found != nullptr && *found != '\0') {
    value = found;
  }
}

}  // namespace

void add_storage_options(CLI::App& command, admin::SettingChanges& changes) {
  command
      .add_option("--storage", changes.storage,
                  "Kind of object storage: file (default), mem, s3, minio, …; see docs/stores.md")
      ->type_name("KIND");
  command
      .add_option("--bucket", changes.bucket,
                  "Where the data are: a directory, or the storage's endpoint "
                  "(default /var/jfs, for users ~/.juicefs/local)")
      ->type_name("PLACE");
  command
      .add_option("--access-key", changes.access_key,
                  "Access key of the storage (or variable ACCESS_KEY)")
      ->type_name("KEY");
  command
      .add_option("--secret-key", changes.secret_key,
                  "Secret key; the variable SECRET_KEY keeps it out of process lists")
      ->type_name("KEY");
  command
      .add_option("--session-token", changes.session_token,
                  "Session token (or variable SESSION_TOKEN)")
      ->type_name("TOKEN");
  command.add_option("--storage-class", changes.storage_class, "Storage class of new objects")
      ->type_name("CLASS");
  add_size(command, "--capacity", changes.capacity_bytes, kGiB,
           "Most bytes of the volume; a number alone is GiB; 0 = no limit");
  command.add_option("--inodes", changes.inodes, "Most inodes of the volume; 0 = no limit")
      ->type_name("N");
  command
      .add_option("--trash-days", changes.trash_days,
                  "Days that deleted files stay in /.trash; 0 = no trash (new volumes: 1)")
      ->type_name("DAYS");
}

void credentials_from_environment(admin::SettingChanges& changes) {
  from_environment(changes.access_key, "ACCESS_KEY");
  from_environment(changes.secret_key, "SECRET_KEY");
  from_environment(changes.session_token, "SESSION_TOKEN");
}

Result<std::string> normal_bucket(std::string_view storage, std::string const& bucket) {
  if (storage != "file") {
    return bucket;
  }
  std::error_code failed;
  auto path = std::filesystem::absolute(bucket, failed);
  if (failed || bucket.empty()) {
    return Error(Errc::inval, Fault::semantic,
                 "the bucket \"" + bucket + "\" is no directory name");
  }
  auto text = path.lexically_normal().string();
  if (!text.ends_with('/')) {
    text += '/';
  }
  return text;
}

std::string default_bucket() {
  char const* home = std::getenv("HOME");
  return geteuid() == 0 || home == nullptr ? "/var/jfs" : std::string(home) + "/.juicefs/local";
}

}  // namespace zest::cli
