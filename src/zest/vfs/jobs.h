// Background work of a mounted volume: deletion of unused data, compaction, the hourly cleaning.
//
// Everything is bounded: so many deletions, compactions and prefetching fibers at once; a full
// queue drops the request, because the hourly job finds it again.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "zest/chunk/compaction.h"
#include "zest/vfs/env.h"
#include "zest/vfs/file_state.h"

namespace zest::vfs {

class Jobs {
 public:
  Jobs(Env& env, FileTable& files);
  Jobs(Jobs const&) = delete;
  Jobs& operator=(Jobs const&) = delete;

  /// A file whose data nobody needs any more. They are deleted at once when this client is the only
  /// one of the volume; others may have the file open, so they get Config::deletion_grace to notice
  /// (Meta brings the file back then). Any loop, never suspends.
  void delete_file(meta::UnlinkReply const& deleted);
  /// Judges whether a chunk that was read or written should be compacted (format/06 §4). Starts it
  /// in the background; with very many records (2500) a writer does it itself and waits.
  void chunk_read(FilePtr const& file, ChunkIndex index, meta::Slices const& slices,
                  std::size_t pieces);
  void slices_written(FilePtr const& file, ChunkIndex index, std::size_t added,
                      std::size_t slices_in_chunk);
  /// Compacts a chunk now, once; false when there was nothing to do, or another fiber is at it.
  Result<bool> compact(Context const& ctx, Ino ino, ChunkIndex index, Compaction which);
  /// Compacts every chunk of a file, or of all files below a directory, until nothing is to do;
  /// `workers` chunks at once. `found` and `done` count chunks. EACCES unless the caller may read
  /// and write `ino`; the first error of a chunk, after all were tried.
  Result<void> compact_below(Context const& ctx, Ino ino, std::size_t workers,
                             std::atomic<std::uint64_t>& found, std::atomic<std::uint64_t>& done);

  /// Room for one more fiber that loads a slice list ahead of a reader.
  [[nodiscard]] bool try_start_prefetch() noexcept;
  void end_prefetch() noexcept;

  /// The hourly cleaning; returns when env.stop asks for it.
  void run_cleaning();
  /// One round of it, regardless of the time: deleted files, garbage slices, expired trash and
  /// delayed slices; each if this client gets the lease.
  void clean_once(Context const& ctx);
  /// Suspends until no deletion is due or under way, or until the deadline of `ctx`.
  Result<void> wait_for_deletions(Context const& ctx);
  /// Forgets queued deletions; the hourly job of some client finds them.
  void drop_deletions() noexcept;

 private:
  using Chunk = std::pair<std::uint64_t, std::uint32_t>;

  void start_compaction(FilePtr const& file, ChunkIndex index);
  void forget_count(Ino ino, ChunkIndex index);
  Result<bool> merge(Context const& ctx, Ino ino, ChunkIndex index, Compaction which);
  struct Deletion {
    meta::UnlinkReply file;
    TimePoint queued_at{};
  };
  /// Starts one more fiber that deletes, when there is work for it.
  void start_deletions();
  void run_deletions();
  /// The next deletion of the queue; without one, the calling fiber is counted out.
  std::optional<Deletion> next_deletion();
  /// Deletes now, or puts it off when other clients live.
  Result<void> delete_when_unused(Context const& ctx, Deletion const& next);
  Result<bool> alone_since(Context const& ctx, TimePoint queued_at);
  void wait_for_grace();
  Result<void> delete_data(Context const& ctx, meta::UnlinkReply const& deleted);
  Result<void> remove_slices(Context const& ctx, std::vector<DelayedSlice> const& slices);
  struct JobResult {
    Result<void> done;
    std::size_t items = 0;
  };
  JobResult clean_deleted_files(Context const& ctx);
  JobResult clean_slices(Context const& ctx);
  JobResult clean_trash(Context const& ctx);
  JobResult clean_delayed_slices(Context const& ctx);
  void report(std::string_view job, TimePoint start, JobResult const& result);

  Env& env_;
  FileTable& files_;
  Histogram& compact_size_;
  std::mutex mutex_;
  std::deque<Deletion> deletions_;
  std::deque<Deletion> put_off_;  ///< ascending by queued_at, roughly
  bool waiting_ = false;          ///< a fiber waits until the first of put_off_ is due
  std::size_t deleting_ = 0;
  TimePoint alone_at_{};                ///< no other session was alive then
  std::optional<TimePoint> others_at_;  ///< others were, at the last look
  std::set<Chunk> compacting_;
  std::size_t prefetching_ = 0;
  FiberMutex idle_mutex_;
  FiberCondition idle_;
};

}  // namespace zest::vfs
