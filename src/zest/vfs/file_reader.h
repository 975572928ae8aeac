// Reading: the slices of a chunk are overlaid to a view, holes are zeros, sequential readers get a
// growing window ahead of them.
//
// Bytes that this client wrote and has not committed are visible: a range that lies in one open
// slice is served from its memory, any other overlap is committed first. So what a read returns is
// exact whatever the order of the writes was.
#pragma once

#include <array>
#include <mutex>

#include "zest/vfs/env.h"
#include "zest/vfs/file_state.h"

namespace zest::vfs {

/// Finds sequential streams in the reads of one handle. Up to kStreams at once, because programs
/// and the kernel's own read-ahead interleave them. Any thread, never suspends.
class ReadAhead {
 public:
  struct Advice {
    bool sequential = false;  ///< the rest of the blocks will be wanted
    /// Bytes to fetch in the background; empty when begin == end.
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  /// Notes a read and says what to do. `window_max` in bytes; 0 switches read-ahead off.
  Advice note(std::uint64_t offset, std::uint64_t size, std::uint64_t window_max);

 private:
  static constexpr std::size_t kStreams = 3;
  struct Stream {
    std::uint64_t next = 0;     ///< where the stream's next read is expected
    std::uint64_t fetched = 0;  ///< end of what was asked for in advance
    std::uint64_t window = 0;   ///< 0 = unused
    std::uint64_t used_at = 0;
  };
  std::mutex mutex_;
  std::array<Stream, kStreams> streams_;
  std::uint64_t clock_ = 0;
};

/// Up to `size` bytes at `offset`; fewer only at the end of the file. EIO when data are missing in
/// the store.
Result<DataView> read_file(Env& env, FilePtr const& file, ReadAhead& ahead, Context const& ctx,
                           std::uint64_t offset, std::size_t size);

/// The view of a chunk, cached or loaded. EBADF when the file is gone.
Result<ChunkView> chunk_view(Env& env, FilePtr const& file, Context const& ctx, ChunkIndex index);

}  // namespace zest::vfs
