#include "zest/meta/engine/kv/kv_listings.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

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

namespace {

constexpr std::size_t kPage = 1024;

/// The value, or its error with the record's name.
template <class T>
Result<T> named(Result<T> result, Key const& key) {
  if (!result.ok()) {
    return std::move(result).error().with(describe(key));
  }
  return result;
}

}  // namespace

Result<void> Listings::scan(Context const& ctx, Range range, Visit const& visit) const {
  for (;;) {
    ZEST_TRY(auto reply, store_.read(ctx, {.keys = {}, .ranges = {range}}));
    auto& page = reply.ranges.front();
    for (auto const& pair : page.pairs) {
      ZEST_TRY(auto const key, layout_.parse(pair.key));
      ZEST_TRY(auto const more, visit(key, pair));
      if (!more) {
        return {};
      }
    }
    if (!page.more || page.pairs.empty()) {
      return {};
    }
    range.begin = std::move(page.pairs.back().key) + '\0';
  }
}

Result<DirPage> Listings::dir(Context const& ctx, ListDir const& request) const {
  auto range = layout_.edges(request.dir, std::max<std::size_t>(request.limit, 1));
  auto const name_at = range.begin.size();
  if (!request.from.empty()) {
    range.begin += request.from + '\0';
  }
  ZEST_TRY(auto reply, store_.read(ctx, {.keys = {}, .ranges = {std::move(range)}}));
  DirPage page;
  for (auto const& pair : reply.ranges.front().pairs) {
    EdgeKey const key{.parent = request.dir, .name = pair.key.substr(name_at)};
    if (key.name.empty()) {
      return Error::corrupt("an entry without a name").with(describe(NodeKey{request.dir}));
    }
    ZEST_TRY(auto const entry, named(decode_entry(pair.value), key));
    page.entries.push_back({.name = key.name, .entry = entry, .attr = {}});
  }
  if (reply.ranges.front().more && !page.entries.empty()) {
    page.next = page.entries.back().name;
  }
  if (request.attrs && !page.entries.empty()) {
    ZEST_CHECK(add_attrs(ctx, page.entries));
  }
  return page;
}

Result<void> Listings::add_attrs(Context const& ctx, std::vector<DirEntry>& entries) const {
  Read read;
  for (auto const& entry : entries) {
    read.keys.push_back(layout_.node(entry.entry.ino));
  }
  ZEST_TRY(auto const reply, store_.read(ctx, read));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (auto const& value = reply.values[i].value) {
      ZEST_TRY(entries[i].attr, named(decode_attr(*value), NodeKey{entries[i].entry.ino}));
    }
  }
  return {};
}

Result<std::vector<std::string>> Listings::xattrs(Context const& ctx, Ino ino) const {
  std::vector<std::string> names;
  auto range = layout_.xattrs(ino, kPage);
  range.keys_only = true;
  ZEST_CHECK(scan(ctx, std::move(range), [&](KvKey const& key, Pair const&) -> Result<bool> {
    names.push_back(key.name);
    return true;
  }));
  return names;
}

Result<ChunkPage> Listings::chunks(Context const& ctx, ChunkKey from, std::size_t limit) const {
  auto family = kv_chunk_key(from.ino, from.index);
  family.resize(family.size() - sizeof(std::uint32_t));
  auto range = layout_.all(family, std::max<std::size_t>(limit, 1) + 1);
  range.begin = layout_.chunk(from);
  ChunkPage page;
  ZEST_CHECK(scan(ctx, std::move(range), [&](KvKey const& k, Pair const& pair) -> Result<bool> {
    ChunkKey const key{.ino = from.ino, .index = {static_cast<std::uint32_t>(k.second)}};
    if (page.chunks.size() == std::max<std::size_t>(limit, 1)) {
      page.next = key;
      return false;
    }
    ZEST_TRY(auto slices, named(decode_slices(pair.value), key));
    page.chunks.emplace_back(key, std::move(slices));
    return true;
  }));
  return page;
}

