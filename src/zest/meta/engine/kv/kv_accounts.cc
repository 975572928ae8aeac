#include "zest/meta/engine/kv/kv_accounts.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>

#include "zest/format/acl.h"
#include "zest/format/attr.h"
#include "zest/format/counter_name.h"
#include "zest/format/endian.h"
#include "zest/format/usage.h"
#include "zest/meta/engine/counters.h"
#include "zest/meta/engine/node_fields.h"

namespace zest::meta::kv {

namespace {

Error out_of_range(std::string_view what) {
  return Error::corrupt(fmt::format("{}: a counter out of range", what));
}

Result<std::int64_t> add(std::int64_t value, std::int64_t delta, std::string_view what) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(value, delta, &sum)) {
    return out_of_range(what);
  }
  return sum;
}

/// Adds to the counter; absent counts as 0.
Result<void> add_to_counter(View& view, Layout const& layout, std::string_view name,
                            std::int64_t delta) {
  auto const key = layout.counter(name);
  ZEST_TRY(auto const value, read_counter(view, key, name));
  ZEST_TRY(auto const sum, add(value, delta, name));
  if (delta != 0) {
    view.put(key, encode_counter_le(sum));
  }
  return {};
}

template <class T>
Result<T> find(View& view, Layout const& layout, Key const& key, T otherwise) {
  ZEST_TRY(auto const value, read_record(view, layout, key));
  auto const* record = std::get_if<T>(&value);
  return record == nullptr ? otherwise : *record;
}

}  // namespace

Result<IdRange> allocate_ids(View& view, Layout const& layout, IdKind kind, std::uint64_t count) {
  auto const name = counter_of(kind);
  auto const key = layout.counter(name);
  ZEST_TRY(auto stored, read_counter(view, key, name));
  auto const stored_as = stored_ids(kind);
  stored = std::max<std::int64_t>(stored, stored_as.initial);
  if (count > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max() - stored)) {
    return out_of_range(name);
  }
  view.put(key, encode_counter_le(stored + static_cast<std::int64_t>(count)));
  return IdRange{.first = static_cast<std::uint64_t>(stored + stored_as.first_offset),
                 .count = count};
}

Result<Usage> read_usage(View& view, Layout const& layout) {
  ZEST_TRY(auto const space, read_counter(view, layout.counter(kUsedSpace), kUsedSpace));
  ZEST_TRY(auto const inodes, read_counter(view, layout.counter(kTotalInodes), kTotalInodes));
  return Usage{.space = space, .inodes = inodes};
}

Result<void> add_usage(View& view, Layout const& layout, Usage delta) {
  ZEST_CHECK(add_to_counter(view, layout, kUsedSpace, delta.space));
  return add_to_counter(view, layout, kTotalInodes, delta.inodes);
}

Result<std::vector<Ino>> add_dir_stats(View& view, Layout const& layout,
                                       std::span<std::pair<Ino, DirStat> const> deltas) {
  std::vector<Ino> missing;
  for (auto const& [ino, delta] : deltas) {
    auto const key = layout.key({.kind = KvKind::dir_stat, .id = ino.value});
    auto const raw = view.get(key);
    if (!raw) {
      missing.push_back(ino);
      continue;
    }
    auto const what = describe(DirStatKey{ino});
    auto stat = decode_dir_stat(*raw);
    if (!stat.ok()) {
      return std::move(stat).error().with(what);
    }
    ZEST_TRY(stat->length, add(stat->length, delta.length, what));
    ZEST_TRY(stat->space, add(stat->space, delta.space, what));
    ZEST_TRY(stat->inodes, add(stat->inodes, delta.inodes, what));
    view.put(key, encode_dir_stat(*stat));
  }
  return missing;
}

Result<void> add_quota_usage(View& view, Layout const& layout,
                             std::span<std::pair<QuotaKey, Usage> const> deltas) {
  for (auto const& [key, delta] : deltas) {
    auto const stored = *store_key(layout, key);
    auto const exists = view.get(stored).has_value();
    if (!exists && key.type == QuotaType::directory) {
      continue;
    }
    ZEST_TRY(auto quota, find(view, layout, key, Quota{.max_space = -1, .max_inodes = -1}));
    auto const what = describe(key);
    ZEST_TRY(quota.used_space, add(quota.used_space, delta.space, what));
    ZEST_TRY(quota.used_inodes, add(quota.used_inodes, delta.inodes, what));
    view.put(stored, encode_quota(quota));
  }
  return {};
}

Result<void> set_quota(View& view, Layout const& layout, QuotaKey const& key, Quota const& quota) {
  ZEST_TRY(auto stored, find(view, layout, key, quota));
  stored.max_space = quota.max_space;
  stored.max_inodes = quota.max_inodes;
  view.put(*store_key(layout, key), encode_quota(stored));
  return {};
}

Result<std::uint32_t> insert_acl(View& view, Layout const& layout, AclRule const& rule) {
  auto const counter = layout.counter(kAclMaxId);
  ZEST_TRY(auto const last, read_counter(view, counter, kAclMaxId));
  if (last < 0 || last >= std::numeric_limits<std::uint32_t>::max()) {
    return out_of_range(kAclMaxId);
  }
  auto const id = static_cast<std::uint32_t>(last) + 1;
  view.put(counter, encode_counter_le(id));
  view.put(*store_key(layout, AclKey{id}), encode_acl(rule));
  return id;
}

Result<bool> take_lease(View& view, Layout const& layout, Lease lease, std::int64_t now_sec,
                        std::int64_t interval_sec) {
  auto const key = layout.counter(counter_of(lease));
  std::int64_t last = 0;
  if (auto const raw = view.get(key)) {
    auto stored = decode_time_be(*raw);
    if (!stored.ok()) {
      return std::move(stored).error().with(counter_of(lease));
    }
    last = *stored;
  }
  if (last > now_sec - interval_sec) {
    return false;
  }
  view.put(key, encode_time_be(now_sec));
  return true;
}

Result<void> initialize(View& view, Layout const& layout, std::string_view setting,
                        Attr const& root, std::optional<Attr> const& trash) {
  auto const setting_key = layout.key({.kind = KvKind::setting});
  auto const trash_key = layout.node(kTrashIno);
  auto const is_new = !view.get(setting_key);
  if (trash && !view.get(trash_key)) {
    view.put(trash_key, encode_attr(*trash));
  }
  if (is_new) {
    view.put(layout.node(kRootIno), encode_attr(root));
    view.put(layout.counter(kNextInode), encode_counter_le(2));
    view.put(layout.counter(kNextChunk), encode_counter_le(1));
  }
  view.put(setting_key, std::string(setting));
  return {};
}

}  // namespace zest::meta::kv
