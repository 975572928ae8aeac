#include "zest/meta/engine/memory/memory_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <type_traits>

#include "zest/meta/engine/node_fields.h"

namespace zest::meta {

namespace {

template <class Map, class K>
Value found(Map const& map, K const& key) {
  auto const it = map.find(key);
  return it == map.end() ? Value() : Value(it->second);
}

template <class Map>
Value found_owner(Map const& map, Ino ino, LockOwner owner) {
  auto const it = map.find(ino);
  return it == map.end() ? Value() : found(it->second, owner);
}

template <class Map>
void erase_owner(Map& map, Ino ino, LockOwner owner) {
  if (auto const it = map.find(ino); it != map.end()) {
    it->second.erase(owner);
    if (it->second.empty()) {
      map.erase(it);
    }
  }
}

/// FNV-1a, mixed: an order that has nothing to do with that of the names.
std::uint64_t hash_name(std::string_view name) noexcept {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (char const c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  }
  return hash ^ (hash >> 29);
}

constexpr std::size_t kHashDigits = 16;

}  // namespace

MemoryState::MemoryState(MemoryEngineOptions const& options)
    : parents_stored_(options.parents_stored),
      ordered_(options.ordered_listing),
      usage_in_commit_(options.usage_in_commit) {}

ListedName MemoryState::listed(std::string_view name) const {
  return {.hash = ordered_ ? 0 : hash_name(name), .name = std::string(name)};
}

Entry const* MemoryState::entry(Ino parent, std::string const& name) const {
  auto const dir = directories_.find(parent);
  if (dir == directories_.end()) {
    return nullptr;
  }
  auto const it = dir->second.find(listed(name));
  return it == dir->second.end() ? nullptr : &it->second;
}

Value MemoryState::child(ChildKey const& key) const {
  auto const* e = entry(key.parent, key.name);
  if (e == nullptr) {
    return {};
  }
  Child child{.entry = *e, .attr = {}};
  if (auto const node = nodes_.find(e->ino); node != nodes_.end()) {
    child.attr = node->second;
  }
  return child;
}

Value MemoryState::parents(Ino ino) const {
  return found(parents_stored_ ? parents_ : names_, ino);
}

Result<Value> MemoryState::read(Key const& key) const {
  auto value =
      std::visit(Overloaded{
                     [this](NodeKey const& k) { return found(nodes_, k.ino); },
                     [this](EdgeKey const& k) {
                       auto const* e = entry(k.parent, k.name);
                       return e == nullptr ? Value() : Value(*e);
                     },
                     [this](ChildKey const& k) { return child(k); },
                     [this](SymlinkKey const& k) { return found(symlinks_, k.ino); },
                     [this](XattrKey const& k) { return found(xattrs_, k); },
                     [this](ChunkKey const& k) { return found(chunks_, k); },
                     [this](ParentsKey const& k) { return parents(k.ino); },
                     [this](HasEntriesKey const& k) { return Value(directories_.contains(k.ino)); },
                     [this](SliceRefKey const& k) {
                       auto const it = refs_.find(k.id);
                       return it == refs_.end() ? Value() : Value(it->second.refs);
                     },
                     [this](FlocksKey const& k) { return found(flocks_, k.ino); },
                     [this](FlockKey const& k) {
                       return found_owner(flocks_, k.ino, {.session = k.session, .owner = k.owner});
                     },
                     [this](PlocksKey const& k) { return found(plocks_, k.ino); },
                     [this](PlockKey const& k) {
                       return found_owner(plocks_, k.ino, {.session = k.session, .owner = k.owner});
                     },
                     [this](SessionKey const& k) { return found(sessions_, k.session); },
                     [this](SustainedKey const& k) {
                       return sustained_.contains({k.session, k.ino}) ? Value(Present()) : Value();
                     },
                     [this](DelfileKey const& k) { return found(delfiles_, k); },
                     [this](DirStatKey const& k) { return found(dir_stats_, k.ino); },
                     [this](QuotaKey const& k) { return found(quotas_, k); },
                     [this](AclKey const& k) { return found(acls_, k.id); },
                     [this](DetachedKey const& k) { return found(detached_, k.ino); },
                     [this](DelayedSlicesKey const& k) {
                       auto const it = delayed_.find(k.compacted_into);
                       return it == delayed_.end() || it->second.now_sec != k.deleted_sec
                                  ? Value()
                                  : Value(it->second.slices);
                     },
                 },
                 key);
  return normalized(std::move(value));
}

// ---- commit

Result<void> MemoryState::check(Condition const& condition) const {
  auto const is = [this](Key const& key, Value const& expected) -> Result<void> {
    ZEST_TRY(auto const value, read(key));
    return value == normalized(expected) ? Result<void>() : conflict(key);
  };
  return std::visit(
      Overloaded{
          [&](ExpectAbsent const& c) { return is(c.key, Value()); },
          [&](ExpectEqual const& c) { return is(c.key, c.value); },
          [&](ExpectNode const& c) -> Result<void> {
            auto const node = nodes_.find(c.ino);
            if (node == nodes_.end() || !same_fields(node->second, c.seen, c.fields)) {
              return conflict(NodeKey{c.ino});
            }
            return {};
          },
          [&](ExpectEmptyDir const& c) -> Result<void> {
            return directories_.contains(c.ino) ? conflict(HasEntriesKey{c.ino}) : Result<void>();
          },
          [&](ExpectChunkPrefix const& c) -> Result<void> {
            auto const it = chunks_.find(c.key);
            auto const size = it == chunks_.end() ? 0 : it->second.size();
            if (size < c.prefix.size() ||
                (size != 0 && !std::equal(c.prefix.begin(), c.prefix.end(), it->second.begin()))) {
              return conflict(c.key);
            }
            return {};
          },
      },
      condition);
}

Result<void> MemoryState::check_changes(Commit const& commit) const {
  std::map<Ino, bool> exists;
  for (auto const& change : commit.changes) {
    if (auto const* put = std::get_if<Put>(&change)) {
      ZEST_CHECK(check_put(*put));
      if (auto const* node = std::get_if<NodeKey>(&put->key)) {
        exists[node->ino] = true;
      }
    } else if (auto const* erase = std::get_if<Erase>(&change)) {
      ZEST_CHECK(check_erase(erase->key));
      if (auto const* node = std::get_if<NodeKey>(&erase->key)) {
        exists[node->ino] = false;
      }
    } else if (auto const* update = std::get_if<UpdateNode>(&change)) {
      auto const known = exists.find(update->ino);
      if (known == exists.end() ? !nodes_.contains(update->ino) : !known->second) {
        return conflict(NodeKey{update->ino});
      }
    }
  }
  return {};
}

Result<void> MemoryState::commit(Commit const& commit) {
  if (commit.fence.value != 0) {
    auto const session = sessions_.find(commit.fence);
    if (session == sessions_.end() || session->second.expire_sec <= 0) {
      return fenced(commit.fence);
    }
  }
  for (auto const& condition : commit.conditions) {
    ZEST_CHECK(check(condition));
  }
  ZEST_CHECK(check_changes(commit));
  for (auto const& change : commit.changes) {
    apply(change);
  }
  if (usage_in_commit_) {
    add_usage(commit.usage);
  }
  return {};
}

void MemoryState::apply(Change const& change) {
  std::visit(Overloaded{
                 [this](Put const& c) { put(c); },
                 [this](Erase const& c) { erase(c.key); },
                 [this](EraseXattrs const& c) {
                   std::erase_if(xattrs_, [&](auto const& x) { return x.first.ino == c.ino; });
                 },
                 [this](UpdateNode const& c) { apply_update(nodes_.at(c.ino), c); },
                 [this](AppendSlices const& c) { append(c); },
                 [this](ReplaceChunkPrefix const& c) { replace_prefix(c); },
                 [this](NewSlice const& c) {
                   refs_.insert_or_assign(c.id, SliceRef{.size = c.size, .refs = c.refs});
                 },
                 [this](AddSliceRef const& c) {
                   if (auto const it = refs_.find(c.id);
                       it != refs_.end() && it->second.size == c.size) {
                     it->second.refs += c.delta;
                   }
                 },
                 [this](AddParent const& c) { add_parent(c); },
                 [this](DelaySlices const& c) { delayed_.insert_or_assign(c.compacted_into, c); },
             },
             change);
}

void MemoryState::put(Put const& change) {
  // check_put has made sure that the value is of the key's type.
  auto const owner = [](auto const& k) {
    return LockOwner{.session = k.session, .owner = k.owner};
  };
  auto const assign = [](auto& map, auto const& key, auto const& value) {
    if (value.empty()) {
      map.erase(key);
    } else {
      map.insert_or_assign(key, value);
    }
  };
  auto const value = [&change](auto const& k) -> auto const& {
    return *record_of(k, change.value);
  };
  std::visit(Overloaded{
                 [&](NodeKey const& k) { nodes_.insert_or_assign(k.ino, value(k)); },
                 [&](EdgeKey const& k) { put_entry(k, value(k)); },
                 [&](SymlinkKey const& k) { symlinks_.insert_or_assign(k.ino, value(k)); },
                 [&](XattrKey const& k) { xattrs_.insert_or_assign(k, value(k)); },
                 [&](ChunkKey const& k) { assign(chunks_, k, value(k)); },
                 [&](SliceRefKey const& k) {
                   refs_.insert_or_assign(k.id, SliceRef{.size = k.size, .refs = value(k)});
                 },
                 [&](FlocksKey const& k) { assign(flocks_, k.ino, value(k)); },
                 [&](FlockKey const& k) { flocks_[k.ino].insert_or_assign(owner(k), value(k)); },
                 [&](PlocksKey const& k) { assign(plocks_, k.ino, value(k)); },
                 [&](PlockKey const& k) {
                   if (value(k).empty()) {
                     erase_owner(plocks_, k.ino, owner(k));
                   } else {
                     plocks_[k.ino].insert_or_assign(owner(k), value(k));
                   }
                 },
                 [&](SessionKey const& k) { sessions_.insert_or_assign(k.session, value(k)); },
                 [&](SustainedKey const& k) { sustained_.emplace(k.session, k.ino); },
                 [&](DelfileKey const& k) { delfiles_.insert_or_assign(k, value(k)); },
                 [&](DirStatKey const& k) { dir_stats_.insert_or_assign(k.ino, value(k)); },
                 [](ChildKey const&) {},
                 [](ParentsKey const&) {},
                 [](HasEntriesKey const&) {},
                 [&](QuotaKey const& k) { quotas_.insert_or_assign(k, value(k)); },
                 [&](DetachedKey const& k) { detached_.insert_or_assign(k.ino, value(k)); },
                 [](AclKey const&) {},
                 [](DelayedSlicesKey const&) {},
             },
             change.key);
}

void MemoryState::erase(Key const& key) {
  auto const owner = [](auto const& k) {
    return LockOwner{.session = k.session, .owner = k.owner};
  };
  std::visit(Overloaded{
                 [this](NodeKey const& k) { nodes_.erase(k.ino); },
                 [this](EdgeKey const& k) { erase_entry(k); },
                 [](ChildKey const&) {},
                 [this](SymlinkKey const& k) { symlinks_.erase(k.ino); },
                 [this](XattrKey const& k) { xattrs_.erase(k); },
                 [this](ChunkKey const& k) { chunks_.erase(k); },
                 [this](ParentsKey const& k) { parents_.erase(k.ino); },
                 [this](HasEntriesKey const& k) { erase_directory(k.ino); },
                 [this](SliceRefKey const& k) { refs_.erase(k.id); },
                 [this](FlocksKey const& k) { flocks_.erase(k.ino); },
                 [&](FlockKey const& k) { erase_owner(flocks_, k.ino, owner(k)); },
                 [this](PlocksKey const& k) { plocks_.erase(k.ino); },
                 [&](PlockKey const& k) { erase_owner(plocks_, k.ino, owner(k)); },
                 [this](SessionKey const& k) { sessions_.erase(k.session); },
                 [this](SustainedKey const& k) { sustained_.erase({k.session, k.ino}); },
                 [this](DelfileKey const& k) { delfiles_.erase(k); },
                 [this](DirStatKey const& k) { dir_stats_.erase(k.ino); },
                 [this](QuotaKey const& k) { erase_quota(k); },
                 [](AclKey const&) {},
                 [this](DetachedKey const& k) { detached_.erase(k.ino); },
                 [this](DelayedSlicesKey const& k) {
                   if (std::holds_alternative<std::monostate>(*read(k))) {
                     return;
                   }
                   delayed_.erase(k.compacted_into);
                 },
             },
             key);
}

void MemoryState::put_entry(EdgeKey const& key, Entry const& value) {
  erase_entry(key);
  directories_[key.parent].emplace(listed(key.name), value);
  ++names_[value.ino][key.parent];
}

void MemoryState::erase_entry(EdgeKey const& key) {
  auto const* old = entry(key.parent, key.name);
  if (old == nullptr) {
    return;
  }
  auto& parents = names_[old->ino];
  if (--parents[key.parent] == 0) {
    parents.erase(key.parent);
  }
  if (parents.empty()) {
    names_.erase(old->ino);
  }
  auto const dir = directories_.find(key.parent);
  dir->second.erase(listed(key.name));
  if (dir->second.empty()) {
    directories_.erase(dir);
  }
}

void MemoryState::erase_directory(Ino ino) {
  while (directories_.contains(ino)) {
    erase_entry({.parent = ino, .name = directories_[ino].begin()->first.name});
  }
}

void MemoryState::append(AppendSlices const& change) {
  if (change.slices.empty() || (change.only_existing && !chunks_.contains(change.key))) {
    return;
  }
  auto& slices = chunks_[change.key];
  slices.insert(slices.end(), change.slices.begin(), change.slices.end());
}

void MemoryState::replace_prefix(ReplaceChunkPrefix const& change) {
  auto& slices = chunks_[change.key];
  auto const count = std::min(change.count, slices.size());
  slices.erase(slices.begin(), slices.begin() + static_cast<std::ptrdiff_t>(count));
  slices.insert(slices.begin(), change.slices.begin(), change.slices.end());
  if (slices.empty()) {
    chunks_.erase(change.key);
  }
}

void MemoryState::add_parent(AddParent const& change) {
  if (!parents_stored_) {
    return;
  }
  auto& parents = parents_[change.ino];
  if ((parents[change.parent] += change.delta) <= 0) {
    parents.erase(change.parent);
  }
  if (parents.empty()) {
    parents_.erase(change.ino);
  }
}

// ---- listings

Result<DirPage> MemoryState::list_dir(ListDir const& request) const {
  DirPage page;
  auto const dir = directories_.find(request.dir);
  if (dir == directories_.end()) {
    return page;
  }
  auto it = dir->second.begin();
  if (!request.from.empty()) {
    ListedName last{.name = request.from};
    if (!ordered_) {
      auto const [end, error] = std::from_chars(
          request.from.data(), request.from.data() + std::min(kHashDigits, request.from.size()),
          last.hash, 16);
      if (error != std::errc() || request.from.size() <= kHashDigits) {
        return Error(Errc::inval, Fault::bug, "a directory cursor that this engine did not make");
      }
      last.name.erase(0, kHashDigits);
    }
    it = dir->second.upper_bound(last);
  }
  for (; it != dir->second.end() && page.entries.size() < std::max<std::size_t>(request.limit, 1);
       ++it) {
    auto& added = page.entries.emplace_back(DirEntry{.name = it->first.name, .entry = it->second});
    if (auto const node = nodes_.find(it->second.ino); request.attrs && node != nodes_.end()) {
      added.attr = node->second;
    }
  }
  if (it != dir->second.end()) {
    auto const& last = std::prev(it)->first;
    page.next = ordered_ ? last.name : fmt::format("{:016x}{}", last.hash, last.name);
  }
  return page;
}

std::vector<std::string> MemoryState::list_xattrs(Ino ino) const {
  std::vector<std::string> names;
  for (auto it = xattrs_.lower_bound({.ino = ino, .name = {}});
       it != xattrs_.end() && it->first.ino == ino; ++it) {
    names.push_back(it->first.name);
  }
  return names;
}

ChunkPage MemoryState::list_chunks(ChunkKey from, std::size_t limit, bool one_inode) const {
  ChunkPage page;
  auto it = chunks_.lower_bound(from);
  auto const inside = [&] {
    return it != chunks_.end() && (!one_inode || it->first.ino == from.ino);
  };
  for (; inside() && page.chunks.size() < std::max<std::size_t>(limit, 1); ++it) {
    page.chunks.emplace_back(it->first, it->second);
  }
  if (inside()) {
    page.next = it->first;
  }
  return page;
}

std::vector<SessionEntry> MemoryState::list_sessions() const {
  std::vector<SessionEntry> sessions;
  for (auto const& [session, record] : sessions_) {
    sessions.push_back({.session = session, .record = record});
  }
  return sessions;
}

std::vector<Ino> MemoryState::list_sustained(SessionId session, std::size_t limit) const {
  std::vector<Ino> inodes;
  for (auto it = sustained_.lower_bound({session, Ino{0}});
       it != sustained_.end() && it->first == session && inodes.size() < limit; ++it) {
    inodes.push_back(it->second);
  }
  return inodes;
}

std::vector<DelfileEntry> MemoryState::list_delfiles(std::int64_t before_sec,
                                                     std::size_t limit) const {
  std::vector<DelfileEntry> files;
  for (auto const& [key, record] : delfiles_) {
    if (record.deleted_sec <= before_sec && files.size() < limit) {
      files.push_back({.ino = key.ino, .length = key.length, .deleted_sec = record.deleted_sec});
    }
  }
  return files;
}

std::vector<DelayedSlice> MemoryState::list_garbage_slices(std::size_t limit) const {
  std::vector<DelayedSlice> slices;
  for (auto const& [id, ref] : refs_) {
    if (ref.refs <= 0 && slices.size() < limit) {
      slices.push_back({.id = id, .size = ref.size});
    }
  }
  return slices;
}

std::vector<Ino> MemoryState::list_locked(SessionId session) const {
  std::set<Ino> inodes;
  auto const collect = [&](auto const& locks) {
    for (auto const& [ino, owners] : locks) {
      if (std::ranges::any_of(owners, [&](auto const& o) { return o.first.session == session; })) {
        inodes.insert(ino);
      }
    }
  };
  collect(flocks_);
  collect(plocks_);
  return {inodes.begin(), inodes.end()};
}

// ---- counters and the volume

IdRange MemoryState::allocate_ids(IdKind kind, std::uint64_t count) {
  auto const take = [count](std::uint64_t& next, std::uint64_t first_offset) {
    auto const first = next + first_offset;
    next += count;
    return IdRange{.first = first, .count = count};
  };
  switch (kind) {
    case IdKind::inode: return take(next_inode_, 0);
    case IdKind::slice: return take(next_slice_, 0);
    case IdKind::session: return take(last_session_, 1);
    case IdKind::trash: return take(last_trash_, 1);
  }
  __builtin_unreachable();
}

void MemoryState::add_usage(Usage delta) noexcept {
  usage_.space += delta.space;
  usage_.inodes += delta.inodes;
}

std::vector<Ino> MemoryState::add_dir_stats(std::span<std::pair<Ino, DirStat> const> deltas) {
  std::vector<Ino> missing;
  for (auto const& [ino, delta] : deltas) {
    if (auto const it = dir_stats_.find(ino); it != dir_stats_.end()) {
      it->second.length += delta.length;
      it->second.space += delta.space;
      it->second.inodes += delta.inodes;
    } else {
      missing.push_back(ino);
    }
  }
  return missing;
}

bool MemoryState::take_lease(Lease lease, std::int64_t now_sec, std::int64_t interval_sec) {
  auto& last = leases_[lease];
  if (last > now_sec - interval_sec) {
    return false;
  }
  last = now_sec;
  return true;
}

void MemoryState::initialize(std::string_view setting, Attr const& root,
                             std::optional<Attr> const& trash) {
  if (!setting_) {
    nodes_.insert_or_assign(kRootIno, root);
  }
  setting_ = setting;
  if (trash) {
    nodes_.emplace(kTrashIno, *trash);
  }
}

}  // namespace zest::meta