Result<ChunkPage> Listings::all_chunks(Context const& ctx, std::optional<ChunkKey> from,
                                       std::size_t limit) const {
  // Chunks stand among the other records of their inodes: all of those are looked at.
  auto range = layout_.all("A", kPage);
  if (from) {
    range.begin = layout_.chunk(*from);
  }
  ChunkPage page;
  ZEST_CHECK(scan(ctx, std::move(range), [&](KvKey const& k, Pair const& pair) -> Result<bool> {
    if (k.kind != KvKind::chunk) {
      return true;
    }
    ChunkKey const key{.ino = Ino{k.id}, .index = {static_cast<std::uint32_t>(k.second)}};
    if (page.chunks.size() == std::max<std::size_t>(limit, 1)) {
      page.next = key;
      return false;
    }
    ZEST_TRY(auto slices, named(decode_slices(pair.value), key));
    page.chunks.emplace_back(key, std::move(slices));
    return true;
  }));
  return page;
}

Result<std::vector<SessionEntry>> Listings::sessions(Context const& ctx) const {
  std::vector<SessionEntry> sessions;
  ZEST_CHECK(
      scan(ctx, layout_.all("SE", kPage), [&](KvKey const& k, Pair const& pair) -> Result<bool> {
        SessionId const session{k.id};
        ZEST_TRY(auto const expire, named(decode_time_be(pair.value), SessionKey{session}));
        sessions.push_back({.session = session, .record = {.expire_sec = expire, .info = {}}});
        return true;
      }));
  ZEST_CHECK(
      scan(ctx, layout_.all("SI", kPage), [&](KvKey const& k, Pair const& pair) -> Result<bool> {
        auto const it = std::ranges::find(sessions, SessionId{k.id}, &SessionEntry::session);
        if (it != sessions.end()) {
          it->record.info = pair.value;
        }
        return true;
      }));
  return sessions;
}

Result<std::vector<Ino>> Listings::sustained(Context const& ctx, SessionId session,
                                             std::size_t limit) const {
  std::vector<Ino> inodes;
  auto family = encode_kv_key({.kind = KvKind::sustained, .id = session.value});
  family.resize(family.size() - sizeof(std::uint64_t));
  auto range = layout_.all(family, kPage);
  range.keys_only = true;
  ZEST_CHECK(scan(ctx, std::move(range), [&](KvKey const& k, Pair const&) -> Result<bool> {
    if (inodes.size() < limit) {
      inodes.push_back(Ino{k.second});
    }
    return inodes.size() < limit;
  }));
  return inodes;
}

Result<std::vector<DelfileEntry>> Listings::delfiles(Context const& ctx, std::int64_t before_sec,
                                                     std::size_t limit) const {
  std::vector<DelfileEntry> files;
  ZEST_CHECK(
      scan(ctx, layout_.all("D", kPage), [&](KvKey const& k, Pair const& pair) -> Result<bool> {
        DelfileKey const key{.ino = Ino{k.id}, .length = k.second};
        ZEST_TRY(auto const deleted, named(decode_time_be(pair.value), key));
        if (deleted <= before_sec && files.size() < limit) {
          files.push_back({.ino = key.ino, .length = key.length, .deleted_sec = deleted});
        }
        return files.size() < limit;
      }));
  return files;
}

Result<std::vector<DelayedEntry>> Listings::delayed_slices(Context const& ctx,
                                                           std::int64_t before_sec,
                                                           std::size_t limit) const {
  std::vector<DelayedEntry> entries;
  if (before_sec <= 0) {
    return entries;
  }
  auto range = layout_.all("L", kPage);
  range.end = layout_.key({.kind = KvKind::delayed_slices,
                           .id = 0,
                           .second = static_cast<std::uint64_t>(before_sec)});
  ZEST_CHECK(scan(ctx, std::move(range), [&](KvKey const& k, Pair const& pair) -> Result<bool> {
    DelayedSlicesKey const key{.compacted_into = SliceId{k.id},
                               .deleted_sec = static_cast<std::int64_t>(k.second)};
    ZEST_TRY(auto slices, named(decode_delayed_slices(pair.value), key));
    if (entries.size() < limit) {
      entries.push_back({.key = key, .slices = std::move(slices)});
    }
    return entries.size() < limit;
  }));
  return entries;
}

