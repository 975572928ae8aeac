// From the storage part of a volume's Setting to an ObjectStore: the only place that names the
// kinds.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>

#include "zest/base/result.h"
#include "zest/object/store.h"
#include "zest/runtime/http/client.h"
#include "zest/runtime/pool.h"

namespace zest {

/// What says where objects live; fields of the Setting (format/00 §4, format/07 §1.6).
struct StoreConfig {
  std::string scheme;  ///< Setting's Storage; any case
  std::string bucket;  ///< directory or endpoint
  std::string access_key;
  std::string secret_key;           ///< secret
  std::string session_token;        ///< secret
  std::string storage_class;        ///< of new objects, where the storage has classes
  std::uint64_t mem_bytes_max = 0;  ///< `mem` only; 0 = no limit
  bool fsync_on_put = false;        ///< `file` only: durable puts instead of sync() afterwards
  /// Proxies, regions, authorities and credentials may come from it.
  http::Environment environment = [](char const* name) -> char const* { return std::getenv(name); };
};

/// Makes the store; connects to nothing yet, but reads the authorities of TLS. `pool` runs blocking
/// file calls and checksums, and outlives the store.
///
/// Errors have a message that names the scheme: ENOTSUP when this version has no such store yet,
/// EINVAL when the format knows no such scheme or the bucket can't be one.
Result<std::unique_ptr<ObjectStore>> make_store(StoreConfig const& config, BlockingPool& pool);

}  // namespace zest
