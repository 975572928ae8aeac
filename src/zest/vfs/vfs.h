// A mounted volume: whole POSIX calls for every door (FUSE, later S3 gateway, SDK, CSI).
//
// vfs owns the open files: handles, readers, writers, directory streams, locks of handles, and what
// the kernel may cache. Rules of names and attributes are meta's, blocks are chunk's. All calls may
// suspend; any loop; thread-safe. An operation that returned success is visible to every later call
// through this client at once, and to other clients after close, fsync or flush.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/chunk/block_store.h"
#include "zest/chunk/data_view.h"
#include "zest/meta/meta.h"

namespace zest::vfs {

enum class SyncPolicy : std::uint8_t {
  fsync,  ///< close: survives the death of the client; fsync: survives a power cut
  close,  ///< close survives a power cut too
  never,  ///< neither asks the disk; for scratch data
};

struct VfsConfig {
  Duration attr_timeout = std::chrono::seconds(1);
  Duration entry_timeout = std::chrono::seconds(1);
  Duration dir_entry_timeout = std::chrono::seconds(1);
  Duration negative_timeout = Duration::zero();
  bool enable_xattr = false;
  bool enable_acl = false;  ///< the volume has POSIX ACLs, and the kernel enforces them
  bool enable_ioctl = false;
  bool hide_internal = false;    ///< virtual files are not listed
  bool prefix_internal = false;  ///< virtual names start with .jfs
  bool read_only = false;
  bool writeback_cache = false;           ///< the kernel keeps written pages for itself for a while
  std::size_t readahead_max = 32u << 20;  ///< bytes per handle
  SyncPolicy sync = SyncPolicy::close;
  std::string mount_point;
  std::string version;
  bool background_jobs = true;     ///< the hourly jobs: deleted files, garbage slices, trash
  std::size_t deletions_max = 10;  ///< files and slices being deleted at once
  /// How long data of a deleted file are kept while other clients live, who may have it open.
  Duration deletion_grace = std::chrono::seconds(60);
};

/// A file handle of this client; never 0.
struct Handle {
  std::uint64_t value = 0;
  friend auto operator<=>(Handle, Handle) = default;
};

struct EntryReply {
  Ino ino;  ///< 0 with a negative timeout: the name is known not to exist
  Attr attr;
  Duration entry_timeout{};
  Duration attr_timeout{};
};
struct AttrReply {
  Attr attr;
  Duration attr_timeout{};
};
struct OpenReply {
  Handle handle;
  bool keep_cache = false;  ///< the kernel's page cache of the file is still right
  bool direct_io = false;   ///< bypass the page cache (virtual files)
  bool nonseekable = false;
};
struct CreateReply {
  EntryReply entry;
  OpenReply open;
};
struct DirItem {
  std::string_view name;  ///< valid until the callback returns
  Ino ino;
  FileType type = FileType::regular;
  std::uint64_t next_offset = 0;  ///< cookie of the entry after this one
  Attr const* attr = nullptr;     ///< in readdirplus, when known
};
/// Returns false when its buffer is full; the item was not taken then.
using DirSink = std::function<bool(DirItem const&)>;

struct SetattrRequest {
  meta::SetattrRequest attrs;  ///< .ino names the file
  std::optional<std::uint64_t> size;
  std::optional<Handle> handle;  ///< ftruncate: an open handle was used
  bool kill_suidgid =
      false;  ///< the kernel asks to drop setuid / setgid (a write or truncate by non-root)
};

struct CopyRangeRequest {
  Ino in;
  Handle handle_in;
  std::uint64_t offset_in = 0;
  Ino out;
  Handle handle_out;
  std::uint64_t offset_out = 0;
  std::uint64_t length = 0;
  std::uint32_t flags = 0;
};

struct LockArgs {
  Ino ino;
  Handle handle;
  std::uint64_t owner = 0;
  LockRange range;
  bool wait = false;
};

struct Services {
  meta::Meta& meta;
  BlockStore& blocks;
  Rng& rng;
  Logger& log;
  Registry& metrics;
};

class Vfs {
 public:
  Vfs(VfsConfig config, Services services);
  ~Vfs();
  Vfs(Vfs const&) = delete;
  Vfs& operator=(Vfs const&) = delete;

  /// Starts background fibers (flush of old writes, deletion of unused data, compaction, trash) on
  /// the calling loop.
  Result<void> start(Context const& ctx);
  /// Flushes every open file, waits for uploads and deletions under way, stops the fibers. Then
  /// stop Meta.
  Result<void> stop(Context const& ctx);
  /// Told when an inode's cached pages or a name are stale in the kernel: set by the door, called
  /// on any loop, may suspend.
  struct Invalidator {
    std::function<void(Ino, std::uint64_t offset, std::uint64_t length)> inode;
    std::function<void(Ino parent, std::string const& name)> entry;
    /// An inode's attributes, and its pages with `pages`; returns when the kernel has dropped them.
    std::function<void(Ino, bool pages)> inode_now;
    /// All names.
    std::function<void()> names;
  };
  void set_invalidator(Invalidator invalidator);
  [[nodiscard]] VfsConfig const& config() const noexcept;

