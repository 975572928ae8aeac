#include "zest/meta/engine/redis/listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "zest/format/acl.h"
#include "zest/format/attr.h"
#include "zest/format/entry.h"
#include "zest/format/slice.h"
#include "zest/format/usage.h"
#include "zest/meta/engine/redis/dir_cursor.h"
#include "zest/meta/engine/redis/layout.h"

namespace zest::meta::redis {

namespace {

/// Entries that a step of HSCAN asks for: small, so that little of a step is repeated.
constexpr std::size_t kDirStep = 64;
/// Elements or keys that a step of other scans asks for.
constexpr std::string_view kScanStep = "1000";
/// Chunks that one call of the script looks for: about a millisecond of the server.
constexpr std::uint64_t kProbes = 2048;
/// Files with more possible chunks are found by a scan of all keys instead (as the peer does it).
constexpr std::uint64_t kProbedMax = 10'000;
/// A file that was truncated keeps its chunks behind the end; a few are looked for there.
constexpr std::uint64_t kBehindEnd = 8;

Error damaged(std::string_view key, std::string_view what) {
  return Error::corrupt(fmt::format("key {} holds {}", key, what));
}

/// {cursor, {item, …}} of SCAN, HSCAN.
struct ScanStep {
  std::string next;
  std::vector<Reply> items;
};
Result<ScanStep> scan_step(std::string_view key, Reply reply) {
  if (!reply.is_array() || reply.items.size() < 2 || !reply.items[0].is_text() ||
      !reply.items[1].is_array()) {
    return damaged(key, "a value of another type");
  }
  return ScanStep{.next = std::move(reply.items[0].text), .items = std::move(reply.items[1].items)};
}

/// Walks a hash until `visit(field, value)` says that it has enough.
template <class Visit>
Result<void> scan_hash(Volume const& volume, Context const& ctx, std::string const& key,
                       Visit const& visit) {
  std::string cursor = "0";
  do {
    ZEST_TRY(auto reply, volume.client.read(ctx, {"HSCAN", key, cursor, "COUNT", kScanStep}));
    ZEST_TRY(auto const step, scan_step(key, std::move(reply)));
    for (std::size_t i = 0; i + 1 < step.items.size(); i += 2) {
      ZEST_TRY(bool const more, visit(step.items[i].text, step.items[i + 1].text));
      if (!more) {
        return {};
      }
    }
    cursor = step.next;
  } while (cursor != "0");
  return {};
}

// ---- directories

struct DirStep {
  std::uint64_t next = 0;
  Reply const* entries = nullptr;
  Reply const* nodes = nullptr;
};

Result<DirStep> dir_step(std::string_view key, Reply const& reply) {
  DirStep step;
  if (!reply.is_array() || reply.items.size() < 3) {
    return damaged(key, "a value of another type");
  }
  auto const& cursor = reply.items[0].text;
  std::from_chars(cursor.data(), cursor.data() + cursor.size(), step.next);
  step.entries = &reply.items[1];
  step.nodes = &reply.items[2];
  return step;
}

Result<DirEntry> dir_entry(Volume const& volume, std::string_view key, DirStep const& step,
                           std::size_t index) {
  auto const& name = step.entries->items[2 * index].text;
  auto entry = decode_entry(step.entries->items[2 * index + 1].text);
  if (!entry.ok()) {
    return at_key(std::move(entry).error(), fmt::format("{} field {:?}", key, name));
  }
  DirEntry found{.name = name, .entry = *entry, .attr = {}};
  if (index < step.nodes->items.size() && step.nodes->items[index].is_text()) {
    ZEST_TRY(found.attr, decode_node(volume.keys.node(entry->ino), step.nodes->items[index].text));
  }
  return found;
}

/// Fills the page from one step; true when the page is full.
Result<bool> fill_page(Volume const& volume, std::string_view key, DirStep const& step,
                       std::size_t limit, DirCursor& cursor, DirPage& page) {
  auto const count = step.entries->items.size() / 2;
  for (std::size_t i = 0; i < count; ++i) {
    if (page.entries.size() == limit) {
      cursor.stop_inside(step.next);
      return true;
    }
    if (cursor.take(step.entries->items[2 * i].text)) {
      ZEST_TRY(auto entry, dir_entry(volume, key, step, i));
      page.entries.push_back(std::move(entry));
    }
  }
  cursor.pass(step.next);
  return false;
}

}  // namespace

Result<DirPage> list_dir(Volume const& volume, Context const& ctx, ListDir const& request,
                         std::uint64_t secret) {
  auto const limit = std::max<std::size_t>(request.limit, 1);
  ZEST_TRY(auto cursor, DirCursor::parse(request.from, secret));
  auto const key = volume.keys.edges(request.dir);
  ScriptCall const call{.script = &volume.scripts.list_dir,
                        .keys = {key},
                        .arguments = {cursor.position(), std::to_string(limit + cursor.repeated()),
                                      std::to_string(std::min(limit, kDirStep)),
                                      request.attrs ? "1" : "0", volume.keys.prefix() + "i"}};
  ZEST_TRY(auto const reply, volume.client.call(ctx, call));
  DirPage page;
  bool last = false;
  for (auto const& item : reply.items) {
    ZEST_TRY(auto const step, dir_step(key, item));
    ZEST_TRY(bool const full, fill_page(volume, key, step, limit, cursor, page));
    last = !full && step.next == 0;
    if (full) {
      break;
    }
  }
  if (!last) {
    page.next = cursor.text();
  }
  return page;
}

Result<std::vector<std::string>> list_xattrs(Volume const& volume, Context const& ctx, Ino ino) {
  ZEST_TRY(auto reply, volume.client.read(ctx, {"HKEYS", volume.keys.xattrs(ino)}));
  std::vector<std::string> names;
  for (auto& item : reply.items) {
    names.push_back(std::move(item.text));
  }
  return names;
}

// ---- chunks

namespace {

/// One past the last chunk that a file's node allows; nothing where there is no node.
Result<std::optional<std::uint64_t>> chunks_end(Volume const& volume, Context const& ctx, Ino ino) {
  auto const key = volume.keys.node(ino);
  ZEST_TRY(auto const reply, volume.client.read(ctx, {"GET", key}));
  if (!reply.is_text()) {
    return std::optional<std::uint64_t>();
  }
  ZEST_TRY(auto const attr, decode_node(key, reply.text));
  return std::optional((attr.length + kChunkSize - 1) / kChunkSize);
}

Result<ChunkPage> probe_chunks(Volume const& volume, Context const& ctx, ChunkKey from,
                               std::uint64_t end, std::size_t limit) {
  ChunkPage page;
  std::uint64_t index = from.index.value;
  while (index < end && page.chunks.size() < limit) {
    auto const last = std::min(end, index + kProbes);
    auto const prefix = fmt::format("{}c{}_", volume.keys.prefix(), from.ino.value);
    ScriptCall const call{.script = &volume.scripts.list_chunks,
                          .keys = {volume.keys.chunk(from.ino, from.index)},
                          .arguments = {std::to_string(index), std::to_string(last),
                                        std::to_string(limit - page.chunks.size()), prefix}};
    ZEST_TRY(auto reply, volume.client.call(ctx, call));
    ZEST_TRY(auto const step, scan_step(prefix, std::move(reply)));
    for (std::size_t i = 0; i + 1 < step.items.size(); i += 2) {
      ZEST_TRY(auto const number, decode_id(step.items[i].text));
      ChunkKey const key{from.ino, ChunkIndex{static_cast<std::uint32_t>(number)}};
      auto slices = decode_slices(step.items[i + 1].text);
      if (!slices.ok()) {
        return at_key(std::move(slices).error(), volume.keys.chunk(key.ino, key.index));
      }
      page.chunks.emplace_back(key, *std::move(slices));
    }
    ZEST_TRY(index, decode_id(step.next));
  }
  if (index < end) {
    page.next = ChunkKey{from.ino, ChunkIndex{static_cast<std::uint32_t>(index)}};
  }
  return page;
}

/// One step of a walk over all keys: those of chunks among them.
Result<std::string> scan_chunk_keys(Volume const& volume, Context const& ctx,
                                    std::string const& cursor, std::string_view pattern,
                                    std::vector<ChunkKey>& found) {
  ZEST_TRY(auto reply, volume.client.scan(ctx, cursor, pattern, kScanStep));
  ZEST_TRY(auto step, scan_step("SCAN", std::move(reply)));
  for (auto const& item : step.items) {
    auto const key =
        parse_redis_chunk_key(std::string_view(item.text).substr(volume.keys.prefix().size()));
    if (key.ok()) {  // others that begin with a c are none of ours
      found.push_back({.ino = key->ino, .index = key->index});
    }
  }
  return std::move(step.next);
}

Result<void> read_chunks(Volume const& volume, Context const& ctx,
                         std::vector<ChunkKey> const& keys, ChunkPage& page) {
  if (keys.empty()) {
    return {};
  }
  Request request{.replies = keys.size()};
  for (auto const& key : keys) {
    append_command(request.bytes, {"LRANGE", volume.keys.chunk(key.ino, key.index), "0", "-1"});
  }
  ZEST_TRY(auto const replies, volume.client.run(ctx, request));
  for (std::size_t i = 0; i < keys.size(); ++i) {
    auto const name = volume.keys.chunk(keys[i].ino, keys[i].index);
    if (!replies[i].is_array()) {
      return damaged(name, "a value of another type");
    }
    ZEST_TRY(auto slices, decode_chunk(name, replies[i].items));
    if (!slices.empty()) {  // else it went between the two trips
      page.chunks.emplace_back(keys[i], std::move(slices));
    }
  }
  return {};
}

/// A prefix in a pattern of SCAN; braces mean nothing there.
std::string chunk_pattern(Volume const& volume, std::string_view inode) {
  return fmt::format("{}c{}_*", volume.keys.prefix(), inode);
}

Result<ChunkPage> search_chunks(Volume const& volume, Context const& ctx, ChunkKey from,
                                std::size_t limit) {
  std::vector<ChunkKey> found;
  std::string cursor = "0";
  auto const pattern = chunk_pattern(volume, std::to_string(from.ino.value));
  do {
    ZEST_TRY(cursor, scan_chunk_keys(volume, ctx, cursor, pattern, found));
  } while (cursor != "0");
  std::erase_if(found, [&](ChunkKey const& key) { return key < from; });
  std::ranges::sort(found);
  found.erase(std::ranges::unique(found).begin(), found.end());
  ChunkPage page;
  if (found.size() > limit) {
    page.next = found[limit];
    found.resize(limit);
  }
  ZEST_CHECK(read_chunks(volume, ctx, found, page));
  return page;
}

}  // namespace

Result<ChunkPage> list_chunks(Volume const& volume, Context const& ctx, ChunkKey from,
                              std::optional<std::uint64_t> end, std::size_t limit) {
  limit = std::max<std::size_t>(limit, 1);
  if (!end) {
    ZEST_TRY(end, chunks_end(volume, ctx, from.ino));
  }
  constexpr std::uint64_t kIndexMax = std::uint64_t{1} << 31U;
  if (!end || (*end > from.index.value && *end - from.index.value > kProbedMax)) {
    return search_chunks(volume, ctx, from, limit);
  }
  return probe_chunks(volume, ctx, from, std::min(*end + kBehindEnd, kIndexMax), limit);
}

Result<ChunkPage> list_all_chunks(Volume const& volume, Context const& ctx,
                                  std::optional<ChunkKey> from, std::size_t limit) {
  // The server's cursor stands in for the next chunk. A step is never split, or what comes and goes
  // could make us skip chunks that a caller then takes for garbage.
  std::string cursor = from ? std::to_string(from->ino.value) : "0";
  std::vector<ChunkKey> found;
  auto const pattern = chunk_pattern(volume, "*");
  do {
    ZEST_TRY(cursor, scan_chunk_keys(volume, ctx, cursor, pattern, found));
  } while (cursor != "0" && found.size() < std::max<std::size_t>(limit, 1));
  std::ranges::sort(found);
  found.erase(std::ranges::unique(found).begin(), found.end());
  ChunkPage page;
  ZEST_CHECK(read_chunks(volume, ctx, found, page));
  if (cursor != "0") {
    ZEST_TRY(auto const at, decode_id(cursor));
    page.next = ChunkKey{Ino{at}, ChunkIndex{0}};
  }
  return page;
}

// ---- sessions

Result<std::vector<SessionEntry>> list_sessions(Volume const& volume, Context const& ctx) {
  auto const scores = volume.keys.named(redis_name::kAllSessions);
  auto const infos = volume.keys.named(redis_name::kSessionInfos);
  ScriptCall const call{
      .script = &volume.scripts.fetch,
      .keys = {scores, infos},
      .arguments = {"5", "ZRANGE", scores, "0", "-1", "WITHSCORES", "2", "HGETALL", infos}};
  ZEST_TRY(auto const reply, volume.client.call(ctx, call));
  if (reply.items.size() != 2) {
    return damaged(scores, "a value of another type");
  }
  std::map<std::string, std::string> info_of;
  auto const& pairs = reply.items[1].items;
  for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
    info_of.emplace(pairs[i].text, pairs[i + 1].text);
  }
  std::vector<SessionEntry> sessions;
  auto const& members = reply.items[0].items;
  for (std::size_t i = 0; i + 1 < members.size(); i += 2) {
    auto const id = decode_id(members[i].text);
    auto const expire = decode_score(members[i + 1].text);
    if (!id.ok() || !expire.ok()) {
      return damaged(scores, fmt::format("{:?}, which is no session", members[i].text));
    }
    sessions.push_back(
        {.session = SessionId{*id},
         .record = {.expire_sec = *expire, .info = std::move(info_of[members[i].text])}});
  }
  return sessions;
}

