// The bodies of all operations, one file each. A body is a pure function of its Txn, its request
// and a snapshot of the volume; it may run several times. The errno order stands with each body.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/meta/meta.h"
#include "zest/meta/ops/steps.h"

namespace zest::meta::ops {

// ---- reading
struct NameRequest {
  Ino parent;
  std::string_view name;
};
Result<EntryReply> lookup(Txn& txn, NameRequest const& request);
Result<std::string> readlink(Txn& txn, Ino ino);
struct ChunkReply {
  Attr attr;
  Slices slices;
};
Result<ChunkReply> read_chunk(Txn& txn, ChunkKey const& key);

// ---- names
/// `fresh` is an inode number that nobody else has.
Result<EntryReply> mknod(Txn& txn, VolumeView const& view, MknodRequest const& request, Ino fresh);
struct LinkRequest {
  Ino ino;
  Ino parent;
  std::string_view name;
  bool unnamed = false;  ///< a file of this session that never had a name
};
Result<EntryReply> link(Txn& txn, VolumeView const& view, LinkRequest const& request);
Result<UnlinkReply> unlink(Txn& txn, VolumeView const& view, NameRequest const& request,
                           OpenCheck& opens);
Result<Ino> rmdir(Txn& txn, VolumeView const& view, NameRequest const& request);
Result<RenameReply> rename(Txn& txn, VolumeView const& view, RenameRequest const& request,
                           OpenCheck& opens);

// ---- nodes
/// setattr without its records: the node after the change, or the errno. Times are `now`'s.
/// `may_write`: what the node's ACL says about it; absent = the mode bits decide.
Result<Attr> apply_setattr(Caller const& caller, Attr const& node, SetattrRequest const& request,
                           WallTime now, std::optional<bool> may_write = std::nullopt);
Result<Attr> setattr(Txn& txn, SetattrRequest const& request);
struct TruncateRequest {
  Ino ino;
  std::uint64_t length = 0;
  bool by_handle = false;
};
Result<Attr> truncate(Txn& txn, VolumeView const& view, TruncateRequest const& request);
Result<Attr> fallocate(Txn& txn, VolumeView const& view, FallocateRequest const& request);
/// Sets atime to now without touching ctime.
Result<void> touch_atime(Txn& txn, Ino ino);
/// Does the atime mode want an update?
bool wants_atime(AtimeMode mode, Attr const& node, WallTime now) noexcept;

// ---- data
Result<WriteSliceReply> write_slice(Txn& txn, VolumeView const& view,
                                    WriteSliceRequest const& request);
Result<CopyRangeReply> copy_file_range(Txn& txn, VolumeView const& view,
                                       CopyRangeRequest const& request);
struct ConcatRequest {
  Ino out;
  std::vector<Ino> sources;
};
Result<Attr> concat(Txn& txn, VolumeView const& view, ConcatRequest const& request);
struct CompactRequest {
  ChunkKey key;
  Slices const& seen;
  std::size_t skipped = 0;
  SliceRecord merged;
  bool delay = false;  ///< replaced slices are kept for the trash period
};
Result<std::vector<DelayedSlice>> compact_chunk(Txn& txn, CompactRequest const& request);

// ---- copies of trees
/// One node to be copied. `to` is an inode number that nobody else has.
struct CloneItem {
  Ino from;
  Ino to;
  Ino parent;
  std::string name;
  std::vector<std::string> xattrs;  ///< names, as listed before
  bool preserve = false;            ///< owner, mode and times as they are
  std::uint16_t umask = 0;
  bool detached = false;  ///< gets its name later, by attach()
};
struct ClonedNode {
  Ino from;
  Ino to;
  Attr node;
  std::uint64_t more_chunks = 0;  ///< so many chunks are left for clone_chunks(), from the first on
};
Result<std::vector<ClonedNode>> clone_nodes(Txn& txn, VolumeView const& view,
                                            std::span<CloneItem const> items);
struct CloneChunks {
  Ino from;
  Ino to;
  ChunkIndex first;
  std::uint64_t end = 0;  ///< behind the last chunk
  std::size_t limit = 64;
};
/// Copies some chunks; where to go on, nothing at the end.
Result<std::optional<ChunkIndex>> clone_chunks(Txn& txn, CloneChunks const& request);
struct AttachRequest {
  Ino ino;
  Ino parent;
  std::string_view name;
};
Result<EntryReply> attach(Txn& txn, VolumeView const& view, AttachRequest const& request);
Result<void> drop_detached(Txn& txn, Ino ino);

// ---- deleted files
/// Deletes a sustained inode of `session` after its last close.
Result<UnlinkReply> delete_sustained(Txn& txn, SessionId session, Ino ino);
/// Brings back a file that another client deleted while `session` had it open; `seen` is its node
/// as last known.
struct AdoptRequest {
  Ino ino;
  SessionId session;
  Attr seen;
};
struct AdoptReply {
  bool there = false;         ///< the node is there
  bool brought_back = false;  ///< by this call
};
Result<AdoptReply> adopt(Txn& txn, AdoptRequest const& request);
/// The time in a delfile record whose data are being deleted: to every client it looks long
/// expired.
constexpr std::int64_t kDelfileClaimed = 1;
Result<bool> claim_delfile(Txn& txn, DelfileKey const& key);
/// Drops one chunk of a deleted file; returns the slices that nobody uses any more.
Result<std::vector<DelayedSlice>> drop_chunk(Txn& txn, ChunkKey const& key);
/// Ends the delay of slices that a compaction replaced; returns those that nobody uses any more.
Result<std::vector<DelayedSlice>> drop_delayed(Txn& txn, DelayedSlicesKey const& key);
/// Removes the references of slices whose objects are deleted.
Result<void> forget_slices(Txn& txn, std::vector<DelayedSlice> const& slices);

// ---- the trash
/// The hourly directory `name`, made with number `fresh` when it is not there; `fresh` 0 = only
/// look.
Result<Ino> trash_dir(Txn& txn, std::string_view name, Ino fresh);
/// Takes an entry out of the trash for good, as the cleanup does: no permission rules.
Result<UnlinkReply> purge(Txn& txn, VolumeView const& view, NameRequest const& request,
                          OpenCheck& opens);

// ---- extended attributes
struct XattrRequest {
  Ino ino;
  std::string_view name;
  std::string_view value;
  std::uint32_t flags = 0;
};
Result<std::string> getxattr(Txn& txn, XattrRequest const& request);
Result<void> setxattr(Txn& txn, XattrRequest const& request);
Result<void> removexattr(Txn& txn, XattrRequest const& request);

// ---- POSIX ACLs
enum class AclKind : std::uint8_t { access, default_for_children };
struct AclRequest {
  Ino ino;
  AclKind kind = AclKind::access;
  AclRule rule;  ///< an empty one removes the ACL
  bool kill_setgid = false;
};
/// The value of the extended attribute; ENODATA without an ACL.
Result<std::string> get_acl(Txn& txn, Ino ino, AclKind kind);
/// The node with the new ACL; an access ACL changes the mode, too.
Result<Attr> set_acl(Txn& txn, AclRequest const& request);

// ---- locks
/// One try of a lock call: empty = granted, else the owners in the way.
struct LockAttempt {
  std::vector<LockOwner> holders;
  std::optional<Attr> attr;  ///< the node when the lock was granted
};
struct FlockRequest {
  Ino ino;
  LockOwner owner;
  FlockOp op = FlockOp::shared;
};
Result<LockAttempt> flock(Txn& txn, FlockRequest const& request);
struct PlockRequest {
  Ino ino;
  LockOwner owner;
  LockRange range;
};
Result<LockAttempt> setlk(Txn& txn, PlockRequest const& request);
Result<LockRange> getlk(Txn& txn, PlockRequest const& request);
/// Removes all locks of a session on an inode.
Result<void> release_locks(Txn& txn, SessionId session, Ino ino);

}  // namespace zest::meta::ops