  // ---- names
  Result<EntryReply> lookup(Context const& ctx, Ino parent, std::string_view name);
  Result<EntryReply> mknod(Context const& ctx, meta::MknodRequest const& request);
  Result<EntryReply> mkdir(Context const& ctx, meta::MknodRequest const& request);
  Result<EntryReply> symlink(Context const& ctx, Ino parent, std::string_view name,
                             std::string_view target);
  Result<EntryReply> link(Context const& ctx, Ino ino, Ino new_parent, std::string_view new_name);
  Result<void> unlink(Context const& ctx, Ino parent, std::string_view name);
  Result<void> rmdir(Context const& ctx, Ino parent, std::string_view name);
  Result<void> rename(Context const& ctx, meta::RenameRequest const& request);
  Result<std::string> readlink(Context const& ctx, Ino ino);

  // ---- nodes
  Result<AttrReply> getattr(Context const& ctx, Ino ino, std::optional<Handle> handle);
  Result<AttrReply> setattr(Context const& ctx, SetattrRequest const& request);
  Result<void> access(Context const& ctx, Ino ino, std::uint32_t mask);
  Result<meta::StatfsReply> statfs(Context const& ctx, Ino ino);

  // ---- files
  Result<OpenReply> open(Context const& ctx, Ino ino, std::uint32_t flags);
  /// mknod + open in one; flags are O_*.
  Result<CreateReply> create(Context const& ctx, meta::MknodRequest const& request,
                             std::uint32_t flags);
  /// An unnamed file in `parent` (O_TMPFILE).
  Result<CreateReply> tmpfile(Context const& ctx, meta::MknodRequest const& request,
                              std::uint32_t flags);
  /// Up to `size` bytes; fewer only at the end of the file.
  Result<DataView> read(Context const& ctx, Handle handle, std::uint64_t offset, std::size_t size);
  /// Writes all of `bytes`; waits for buffer memory when uploads are behind.
  Result<std::size_t> write(Context const& ctx, Handle handle, std::uint64_t offset, ByteView bytes,
                            bool kill_suidgid);
  /// close(2) of one descriptor: everything written is stored and committed; releases the owner's
  /// POSIX locks.
  Result<void> flush(Context const& ctx, Handle handle, std::uint64_t lock_owner);
  Result<void> fsync(Context const& ctx, Handle handle, bool data_only);
  /// Last close: drops the handle (and its flock); errors were reported by flush.
  void release(Context const& ctx, Handle handle, std::optional<std::uint64_t> flock_owner);
  Result<void> fallocate(Context const& ctx, Handle handle, meta::FallocateRequest const& request);
  Result<std::uint64_t> copy_file_range(Context const& ctx, CopyRangeRequest const& request);
  /// SEEK_DATA and SEEK_HOLE.
  Result<std::uint64_t> lseek(Context const& ctx, Handle handle, std::uint64_t offset, int whence);

  // ---- directories
  Result<OpenReply> opendir(Context const& ctx, Ino ino);
  /// Feeds entries from cookie `offset` (0 = start) to `sink` until it is full or the directory
  /// ends. Bounded memory for any size of directory; cookies stay valid for the life of the handle.
  /// "." and ".." included.
  Result<void> readdir(Context const& ctx, Handle handle, std::uint64_t offset, bool plus,
                       DirSink const& sink);
  void releasedir(Context const& ctx, Handle handle);
  Result<void> fsyncdir(Context const& ctx, Handle handle);

  // ---- extended attributes, flags
  Result<std::string> getxattr(Context const& ctx, Ino ino, std::string_view name);
  Result<void> setxattr(Context const& ctx, Ino ino, std::string_view name, std::string_view value,
                        std::uint32_t flags);
  /// Names, each ending in NUL.
  Result<std::string> listxattr(Context const& ctx, Ino ino);
  Result<void> removexattr(Context const& ctx, Ino ino, std::string_view name);
  /// FS_IOC_GETFLAGS / FS_IOC_SETFLAGS; ENOTTY unless enable_ioctl.
  Result<std::uint32_t> get_flags(Context const& ctx, Ino ino);
  Result<void> set_flags(Context const& ctx, Ino ino, std::uint32_t flags);

  // ---- locks
  Result<void> flock(Context const& ctx, LockArgs const& args);
  Result<void> setlk(Context const& ctx, LockArgs const& args);
  Result<LockRange> getlk(Context const& ctx, LockArgs const& args);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest::vfs
