#include "zest/meta/acl_rules.h"

#include <algorithm>
#include <array>
#include <utility>
#include <variant>

#include "zest/format/acl.h"

namespace zest::meta {

std::optional<AclRule> AclRules::known(std::uint32_t id) const {
  std::lock_guard const lock(mutex_);
  auto const it = by_id_.find(id);
  return it == by_id_.end() ? std::nullopt : std::optional(it->second);
}

std::optional<std::uint32_t> AclRules::known(std::string const& bytes) const {
  std::lock_guard const lock(mutex_);
  auto const it = by_bytes_.find(bytes);
  return it == by_bytes_.end() ? std::nullopt : std::optional(it->second);
}

void AclRules::remember(std::uint32_t id, AclRule const& rule) {
  std::lock_guard const lock(mutex_);
  if (by_id_.size() >= kRulesMax) {
    by_id_.clear();
    by_bytes_.clear();
  }
  by_id_.insert_or_assign(id, rule);
  by_bytes_.emplace(encode_acl(rule), id);  // Of equal rules the one that was seen first.
}

Result<void> AclRules::refresh(Context const& ctx) {
  auto const after = [&] {
    std::lock_guard const lock(mutex_);
    return seen_;
  }();
  ZEST_TRY(auto const fresh, engine_.list_acls(ctx, after));
  for (auto const& [id, rule] : fresh) {
    remember(id, rule);
  }
  if (!fresh.empty()) {
    std::lock_guard const lock(mutex_);
    seen_ = std::max(seen_, fresh.back().id);
  }
  return {};
}

Result<AclRule> AclRules::find(Context const& ctx, std::uint32_t id) {
  if (auto rule = known(id)) {
    return *std::move(rule);
  }
  ZEST_CHECK(refresh(ctx));
  if (auto rule = known(id)) {
    return *std::move(rule);
  }
  // Numbers need not become visible in their order: one below `seen_` may be newer.
  std::array<Key, 1> const key{AclKey{id}};
  ZEST_TRY(auto const found, engine_.fetch(ctx, key));
  auto const* rule = std::get_if<AclRule>(&found.front());
  if (rule == nullptr) {
    return Error::corrupt("ACL rule " + std::to_string(id) +
                          " is missing, but an inode refers to it");
  }
  remember(id, *rule);
  return *rule;
}

Result<std::uint32_t> AclRules::store(Context const& ctx, AclRule const& rule) {
  auto const bytes = encode_acl(rule);
  if (auto const id = known(bytes)) {
    return *id;
  }
  // One fiber at a time, so that this client stores no rule twice.
  ZEST_CHECK(storing_.lock(ctx));
  std::unique_lock const owner(storing_, std::adopt_lock);
  ZEST_CHECK(refresh(ctx));
  if (auto const id = known(bytes)) {
    return *id;
  }
  ZEST_TRY(auto const id, engine_.insert_acl(ctx, rule));
  remember(id, rule);
  return id;
}

Result<Attr> AclRules::judge(Context const& ctx, Attr const& node, std::uint32_t mask) {
  constexpr std::uint16_t kGroupBits = 0070;
  constexpr std::uint16_t kAllBits = 0777;
  if (ctx.caller.uid == 0 || node.access_acl == 0 || (node.mode & kGroupBits) == 0) {
    return node;
  }
  ZEST_TRY(auto const rule, find(ctx, node.access_acl));
  auto seen = node;
  seen.mode &= static_cast<std::uint16_t>(~kAllBits);
  if (acl_permits(rule, node.uid, node.gid, ctx.caller, static_cast<std::uint8_t>(mask))) {
    seen.mode |= kAllBits;
  }
  return seen;
}

}  // namespace zest::meta
