// Quotas, ACL rules and records that wait for a background job, of the memory engine.
#include "zest/meta/engine/memory/memory_state.h"

namespace zest::meta {

std::vector<DelayedEntry> MemoryState::list_delayed_slices(std::int64_t before_sec,
                                                           std::size_t limit) const {
  std::vector<DelayedEntry> entries;
  for (auto const& [id, delayed] : delayed_) {
    if (delayed.now_sec < before_sec && entries.size() < limit) {
      entries.push_back({.key = {.compacted_into = id, .deleted_sec = delayed.now_sec},
                         .slices = delayed.slices});
    }
  }
  return entries;
}

std::vector<DetachedEntry> MemoryState::list_detached(std::int64_t before_sec,
                                                      std::size_t limit) const {
  std::vector<DetachedEntry> entries;
  for (auto const& [ino, added_sec] : detached_) {
    if (added_sec < before_sec && entries.size() < limit) {
      entries.push_back({.ino = ino, .added_sec = added_sec});
    }
  }
  return entries;
}

std::vector<QuotaEntry> MemoryState::list_quotas() const {
  std::vector<QuotaEntry> entries;
  for (auto const& [key, quota] : quotas_) {
    entries.push_back({.key = key, .quota = quota});
  }
  return entries;
}

void MemoryState::add_quota_usage(std::span<std::pair<QuotaKey, Usage> const> deltas) {
  for (auto const& [key, delta] : deltas) {
    auto it = quotas_.find(key);
    if (it == quotas_.end()) {
      if (key.type == QuotaType::directory) {
        continue;
      }
      it = quotas_.emplace(key, Quota{.max_space = -1, .max_inodes = -1}).first;
    }
    it->second.used_space += delta.space;
    it->second.used_inodes += delta.inodes;
  }
}

void MemoryState::set_quota(QuotaKey const& key, Quota const& quota) {
  auto const [it, inserted] = quotas_.emplace(key, quota);
  if (!inserted) {
    it->second.max_space = quota.max_space;
    it->second.max_inodes = quota.max_inodes;
  }
}

void MemoryState::erase_quota(QuotaKey const& key) {
  if (key.type == QuotaType::directory) {
    quotas_.erase(key);
  } else if (auto const it = quotas_.find(key); it != quotas_.end()) {
    it->second.max_space = -1;
    it->second.max_inodes = -1;
  }
}

std::uint32_t MemoryState::insert_acl(AclRule const& rule) {
  auto const id = acls_.empty() ? 1 : acls_.rbegin()->first + 1;
  acls_.emplace(id, rule);
  return id;
}

std::vector<StoredAcl> MemoryState::list_acls(std::uint32_t after) const {
  std::vector<StoredAcl> rules;
  for (auto it = acls_.upper_bound(after); it != acls_.end(); ++it) {
    rules.push_back({.id = it->first, .rule = it->second});
  }
  return rules;
}

}  // namespace zest::meta