namespace {

Result<std::vector<Ino>> inodes_of(std::string_view key, std::vector<Reply> const& items) {
  std::vector<Ino> inodes;
  for (auto const& item : items) {
    auto const ino = decode_id(item.text);
    if (!ino.ok()) {
      return damaged(key, fmt::format("{:?}, which is no inode", item.text));
    }
    inodes.push_back(Ino{*ino});
  }
  return inodes;
}

}  // namespace

Result<std::vector<Ino>> list_sustained(Volume const& volume, Context const& ctx, SessionId session,
                                        std::size_t limit) {
  auto const key = volume.keys.sustained(session);
  // Any of them, each once, never more than asked for.
  ZEST_TRY(auto const reply, volume.client.read(ctx, {"SRANDMEMBER", key, std::to_string(limit)}));
  return inodes_of(key, reply.items);
}

Result<std::vector<Ino>> list_locked(Volume const& volume, Context const& ctx, SessionId session) {
  auto const key = volume.keys.locked(session);
  ScriptCall const call{.script = &volume.scripts.list_locked,
                        .keys = {key},
                        .arguments = {fmt::format("{}_", session.value)}};
  ZEST_TRY(auto const reply, volume.client.call(ctx, call));
  std::vector<Ino> inodes;
  auto const flocks = volume.keys.named("lockf");
  auto const plocks = volume.keys.named("lockp");
  for (auto const& item : reply.items) {
    std::string_view const name = item.text;
    auto const ino = name.starts_with(flocks) || name.starts_with(plocks)
                         ? decode_id(name.substr(flocks.size()))
                         : Result<std::uint64_t>(Errc::io);
    if (!ino.ok()) {
      return damaged(key, fmt::format("{:?}, which is no lock", name));
    }
    inodes.push_back(Ino{*ino});
  }
  std::ranges::sort(inodes);
  inodes.erase(std::ranges::unique(inodes).begin(), inodes.end());
  return inodes;
}

