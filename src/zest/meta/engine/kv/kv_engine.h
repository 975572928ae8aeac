// A volume in an ordered KV store (format/04): etcd, and others that implement kv::Store.
//
// Usage counters are separate transactions; parents of hard links are records of their own; listings
// are in byte order. A commit that builds on records that this client has seen takes one trip, else
// two; updates of one record by several fibers share a transaction (kv_transactions.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "zest/base/metrics.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/kv/kv_store.h"

namespace zest::meta {

struct KvEngineOptions {
  /// Comes before every key, with its 0xFD: see kv_prefix().
  std::string prefix;
  /// Records remembered for commits; about 300 bytes each.
  std::size_t cache_entries_max = 32768;
  /// Of the pauses between attempts.
  std::uint64_t seed = 1;
};

/// `metrics` outlives the engine; no call may be under way when it is destroyed. Thread-safe.
std::unique_ptr<Engine> make_kv_engine(std::unique_ptr<kv::Store> store, KvEngineOptions options,
                                       Registry& metrics);

}  // namespace zest::meta
