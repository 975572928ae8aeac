// A volume's metadata: every POSIX operation once, for all engines. The facade that vfs and admin
// call.
//
// Each call runs the operation's body (meta/ops) in the transaction runner, then applies its
// consequences once: usage and directory statistics are summed for the flusher, inodes to be
// invalidated and data to be deleted are returned. All calls may suspend; any loop; thread-safe.
// Errors are semantic errnos (listed with each body in meta/ops), or EIO / ETIMEDOUT with
// Fault::transient or Fault::corrupt.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/format/setting.h"
#include "zest/meta/engine.h"
#include "zest/meta/record.h"
#include "zest/runtime/sync.h"

namespace zest::meta {

enum class AtimeMode : std::uint8_t { noatime, relatime, strictatime };

struct MetaConfig {
  bool read_only = false;
  /// Root of the mount inside of the volume; inode 1 as seen by callers (format/05 §1.1).
  Ino root = kRootIno;
  Duration heartbeat = std::chrono::seconds(12);
  AtimeMode atime = AtimeMode::noatime;
  bool background_jobs = true;
  /// Names that differ in case only are the same; the exact name wins where there are several.
  bool case_insensitive = false;
  /// What the session record says.
  SessionInfo session;
};

struct RecentAttr {
  Attr attr;
  Duration age{};
};
struct EntryReply {
  Ino ino;
  Attr attr;
};

struct MknodRequest {
  Ino parent;
  std::string_view name;
  FileType type = FileType::regular;
  std::uint16_t mode = 0;
  std::uint16_t umask = 0;
  std::uint32_t rdev = 0;
  std::string_view target;  ///< symlink only
  /// A regular file without a name, which this session's open keeps alive: see Meta::tmpfile.
  bool unnamed = false;
};

struct UnlinkReply {
  Ino ino;
  /// The file's data are no longer needed by anybody: delete_file_data(ino, length).
  bool data_unused = false;
  std::uint64_t length = 0;
  /// This client has the file open: it lives on until the last close.
  bool sustained = false;
};

enum RenameFlag : std::uint32_t { kRenameNoReplace = 1, kRenameExchange = 2, kRenameRestore = 32 };
struct RenameRequest {
  Ino parent;
  std::string_view name;
  Ino new_parent;
  std::string_view new_name;
  std::uint32_t flags = 0;
};
struct RenameReply {
  Ino ino;
  Attr attr;
  /// What was at the destination and lost its last name.
  std::optional<UnlinkReply> replaced;
};

/// What setattr changes; absent = as it is. Size goes through truncate().
struct SetattrRequest {
  Ino ino;
  std::optional<std::uint16_t> mode;
  std::optional<std::uint32_t> uid;
  std::optional<std::uint32_t> gid;
  std::optional<WallTime> atime;
  std::optional<WallTime> mtime;
  bool atime_now = false;
  bool mtime_now = false;
  std::optional<std::uint8_t> flags;  ///< InodeFlag bits
};

enum FallocateMode : std::uint32_t {
  kFallocKeepSize = 1,
  kFallocPunchHole = 2,
  kFallocZeroRange = 16
};
struct FallocateRequest {
  Ino ino;
  std::uint32_t mode = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

struct CopyRangeRequest {
  Ino in;
  std::uint64_t offset_in = 0;
  Ino out;
  std::uint64_t offset_out = 0;
  std::uint64_t length = 0;
};
struct CopyRangeReply {
  std::uint64_t copied = 0;
  Attr out_attr;
};

struct CloneRequest {
  Ino from;
  Ino parent;
  std::string_view name;
  bool preserve = false;  ///< owner, mode and times of the source; else a new file of the caller
  std::uint16_t umask = 0;
};
/// Read by others while the clone runs.
struct CloneProgress {
  std::atomic<std::uint64_t> cloned{0};
  std::atomic<std::uint64_t> total{0};  ///< found so far
};

struct WriteSliceRequest {
  Ino ino;
  ChunkIndex index;
  /// What one slice that was just written puts where, at least one record; later ones hide earlier
  /// ones.
  Slices slices;
  WallTime mtime;  ///< time of the last write into the slice
  /// The session in which the bytes were taken: when it ended meanwhile, this is EIO and nothing is
  /// written. 0 = whichever it is now.
  SessionId session;
};
struct WriteSliceReply {
  Attr attr;
  /// The mtime before this commit: another one than the caller knew says that somebody else changed
  /// the data in between.
  WallTime replaced_mtime;
};

enum XattrFlag : std::uint32_t {
  kXattrCreate = 1,
  kXattrReplace = 2,
  /// With an ACL: the caller may not keep the file's setgid bit (the kernel has looked).
  kXattrKillSetgid = 1u << 16,
};
/// The attributes that hold POSIX ACLs.
constexpr std::string_view kAccessAclXattr = "system.posix_acl_access";
constexpr std::string_view kDefaultAclXattr = "system.posix_acl_default";

struct LockRequest {
  Ino ino;
  std::uint64_t owner = 0;
  LockRange range;  ///< POSIX: type, pid, start, end (inclusive)
  bool wait = false;
};
enum class FlockOp : std::uint8_t { shared, exclusive, unlock };
/// A lock that was granted or given up.
struct LockReply {
  /// The node as it was when the lock was granted; nothing after an unlock.
  std::optional<Attr> attr;
  /// The session that holds it.
  SessionId session;
};

struct ExpiredSlices {
  std::size_t lists = 0;
  std::vector<DelayedSlice> unused;
};

struct StatfsReply {
  std::uint64_t total_space = 0;
  std::uint64_t available_space = 0;
  std::uint64_t used_inodes = 0;
  std::uint64_t available_inodes = 0;
};

class Meta {
 public:
  /// `setting` is the volume's, decoded and checked (check_client_version). The engine outlives the
  /// Meta.
  Meta(Engine& engine, Setting setting, MetaConfig config, Clock const& clock, Rng& rng,
       Logger& log, Registry& metrics);
  ~Meta();
  Meta(Meta const&) = delete;
  Meta& operator=(Meta const&) = delete;