// ---- what waits for a background job

namespace {

/// Members of a sorted set with their scores up to `until`, which ZRANGEBYSCORE understands.
template <class Visit>
Result<void> scan_scores(Volume const& volume, Context const& ctx, std::string const& key,
                         std::string const& until, std::size_t limit, Visit const& visit) {
  ZEST_TRY(auto const reply,
           volume.client.read(ctx, {"ZRANGEBYSCORE", key, "-inf", until, "WITHSCORES", "LIMIT", "0",
                                    std::to_string(limit)}));
  // Version 3 of the protocol pairs members with scores.
  std::vector<Reply const*> flat;
  for (auto const& item : reply.items) {
    if (item.is_array()) {
      for (auto const& part : item.items) {
        flat.push_back(&part);
      }
    } else {
      flat.push_back(&item);
    }
  }
  for (std::size_t i = 0; i + 1 < flat.size(); i += 2) {
    auto const score = decode_score(flat[i + 1]->text);
    if (!score.ok()) {
      return at_key(score.error().clone(), key);
    }
    ZEST_CHECK(visit(flat[i]->text, *score));
  }
  return {};
}

}  // namespace

Result<std::vector<DelfileEntry>> list_delfiles(Volume const& volume, Context const& ctx,
                                                std::int64_t before_sec, std::size_t limit) {
  std::vector<DelfileEntry> files;
  ZEST_CHECK(scan_scores(
      volume, ctx, volume.keys.named(redis_name::kDeletedFiles), std::to_string(before_sec), limit,
      [&](std::string_view member, std::int64_t score) -> Result<void> {
        if (auto const file = parse_redis_deleted_file(member); file.ok()) {
          files.push_back({.ino = file->ino, .length = file->length, .deleted_sec = score});
        }
        return {};  // members of other forms are of clients before 1.0
      }));
  return files;
}