Result<std::vector<DetachedEntry>> Listings::detached(Context const& ctx, std::int64_t before_sec,
                                                      std::size_t limit) const {
  std::vector<DetachedEntry> entries;
  ZEST_CHECK(
      scan(ctx, layout_.all("N", kPage), [&](KvKey const& k, Pair const& pair) -> Result<bool> {
        ZEST_TRY(auto const added, named(decode_time_be(pair.value), DetachedKey{Ino{k.id}}));
        if (added < before_sec && entries.size() < limit) {
          entries.push_back({.ino = Ino{k.id}, .added_sec = added});
        }
        return entries.size() < limit;
      }));
  return entries;
}

Result<std::vector<DelayedSlice>> Listings::garbage_slices(Context const& ctx,
                                                           std::size_t limit) const {
  std::vector<DelayedSlice> slices;
  ZEST_CHECK(
      scan(ctx, layout_.all("K", kPage), [&](KvKey const& k, Pair const& pair) -> Result<bool> {
        SliceRefKey const key{.id = SliceId{k.id}, .size = static_cast<std::uint32_t>(k.second)};
        ZEST_TRY(auto const others, named(decode_counter_le(pair.value), key));
        if (others < 0 && slices.size() < limit) {
          slices.push_back({.id = key.id, .size = key.size});
        }
        return slices.size() < limit;
      }));
  return slices;
}

Result<std::vector<Ino>> Listings::locked(Context const& ctx, SessionId session) const {
  std::set<Ino> inodes;
  ZEST_CHECK(
      scan(ctx, layout_.all("F", kPage), [&](KvKey const& k, Pair const& pair) -> Result<bool> {
        ZEST_TRY(auto const holders, named(decode_flocks(pair.value), FlocksKey{Ino{k.id}}));
        if (std::ranges::any_of(holders,
                                [&](auto const& h) { return h.owner.session == session; })) {
          inodes.insert(Ino{k.id});
        }
        return true;
      }));
  ZEST_CHECK(
      scan(ctx, layout_.all("P", kPage), [&](KvKey const& k, Pair const& pair) -> Result<bool> {
        ZEST_TRY(auto const holders, named(decode_plocks(pair.value), PlocksKey{Ino{k.id}}));
        if (std::ranges::any_of(holders,
                                [&](auto const& h) { return h.owner.session == session; })) {
          inodes.insert(Ino{k.id});
        }
        return true;
      }));
  return std::vector<Ino>(inodes.begin(), inodes.end());
}

Result<std::vector<QuotaEntry>> Listings::quotas(Context const& ctx) const {
  std::vector<QuotaEntry> entries;
  ZEST_CHECK(
      scan(ctx, layout_.all("Q", kPage), [&](KvKey const& k, Pair const& pair) -> Result<bool> {
        QuotaKey key{.type = QuotaType::directory, .id = k.id};
        if (k.kind != KvKind::dir_quota) {
          key.type = k.kind == KvKind::user_quota ? QuotaType::user : QuotaType::group;
        }
        ZEST_TRY(auto const quota, named(decode_quota(pair.value), key));
        entries.push_back({.key = key, .quota = quota});
        return true;
      }));
  return entries;
}

Result<std::vector<StoredAcl>> Listings::acls(Context const& ctx, std::uint32_t after) const {
  std::vector<StoredAcl> rules;
  auto range = layout_.all("R", kPage);
  range.begin = layout_.key({.kind = KvKind::acl, .id = after}) + '\0';
  ZEST_CHECK(scan(ctx, std::move(range), [&](KvKey const& k, Pair const& pair) -> Result<bool> {
    auto const id = static_cast<std::uint32_t>(k.id);
    ZEST_TRY(auto rule, named(decode_acl(pair.value), AclKey{id}));
    rules.push_back({.id = id, .rule = std::move(rule)});
    return true;
  }));
  return rules;
}

}  // namespace zest::meta::kv
