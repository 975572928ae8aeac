// What this client saw last of small records, so that a commit that builds on them needs no trip to
// read. A stale entry does no harm: every use is compared inside of the transaction.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <unordered_map>

#include "zest/meta/engine/kv/kv_store.h"
#include "zest/runtime/mutex.h"

namespace zest::meta::kv {

/// Thread-safe. Two generations: when the young one is full, the old one is dropped; what is used
/// moves to the young one. So memory is bounded and what is in use stays.
class Cache {
 public:
  static constexpr std::size_t kValueMax = 1024;
  explicit Cache(std::size_t entries_max) : generation_max_(entries_max / 2) {}

  /// Keeps the newest version it is told; large values are not kept.
  void store(std::string const& key, Versioned const& versioned);
  std::optional<Versioned> find(std::string const& key);
  void clear();

 private:
  using Generation = std::unordered_map<std::string, Versioned>;
  void insert(std::string const& key, Versioned versioned);

  std::size_t const generation_max_;
  Mutex mutex_;
  Generation young_;
  Generation old_;
};

}  // namespace zest::meta::kv