  /// Opens the session (unless read-only) and starts heartbeat, flushers and lease jobs on fibers
  /// of the calling loop.
  Result<void> start(Context const& ctx);
  /// Stops the jobs, flushes counters, releases the session's locks and sustained inodes, removes
  /// the session.
  Result<void> stop(Context const& ctx);
  [[nodiscard]] SessionId session() const noexcept;
  /// A copy of the current Setting (reloaded at each heartbeat).
  [[nodiscard]] Setting setting() const;
  /// False while the session's lease has run out or another client has ended the session, until a
  /// heartbeat renews it or opens a new one, and once the volume was re-formatted: writes fail with
  /// EIO then.
  [[nodiscard]] bool alive() const noexcept;
  /// `listener(ended)` is called on the heartbeat's fiber after a session was ended by another
  /// client and a new one was opened: locks and unlinked open files of `ended` are lost, and
  /// everything that this client remembers may be old. An empty one ends that; may suspend.
  void set_session_listener(std::function<void(SessionId ended)> listener);

  // ---- names
  Result<EntryReply> lookup(Context const& ctx, Ino parent, std::string_view name);
  /// With EEXIST the found entry is not returned; look it up.
  Result<EntryReply> mknod(Context const& ctx, MknodRequest const& request);
  /// mknod() of a regular file and its first open() in one: the open counts before the file has a
  /// name, so no unlink slips in between, and the node need not be read again. No rights of the new
  /// file are checked: who makes a file may use it.
  Result<EntryReply> create(Context const& ctx, MknodRequest const& request);
  /// O_TMPFILE: a regular file without a name, opened (close() it). It lives until its last close,
  /// unless link() names it. `request.name` is ignored.
  Result<EntryReply> tmpfile(Context const& ctx, MknodRequest const& request);
  /// Also names a file of tmpfile().
  Result<EntryReply> link(Context const& ctx, Ino ino, Ino new_parent, std::string_view new_name);
  Result<UnlinkReply> unlink(Context const& ctx, Ino parent, std::string_view name,
                             bool skip_trash = false);
  Result<Ino> rmdir(Context const& ctx, Ino parent, std::string_view name);
  Result<RenameReply> rename(Context const& ctx, RenameRequest const& request);
  Result<std::string> readlink(Context const& ctx, Ino ino);
  Result<DirPage> readdir(Context const& ctx, ListDir const& request);
  /// Parent directory, for "..".
  Result<Ino> parent_of(Context const& ctx, Ino dir);

  // ---- nodes
  Result<Attr> getattr(Context const& ctx, Ino ino);
  /// For the kernel, which would have kept a directory's attributes for `age`: as they were read by
  /// this client within that time, with all that it changed since. No trip then; `age` of the
  /// reply counts towards how long they may be kept on. Everything else is getattr().
  Result<RecentAttr> getattr_within(Context const& ctx, Ino ino, Duration age);
  Result<Attr> setattr(Context const& ctx, SetattrRequest const& request);
  Result<Attr> truncate(Context const& ctx, Ino ino, std::uint64_t length, bool by_handle);
  Result<Attr> fallocate(Context const& ctx, FallocateRequest const& request);
  Result<void> access(Context const& ctx, Ino ino, std::uint32_t mask);
  /// Space and inodes of the volume, or of the quotas above `ino`.
  Result<StatfsReply> statfs(Context const& ctx, Ino ino = kRootIno);

  // ---- open files
  /// Counts an open of a regular file; `flags` are O_*. Checks immutable / append / trash rules.
  /// While the count is above zero, unlink keeps the file as a sustained inode.
  Result<Attr> open(Context const& ctx, Ino ino, std::uint32_t flags);
  /// The last close of an unlinked file returns what to delete.
  Result<std::optional<UnlinkReply>> close(Context const& ctx, Ino ino);