Result<std::vector<DetachedEntry>> list_detached(Volume const& volume, Context const& ctx,
                                                 std::int64_t before_sec, std::size_t limit) {
  std::vector<DetachedEntry> entries;
  auto const key = volume.keys.named(redis_name::kDetachedNodes);
  ZEST_CHECK(scan_scores(volume, ctx, key, fmt::format("({}", before_sec), limit,
                         [&](std::string_view member, std::int64_t score) -> Result<void> {
                           auto const ino = decode_id(member);
                           if (!ino.ok()) {
                             return at_key(ino.error().clone(), key);
                           }
                           entries.push_back({.ino = Ino{*ino}, .added_sec = score});
                           return {};
                         }));
  return entries;
}

Result<std::vector<DelayedEntry>> list_delayed_slices(Volume const& volume, Context const& ctx,
                                                      std::int64_t before_sec, std::size_t limit) {
  std::map<DelayedSlicesKey, std::vector<DelayedSlice>> due;
  auto const key = volume.keys.named(redis_name::kDelayedSlices);
  ZEST_CHECK(scan_hash(
      volume, ctx, key, [&](std::string_view field, std::string_view value) -> Result<bool> {
        auto const parsed = parse_redis_delayed_key(field);
        auto slices = decode_delayed_slices(value);
        if (!parsed.ok() || !slices.ok()) {
          return damaged(key, fmt::format("{:?}, which is no list of slices", field));
        }
        if (parsed->deleted_sec < before_sec && due.size() < limit) {
          due.emplace(
              DelayedSlicesKey{.compacted_into = parsed->id, .deleted_sec = parsed->deleted_sec},
              *std::move(slices));
        }
        return due.size() < limit;
      }));
  std::vector<DelayedEntry> entries;
  for (auto& [id, slices] : due) {
    entries.push_back({.key = id, .slices = std::move(slices)});
  }
  return entries;
}

