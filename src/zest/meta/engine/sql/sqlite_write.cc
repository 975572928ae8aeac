#include "zest/meta/engine/sql/sqlite_write.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "zest/format/counter_name.h"
#include "zest/format/locks.h"
#include "zest/format/slice.h"
#include "zest/meta/engine/counters.h"
#include "zest/meta/engine/node_fields.h"
#include "zest/meta/engine/sql/sqlite_read.h"
#include "zest/meta/engine/sql/sqlite_rows.h"
#include "zest/meta/engine/sql/sqlite_schema.h"

namespace zest::meta::sqlite {

// ---- nodes

Result<WriteTransaction::BufferedNode*> WriteTransaction::node(Ino ino) {
  if (auto const it = nodes_.find(ino); it != nodes_.end()) {
    return &it->second;
  }
  ZEST_TRY(auto attr, read_node(connection_, ino));
  return &nodes_.emplace(ino, BufferedNode{.attr = attr}).first->second;
}

namespace {

Result<void> store_node(Connection& connection, Ino ino, Attr const& attr) {
  auto const atime = to_stored(attr.atime);
  auto const mtime = to_stored(attr.mtime);
  auto const ctime = to_stored(attr.ctime);
  // Not REPLACE: a newer client's further columns have to survive.
  return connection.run(
      "INSERT INTO jfs_node(inode,type,flags,mode,uid,gid,atime,mtime,ctime,atimensec,mtimensec,"
      "ctimensec,nlink,length,rdev,parent,access_acl_id,default_acl_id,tier_id)"
      " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT(inode) DO UPDATE SET"
      " type=excluded.type,flags=excluded.flags,mode=excluded.mode,uid=excluded.uid,"
      "gid=excluded.gid,atime=excluded.atime,mtime=excluded.mtime,ctime=excluded.ctime,"
      "atimensec=excluded.atimensec,mtimensec=excluded.mtimensec,ctimensec=excluded.ctimensec,"
      "nlink=excluded.nlink,length=excluded.length,rdev=excluded.rdev,parent=excluded.parent,"
      "access_acl_id=excluded.access_acl_id,default_acl_id=excluded.default_acl_id,"
      "tier_id=excluded.tier_id",
      ino, static_cast<int>(attr.type), std::uint32_t{attr.flags}, std::uint32_t{attr.mode},
      attr.uid, attr.gid, atime.microseconds, mtime.microseconds, ctime.microseconds,
      atime.nanoseconds, mtime.nanoseconds, ctime.nanoseconds, attr.nlink, attr.length, attr.rdev,
      attr.parent, attr.access_acl, attr.default_acl, std::uint32_t{attr.tier});
}

}  // namespace

Result<void> WriteTransaction::flush() {
  for (auto& [ino, buffered] : nodes_) {
    if (!buffered.dirty) {
      continue;
    }
    if (buffered.attr) {
      ZEST_CHECK(store_node(connection_, ino, *buffered.attr));
    } else {
      ZEST_CHECK(connection_.run("DELETE FROM jfs_node WHERE inode=?", ino));
    }
    buffered.dirty = false;
  }
  return {};
}

// ---- conditions

Result<Value> WriteTransaction::read(Key const& key) {
  if (auto const* k = std::get_if<NodeKey>(&key)) {
    ZEST_TRY(auto* buffered, node(k->ino));
    return buffered->attr ? Value(*buffered->attr) : Value();
  }
  if (std::holds_alternative<ChildKey>(key)) {
    // The join reads the table.
    ZEST_CHECK(flush());
  }
  return read_record(connection_, key);
}

Result<void> WriteTransaction::check(Condition const& condition) {
  auto const is = [this](Key const& key, Value const& expected) -> Result<void> {
    ZEST_TRY(auto const value, read(key));
    return value == normalized(expected) ? Result<void>() : conflict(key);
  };
  return std::visit(
      Overloaded{
          [&](ExpectAbsent const& c) { return is(c.key, Value()); },
          [&](ExpectEqual const& c) { return is(c.key, c.value); },
          [&](ExpectNode const& c) -> Result<void> {
            ZEST_TRY(auto const* buffered, node(c.ino));
            if (!buffered->attr || !same_fields(*buffered->attr, c.seen, c.fields)) {
              return conflict(NodeKey{c.ino});
            }
            return {};
          },
          [&](ExpectEmptyDir const& c) { return is(HasEntriesKey{c.ino}, Value(false)); },
          [&](ExpectChunkPrefix const& c) -> Result<void> {
            ZEST_TRY(auto const slices, read_chunk(connection_, c.key));
            if (slices.size() < c.prefix.size() ||
                !std::equal(c.prefix.begin(), c.prefix.end(), slices.begin())) {
              return conflict(c.key);
            }
            return {};
          },
      },
      condition);
}

// ---- changes

Result<void> WriteTransaction::commit(Commit const& commit) {
  if (commit.fence.value != 0) {
    ZEST_CHECK(check_fence(commit.fence));
  }
  for (auto const& condition : commit.conditions) {
    ZEST_CHECK(check(condition));
  }
  touched_ = true;
  for (auto const& change : commit.changes) {
    ZEST_CHECK(apply(change));
  }
  return {};
}

Result<void> WriteTransaction::apply(Change const& change) {
  auto& c = connection_;
  return std::visit(
      Overloaded{
          [this](Put const& x) { return put(x); },
          [this](Erase const& x) { return erase(x.key); },
          [&](EraseXattrs const& x) { return c.run("DELETE FROM jfs_xattr WHERE inode=?", x.ino); },
          [this](UpdateNode const& x) { return update(x); },
          [this](AppendSlices const& x) { return append(x); },
          [this](ReplaceChunkPrefix const& x) { return replace_prefix(x); },
          [&](NewSlice const& x) {
            return c.run("INSERT OR REPLACE INTO jfs_chunk_ref(chunkid,size,refs) VALUES(?,?,?)",
                         x.id, x.size, x.refs);
          },
          [&](AddSliceRef const& x) {
            // A slice without a row stays without one: its objects are left to gc, as by the peer.
            return c.run("UPDATE jfs_chunk_ref SET refs=refs+? WHERE chunkid=? AND size=?", x.delta,
                         x.id, x.size);
          },
          // Derived from the entries (index on inode).
          [](AddParent const& /*x*/) { return Result<void>(); },
          [this](DelaySlices const& x) { return delay(x); },
      },
      change);
}

Result<void> WriteTransaction::put(Put const& change) {
  ZEST_CHECK(check_put(change));
  auto& c = connection_;
  auto const value = [&change](auto const& k) -> auto const& {
    return *record_of(k, change.value);
  };
  return std::visit(
      Overloaded{
          [&](NodeKey const& k) -> Result<void> {
            nodes_[k.ino] = BufferedNode{.attr = value(k), .dirty = true};
            return {};
          },
          [&](EdgeKey const& k) {
            return c.run(
                "INSERT INTO jfs_edge(parent,name,inode,type) VALUES(?,?,?,?)"
                " ON CONFLICT(parent,name) DO UPDATE SET inode=excluded.inode,type=excluded.type",
                k.parent, Blob{k.name}, value(k).ino, static_cast<int>(value(k).type));
          },
          [&](SymlinkKey const& k) {
            return c.run("INSERT OR REPLACE INTO jfs_symlink(inode,target) VALUES(?,?)", k.ino,
                         Blob{value(k)});
          },
          [&](XattrKey const& k) {
            return c.run(
                "INSERT INTO jfs_xattr(inode,name,value) VALUES(?,?,?)"
                " ON CONFLICT(inode,name) DO UPDATE SET value=excluded.value",
                k.ino, Text{k.name}, Blob{value(k)});
          },
          [&](ChunkKey const& k) { return put_chunk(k, value(k)); },
          [&](SliceRefKey const& k) {
            return c.run("INSERT OR REPLACE INTO jfs_chunk_ref(chunkid,size,refs) VALUES(?,?,?)",
                         k.id, k.size, value(k));
          },
          [&](SessionKey const& k) {
            return c.run("INSERT OR REPLACE INTO jfs_session2(sid,expire,info) VALUES(?,?,?)",
                         k.session, value(k).expire_sec, Blob{value(k).info});
          },
          [&](SustainedKey const& k) {
            return c.run("INSERT OR IGNORE INTO jfs_sustained(sid,inode) VALUES(?,?)", k.session,
                         k.ino);
          },
          [&](DelfileKey const& k) {
            return c.run("INSERT OR REPLACE INTO jfs_delfile(inode,length,expire) VALUES(?,?,?)",
                         k.ino, k.length, value(k).deleted_sec);
          },
          [&](DirStatKey const& k) {
            return c.run(
                "INSERT OR REPLACE INTO jfs_dir_stats(inode,data_length,used_space,used_inodes)"
                " VALUES(?,?,?,?)",
                k.ino, value(k).length, value(k).space, value(k).inodes);
          },
          [&](QuotaKey const& k) { return put_quota(k, value(k)); },
          [&](DetachedKey const& k) {
            return c.run("INSERT OR REPLACE INTO jfs_detached_node(inode,added) VALUES(?,?)", k.ino,
                         value(k));
          },
          [&](auto const& /*locks*/) { return put_locks(change); },
      },
      change.key);
}

namespace {

Result<void> store_flock(Connection& connection, FlockKey const& key, FlockType type) {
  return connection.run(
      "INSERT INTO jfs_flock(inode,sid,owner,ltype) VALUES(?,?,?,?)"
      " ON CONFLICT(inode,sid,owner) DO UPDATE SET ltype=excluded.ltype",
      key.ino, key.session, key.owner, static_cast<int>(type));
}

Result<void> store_plock(Connection& connection, PlockKey const& key,
                         std::vector<LockRange> const& ranges) {
  if (ranges.empty()) {
    return connection.run("DELETE FROM jfs_plock WHERE inode=? AND sid=? AND owner=?", key.ino,
                          key.session, key.owner);
  }
  auto const records = encode_locks(ranges);
  return connection.run(
      "INSERT INTO jfs_plock(inode,sid,owner,records) VALUES(?,?,?,?)"
      " ON CONFLICT(inode,sid,owner) DO UPDATE SET records=excluded.records",
      key.ino, key.session, key.owner, Blob{records});
}

}  // namespace

Result<void> WriteTransaction::put_locks(Put const& change) {
  if (auto const* k = std::get_if<FlockKey>(&change.key)) {
    return store_flock(connection_, *k, std::get<FlockType>(change.value));
  }
  if (auto const* k = std::get_if<PlockKey>(&change.key)) {
    return store_plock(connection_, *k, std::get<std::vector<LockRange>>(change.value));
  }
  ZEST_CHECK(erase(change.key));
  if (auto const* k = std::get_if<FlocksKey>(&change.key)) {
    for (auto const& [owner, type] : std::get<Flocks>(change.value)) {
      ZEST_CHECK(store_flock(
          connection_, {.ino = k->ino, .session = owner.session, .owner = owner.owner}, type));
    }
  }
  if (auto const* k = std::get_if<PlocksKey>(&change.key)) {
    for (auto const& [owner, ranges] : std::get<Plocks>(change.value)) {
      ZEST_CHECK(store_plock(
          connection_, {.ino = k->ino, .session = owner.session, .owner = owner.owner}, ranges));
    }
  }
  return {};
}

Result<void> WriteTransaction::put_chunk(ChunkKey const& key, Slices const& slices) {
  if (slices.empty()) {
    return connection_.run("DELETE FROM jfs_chunk WHERE inode=? AND indx=?", key.ino, key.index);
  }
  auto const bytes = encode_slices(slices);
  return connection_.run(
      "INSERT INTO jfs_chunk(inode,indx,slices) VALUES(?,?,?)"
      " ON CONFLICT(inode,indx) DO UPDATE SET slices=excluded.slices",
      key.ino, key.index, Blob{bytes});
}

Result<void> WriteTransaction::erase(Key const& key) {
  ZEST_CHECK(check_erase(key));
  auto& c = connection_;
  return std::visit(
      Overloaded{
          [this](NodeKey const& k) -> Result<void> {
            nodes_[k.ino] = BufferedNode{.attr = {}, .dirty = true};
            return {};
          },
          [&](EdgeKey const& k) {
            return c.run("DELETE FROM jfs_edge WHERE parent=? AND name=?", k.parent, Blob{k.name});
          },
          [](ChildKey const& /*k*/) { return Result<void>(); },
          [&](SymlinkKey const& k) {
            return c.run("DELETE FROM jfs_symlink WHERE inode=?", k.ino);
          },
          [&](XattrKey const& k) {
            return c.run("DELETE FROM jfs_xattr WHERE inode=? AND name=?", k.ino, Text{k.name});
          },
          [this](ChunkKey const& k) { return put_chunk(k, {}); },
          [](ParentsKey const& /*k*/) { return Result<void>(); },
          [&](HasEntriesKey const& k) {
            return c.run("DELETE FROM jfs_edge WHERE parent=?", k.ino);
          },
          [&](SliceRefKey const& k) {
            return c.run("DELETE FROM jfs_chunk_ref WHERE chunkid=?", k.id);
          },
          [&](FlocksKey const& k) { return c.run("DELETE FROM jfs_flock WHERE inode=?", k.ino); },
          [&](FlockKey const& k) {
            return c.run("DELETE FROM jfs_flock WHERE inode=? AND sid=? AND owner=?", k.ino,
                         k.session, k.owner);
          },
          [&](PlocksKey const& k) { return c.run("DELETE FROM jfs_plock WHERE inode=?", k.ino); },
          [&](PlockKey const& k) { return store_plock(c, k, {}); },
          [&](SessionKey const& k) {
            return c.run("DELETE FROM jfs_session2 WHERE sid=?", k.session);
          },
          [&](SustainedKey const& k) {
            return c.run("DELETE FROM jfs_sustained WHERE sid=? AND inode=?", k.session, k.ino);
          },
          [&](DelfileKey const& k) {
            return c.run("DELETE FROM jfs_delfile WHERE inode=? AND length=?", k.ino, k.length);
          },
          [&](DirStatKey const& k) {
            return c.run("DELETE FROM jfs_dir_stats WHERE inode=?", k.ino);
          },
          [this](QuotaKey const& k) { return erase_quota(k); },
          [&](DetachedKey const& k) {
            return c.run("DELETE FROM jfs_detached_node WHERE inode=?", k.ino);
          },
          [&](DelayedSlicesKey const& k) {
            return c.run("DELETE FROM jfs_delslices WHERE chunkid=? AND deleted=?",
                         k.compacted_into, k.deleted_sec);
          },
          // check_erase has refused it.
          [](AclKey const& /*k*/) { return Result<void>(); },
      },
      key);
}

Result<void> WriteTransaction::update(UpdateNode const& change) {
  ZEST_TRY(auto* buffered, node(change.ino));
  if (!buffered->attr) {
    return conflict(NodeKey{change.ino});
  }
  apply_update(*buffered->attr, change);
  buffered->dirty = true;
  return {};
}

Result<void> WriteTransaction::append(AppendSlices const& change) {
  if (change.slices.empty()) {
    return {};
  }
  auto const bytes = encode_slices(change.slices);
  if (change.only_existing) {
    return connection_.run("UPDATE jfs_chunk SET slices=slices||? WHERE inode=? AND indx=?",
                           Blob{bytes}, change.key.ino, change.key.index);
  }
  return connection_.run(
      "INSERT INTO jfs_chunk(inode,indx,slices) VALUES(?,?,?)"
      " ON CONFLICT(inode,indx) DO UPDATE SET slices=jfs_chunk.slices||excluded.slices",
      change.key.ino, change.key.index, Blob{bytes});
}

Result<void> WriteTransaction::replace_prefix(ReplaceChunkPrefix const& change) {
  ZEST_TRY(auto const old, read_chunk(connection_, change.key));
  auto slices = change.slices;
  slices.insert(slices.end(),
                old.begin() + static_cast<std::ptrdiff_t>(std::min(change.count, old.size())),
                old.end());
  return put_chunk(change.key, slices);
}

Result<void> WriteTransaction::delay(DelaySlices const& change) {
  auto const bytes = encode_delayed_slices(change.slices);
  return connection_.run(
      "INSERT OR REPLACE INTO jfs_delslices(chunkid,deleted,slices) VALUES(?,?,?)",
      change.compacted_into, change.now_sec, Blob{bytes});
}

// ---- counters

Result<void> WriteTransaction::set_counter(std::string_view name, std::int64_t value) {
  touched_ = true;
  return connection_.run(
      "INSERT INTO jfs_counter(name,value) VALUES(?,?)"
      " ON CONFLICT(name) DO UPDATE SET value=excluded.value",
      Text{name}, value);
}

Result<IdRange> WriteTransaction::allocate_ids(IdKind kind, std::uint64_t count) {
  auto const name = counter_of(kind);
  auto const stored_as = stored_ids(kind);
  ZEST_TRY(auto const stored, read_counter(connection_, name));
  // Never an inode ≤ 1, whatever the counter says.
  auto const base = std::max(stored.value_or(stored_as.initial), stored_as.initial);
  if (count > static_cast<std::uint64_t>(INT64_MAX - base)) {
    return Error::corrupt(fmt::format("counter {} holds {}: no ids left", name, base));
  }
  ZEST_CHECK(set_counter(name, base + static_cast<std::int64_t>(count)));
  return IdRange{.first = static_cast<std::uint64_t>(base + stored_as.first_offset),
                 .count = count};
}

Result<void> WriteTransaction::add_usage(Usage delta) {
  touched_ = true;
  for (auto const& [name, value] :
       {std::pair(kTotalInodes, delta.inodes), std::pair(kUsedSpace, delta.space)}) {
    ZEST_CHECK(
        connection_.run("INSERT INTO jfs_counter(name,value) VALUES(?,?)"
                        " ON CONFLICT(name) DO UPDATE SET value=value+excluded.value",
                        Text{name}, value));
  }
  return {};
}

Result<std::vector<Ino>> WriteTransaction::add_dir_stats(
    std::span<std::pair<Ino, DirStat> const> deltas) {
  touched_ = true;
  std::vector<Ino> missing;
  for (auto const& [ino, delta] : deltas) {
    ZEST_CHECK(connection_.run(
        "UPDATE jfs_dir_stats SET data_length=data_length+?,used_space=used_space+?,"
        "used_inodes=used_inodes+? WHERE inode=?",
        delta.length, delta.space, delta.inodes, ino));
    if (connection_.changes() == 0) {
      missing.push_back(ino);
    }
  }
  return missing;
}

Result<bool> WriteTransaction::take_lease(Lease lease, std::int64_t now_sec,
                                          std::int64_t interval_sec) {
  auto const name = counter_of(lease);
  ZEST_TRY(auto const last, read_counter(connection_, name));
  if (last.value_or(0) > now_sec - interval_sec) {
    return false;
  }
  ZEST_CHECK(set_counter(name, now_sec));
  return true;
}

// ---- the volume

Result<void> WriteTransaction::initialize(std::string_view setting, Attr const& root,
                                          std::optional<Attr> const& trash) {
  ZEST_TRY(auto const existing, load_setting(connection_));
  touched_ = true;
  ZEST_CHECK(create_schema(connection_));
  ZEST_CHECK(
      connection_.run("INSERT INTO jfs_setting(name,value) VALUES('format',?)"
                      " ON CONFLICT(name) DO UPDATE SET value=excluded.value",
                      Text{setting}));
  if (trash) {
    ZEST_TRY(auto* node_of_trash, node(kTrashIno));
    if (!node_of_trash->attr) {
      *node_of_trash = BufferedNode{.attr = trash, .dirty = true};
    }
  }
  if (existing) {
    return {};
  }
  nodes_[kRootIno] = BufferedNode{.attr = root, .dirty = true};
  constexpr std::array<std::pair<std::string_view, std::int64_t>, 6> kInitial{
      {{kNextInode, 2},
       {kNextChunk, 1},
       {kNextSession, 0},
       {kUsedSpace, 0},
       {kTotalInodes, 0},
       {kNextCleanupSlices, 0}}};
  for (auto const& [name, value] : kInitial) {
    ZEST_CHECK(set_counter(name, value));
  }
  return {};
}

Result<void> WriteTransaction::reset() {
  touched_ = true;
  nodes_.clear();
  return drop_schema(connection_);
}

}  // namespace zest::meta::sqlite
