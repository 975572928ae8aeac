// Writing: bytes gather in slices, slices are stored and committed in the right order.
//
// A write goes into an open slice of its chunk that it continues, or starts a new one. Slices
// become frozen when they are full, old, asked for (flush, read, truncate) or in the way of
// others; then any fiber may claim them, first come first: the flusher, the closing process itself
// or a helper. It stores the rest, waits for its turn and commits. Claims go in order of creation,
// so whoever waits for a turn waits for a fiber that is already running; closing thousands of
// files at once cannot starve itself of fibers.
//
// Order of commits: slices of one chunk by creation; a slice that makes the file longer also after
// all earlier ones that do. So the length never covers bytes that this client has yet to commit,
// and a crash leaves a prefix of what was written. When a commit fails, later slices that would
// make the file longer fail with it.
#pragma once

#include "zest/vfs/env.h"
#include "zest/vfs/file_state.h"

namespace zest::vfs {

/// What a flush promises.
enum class Durability : std::uint8_t {
  client_death,  ///< the data are stored and committed
  close,         ///< what this client committed of the file survives a power cut too
  fsync,         ///< and so does everything else about the file, such as its name
};

/// Writes all of `bytes`; returns fewer only when the caller gave up in the middle. Waits for
/// memory. A stuck error of an earlier commit is returned here, once.
Result<std::size_t> write_file(Env& env, FilePtr const& file, Context const& ctx,
                               std::uint64_t offset, ByteView bytes);

/// Commits everything written before the call; returns the stuck error, if any. Not interrupted
/// once it stores.
Result<void> flush_file(Env& env, FilePtr const& file, Context const& ctx, Durability durability);

/// The same without syncing and without taking the stuck error: for reads and truncations, which
/// must see what was written. The caller holds `writing`.
Result<void> drain_while_writing(Env& env, FilePtr const& file, Context const& ctx);

/// Commits in background fibers what is old; everything when memory is short. Never waits for a
/// writer.
void flush_old_writes(Env& env, FilePtr const& file, bool memory_short);

/// The fiber that calls flush_old_writes for all dirty files; returns when env.stop asks for it.
void run_flusher(Env& env);

}  // namespace zest::vfs