Result<std::vector<DelayedSlice>> list_garbage_slices(Volume const& volume, Context const& ctx,
                                                      std::size_t limit) {
  std::map<SliceId, std::uint32_t> garbage;
  auto const key = volume.keys.named(redis_name::kSliceRefs);
  ZEST_CHECK(scan_hash(volume, ctx, key,
                       [&](std::string_view field, std::string_view value) -> Result<bool> {
                         auto const slice = parse_redis_slice_key(field);
                         auto const stored = decode_decimal(value);
                         if (!slice.ok() || !stored.ok()) {
                           return damaged(key, fmt::format("{:?} = {:?}", field, value));
                         }
                         if (*stored < 0 && garbage.size() < limit) {
                           garbage.emplace(slice->id, slice->size);
                         }
                         return garbage.size() < limit;
                       }));
  std::vector<DelayedSlice> slices;
  for (auto const& [id, size] : garbage) {
    slices.push_back({.id = id, .size = size});
  }
  return slices;
}

// ---- quotas and ACL rules

namespace {

using Fields = std::map<std::string, std::string>;

Fields fields_of(Reply const& reply) {
  Fields fields;
  for (std::size_t i = 0; i + 1 < reply.items.size(); i += 2) {
    fields.emplace(reply.items[i].text, reply.items[i + 1].text);
  }
  return fields;
}

Result<QuotaEntry> quota_entry(std::string_view key, QuotaType type, std::string const& id,
                               std::string_view limits, Fields const& space, Fields const& inodes) {
  auto const number = decode_id(id);
  auto quota = decode_quota_limits(limits);
  auto const used = [&id](Fields const& fields) {
    auto const it = fields.find(id);
    return it == fields.end() ? Result<std::int64_t>(0) : decode_decimal(it->second);
  };
  auto const used_space = used(space);
  auto const used_inodes = used(inodes);
  if (!number.ok() || !quota.ok() || !used_space.ok() || !used_inodes.ok()) {
    return damaged(key, fmt::format("a quota of {:?} that is none", id));
  }
  quota->used_space = *used_space;
  quota->used_inodes = *used_inodes;
  return QuotaEntry{.key = {.type = type, .id = *number}, .quota = *quota};
}

}  // namespace

