// The records of the memory engine and what commits do to them; no locks, no faults.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "zest/meta/engine.h"
#include "zest/meta/engine/memory/memory.h"

namespace zest::meta {

/// A name in its directory's order: by name, or by hash first where listings are to be unordered.
struct ListedName {
  std::uint64_t hash = 0;
  std::string name;
  friend auto operator<=>(ListedName const&, ListedName const&) = default;
};

class MemoryState {
 public:
  explicit MemoryState(MemoryEngineOptions const& options);

  /// The record, normalized.
  Result<Value> read(Key const& key) const;
  /// All or nothing.
  Result<void> commit(Commit const& commit);

  Result<DirPage> list_dir(ListDir const& request) const;
  std::vector<std::string> list_xattrs(Ino ino) const;
  ChunkPage list_chunks(ChunkKey from, std::size_t limit, bool one_inode) const;
  std::vector<SessionEntry> list_sessions() const;
  std::vector<Ino> list_sustained(SessionId session, std::size_t limit) const;
  std::vector<DelfileEntry> list_delfiles(std::int64_t before_sec, std::size_t limit) const;
  std::vector<DelayedSlice> list_garbage_slices(std::size_t limit) const;
  std::vector<Ino> list_locked(SessionId session) const;
  std::vector<DelayedEntry> list_delayed_slices(std::int64_t before_sec, std::size_t limit) const;
  std::vector<DetachedEntry> list_detached(std::int64_t before_sec, std::size_t limit) const;

  std::vector<QuotaEntry> list_quotas() const;
  void add_quota_usage(std::span<std::pair<QuotaKey, Usage> const> deltas);
  void set_quota(QuotaKey const& key, Quota const& quota);
  std::uint32_t insert_acl(AclRule const& rule);
  std::vector<StoredAcl> list_acls(std::uint32_t after) const;

  IdRange allocate_ids(IdKind kind, std::uint64_t count);
  [[nodiscard]] Usage usage() const noexcept { return usage_; }
  void add_usage(Usage delta) noexcept;
  std::vector<Ino> add_dir_stats(std::span<std::pair<Ino, DirStat> const> deltas);
  bool take_lease(Lease lease, std::int64_t now_sec, std::int64_t interval_sec);

  [[nodiscard]] std::optional<std::string> const& setting() const noexcept { return setting_; }
  void initialize(std::string_view setting, Attr const& root, std::optional<Attr> const& trash);

 private:
  struct SliceRef {
    std::uint32_t size = 0;
    std::int64_t refs = 0;
  };
  using Directory = std::map<ListedName, Entry>;

  [[nodiscard]] ListedName listed(std::string_view name) const;
  [[nodiscard]] Entry const* entry(Ino parent, std::string const& name) const;
  [[nodiscard]] Value child(ChildKey const& key) const;
  [[nodiscard]] Value parents(Ino ino) const;
  Result<void> check(Condition const& condition) const;
  /// Refuses what apply() could fail on, so that apply() cannot.
  Result<void> check_changes(Commit const& commit) const;

  void apply(Change const& change);
  void put(Put const& change);
  void erase(Key const& key);
  void put_entry(EdgeKey const& key, Entry const& value);
  void erase_entry(EdgeKey const& key);
  void erase_directory(Ino ino);
  void append(AppendSlices const& change);
  void replace_prefix(ReplaceChunkPrefix const& change);
  void add_parent(AddParent const& change);
  void erase_quota(QuotaKey const& key);

  bool parents_stored_;
  bool ordered_;
  bool usage_in_commit_;

  std::optional<std::string> setting_;
  std::map<Ino, Attr> nodes_;
  std::map<Ino, Directory> directories_;
  /// Names that each directory holds of an inode, from the entries.
  std::map<Ino, Parents> names_;
  std::map<Ino, Parents> parents_;
  std::map<Ino, std::string> symlinks_;
  std::map<XattrKey, std::string> xattrs_;
  std::map<ChunkKey, Slices> chunks_;
  std::map<SliceId, SliceRef> refs_;
  std::map<SliceId, DelaySlices> delayed_;
  std::map<Ino, Flocks> flocks_;
  std::map<Ino, Plocks> plocks_;
  std::map<SessionId, SessionRecord> sessions_;
  std::set<std::pair<SessionId, Ino>> sustained_;
  std::map<DelfileKey, DelfileRecord> delfiles_;
  std::map<Ino, DirStat> dir_stats_;
  std::map<QuotaKey, Quota> quotas_;
  std::map<std::uint32_t, AclRule> acls_;
  std::map<Ino, std::int64_t> detached_;
  std::map<Lease, std::int64_t> leases_;
  Usage usage_;
  std::uint64_t next_inode_ = 2;
  std::uint64_t next_slice_ = 1;
  std::uint64_t last_session_ = 0;
  std::uint64_t last_trash_ = 0;
};

}  // namespace zest::meta
