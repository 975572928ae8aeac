// The facade: quotas, and statfs, which shows them.
#include <algorithm>
#include <array>
#include <utility>
#include <variant>

#include "zest/meta/meta_impl.h"
#include "zest/meta/tree_walk.h"

namespace zest::meta {
namespace {

// An inode count that grows by itself where there is no limit, as the peer shows it.
constexpr std::uint64_t kInodesShown = 10ULL << 20;
constexpr std::uint64_t kSpaceShown = 1ULL << 50;

std::uint64_t not_negative(std::int64_t value) noexcept {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, value));
}

// What a limit leaves; `left` where there is none.
std::uint64_t left_of(std::int64_t max, std::int64_t used, std::uint64_t left) noexcept {
  return max > 0 ? std::min(left, not_negative(max - used)) : left;
}

StatfsReply statfs_of_volume(Setting const& setting, Usage const& usage) {
  auto const space = not_negative(usage.space);
  auto const inodes = not_negative(usage.inodes);
  auto total = setting.capacity_bytes;
  if (total == 0) {
    for (total = kSpaceShown; space > total / 10 * 8; total *= 2) {
    }
  }
  total = std::max(total, space);
  auto available = setting.inodes > inodes ? setting.inodes - inodes : 0;
  if (setting.inodes == 0) {
    for (available = kInodesShown; inodes > available * 4; available *= 2) {
    }
  }
  return {.total_space = total,
          .available_space = total - space,
          .used_inodes = inodes,
          .available_inodes = available};
}

}  // namespace

void Meta::Impl::configure_quotas() {
  auto const current = current_setting();
  quotas.set_kinds({.directories = current->dir_stats, .owners = current->user_group_quota});
}

Result<Usage> Meta::Impl::usage_below(Context const& ctx, EdgeKey const& entry) {
  std::array<Key, 1> const key{entry};
  ZEST_TRY(auto const found, engine.fetch(ctx, key));
  auto const* child = std::get_if<Entry>(&found.front());
  if (child == nullptr || child->type != FileType::directory) {
    return Usage{};
  }
  if (auto const quota = quotas.find(dir_quota(child->ino))) {
    return Usage{.space = quota->used_space, .inodes = quota->used_inodes};
  }
  return tree_usage(ctx, engine, child->ino);
}

Result<void> Meta::Impl::measure_move(Context const& ctx, RenameRequest const& request,
                                      VolumeView& view) {
  if (!quotas.has_dirs() || request.parent == request.new_parent) {
    return {};
  }
  ZEST_TRY(auto const crosses,
           quotas.crosses(ctx, {.from = request.parent, .to = request.new_parent}));
  if (!crosses) {
    return {};
  }
  ZEST_TRY(view.source_tree, usage_below(ctx, {request.parent, std::string(request.name)}));
  if ((request.flags & kRenameExchange) != 0) {
    ZEST_TRY(view.target_tree,
             usage_below(ctx, {request.new_parent, std::string(request.new_name)}));
  }
  return {};
}

Result<StatfsReply> Meta::statfs(Context const& ctx, Ino ino) {
  auto fresh = impl_->statistics.refresh(ctx);
  auto const usage = fresh.ok() ? *fresh : impl_->statistics.known();
  auto reply = statfs_of_volume(*impl_->current_setting(), usage);
  if (!impl_->quotas.has_dirs()) {
    return reply;
  }
  auto dir = impl_->inside(ino);
  if (!is_trash(dir)) {
    ZEST_TRY(auto const node, getattr(ctx, dir));
    dir = node.type == FileType::directory ? dir : node.parent ? node.parent : kRootIno;
  }
  ZEST_TRY(auto const quotas, impl_->quotas.above(ctx, dir));
  if (quotas.empty()) {
    return reply;
  }
  for (auto const& quota : quotas) {
    reply.available_space = left_of(quota.max_space, quota.used_space, reply.available_space);
    reply.available_inodes = left_of(quota.max_inodes, quota.used_inodes, reply.available_inodes);
  }
  reply.total_space = not_negative(quotas.front().used_space) + reply.available_space;
  reply.used_inodes = not_negative(quotas.front().used_inodes);
  return reply;
}

}  // namespace zest::meta
