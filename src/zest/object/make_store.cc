#include "zest/object/make_store.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <string_view>
#include <utility>

#include "zest/object/file/file_store.h"
#include "zest/object/mem/mem_store.h"
#include "zest/object/s3/s3_store.h"

namespace zest {
namespace {

/// Every value of Storage that the peer's builds may have written (format/07 §1.6).
constexpr std::string_view kSchemes[] = {
    "b2",    "bos",   "bunny",   "ceph", "cifs",  "cos",    "dragonfly", "eos",
    "etcd",  "file",  "gluster", "gs",   "hdfs",  "ibmcos", "ks3",       "mem",
    "minio", "mysql", "nfs",     "obs",  "oos",   "oss",    "postgres",  "qingstor",
    "qiniu", "redis", "s3",      "scw",  "sftp",  "smb",    "space",     "sqlite3",
    "storj", "swift", "tikv",    "tos",  "ufile", "wasabi", "wasb",      "webdav"};

std::string lower_case(std::string text) {
  for (auto& c : text) {
    if (c >= 'A' && c <= 'Z') {
      c = static_cast<char>(c - 'A' + 'a');
    }
  }
  return text;
}

constexpr std::string_view kSupported = "file, mem, s3, minio, wasabi, scw, space, eos, oos";

/// What some of them call their variables of credentials.
std::string keys_prefix(std::string const& scheme) {
  std::string prefix;
  if (scheme == "minio" || scheme == "scw" || scheme == "eos") {
    for (auto const c : scheme) {
      prefix += static_cast<char>(c - 'a' + 'A');
    }
  }
  return prefix;
}

Result<std::unique_ptr<ObjectStore>> make_s3(StoreConfig const& config, std::string const& scheme,
                                             BlockingPool& pool) {
  auto const variable = [&](std::string const& name) -> std::string {
    char const* const found = config.environment(name.c_str());
    return found == nullptr ? "" : found;
  };
  ZEST_TRY(auto place, s3::parse_place(scheme, config.bucket, config.environment));
  ZEST_TRY(auto tls, make_tls_context({.ca_file = variable("AWS_CA_BUNDLE")}));
  s3::Credentials keys{.access_key = config.access_key,
                       .secret_key = config.secret_key,
                       .session_token = config.session_token};
  if (auto const prefix = keys_prefix(scheme); keys.access_key.empty() && !prefix.empty()) {
    keys.access_key = variable(prefix + "_ACCESS_KEY");
    keys.secret_key = variable(prefix + "_SECRET_KEY");
  }
  if (!keys.access_key.empty() && keys.access_key != "anonymous" && keys.secret_key.empty()) {
    return Error(Errc::inval, Fault::semantic,
                 "there is an access key for the " + scheme +
                     " storage, but no secret key: give --secret-key or the variable SECRET_KEY");
  }
  auto credentials = keys.access_key.empty() ? s3::default_credentials(config.environment, pool)
                                             : s3::fixed_credentials(std::move(keys));
  return make_s3_store(
      {.place = std::move(place),
       .credentials = std::move(credentials),
       .storage_class = config.storage_class,
       .client = {.proxies = http::proxies_from(config.environment), .tls = std::move(tls)}},
      pool);
}

bool known(std::string_view scheme) noexcept {
  return std::ranges::find(kSchemes, scheme) != std::end(kSchemes);
}

}  // namespace

Result<std::unique_ptr<ObjectStore>> make_store(StoreConfig const& config, BlockingPool& pool) {
  auto const scheme = lower_case(config.scheme.empty() ? "file" : config.scheme);
  if (scheme == "file") {
    return make_file_store({.root = config.bucket, .fsync_on_put = config.fsync_on_put}, pool);
  }
  if (scheme == "mem") {
    auto const limit = config.mem_bytes_max == 0 ? std::numeric_limits<std::uint64_t>::max()
                                                 : config.mem_bytes_max;
    return make_mem_store({.bytes_max = limit});
  }
  if (s3::is_s3_scheme(scheme)) {
    return make_s3(config, scheme, pool);
  }
  if (known(scheme)) {
    return Error(
        Errc::notsup, Fault::semantic,
        "object storage \"" + scheme +
            "\" is not supported yet by this version; supported are: " + std::string(kSupported));
  }
  return Error(
      Errc::inval, Fault::semantic,
      "unknown object storage \"" + scheme + "\"; supported are: " + std::string(kSupported));
}

}  // namespace zest
