// What this client knows about one file: attributes, writes that are not committed yet, slice
// lists. All handles of an inode share one FileState; closed ones are kept for a while, so that
// opening a file again costs no second look at its slices.
//
// Locks, in this order:
//   writing  one writer, truncation or freeze at a time; held while SliceWriters are called and
//            while a truncation runs. A writer holds it for at most kBufferPatience while it waits
//            for memory, so whoever flushes gets it.
//   viewing  one load of a slice list at a time, so that equal reads share a trip.
//   mutex    guards the fields; never held across a suspension other than `changed`.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "zest/chunk/block_store.h"
#include "zest/format/slice.h"
#include "zest/format/types.h"
#include "zest/runtime/sync.h"

namespace zest::vfs {

/// A slice that is being written: open (bytes may be added), frozen (waits for somebody to store
/// and commit it) or claimed (a fiber is at it).
struct PendingSlice {
  enum class State : std::uint8_t { open, frozen, claimed };

  explicit PendingSlice(BlockStore& blocks) : writer(blocks) {}

  std::uint64_t seq = 0;  ///< order of creation in its file
  ChunkIndex chunk;
  std::uint32_t pos = 0;     ///< start in the chunk
  std::uint32_t length = 0;  ///< bytes written
  State state = State::open;
  bool durable = false;        ///< finish with power-cut safety
  std::optional<Errc> doomed;  ///< an earlier slice failed, so this one must not be committed
  WallTime last_write;         ///< becomes the file's mtime
  TimePoint first_write_at;    ///< for the background flush
  TimePoint last_write_at;
  SessionId session;  ///< in which the first byte was taken
  SliceWriter writer;

  [[nodiscard]] std::uint64_t begin() const noexcept { return chunk.value * kChunkSize + pos; }
  [[nodiscard]] std::uint64_t end() const noexcept { return begin() + length; }
};

/// What the kernel's page cache of a file corresponds to.
struct KernelStamp {
  WallTime mtime;
  WallTime ctime;
  std::uint64_t length = 0;
  friend bool operator==(KernelStamp const&, KernelStamp const&) = default;
};

using ChunkView = std::shared_ptr<std::vector<Piece> const>;

class FileState {
 public:
  explicit FileState(Ino number) : ino(number) {}
  FileState(FileState const&) = delete;
  FileState& operator=(FileState const&) = delete;

  Ino const ino;
  FiberMutex writing;
  FiberMutex viewing;
  FiberMutex mutex;
  FiberCondition changed;  ///< a slice left `pending`

  // ---- guarded by `mutex`
  Attr attr;                                           ///< as committed, newest known
  bool attr_known = false;                             ///< false until the first open
  std::uint64_t epoch = 0;                             ///< Env::epoch of our latest change
  std::vector<std::shared_ptr<PendingSlice>> pending;  ///< ascending by seq
  std::uint64_t next_seq = 1;
  std::size_t helpers = 0;             ///< background fibers committing this file
  std::optional<Errc> error;           ///< a failed commit, for the next write, flush or fsync
  std::vector<DelayedSlice> unsynced;  ///< committed but not yet power-cut safe
  bool meta_dirty = false;             ///< commits that meta.sync() has not covered
  std::map<std::uint32_t, ChunkView> views;
  std::uint64_t view_generation = 0;  ///< counts drops of views
  /// Slices that this client committed to a chunk since it was last compacted or forgotten: a
  /// file that is only appended to needs compaction too, and nobody reads its record lists.
  std::map<std::uint32_t, std::size_t> committed;
  WallTime validated_mtime;  ///< mtime at which `views` were known to be right
  WallTime own_mtime;        ///< mtime that our latest commit left
  std::optional<KernelStamp> stamp;
  /// POSIX lock owners that may hold something, and the session in which they got it (0 = none yet,
  /// or all given up).
  std::map<std::uint64_t, SessionId> lock_owners;

  // ---- call with `mutex` held
  /// Length including pending writes.
  [[nodiscard]] std::uint64_t length() const noexcept;
  /// The attributes including pending writes.
  [[nodiscard]] Attr effective() const;
  /// Takes over attributes that were asked for when Env::epoch was `before`. When somebody else
  /// changed the data, slice lists are dropped, and true tells that the kernel's pages are old.
  bool apply_fetched(Attr const& fetched, std::uint64_t before);
  /// Takes over the attributes after an own change of the data (`before` as above).
  void apply_own(Attr const& changed_attr, std::uint64_t before, std::uint64_t now_epoch);
  void drop_views();
  void drop_view(ChunkIndex index);
  void keep_view(ChunkIndex index, ChunkView view, std::uint64_t generation);
  [[nodiscard]] bool has_pending_in(std::uint64_t begin, std::uint64_t end) const noexcept;
  /// The stuck error, which is forgotten.
  [[nodiscard]] std::optional<Errc> take_error();
};

using FilePtr = std::shared_ptr<FileState>;  // handles, table and commit fibers share it

/// The files of this client by inode: open ones, and a bounded number of closed ones. Any thread,
/// never suspends.
class FileTable {
 public:
  explicit FileTable(std::size_t closed_max) : closed_max_(closed_max / kShards + 1) {}
  /// The file, with one handle more.
  FilePtr open(Ino ino);
  /// One handle less; the file may be forgotten.
  void close(Ino ino);
  /// The file when it is known, else nullptr.
  [[nodiscard]] FilePtr find(Ino ino);
  /// Forgets a file that nobody has open (it was deleted).
  void forget(Ino ino);
  [[nodiscard]] std::vector<FilePtr> all();

 private:
  static constexpr std::size_t kShards = 16;
  struct Slot {
    FilePtr file;
    std::size_t handles = 0;
    std::list<Ino>::iterator closed;  ///< position in `closed` when handles == 0
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<Ino, Slot> files;
    std::list<Ino> closed;  ///< oldest first
  };
  Shard& shard(Ino ino) noexcept { return shards_[std::hash<Ino>{}(ino) % kShards]; }

  std::size_t closed_max_;
  Shard shards_[kShards];
};

/// The files with pending writes, for the background flush. Any loop.
class DirtyFiles {
 public:
  void add(FilePtr const& file);
  void remove(Ino ino);
  [[nodiscard]] std::vector<FilePtr> all();
  /// Suspends until there is any and `period` has passed or memory got short, or EINTR.
  Result<void> wait(Context const& ctx, Duration period);
  /// Memory for writes is short. Any thread, never suspends.
  void report_pressure() noexcept;
  /// True once after report_pressure().
  [[nodiscard]] bool take_pressure() noexcept { return pressure_.exchange(false); }

 private:
  FiberMutex mutex_;
  FiberCondition some_;
  FiberCondition pressed_;
  std::atomic<bool> pressure_{false};
  std::unordered_map<Ino, FilePtr> files_;
};

}  // namespace zest::vfs
