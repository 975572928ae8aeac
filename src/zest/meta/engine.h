// What a metadata engine does: fetch records, commit a change, list, count. It holds no file system
// rules.
//
// The unit of change is a Commit: conditions (this record is absent; equals; *these fields* of this
// node are as I saw them) and changes (put, erase, add, append, raise a time stamp). An engine
// checks all conditions and applies all changes atomically in one trip: one script in Redis, one
// batch in a SQL transaction, one transaction in a KV store. Conditions name only what a decision
// hung on, so two creators in one directory don't conflict. Why this shape:
// docs/decisions/0001-transactions.md.
//
// All calls may suspend; any loop. Errors: Fault::conflict (a condition failed; the runner tries
// again), Fault::transient (engine away, slow; `ETIMEDOUT` from commit means the outcome is
// unknown), Fault::corrupt (record that cannot be decoded, message names the key).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/record.h"

namespace zest::meta {

// ---- conditions
// -----------------------------------------------------------------------------------------------

/// Fields of a node, for conditions and updates.
enum NodeField : std::uint32_t {
  kExists = 0,  ///< an expectation without fields: the node is there
  kType = 1u << 0,
  kMode = 1u << 1,
  kOwner = 1u << 2,  ///< uid and gid
  kFlags = 1u << 3,
  kAtime = 1u << 4,
  kMtime = 1u << 5,
  kCtime = 1u << 6,
  kNlink = 1u << 7,
  kLength = 1u << 8,
  kRdev = 1u << 9,
  kParent = 1u << 10,
  kAccessAcl = 1u << 11,
  kDefaultAcl = 1u << 12,
  kTier = 1u << 13,
  kAllFields = (1u << 14) - 1,
};

/// The record is not there.
struct ExpectAbsent {
  Key key;
};
/// The record equals `value` (for Flocks and Plocks: the whole set of the inode).
struct ExpectEqual {
  Key key;
  Value value;
};
/// The node exists and the named fields equal those of `seen`.
struct ExpectNode {
  Ino ino;
  std::uint32_t fields = kExists;
  Attr seen;
};
/// The directory has no entries.
struct ExpectEmptyDir {
  Ino ino;
};
/// The chunk's list begins with these records (compaction; others may append meanwhile).
struct ExpectChunkPrefix {
  ChunkKey key;
  Slices prefix;
};
using Condition =
    std::variant<ExpectAbsent, ExpectEqual, ExpectNode, ExpectEmptyDir, ExpectChunkPrefix>;

// ---- changes
// --------------------------------------------------------------------------------------------------

/// Creates or replaces a record. Edges, nodes, symlinks, xattrs, locks, sessions, …; chunks with a
/// whole list.
struct Put {
  Key key;
  Value value;
};
/// Removes a record; absent is fine. HasEntries, Parents, Flocks, Plocks keys erase the whole set
/// of the inode (Parents: where stored). Xattrs of an inode: EraseXattrs. A user's or group's quota
/// is erased by setting its limits to −1 (the peer keeps the accounting, format/02 §4.1).
struct Erase {
  Key key;
};
/// Removes all extended attributes of an inode.
struct EraseXattrs {
  Ino ino;
};
/// Changes fields of a node without having read it. A missing node fails the commit as a conflict.
struct UpdateNode {
  Ino ino;
  std::uint32_t set = 0;  ///< NodeField mask of what is taken from `values` as it is
  Attr values;
  std::int32_t add_nlink = 0;
  /// Length becomes max(length, *grow_length).
  std::optional<std::uint64_t> grow_length;
  /// mtime / ctime become the value; where the old stamp is the same or less than a second ahead
  /// (two clients' clocks), old + 1 ns. So a stamp always changes, which tells other clients that
  /// data changed (format/05 §2).
  std::optional<WallTime> raise_mtime;
  std::optional<WallTime> raise_ctime;
};
/// Appends records to a chunk; with `only_existing`, an absent chunk stays absent (truncate,
/// format/05 §9).
struct AppendSlices {
  ChunkKey key;
  Slices slices;
  bool only_existing = false;
};
/// Replaces the first `count` records of a chunk (compaction).
struct ReplaceChunkPrefix {
  ChunkKey key;
  std::size_t count = 0;
  Slices slices;
};
/// What raise_mtime and raise_ctime do; engines that compute in C++ call it.
constexpr WallTime raise_time(WallTime old, WallTime value) noexcept {
  auto const ahead = (old.sec - value.sec) * 1'000'000'000 + old.nsec - std::int64_t{value.nsec};
  if (old < value || old.sec - value.sec > 1 || ahead >= 1'000'000'000) {
    return value;
  }
  return old.nsec == 999'999'999 ? WallTime{.sec = old.sec + 1, .nsec = 0}
                                 : WallTime{.sec = old.sec, .nsec = old.nsec + 1};
}
/// A slice that was just written, and how many records name it (SQL: a row; Redis, KV: nothing for
/// one).
struct NewSlice {
  SliceId id;
  std::uint32_t size = 0;
  std::int64_t refs = 1;
};
/// Changes the number of references of a slice.
struct AddSliceRef {
  SliceId id;
  std::uint32_t size = 0;
  std::int64_t delta = 0;
};
/// Changes the number of names that `parent` holds of a hard-linked file.
struct AddParent {
  Ino ino;
  Ino parent;
  std::int64_t delta = 0;
};
/// Replaced slices that a compaction keeps for the trash period (format/01 §4).
struct DelaySlices {
  SliceId compacted_into;
  std::int64_t now_sec = 0;
  std::vector<DelayedSlice> slices;
};
using Change = std::variant<Put, Erase, EraseXattrs, UpdateNode, AppendSlices, ReplaceChunkPrefix,
                            NewSlice, AddSliceRef, AddParent, DelaySlices>;

/// Usage of the whole volume: bytes in align4K units and inodes.
struct Usage {
  std::int64_t space = 0;
  std::int64_t inodes = 0;
};

struct Commit {
  std::vector<Condition> conditions;
  std::vector<Change> changes;
  /// Applied in the commit where capabilities().usage_in_commit; otherwise the core sums it up and
  /// calls add_usage.
  Usage usage;
  /// Nothing is changed unless this session is still its client's: its record exists and its expiry
  /// is above 0 (a cleanup erases it or sets 0). ESTALE (Fault::semantic) otherwise. 0 = no fence.
  SessionId fence;
};

// ---- listings
// -------------------------------------------------------------------------------------------------

struct DirEntry {
  std::string name;
  Entry entry;
  std::optional<Attr> attr;  ///< when asked for and not missing
};
struct DirPage {
  std::vector<DirEntry> entries;
  /// Where the next page starts; empty = this was the last one. Opaque, stays valid while entries
  /// come and go: an entry that exists all the time is listed exactly once.
  std::string next;
};
struct ListDir {
  Ino dir;
  std::string from;  ///< empty = the beginning
  std::size_t limit = 1024;
  bool attrs = false;
};
struct ChunkPage {
  std::vector<std::pair<ChunkKey, Slices>> chunks;
  std::optional<ChunkKey> next;
};
struct SessionEntry {
  SessionId session;
  SessionRecord record;
};
struct DelfileEntry {
  Ino ino;
  std::uint64_t length = 0;
  std::int64_t deleted_sec = 0;
};

/// One compaction's replaced slices.
struct DelayedEntry {
  DelayedSlicesKey key;
  std::vector<DelayedSlice> slices;
};
struct QuotaEntry {
  QuotaKey key;
  Quota quota;
};
struct StoredAcl {
  std::uint32_t id = 0;
  AclRule rule;
};
struct DetachedEntry {
  Ino ino;
  std::int64_t added_sec = 0;
};

// ---- counters
// -------------------------------------------------------------------------------------------------

enum class IdKind : std::uint8_t { inode, slice, session, trash };
/// Ids [first, first + count) belong to the caller.
struct IdRange {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};
/// Leases of background jobs (format/06 §2): stored unix seconds of the last run.
enum class Lease : std::uint8_t {
  cleanup_sessions,
  cleanup_files,
  cleanup_trash,
  cleanup_changelog,
  cleanup_slices
};

/// What the core may make use of.
struct EngineCapabilities {
  bool usage_in_commit = false;  ///< usage counters are part of the commit
  bool ordered_listing = false;  ///< list_dir is in byte order of the names
  bool parents_stored =
      false;  ///< hard-link parents are records of their own (else derived from edges)
  bool ids_fit_int32 = false;  ///< uid, gid, rdev must stay below 2^31 (PostgreSQL, MySQL)
  std::size_t xattr_value_max = 65536;
  bool invalidation_pushes = false;  ///< set_listener() has an effect
};

/// Hears of records that anybody may have changed. Called on any loop; must not suspend.
class InvalidationListener {
 public:
  virtual ~InvalidationListener() = default;
  /// What changed in one moment, a commit at least, comes in two calls: first the directories whose
  /// entries changed, if any, then the nodes.
  virtual void entries_changed(std::span<Ino const> dirs) noexcept = 0;
  virtual void nodes_changed(std::span<Ino const> nodes) noexcept = 0;
  /// Some changes may have been missed (the connection was lost): nothing that was read before
  /// counts any more.
  virtual void everything_changed() noexcept = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;

