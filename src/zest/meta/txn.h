// One attempt of a metadata operation: what it read, on which conditions it decided, what it
// changes.
//
// An operation's body (meta/ops) is a pure function of the Txn: it may run several times, captures
// nothing it changes and touches no cache. The runner creates a fresh Txn for each attempt, commits
// it, and tries again on Fault::conflict only.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "zest/base/assert.h"
#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/acl_rules.h"
#include "zest/meta/engine.h"
#include "zest/meta/quotas.h"
#include "zest/meta/record.h"
#include "zest/meta/record_hints.h"

namespace zest::meta {

class Txn {
 public:
  /// `now` is the time stamp of everything this attempt writes.
  Txn(Engine& engine, Context const& ctx, WallTime now, unsigned attempt = 0)
      : engine_(engine), ctx_(ctx), now_(now), attempt_(attempt) {}
  /// The same with what this client remembers: `use` says what may be taken from there.
  Txn(Engine& engine, Context const& ctx, WallTime now, unsigned attempt, RecordHints& hints,
      HintUse use)
      : engine_(engine), ctx_(ctx), now_(now), attempt_(attempt), hints_(&hints), use_(use) {}
  Txn(Txn const&) = delete;
  Txn& operator=(Txn const&) = delete;

  [[nodiscard]] WallTime now() const noexcept { return now_; }
  /// 0 at the first try. A body may skip a read that its conditions check anyway and do it only
  /// after a conflict, when it needs to know why.
  [[nodiscard]] unsigned attempt() const noexcept { return attempt_; }
  [[nodiscard]] Context const& context() const noexcept { return ctx_; }
  [[nodiscard]] Caller const& caller() const noexcept { return ctx_.caller; }
  [[nodiscard]] EngineCapabilities const& capabilities() const noexcept {
    return engine_.capabilities();
  }

  /// Announces records that get() will want: fetches those not yet known in one trip. May suspend.
  Result<void> fetch(std::span<Key const> keys);
  Result<void> fetch(std::initializer_list<Key> keys) {
    return fetch(std::span(keys.begin(), keys.size()));
  }

  /// The record, or an empty optional; fetches it when it was not announced. A Child also answers
  /// its EdgeKey and NodeKey.
  template <class K>
  Result<std::optional<typename RecordOf<K>::type>> get(K const& key) {
    ZEST_TRY(Value const* value, lookup(Key(key)));
    if (auto const* record = std::get_if<typename RecordOf<K>::type>(value)) {
      return std::optional(*record);
    }
    return std::optional<typename RecordOf<K>::type>();
  }
  /// The node, ENOENT when there is none.
  Result<Attr> node(Ino ino);
  /// Chunks of one inode, straight from the engine: the listing is not part of the conditions.
  Result<ChunkPage> list_chunks(ChunkKey from, std::size_t limit) {
    return engine_.list_chunks(ctx_, from, limit);
  }
  /// The same where nothing counts from chunk `end` on.
  Result<ChunkPage> list_chunks_below(ChunkKey from, std::uint64_t end, std::size_t limit) {
    return engine_.list_chunks_below(ctx_, from, end, limit);
  }
  /// ACL rules, which never change: reading and storing them is not part of the transaction.
  void use_acls(AclRules& acls) noexcept { acls_ = &acls; }
  [[nodiscard]] AclRules& acls() const {
    ZEST_ASSERT(acls_ != nullptr);
    return *acls_;
  }
  /// True: something that was read came from the hints, and may be old.
  [[nodiscard]] bool hinted() const noexcept { return !hinted_.empty(); }
  /// Further fields to expect of a node that goes back to the caller: all but atime where it came
  /// from the hints, so that no old length or time is told; none where it was just read.
  [[nodiscard]] std::uint32_t reply_fields(Ino ino) const {
    return hinted_.contains(ino) ? kAllFields & ~std::uint32_t{kAtime} : kExists;
  }
  /// Takes a record as read without a trip, from a cache: the conditions make a stale one harmless.
  void assume_node(Ino ino, Attr const& attr) { read_.insert_or_assign(Key(NodeKey{ino}), attr); }

  // Conditions. Each refers to what this Txn has read.
  /// The named fields (NodeField mask) of the node are still as read.
  void expect_node(Ino ino, std::uint32_t fields);
  /// The record is still as read: equal, or absent.
  template <class K>
  void expect_unchanged(K const& key) {
    expect_as_read(Key(key));
  }
  void expect_empty_dir(Ino ino) { commit_.conditions.emplace_back(ExpectEmptyDir{ino}); }
  void expect_chunk_prefix(ChunkKey const& key, Slices prefix) {
    commit_.conditions.emplace_back(ExpectChunkPrefix{key, std::move(prefix)});
  }

  /// The session that the commit needs alive (Commit::fence). The runner sets the client's; a body
  /// that writes records of a session names that one, and bookkeeping of sessions names none.
  void fence(SessionId session) noexcept { commit_.fence = session; }

  // Changes.
  template <class K>
  void put(K const& key, typename RecordOf<K>::type value) {
    commit_.changes.emplace_back(Put{Key(key), Value(std::move(value))});
  }
  void erase(Key key) { commit_.changes.emplace_back(Erase{std::move(key)}); }
  void change(Change c) { commit_.changes.push_back(std::move(c)); }
  /// Volume usage; see Commit::usage.
  void add_usage(std::int64_t space, std::int64_t inodes) {
    commit_.usage.space += space;
    commit_.usage.inodes += inodes;
  }
  /// Statistics of a directory's children; summed in memory and flushed by the core after the
  /// commit.
  void add_dir_stat(Ino dir, DirStat const& delta);

  /// What lies below a directory that `dir` gained or lost by a move; for quotas, whose use is
  /// summed likewise.
  void add_tree_usage(Ino dir, Usage const& delta);
  /// What an owner has more or less of.
  void add_owner_usage(Attr const& node, Usage const& delta) {
    quota_changes_.owners.push_back({.uid = node.uid, .gid = node.gid, .usage = delta});
  }

  [[nodiscard]] Commit const& pending() const noexcept { return commit_; }
  [[nodiscard]] std::map<Ino, DirStat> const& dir_stats() const noexcept { return dir_stats_; }
  [[nodiscard]] QuotaChanges const& quota_changes() const noexcept { return quota_changes_; }

 private:
  Result<Value const*> lookup(Key key);
  /// Takes the record from the hints, if they have it.
  bool take_hint(Key const& key);
  void store(Key key, Value value);
  void expect_as_read(Key key);

  Engine& engine_;
  Context const& ctx_;
  WallTime now_;
  unsigned attempt_;
  AclRules* acls_ = nullptr;
  RecordHints* hints_ = nullptr;
  HintUse use_ = HintUse::none;
  std::set<Ino> hinted_;  ///< nodes, and the directories of names
  std::map<Key, Value> read_;
  Commit commit_;
  std::map<Ino, DirStat> dir_stats_;
  QuotaChanges quota_changes_;
};

}  // namespace zest::meta
