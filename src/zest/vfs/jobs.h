// Background work of a mounted volume: deletion of unused data, compaction, the hourly cleaning.
//
// Everything is bounded: so many deletions, compactions and prefetching fibers at once; a full
// queue drops the request, because the hourly job finds it again.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <set>
#include <span>
#include <utility>

#include "zest/vfs/env.h"
#include "zest/vfs/file_state.h"

namespace zest::vfs {

class Jobs {
 public:
  Jobs(Env& env, FileTable& files);
  Jobs(Jobs const&) = delete;
  Jobs& operator=(Jobs const&) = delete;

  /// A file whose data nobody needs any more. Any loop, never suspends.
  void delete_file(meta::UnlinkReply const& deleted);
  /// Judges whether a chunk that was read or written should be compacted (format/06 §4). Starts it
  /// in the background; with very many records (2500) a writer does it itself and waits.
  void chunk_read(FilePtr const& file, ChunkIndex index, meta::Slices const& slices,
                  std::size_t pieces);
  void slice_written(FilePtr const& file, ChunkIndex index, std::size_t slices_in_chunk);
  /// Compacts a chunk now; nothing to do is success.
  Result<void> compact(Context const& ctx, Ino ino, ChunkIndex index);

  /// Room for one more fiber that loads a slice list ahead of a reader.
  [[nodiscard]] bool try_start_prefetch() noexcept;
  void end_prefetch() noexcept;

  /// The hourly cleaning; returns when env.stop asks for it.
  void run_cleaning();
  /// One round of it, regardless of the time: deleted files, garbage slices, expired trash; each if
  /// this client gets the lease.
  void clean_once(Context const& ctx);
  /// Suspends until no deletion is queued or under way, or until the deadline of `ctx`.
  Result<void> wait_for_deletions(Context const& ctx);
  /// Forgets queued deletions; the hourly job of some client finds them.
  void drop_deletions() noexcept;

 private:
  using Chunk = std::pair<std::uint64_t, std::uint32_t>;

  void start_compaction(FilePtr const& file, ChunkIndex index);
  Result<void> merge(Context const& ctx, Ino ino, ChunkIndex index, meta::Slices const& slices);
  Result<void> write_merged(Context const& ctx, CompactionView const& view, SliceWriter& writer);
  void run_deletions();
  Result<void> delete_data(Context const& ctx, meta::UnlinkReply const& deleted);
  Result<void> remove_slices(Context const& ctx, std::vector<DelayedSlice> const& slices);
  void clean_deleted_files(Context const& ctx);
  void clean_slices(Context const& ctx);
  void clean_trash(Context const& ctx);
  void observe(std::string_view job, TimePoint start, bool ok);

  Env& env_;
  FileTable& files_;
  Histogram& compact_size_;
  std::mutex mutex_;
  std::deque<meta::UnlinkReply> deletions_;
  std::size_t deleting_ = 0;
  std::set<Chunk> compacting_;
  std::size_t prefetching_ = 0;
  FiberMutex idle_mutex_;
  FiberCondition idle_;
};

/// True when compaction of these records would shrink the list.
bool worth_compacting(std::span<SliceRecord const> slices);

}  // namespace zest::vfs