  [[nodiscard]] virtual EngineCapabilities const& capabilities() const noexcept = 0;
  /// For messages and metrics: "sqlite3", "memory"…
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  /// Reads records; the i-th value belongs to the i-th key. One trip, one consistent view.
  virtual Result<std::vector<Value>> fetch(Context const& ctx, std::span<Key const> keys) = 0;
  /// Checks all conditions and applies all changes in their order, or nothing. One trip. When it
  /// returns, every later fetch by anybody sees it; it survives the death of this process, not
  /// necessarily a power cut (see sync).
  virtual Result<void> commit(Context const& ctx, Commit const& commit) = 0;
  /// Makes everything committed before survive a power cut. Calls that wait at the same time share
  /// one.
  virtual Result<void> sync(Context const& ctx) = 0;

  virtual Result<DirPage> list_dir(Context const& ctx, ListDir const& request) = 0;
  /// Names of all extended attributes.
  virtual Result<std::vector<std::string>> list_xattrs(Context const& ctx, Ino ino) = 0;
  /// Chunks of one inode from `from` on, ascending by index.
  virtual Result<ChunkPage> list_chunks(Context const& ctx, ChunkKey from, std::size_t limit) = 0;
  /// The same for a caller who knows that nothing counts from chunk `end` on: engines that cannot
  /// list an inode's chunks need not search for more.
  virtual Result<ChunkPage> list_chunks_below(Context const& ctx, ChunkKey from,
                                              std::uint64_t /*end*/, std::size_t limit) {
    return list_chunks(ctx, from, limit);
  }
  /// Chunks of all inodes that have records, for fsck and gc; order is the engine's, stable while
  /// it runs.
  virtual Result<ChunkPage> list_all_chunks(Context const& ctx, std::optional<ChunkKey> from,
                                            std::size_t limit) = 0;
  virtual Result<std::vector<SessionEntry>> list_sessions(Context const& ctx) = 0;
  virtual Result<std::vector<Ino>> list_sustained(Context const& ctx, SessionId session,
                                                  std::size_t limit) = 0;
  /// Deleted files whose deletion is not younger than `before_sec`.
  virtual Result<std::vector<DelfileEntry>> list_delfiles(Context const& ctx,
                                                          std::int64_t before_sec,
                                                          std::size_t limit) = 0;
  /// Delayed slices of compactions before `before_sec`.
  virtual Result<std::vector<DelayedEntry>> list_delayed_slices(Context const& ctx,
                                                                std::int64_t before_sec,
                                                                std::size_t limit) = 0;
  /// Detached trees that were begun before `before_sec`.
  virtual Result<std::vector<DetachedEntry>> list_detached(Context const& ctx,
                                                           std::int64_t before_sec,
                                                           std::size_t limit) = 0;
  /// Slices without references.
  virtual Result<std::vector<DelayedSlice>> list_garbage_slices(Context const& ctx,
                                                                std::size_t limit) = 0;
  /// Inodes on which a session holds flock or POSIX locks.
  virtual Result<std::vector<Ino>> list_locked(Context const& ctx, SessionId session) = 0;

