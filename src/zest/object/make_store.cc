#include "zest/object/make_store.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <string_view>
#include <utility>

#include "zest/object/file/file_store.h"
#include "zest/object/mem/mem_store.h"

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
  if (known(scheme)) {
    return Error(Errc::notsup, Fault::semantic,
                 "object storage \"" + scheme +
                     "\" is not supported yet by this version; supported are: file, mem");
  }
  return Error(Errc::inval, Fault::semantic,
               "unknown object storage \"" + scheme + "\"; supported are: file, mem");
}

}  // namespace zest
