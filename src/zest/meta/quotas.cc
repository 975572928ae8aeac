#include "zest/meta/quotas.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <variant>

namespace zest::meta {
namespace {

// No path is deeper: PATH_MAX is 4096, and a damaged volume with a cycle must not hold us forever.
constexpr std::size_t kDepthMax = 8192;
// Records in one add_quota_usage call: a transaction of bearable size on every engine.
constexpr std::size_t kQuotasPerCall = 1000;

void add_to(Usage& sum, Usage const& delta) noexcept {
  sum.space += delta.space;
  sum.inodes += delta.inodes;
}

Usage negative(Usage const& usage) noexcept {
  return {.space = -usage.space, .inodes = -usage.inodes};
}

bool is_zero(Usage const& usage) noexcept {
  return usage.space == 0 && usage.inodes == 0;
}

bool over(std::int64_t max, std::int64_t used, std::int64_t growth) noexcept {
  return growth > 0 && max > 0 && used + growth > max;
}

QuotaKey user(std::uint32_t uid) noexcept {
  return {.type = QuotaType::user, .id = uid};
}
QuotaKey group(std::uint32_t gid) noexcept {
  return {.type = QuotaType::group, .id = gid};
}

}  // namespace

void Quotas::set_kinds(QuotaKinds kinds) {
  std::lock_guard const lock(mutex_);
  kinds_ = kinds;
  refresh_flags();
}

void Quotas::refresh_flags() {
  auto const is_dir = [](auto const& entry) { return entry.first.type == QuotaType::directory; };
  has_dirs_.store(kinds_.directories && std::ranges::any_of(quotas_, is_dir),
                  std::memory_order_relaxed);
  counts_owners_.store(kinds_.owners, std::memory_order_relaxed);
}

Result<void> Quotas::load(Context const& ctx) {
  ZEST_CHECK(flushing_.lock(ctx));  // A flush between reading and storing would be lost.
  std::unique_lock const owner(flushing_, std::adopt_lock);
  ZEST_TRY(auto const entries, engine_.list_quotas(ctx));
  std::lock_guard const lock(mutex_);
  auto before = std::exchange(quotas_, {});
  for (auto const& [key, quota] : entries) {
    auto const old = before.find(key);
    quotas_[key] = {.stored = quota,
                    .pending = old == before.end() ? Usage{} : old->second.pending};
    if (old != before.end()) {
      before.erase(old);
    }
  }
  for (auto const& [key, state] : before) {
    // A user's or group's record comes with the first flush; a directory's was removed.
    if (key.type != QuotaType::directory && !is_zero(state.pending)) {
      quotas_[key] = {.stored = {.max_space = -1, .max_inodes = -1}, .pending = state.pending};
    }
  }
  parents_.clear();
  refresh_flags();
  return {};
}

Result<void> Quotas::flush(Context const& ctx) {
  ZEST_CHECK(flushing_.lock(ctx));
  std::unique_lock const owner(flushing_, std::adopt_lock);
  retry_unresolved(ctx);
  std::vector<std::pair<QuotaKey, Usage>> deltas;
  auto const shift = [this](auto const& part, int sign) {
    std::lock_guard const lock(mutex_);
    for (auto const& [key, delta] : part) {
      auto const it = quotas_.find(key);
      if (it != quotas_.end()) {
        it->second.stored.used_space += sign * delta.space;
        it->second.stored.used_inodes += sign * delta.inodes;
        add_to(it->second.pending, sign > 0 ? negative(delta) : delta);
      }
    }
  };
  {
    std::lock_guard const lock(mutex_);
    for (auto const& [key, state] : quotas_) {
      if (!is_zero(state.pending)) {
        deltas.emplace_back(key, state.pending);
      }
    }
  }
  std::span<std::pair<QuotaKey, Usage> const> rest(deltas);
  while (!rest.empty()) {
    auto const part = rest.first(std::min(rest.size(), kQuotasPerCall));
    shift(part, 1);  // Before the trip: what is added meanwhile belongs to the next flush.
    auto written = engine_.add_quota_usage(ctx, part);
    if (!written.ok()) {
      shift(part, -1);
      return written;
    }
    rest = rest.subspan(part.size());
  }
  return {};
}

bool Quotas::exceeds(QuotaKey const& key, Usage const& growth) const {
  auto const it = quotas_.find(key);
  if (it == quotas_.end()) {
    return false;
  }
  auto const& [stored, pending] = it->second;
  return over(stored.max_space, stored.used_space + pending.space, growth.space) ||
         over(stored.max_inodes, stored.used_inodes + pending.inodes, growth.inodes);
}

Result<void> Quotas::check_owner(OwnerUsage const& growth) const {
  if (!counts_owners()) {
    return {};
  }
  std::lock_guard const lock(mutex_);
  if (exceeds(user(growth.uid), growth.usage) || exceeds(group(growth.gid), growth.usage)) {
    return Errc::dquot;
  }
  return {};
}

Result<void> Quotas::check_all(Chain const& dirs, Usage const& growth) const {
  std::lock_guard const lock(mutex_);
  for (auto const dir : dirs) {
    if (exceeds(dir_quota(dir), growth)) {
      return Errc::dquot;
    }
  }
  return {};
}

Result<void> Quotas::check_dir(Context const& ctx, Ino dir, Usage const& growth) {
  if (growth.space <= 0 && growth.inodes <= 0) {
    return {};
  }
  ZEST_TRY(auto const dirs, quota_dirs(ctx, dir));
  return check_all(dirs, growth);
}

Result<void> Quotas::check_move(Context const& ctx, Move const& move, Usage const& growth) {
  if (growth.space <= 0 && growth.inodes <= 0) {
    return {};
  }
  ZEST_TRY(auto const dirs, gained_by(ctx, move));
  return check_all(dirs, growth);
}

// Quota directories above the destination that are not above the source.
Result<Quotas::Chain> Quotas::gained_by(Context const& ctx, Move const& move) {
  ZEST_TRY(auto const from, quota_dirs(ctx, move.from));
  ZEST_TRY(auto to, quota_dirs(ctx, move.to));
  std::erase_if(to, [&](Ino dir) { return std::ranges::find(from, dir) != from.end(); });
  return to;
}

Result<bool> Quotas::crosses(Context const& ctx, Move const& move) {
  ZEST_TRY(auto const from, quota_dirs(ctx, move.from));
  ZEST_TRY(auto const to, quota_dirs(ctx, move.to));
  return from != to;
}

Result<Quotas::Chain> Quotas::quota_dirs(Context const& ctx, Ino dir) {
  if (!has_dirs()) {
    return Chain{};
  }
  ZEST_TRY(auto dirs, chain(ctx, dir));
  std::lock_guard const lock(mutex_);
  std::erase_if(dirs, [&](Ino ino) { return !quotas_.contains(dir_quota(ino)); });
  return dirs;
}

Result<std::vector<Quota>> Quotas::above(Context const& ctx, Ino dir) {
  ZEST_TRY(auto const dirs, quota_dirs(ctx, dir));
  std::vector<Quota> found;
  for (auto const ino : dirs) {
    if (auto const quota = find(dir_quota(ino))) {
      found.push_back(*quota);
    }
  }
  return found;
}

std::optional<Quota> Quotas::find(QuotaKey const& key) const {
  std::lock_guard const lock(mutex_);
  auto const it = quotas_.find(key);
  if (it == quotas_.end()) {
    return std::nullopt;
  }
  auto quota = it->second.stored;
  quota.used_space += it->second.pending.space;
  quota.used_inodes += it->second.pending.inodes;
  return quota;
}

// From `dir` to the root; empty for what lies in the trash. A directory that is gone ends it.
Result<Quotas::Chain> Quotas::chain(Context const& ctx, Ino dir) {
  Chain dirs;
  while (dirs.size() < kDepthMax) {
    if (is_trash(dir)) {
      return Chain{};
    }
    dirs.push_back(dir);
    if (dir == kRootIno) {
      return dirs;
    }
    ZEST_TRY(auto const parent, parent_of(ctx, dir));
    if (!parent.has_value()) {
      return dirs;
    }
    dir = *parent;
  }
  return Error::corrupt("directory " + std::to_string(dir.value) + ": its parents form a cycle");
}

Result<std::optional<Ino>> Quotas::parent_of(Context const& ctx, Ino dir) {
  {
    std::lock_guard const lock(mutex_);
    if (auto const it = parents_.find(dir); it != parents_.end()) {
      return std::optional(it->second);
    }
  }
  std::array<Key, 1> const key{NodeKey{dir}};
  ZEST_TRY(auto const found, engine_.fetch(ctx, key));
  auto const* node = std::get_if<Attr>(&found.front());
  if (node == nullptr || !node->parent) {
    return std::optional<Ino>();
  }
  remember_parent(dir, node->parent);
  return std::optional(node->parent);
}

void Quotas::remember_parent(Ino dir, Ino parent) {
  std::lock_guard const lock(mutex_);
  if (parents_.size() >= kParentsMax) {
    parents_.clear();
  }
  parents_.insert_or_assign(dir, parent);
}

void Quotas::forget_parents() {
  if (has_dirs()) {
    std::lock_guard const lock(mutex_);
    parents_.clear();
  }
}

void Quotas::add_pending(QuotaKey const& key, Usage const& delta) {
  auto const [it, inserted] = quotas_.try_emplace(key);
  if (inserted) {
    it->second.stored = {.max_space = -1, .max_inodes = -1};
  }
  add_to(it->second.pending, delta);
}

void Quotas::add_to_chain(Context const& ctx, Ino dir, Usage const& delta) {
  if (is_zero(delta) || is_trash(dir)) {
    return;
  }
  auto const dirs = quota_dirs(ctx, dir);
  std::lock_guard const lock(mutex_);
  if (!dirs.ok()) {
    if (unresolved_.size() < kUnresolvedMax || unresolved_.contains(dir)) {
      add_to(unresolved_[dir], delta);
    } else {
      log_.warn("a change is missing in directory quotas: `zest quota check --repair` counts anew",
                {{"directory", dir.value}, {"error", dirs.error().text()}});
    }
    return;
  }
  for (auto const ino : *dirs) {
    if (auto const it = quotas_.find(dir_quota(ino)); it != quotas_.end()) {
      add_to(it->second.pending, delta);
    }
  }
}

void Quotas::retry_unresolved(Context const& ctx) {
  std::map<Ino, Usage> again;
  {
    std::lock_guard const lock(mutex_);
    again = std::exchange(unresolved_, {});
  }
  for (auto const& [dir, delta] : again) {
    add_to_chain(ctx, dir, delta);
  }
}

void Quotas::add(Context const& ctx, std::map<Ino, DirStat> const& dirs,
                 QuotaChanges const& changes) {
  if (counts_owners() && !changes.owners.empty()) {
    std::lock_guard const lock(mutex_);
    for (auto const& [uid, gid, usage] : changes.owners) {
      add_pending(user(uid), usage);
      add_pending(group(gid), usage);
    }
  }
  if (!has_dirs()) {
    return;
  }
  for (auto const& [dir, delta] : dirs) {
    add_to_chain(ctx, dir, {.space = delta.space, .inodes = delta.inodes});
  }
  for (auto const& [dir, delta] : changes.trees) {
    add_to_chain(ctx, dir, delta);
  }
}

}  // namespace zest::meta