  /// Takes `count` fresh ids. inode: never ≤ 1.
  virtual Result<IdRange> allocate_ids(Context const& ctx, IdKind kind, std::uint64_t count) = 0;
  virtual Result<Usage> read_usage(Context const& ctx) = 0;
  /// Adds to the volume's usage; for engines without usage_in_commit.
  virtual Result<void> add_usage(Context const& ctx, Usage delta) = 0;
  /// Adds to directory statistics; returns the directories that have no record (the core recomputes
  /// those).
  virtual Result<std::vector<Ino>> add_dir_stats(
      Context const& ctx, std::span<std::pair<Ino, DirStat> const> deltas) = 0;
  /// All quotas of directories, users and groups.
  virtual Result<std::vector<QuotaEntry>> list_quotas(Context const& ctx) = 0;
  /// Adds used space and inodes. A directory without a quota is skipped; a user or group without a
  /// record gets one without limits (−1).
  virtual Result<void> add_quota_usage(Context const& ctx,
                                       std::span<std::pair<QuotaKey, Usage> const> deltas) = 0;
  /// Sets a quota's limits and leaves its use; where there was no record, `quota` is stored whole.
  virtual Result<void> set_quota(Context const& ctx, QuotaKey const& key, Quota const& quota) = 0;
  /// Stores a new ACL rule and returns its id (never 0). Rules are never changed or deleted.
  virtual Result<std::uint32_t> insert_acl(Context const& ctx, AclRule const& rule) = 0;
  /// Rules with ids above `after`, ascending.
  virtual Result<std::vector<StoredAcl>> list_acls(Context const& ctx, std::uint32_t after) = 0;
  /// Conditional set of format/00 §3.1: true when this client may run the job now.
  virtual Result<bool> take_lease(Context const& ctx, Lease lease, std::int64_t now_sec,
                                  std::int64_t interval_sec) = 0;

  /// The Setting document; empty optional = the database holds no volume.
  virtual Result<std::optional<std::string>> load_setting(Context const& ctx) = 0;
  /// Creates the schema, counters, root and (if given) trash directory of a new volume, or replaces
  /// only the Setting (and adds the trash directory) of an existing one. Atomic.
  virtual Result<void> initialize(Context const& ctx, std::string_view setting, Attr const& root,
                                  std::optional<Attr> const& trash) = 0;
  /// Deletes everything of the volume. For `format --force` and tests.
  virtual Result<void> reset(Context const& ctx) = 0;

  /// Where capabilities().invalidation_pushes: changes by anybody (this client, too) are told to
  /// `listener`, which outlives the engine or is replaced by null.
  /// Call on a fiber, before the first fetch: the listener is called on its loop.
  virtual void set_listener(InvalidationListener* /*listener*/) {}

  /// Round trips made so far; tests hold the number an operation needs.
  [[nodiscard]] virtual std::uint64_t trips() const noexcept = 0;
};

}  // namespace zest::meta