Result<std::vector<QuotaEntry>> list_quotas(Volume const& volume, Context const& ctx) {
  ScriptCall call{.script = &volume.scripts.fetch};
  constexpr QuotaType kTypes[]{QuotaType::directory, QuotaType::user, QuotaType::group};
  for (auto const type : kTypes) {
    auto const names = quota_names(type);
    for (auto const name : {names.limits, names.used_space, names.used_inodes}) {
      call.keys.push_back(volume.keys.named(name));
      call.arguments.insert(call.arguments.end(), {"2", "HGETALL", volume.keys.named(name)});
    }
  }
  ZEST_TRY(auto const reply, volume.client.call(ctx, call));
  if (reply.items.size() != call.keys.size()) {
    return damaged(call.keys[0], "a value of another type");
  }
  std::vector<QuotaEntry> entries;
  for (std::size_t i = 0; i < std::size(kTypes); ++i) {
    auto const space = fields_of(reply.items[3 * i + 1]);
    auto const inodes = fields_of(reply.items[3 * i + 2]);
    for (auto const& [id, limits] : fields_of(reply.items[3 * i])) {
      ZEST_TRY(auto entry, quota_entry(call.keys[3 * i], kTypes[i], id, limits, space, inodes));
      entries.push_back(entry);
    }
  }
  return entries;
}

Result<std::vector<StoredAcl>> list_acls(Volume const& volume, Context const& ctx,
                                         std::uint32_t after) {
  auto const key = volume.keys.named(redis_name::kAcl);
  ZEST_TRY(auto const reply, volume.client.read(ctx, {"HGETALL", key}));
  std::vector<StoredAcl> rules;
  for (std::size_t i = 0; i + 1 < reply.items.size(); i += 2) {
    auto const id = decode_id(reply.items[i].text);
    auto rule = decode_acl(reply.items[i + 1].text);
    if (!id.ok() || *id > UINT32_MAX || !rule.ok()) {
      return damaged(key, fmt::format("{:?}, which is no ACL rule", reply.items[i].text));
    }
    if (*id > after) {
      rules.push_back({.id = static_cast<std::uint32_t>(*id), .rule = *std::move(rule)});
    }
  }
  std::ranges::sort(rules, {}, &StoredAcl::id);
  return rules;
}

Result<void> delete_all_keys(Volume const& volume, Context const& ctx) {
  std::string cursor = "0";
  do {
    ZEST_TRY(auto reply, volume.client.scan(ctx, cursor, volume.keys.prefix() + "*", kScanStep));
    ZEST_TRY(auto const step, scan_step("SCAN", std::move(reply)));
    Request request{.replies = 1, .changes = true};
    std::vector<std::string> command{"UNLINK"};
    for (auto const& item : step.items) {
      command.push_back(item.text);
    }
    if (command.size() > 1) {
      append_command(request.bytes, command);
      ZEST_TRY(auto const replies, volume.client.run(ctx, request));
      if (replies[0].is_error()) {
        return error_of(replies[0]);
      }
    }
    cursor = step.next;
  } while (cursor != "0");
  return {};
}

}  // namespace zest::meta::redis
