// The typed records of a volume's metadata, as the core sees them. How an engine lays them out
// (Redis keys, SQL columns, KV bytes) is the engine's business; see format/02, 03, 04.
//
// Shapes: point (node, symlink), map member (edge, xattr, lock), log (slices of a chunk), counter,
// queue (deleted files).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "zest/base/types.h"
#include "zest/format/types.h"
#include "zest/format/usage.h"

namespace zest::meta {

// ---- keys
// -----------------------------------------------------------------------------------------------------

/// Inode → Attr.
struct NodeKey {
  Ino ino;
  friend auto operator<=>(NodeKey const&, NodeKey const&) = default;
};
/// Name in a directory → Entry.
struct EdgeKey {
  Ino parent;
  std::string name;
  friend auto operator<=>(EdgeKey const&, EdgeKey const&) = default;
};
/// Name in a directory → its entry *and* the node it points to, in one trip (SQL join, Redis
/// script). Fetch only.
struct ChildKey {
  Ino parent;
  std::string name;
  friend auto operator<=>(ChildKey const&, ChildKey const&) = default;
};
/// Symbolic link → target.
struct SymlinkKey {
  Ino ino;
  friend auto operator<=>(SymlinkKey const&, SymlinkKey const&) = default;
};
/// Extended attribute → value.
struct XattrKey {
  Ino ino;
  std::string name;
  friend auto operator<=>(XattrKey const&, XattrKey const&) = default;
};
/// Slices of one chunk, oldest first.
struct ChunkKey {
  Ino ino;
  ChunkIndex index;
  friend auto operator<=>(ChunkKey const&, ChunkKey const&) = default;
};
/// Directories that hold names of a hard-linked file (attr.parent = 0), with the number of names.
/// Fetch only; engines that derive it from the edges ignore AddParent.
struct ParentsKey {
  Ino ino;
  friend auto operator<=>(ParentsKey const&, ParentsKey const&) = default;
};
/// Does the directory have any entry? Fetch only.
struct HasEntriesKey {
  Ino ino;
  friend auto operator<=>(HasEntriesKey const&, HasEntriesKey const&) = default;
};
/// References of a slice: the true count (1 after a write, ≤ 0 garbage), whatever the engine stores
/// (format/00 §7).
struct SliceRefKey {
  SliceId id;
  std::uint32_t size = 0;
  friend auto operator<=>(SliceRefKey const&, SliceRefKey const&) = default;
};
/// All flock records of an inode. Put and erase single owners with FlockKey.
struct FlocksKey {
  Ino ino;
  friend auto operator<=>(FlocksKey const&, FlocksKey const&) = default;
};
struct FlockKey {
  Ino ino;
  SessionId session;
  std::uint64_t owner = 0;
  friend auto operator<=>(FlockKey const&, FlockKey const&) = default;
};
/// All POSIX lock records of an inode. Put and erase single owners with PlockKey.
struct PlocksKey {
  Ino ino;
  friend auto operator<=>(PlocksKey const&, PlocksKey const&) = default;
};
struct PlockKey {
  Ino ino;
  SessionId session;
  std::uint64_t owner = 0;
  friend auto operator<=>(PlockKey const&, PlockKey const&) = default;
};
/// Session record: expiry and description.
struct SessionKey {
  SessionId session;
  friend auto operator<=>(SessionKey const&, SessionKey const&) = default;
};
/// Unlinked file that a session still has open. No value.
struct SustainedKey {
  SessionId session;
  Ino ino;
  friend auto operator<=>(SustainedKey const&, SustainedKey const&) = default;
};
/// Unlinked file whose data wait for deletion.
struct DelfileKey {
  Ino ino;
  std::uint64_t length = 0;
  friend auto operator<=>(DelfileKey const&, DelfileKey const&) = default;
};
/// Usage of a directory's direct children.
struct DirStatKey {
  Ino ino;
  friend auto operator<=>(DirStatKey const&, DirStatKey const&) = default;
};
/// Quota of a directory (`id` is its inode), of a user or of a group (format/01 §6).
struct QuotaKey {
  QuotaType type = QuotaType::directory;
  std::uint64_t id = 0;
  friend auto operator<=>(QuotaKey const&, QuotaKey const&) = default;
};
constexpr QuotaKey dir_quota(Ino ino) noexcept {
  return {.type = QuotaType::directory, .id = ino.value};
}
/// An ACL rule; rules never change. Fetch only: Engine::insert_acl makes them.
struct AclKey {
  std::uint32_t id = 0;
  friend auto operator<=>(AclKey const&, AclKey const&) = default;
};
/// The top of a cloned tree that has no name yet → when that began (unix seconds).
struct DetachedKey {
  Ino ino;
  friend auto operator<=>(DetachedKey const&, DetachedKey const&) = default;
};
/// Slices that a compaction replaced and the trash period still keeps. Fetch and erase; DelaySlices
/// makes them.
struct DelayedSlicesKey {
  SliceId compacted_into;
  std::int64_t deleted_sec = 0;
  friend auto operator<=>(DelayedSlicesKey const&, DelayedSlicesKey const&) = default;
};

using Key = std::variant<NodeKey, EdgeKey, ChildKey, SymlinkKey, XattrKey, ChunkKey, ParentsKey,
                         HasEntriesKey, SliceRefKey, FlocksKey, FlockKey, PlocksKey, PlockKey,
                         SessionKey, SustainedKey, DelfileKey, DirStatKey, QuotaKey, AclKey,
                         DetachedKey, DelayedSlicesKey>;

// ---- values
// ---------------------------------------------------------------------------------------------------

/// An edge with its node; `attr` is missing when the volume is damaged (an edge without a node).
struct Child {
  Entry entry;
  std::optional<Attr> attr;
  friend bool operator==(Child const&, Child const&) = default;
};
using Slices = std::vector<SliceRecord>;
using Parents = std::map<Ino, std::int64_t>;
struct LockOwner {
  SessionId session;
  std::uint64_t owner = 0;
  friend auto operator<=>(LockOwner const&, LockOwner const&) = default;
};
enum class FlockType : std::uint8_t { read = 'R', write = 'W' };
using Flocks = std::map<LockOwner, FlockType>;
using Plocks = std::map<LockOwner, std::vector<LockRange>>;
struct SessionRecord {
  std::int64_t expire_sec = 0;
  std::string info;  ///< JSON, format/01 §9
  friend bool operator==(SessionRecord const&, SessionRecord const&) = default;
};
struct DelfileRecord {
  std::int64_t deleted_sec = 0;
  friend bool operator==(DelfileRecord const&, DelfileRecord const&) = default;
};
/// Value of keys whose presence says all.
struct Present {
  friend bool operator==(Present const&, Present const&) = default;
};

/// monostate = absent.
using Value =
    std::variant<std::monostate, Attr, Entry, Child, std::string, Slices, Parents, bool,
                 std::int64_t, Flocks, FlockType, Plocks, std::vector<LockRange>, SessionRecord,
                 Present, DelfileRecord, DirStat, Quota, AclRule, std::vector<DelayedSlice>>;

/// Which value type belongs to a key.
template <class K>
struct RecordOf;
template <>
struct RecordOf<NodeKey> {
  using type = Attr;
};
template <>
struct RecordOf<EdgeKey> {
  using type = Entry;
};
template <>
struct RecordOf<ChildKey> {
  using type = Child;
};
template <>
struct RecordOf<SymlinkKey> {
  using type = std::string;
};
template <>
struct RecordOf<XattrKey> {
  using type = std::string;
};
template <>
struct RecordOf<ChunkKey> {
  using type = Slices;
};
template <>
struct RecordOf<ParentsKey> {
  using type = Parents;
};
template <>
struct RecordOf<HasEntriesKey> {
  using type = bool;
};
template <>
struct RecordOf<SliceRefKey> {
  using type = std::int64_t;
};
template <>
struct RecordOf<FlocksKey> {
  using type = Flocks;
};
template <>
struct RecordOf<FlockKey> {
  using type = FlockType;
};
template <>
struct RecordOf<PlocksKey> {
  using type = Plocks;
};
template <>
struct RecordOf<PlockKey> {
  using type = std::vector<LockRange>;
};
template <>
struct RecordOf<SessionKey> {
  using type = SessionRecord;
};
template <>
struct RecordOf<SustainedKey> {
  using type = Present;
};
template <>
struct RecordOf<DelfileKey> {
  using type = DelfileRecord;
};
template <>
struct RecordOf<DirStatKey> {
  using type = DirStat;
};
template <>
struct RecordOf<QuotaKey> {
  using type = Quota;
};
template <>
struct RecordOf<AclKey> {
  using type = AclRule;
};
template <>
struct RecordOf<DetachedKey> {
  using type = std::int64_t;
};
template <>
struct RecordOf<DelayedSlicesKey> {
  using type = std::vector<DelayedSlice>;
};

}  // namespace zest::meta
