#include "zest/meta/engine/kv/kv_cache.h"

#include <mutex>
#include <utility>

namespace zest::meta::kv {

void Cache::store(std::string const& key, Versioned const& versioned) {
  std::lock_guard const lock(mutex_);
  if (versioned.value && versioned.value->size() > kValueMax) {
    young_.erase(key);
    old_.erase(key);
    return;
  }
  for (auto const* generation : {&young_, &old_}) {
    auto const it = generation->find(key);
    // An answer that was overtaken by a newer one. What is absent has no revision to tell by; if it
    // was the older one, the next use finds out.
    if (it != generation->end() && versioned.value && it->second.revision > versioned.revision) {
      return;
    }
  }
  insert(key, versioned);
}

std::optional<Versioned> Cache::find(std::string const& key) {
  std::lock_guard const lock(mutex_);
  if (auto const it = young_.find(key); it != young_.end()) {
    return it->second;
  }
  auto const it = old_.find(key);
  if (it == old_.end()) {
    return std::nullopt;
  }
  auto found = std::move(it->second);
  old_.erase(it);
  insert(key, found);
  return found;
}

void Cache::clear() {
  std::lock_guard const lock(mutex_);
  young_.clear();
  old_.clear();
}

void Cache::insert(std::string const& key, Versioned versioned) {
  young_.insert_or_assign(key, std::move(versioned));
  if (young_.size() > generation_max_) {
    old_ = std::exchange(young_, {});
  }
}

}  // namespace zest::meta::kv