  // ---- data
  /// Slices of a chunk, oldest first; empty = hole.
  Result<Slices> read_chunk(Context const& ctx, Ino ino, ChunkIndex index);
  /// A fresh slice id (from a batch; rarely suspends).
  Result<SliceId> new_slice(Context const& ctx);
  /// Commits a slice whose blocks are stored. The caller keeps the order of commits (format/05
  /// §10.2).
  Result<WriteSliceReply> write_slice(Context const& ctx, WriteSliceRequest const& request);
  Result<CopyRangeReply> copy_file_range(Context const& ctx, CopyRangeRequest const& request);
  /// Appends whole files to `out` without copying data, in their order; the sources stay. What fits
  /// into one commit (4 GiB) is appended whole or not at all, more in such steps. EINVAL when `out`
  /// is among the sources.
  Result<Attr> concat(Context const& ctx, Ino out, std::span<Ino const> sources);
  /// Copies a file or a whole tree without copying data: the copy shares the source's slices.
  ///
  /// A tree is built where nobody sees it and gets its name at the end; when anything fails or the
  /// caller stops it, nothing stays. Entries that are deleted meanwhile are left out; a file that
  /// is being written is copied as of a moment (one of more than 256 MiB: of several). Memory is
  /// bounded by the depth of the tree. EEXIST, EPERM (trash), EACCES, ENOSPC, EINTR.
  Result<EntryReply> clone(Context const& ctx, CloneRequest const& request,
                           CloneProgress* progress = nullptr);
  /// Removes copies that were begun before `age` ago and never got their name; returns how many.
  /// Their data wait as deleted files.
  Result<std::size_t> clean_detached(Context const& ctx, Duration age, std::size_t limit);
  /// Everything acknowledged so far survives a power cut.
  Result<void> sync(Context const& ctx);
  /// Replaces the slices of a chunk that `seen` begins with by one (the caller has stored it).
  /// Returns slices whose objects are unused now. EINVAL when the chunk changed otherwise than by
  /// appends; with Fault::semantic nobody uses the new slice then.
  Result<std::vector<DelayedSlice>> compact_chunk(Context const& ctx, ChunkKey const& key,
                                                  Slices const& seen, std::size_t skipped,
                                                  SliceRecord const& merged);

  // ---- deleted data: meta knows no objects, so the caller deletes those and then confirms
  /// Drops the chunks of a deleted file step by step; returns slices whose objects are unused now.
  /// Call again until it returns an empty vector; then the record of the file is gone.
  Result<std::vector<DelayedSlice>> delete_file_data(Context const& ctx, Ino ino,
                                                     std::uint64_t length);
  /// The objects of these slices are deleted.
  Result<void> forget_slices(Context const& ctx, std::vector<DelayedSlice> const& slices);
  /// Deleted files older than `age` and slices without references, for the lease-guarded hourly
  /// job.
  Result<std::vector<DelfileEntry>> deleted_files(Context const& ctx, Duration age,
                                                  std::size_t limit);
  Result<std::vector<DelayedSlice>> garbage_slices(Context const& ctx, std::size_t limit);
  /// Slice lists of compactions that the trash period kept until now: their references go. `unused`
  /// are slices whose objects are unused then. At most `limit` lists; call until `lists` is 0.
  Result<ExpiredSlices> expire_delayed_slices(Context const& ctx, std::size_t limit);
  /// Is any other client's session alive? It may have files open that lost their last name here.
  Result<bool> others_live(Context const& ctx);
  /// True when this client may run the hourly job now.
  Result<bool> take_lease(Context const& ctx, Lease lease, Duration interval);
  /// Empties trash older than the volume's TrashDays; returns deleted files' data to drop (bounded;
  /// call until empty).
  Result<std::vector<UnlinkReply>> expire_trash(Context const& ctx, std::size_t limit);

  // ---- extended attributes; the two with ACLs read and set rules (format/05 §11)
  Result<std::string> getxattr(Context const& ctx, Ino ino, std::string_view name);
  Result<void> setxattr(Context const& ctx, Ino ino, std::string_view name, std::string_view value,
                        std::uint32_t flags);
  Result<std::vector<std::string>> listxattr(Context const& ctx, Ino ino);
  Result<void> removexattr(Context const& ctx, Ino ino, std::string_view name);

  // ---- locks
  /// EAGAIN when held by another owner and not `wait`; waiting honours ctx.stop (EINTR).
  Result<LockReply> flock(Context const& ctx, Ino ino, std::uint64_t owner, FlockOp op, bool wait);
  /// As flock; EDEADLK when waiting would close a circle of waiters of this client.
  Result<LockReply> setlk(Context const& ctx, LockRequest const& request);
  /// The first conflicting lock, type unlock when there is none.
  Result<LockRange> getlk(Context const& ctx, LockRequest const& request);

  // ---- administration
  /// The inode of the volume that callers call `ino`: differs for the root of a sub-directory
  /// mount.
  [[nodiscard]] Ino volume_ino(Ino ino) const noexcept;
  [[nodiscard]] Engine& engine() noexcept;
  /// Writes counters and statistics that are summed in memory.
  Result<void> flush_stats(Context const& ctx);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest::meta
