// A map of bounded size that forgets what was used least recently.
#pragma once

#include <cstddef>
#include <list>
#include <optional>
#include <unordered_map>
#include <utility>

namespace zest::meta {

/// Not thread-safe.
template <class K, class V, class Hash>
class Lru {
 public:
  /// Null: not there. The pointer is valid until the next call.
  V* find(K const& key) {
    auto const found = index_.find(key);
    if (found == index_.end()) {
      return nullptr;
    }
    items_.splice(items_.begin(), items_, found->second);
    return &found->second->second;
  }
  /// Adds a key that is not there; returns what had to give way, with more than `limit`.
  std::optional<std::pair<K, V>> add(K const& key, V value, std::size_t limit) {
    std::optional<std::pair<K, V>> gone;
    if (limit == 0) {
      return std::pair(key, std::move(value));
    }
    if (items_.size() >= limit) {
      index_.erase(items_.back().first);
      gone = std::move(items_.back());
      items_.pop_back();
    }
    items_.emplace_front(key, std::move(value));
    index_.emplace(key, items_.begin());
    return gone;
  }
  void erase(K const& key) {
    if (auto const found = index_.find(key); found != index_.end()) {
      items_.erase(found->second);
      index_.erase(found);
    }
  }
  void clear() noexcept {
    index_.clear();
    items_.clear();
  }

 private:
  std::list<std::pair<K, V>> items_;  ///< the one used last comes first
  std::unordered_map<K, typename decltype(items_)::iterator, Hash> index_;
};

}  // namespace zest::meta
