#include "zest/meta/engine/kv/kv_values.h"

#include <utility>
#include <vector>

#include "zest/base/assert.h"
#include "zest/format/acl.h"
#include "zest/format/attr.h"
#include "zest/format/endian.h"
#include "zest/format/entry.h"
#include "zest/format/locks.h"
#include "zest/format/slice.h"
#include "zest/meta/engine/node_fields.h"

namespace zest::meta::kv {

namespace {

template <class T>
Result<Value> as_value(Result<T> decoded) {
  if (!decoded.ok()) {
    return std::move(decoded).error();
  }
  return Value(*std::move(decoded));
}

meta::LockOwner owner_of(zest::LockOwner const& owner) {
  return {.session = owner.session, .owner = owner.owner};
}
zest::LockOwner stored(meta::LockOwner const& owner) {
  return {.session = owner.session, .owner = owner.owner};
}

Result<Value> decode_flock_set(std::string_view bytes) {
  ZEST_TRY(auto const holders, decode_flocks(bytes));
  Flocks flocks;
  for (auto const& holder : holders) {
    flocks.insert_or_assign(owner_of(holder.owner),
                            static_cast<meta::FlockType>(std::to_underlying(holder.type)));
  }
  return Value(std::move(flocks));
}

Result<Value> decode_plock_set(std::string_view bytes) {
  ZEST_TRY(auto holders, decode_plocks(bytes));
  Plocks plocks;
  for (auto& holder : holders) {
    if (!holder.ranges.empty()) {
      plocks.insert_or_assign(owner_of(holder.owner), std::move(holder.ranges));
    }
  }
  return Value(std::move(plocks));
}

std::string encode_set(Flocks const& flocks) {
  std::vector<FlockHolder> holders;
  for (auto const& [owner, type] : flocks) {
    holders.push_back({.owner = stored(owner),
                       .type = static_cast<zest::FlockType>(std::to_underlying(type))});
  }
  return encode_flocks(holders);
}

std::string encode_set(Plocks const& plocks) {
  std::vector<PlockHolder> holders;
  for (auto const& [owner, ranges] : plocks) {
    if (!ranges.empty()) {
      holders.push_back({.owner = stored(owner), .ranges = ranges});
    }
  }
  return encode_plocks(holders);
}

Result<Value> decode_slice_refs(std::string_view bytes) {
  ZEST_TRY(auto const stored_refs, decode_counter_le(bytes));
  return Value(stored_refs + 1);
}

Result<Value> decode_deleted(std::string_view bytes) {
  ZEST_TRY(auto const seconds, decode_time_be(bytes));
  return Value(DelfileRecord{.deleted_sec = seconds});
}

}  // namespace

KvKind quota_kind(QuotaType type) noexcept {
  switch (type) {
    case QuotaType::directory: return KvKind::dir_quota;
    case QuotaType::user: return KvKind::user_quota;
    case QuotaType::group: return KvKind::group_quota;
  }
  __builtin_unreachable();
}

Result<Value> decode_value(Key const& key, std::string_view bytes) {
  return std::visit(
      Overloaded{
          [&](NodeKey const&) { return as_value(decode_attr(bytes)); },
          [&](EdgeKey const&) { return as_value(decode_entry(bytes)); },
          [&](SymlinkKey const&) { return Result<Value>(Value(std::string(bytes))); },
          [&](XattrKey const&) { return Result<Value>(Value(std::string(bytes))); },
          [&](ChunkKey const&) { return as_value(decode_slices(bytes)); },
          [&](SliceRefKey const&) { return decode_slice_refs(bytes); },
          [&](FlocksKey const&) { return decode_flock_set(bytes); },
          [&](PlocksKey const&) { return decode_plock_set(bytes); },
          [&](SustainedKey const&) { return Result<Value>(Value(Present())); },
          [&](DelfileKey const&) { return decode_deleted(bytes); },
          [&](DirStatKey const&) { return as_value(decode_dir_stat(bytes)); },
          [&](QuotaKey const&) { return as_value(decode_quota(bytes)); },
          [&](AclKey const&) { return as_value(decode_acl(bytes)); },
          [&](DetachedKey const&) { return as_value(decode_time_be(bytes)); },
          [&](DelayedSlicesKey const&) { return as_value(decode_delayed_slices(bytes)); },
          [](auto const&) -> Result<Value> {
            ZEST_ASSERT(false && "records made of several values are read by read_record");
            return Value();
          },
      },
      key);
}

std::string encode_value(Key const& key, Value const& value) {
  auto const of = [&value](auto const& k) -> auto const& { return *record_of(k, value); };
  return std::visit(
      Overloaded{
          [&](NodeKey const& k) { return encode_attr(of(k)); },
          [&](EdgeKey const& k) { return encode_entry(of(k)); },
          [&](SymlinkKey const& k) { return of(k); },
          [&](XattrKey const& k) { return of(k); },
          [&](ChunkKey const& k) { return encode_slices(of(k)); },
          [&](SliceRefKey const& k) { return encode_counter_le(of(k) - 1); },
          [&](FlocksKey const& k) { return encode_set(of(k)); },
          [&](PlocksKey const& k) { return encode_set(of(k)); },
          [](SustainedKey const&) { return std::string(1, '\x01'); },
          [&](DelfileKey const& k) { return encode_time_be(of(k).deleted_sec); },
          [&](DirStatKey const& k) { return encode_dir_stat(of(k)); },
          [&](QuotaKey const& k) { return encode_quota(of(k)); },
          [&](AclKey const& k) { return encode_acl(of(k)); },
          [&](DetachedKey const& k) { return encode_time_be(of(k)); },
          [&](DelayedSlicesKey const& k) { return encode_delayed_slices(of(k)); },
          [](auto const&) -> std::string {
            ZEST_ASSERT(false && "records made of several values are written by run_commit");
            return {};
          },
      },
      key);
}

}  // namespace zest::meta::kv
