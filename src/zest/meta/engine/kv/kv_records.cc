#include "zest/meta/engine/kv/kv_records.h"

#include <fmt/format.h>

#include <utility>

#include "zest/base/assert.h"
#include "zest/format/acl.h"
#include "zest/format/attr.h"
#include "zest/format/endian.h"
#include "zest/format/entry.h"
#include "zest/format/locks.h"
#include "zest/format/slice.h"
#include "zest/format/usage.h"
#include "zest/meta/engine/kv/kv_values.h"
#include "zest/meta/engine/node_fields.h"

namespace zest::meta::kv {

// ---- Layout

Range Layout::all(std::string_view family, std::size_t limit) const {
  auto begin = prefix_ + std::string(family);
  auto end = kv_prefix_end(begin);
  // Every key has the prefix's 0xFD or a letter in it, so there is a key behind.
  ZEST_ASSERT(end.has_value());
  return {.begin = std::move(begin), .end = *std::move(end), .limit = limit};
}

Range Layout::parents(Ino ino) const {
  constexpr std::size_t kParentsMax = 100'000;
  auto family = kv_parent_key(ino, Ino{0});
  family.resize(family.size() - sizeof(std::uint64_t));
  return all(family, kParentsMax);
}

Result<KvKey> Layout::parse(std::string_view key) const {
  if (!key.starts_with(prefix_)) {
    return Error::corrupt("the store answered with a key of another volume");
  }
  return decode_kv_key(key.substr(prefix_.size()));
}

std::optional<std::string> store_key(Layout const& layout, Key const& key) {
  auto const of = [&layout](KvKind kind, std::uint64_t id, std::uint64_t second = 0) {
    return layout.key({.kind = kind, .id = id, .second = second});
  };
  using Found = std::optional<std::string>;
  return std::visit(
      Overloaded{
          [&](NodeKey const& k) -> Found { return layout.node(k.ino); },
          [&](EdgeKey const& k) -> Found { return layout.edge(k.parent, k.name); },
          [&](ChildKey const& k) -> Found { return layout.edge(k.parent, k.name); },
          [&](SymlinkKey const& k) -> Found { return of(KvKind::symlink, k.ino.value); },
          [&](XattrKey const& k) -> Found {
            return layout.key({.kind = KvKind::xattr, .id = k.ino.value, .name = k.name});
          },
          [&](ChunkKey const& k) -> Found { return layout.chunk(k); },
          [](ParentsKey const&) -> Found { return std::nullopt; },
          [](HasEntriesKey const&) -> Found { return std::nullopt; },
          [&](SliceRefKey const& k) -> Found {
            return of(KvKind::slice_ref, k.id.value, k.size);
          },
          [&](FlocksKey const& k) -> Found { return of(KvKind::flock, k.ino.value); },
          [&](FlockKey const& k) -> Found { return of(KvKind::flock, k.ino.value); },
          [&](PlocksKey const& k) -> Found { return of(KvKind::plock, k.ino.value); },
          [&](PlockKey const& k) -> Found { return of(KvKind::plock, k.ino.value); },
          [&](SessionKey const& k) -> Found { return of(KvKind::session_expire, k.session.value); },
          [&](SustainedKey const& k) -> Found {
            return of(KvKind::sustained, k.session.value, k.ino.value);
          },
          [&](DelfileKey const& k) -> Found {
            return of(KvKind::deleted_file, k.ino.value, k.length);
          },
          [&](DirStatKey const& k) -> Found { return of(KvKind::dir_stat, k.ino.value); },
          [&](QuotaKey const& k) -> Found { return of(quota_kind(k.type), k.id); },
          [&](AclKey const& k) -> Found { return of(KvKind::acl, k.id); },
          [&](DetachedKey const& k) -> Found { return of(KvKind::detached, k.ino.value); },
          [&](DelayedSlicesKey const& k) -> Found {
            return of(KvKind::delayed_slices, k.compacted_into.value,
                      static_cast<std::uint64_t>(k.deleted_sec));
          },
      },
      key);
}

// ---- reading

namespace {

Result<Value> read_child(View& view, Layout const& layout, ChildKey const& key) {
  auto const raw = view.get(layout.edge(key.parent, key.name));
  if (!raw) {
    return Value();
  }
  auto entry = decode_entry(*raw);
  if (!entry.ok()) {
    return std::move(entry).error().with(describe(key));
  }
  Child child{.entry = *entry, .attr = {}};
  ZEST_TRY(auto const node, read_record(view, layout, NodeKey{entry->ino}));
  if (auto const* attr = std::get_if<Attr>(&node)) {
    child.attr = *attr;
  }
  return Value(std::move(child));
}

Result<Value> read_parents(View& view, Layout const& layout, ParentsKey const& key) {
  auto const& reply = view.scan(layout.parents(key.ino));
  if (reply.more) {
    return Error::corrupt("too many").with(describe(key));
  }
  Parents parents;
  for (auto const& pair : reply.pairs) {
    auto const parsed = layout.parse(pair.key);
    auto const count = decode_counter_le(pair.value);
    if (!parsed.ok() || !count.ok()) {
      return Error::corrupt("a record that is none").with(describe(key));
    }
    if (*count > 0) {
      parents.emplace(Ino{parsed->second}, *count);
    }
  }
  return Value(std::move(parents));
}

Result<Value> read_session(View& view, Layout const& layout, SessionKey const& key) {
  auto const expire = view.get(*store_key(layout, key));
  auto const info =
      view.get(layout.key({.kind = KvKind::session_info, .id = key.session.value}));
  if (!expire) {
    return Value();
  }
  auto seconds = decode_time_be(*expire);
  if (!seconds.ok()) {
    return std::move(seconds).error().with(describe(key));
  }
  return Value(SessionRecord{.expire_sec = *seconds, .info = std::string(info.value_or(""))});
}

/// The lock of one owner in the set of all.
template <class Set, class K>
Result<Value> read_owner(View& view, Layout const& layout, Key const& all, K const& key) {
  ZEST_TRY(auto const value, read_record(view, layout, all));
  auto const* set = std::get_if<Set>(&value);
  if (set == nullptr) {
    return Value();
  }
  auto const it = set->find(LockOwner{.session = key.session, .owner = key.owner});
  return it == set->end() ? Value() : Value(it->second);
}

}  // namespace

Result<Value> read_record(View& view, Layout const& layout, Key const& key) {
  if (auto const* k = std::get_if<ChildKey>(&key)) {
    return read_child(view, layout, *k);
  }
  if (auto const* k = std::get_if<ParentsKey>(&key)) {
    ZEST_TRY(auto value, read_parents(view, layout, *k));
    return normalized(std::move(value));
  }
  if (auto const* k = std::get_if<HasEntriesKey>(&key)) {
    return Value(!view.scan(layout.edges(k->ino, 1)).pairs.empty());
  }
  if (auto const* k = std::get_if<SessionKey>(&key)) {
    return read_session(view, layout, *k);
  }
  if (auto const* k = std::get_if<FlockKey>(&key)) {
    return read_owner<Flocks>(view, layout, FlocksKey{k->ino}, *k);
  }
  if (auto const* k = std::get_if<PlockKey>(&key)) {
    return read_owner<Plocks>(view, layout, PlocksKey{k->ino}, *k);
  }
  auto const raw = view.get(*store_key(layout, key));
  if (!raw) {
    return Value();
  }
  auto value = decode_value(key, *raw);
  if (!value.ok()) {
    return std::move(value).error().with(describe(key));
  }
  return normalized(*std::move(value));
}

Result<std::int64_t> read_counter(View& view, std::string const& key, std::string_view what) {
  auto const raw = view.get(key);
  if (!raw) {
    return 0;
  }
  auto value = decode_counter_le(*raw);
  if (!value.ok()) {
    return std::move(value).error().with(what);
  }
  return value;
}

}  // namespace zest::meta::kv
