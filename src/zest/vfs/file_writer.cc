#include "zest/vfs/file_writer.h"

#include <algorithm>
#include <utility>

#include "zest/base/assert.h"
#include "zest/runtime/loop.h"
#include "zest/vfs/slice_commit.h"

namespace zest::vfs {

namespace {

using State = PendingSlice::State;
using SlicePtr = std::shared_ptr<PendingSlice>;

// How long a writer waits for memory before it gives away what the other open slices of its file
// hold. Without this it could wait for itself for ever.
constexpr Duration kBufferPatience = std::chrono::milliseconds(50);
// How far back a write looks for a slice that it continues, as in the peer's model (format/07 §2).
constexpr int kOpenSlicesPerChunk = 3;
constexpr std::size_t kOpenSlicesMax = 800;
constexpr std::size_t kPendingSlicesMax = 1000;
// Committed slices whose sync is still owed; beyond that the oldest are synced at once.
constexpr std::size_t kUnsyncedMax = 1024;
constexpr Duration kSliceAgeMax = std::chrono::seconds(5);
constexpr Duration kSliceIdleMax = std::chrono::seconds(1);
constexpr Duration kFlusherPeriod = std::chrono::milliseconds(200);

/// The open slice that `[pos, pos + length)` continues, or nullptr. A slice behind a newer one that
/// covers part of the range cannot take it: the newer one would hide it.
SlicePtr find_open_slice(FileState& file, ChunkIndex chunk, std::uint32_t pos, std::uint32_t length,
                         SessionId session) {
  std::lock_guard const lock(file.mutex);
  int seen = 0;
  for (auto it = file.pending.rbegin(); it != file.pending.rend(); ++it) {
    auto const& slice = **it;
    if (slice.chunk != chunk) {
      continue;
    }
    if (slice.state == State::open && !slice.doomed && slice.session == session &&
        pos >= slice.pos + slice.writer.frozen_end() && pos <= slice.pos + slice.length) {
      return *it;
    }
    bool const hides = slice.pos < pos + length && pos < slice.pos + slice.length;
    if (hides || ++seen >= kOpenSlicesPerChunk) {
      return nullptr;
    }
  }
  return nullptr;
}

std::uint64_t newest_seq(FileState& file) {
  std::lock_guard const lock(file.mutex);
  return file.next_seq - 1;
}

/// Keeps the number of pending slices bounded; `writing` is held.
Result<void> make_room(Env& env, FilePtr const& file, Context const& ctx) {
  std::size_t open = 0;
  std::uint64_t half = 0;
  std::uint64_t surplus = 0;
  {
    std::lock_guard const lock(file->mutex);
    auto const& pending = file->pending;
    for (auto const& slice : pending) {
      if (slice->state == State::open && ++open == kOpenSlicesMax / 2) {
        half = slice->seq;
      }
    }
    if (pending.size() >= kPendingSlicesMax) {
      surplus = pending[pending.size() - kPendingSlicesMax]->seq;
    }
  }
  if (open >= kOpenSlicesMax) {
    freeze(*file, half, false);
    start_helpers(env, file, 0);
  }
  if (surplus > 0) {
    freeze(*file, surplus, false);
    return drain(env, file, ctx, surplus);
  }
  return {};
}

Result<SlicePtr> start_slice(Env& env, FilePtr const& file, Context const& ctx, ChunkIndex chunk,
                             std::uint32_t pos) {
  ZEST_CHECK(make_room(env, file, ctx));
  ZEST_TRY(auto const id, env.services.meta.new_slice(ctx));
  auto slice = std::make_shared<PendingSlice>(env.services.blocks);
  slice->chunk = chunk;
  slice->pos = pos;
  slice->session = env.services.meta.session();
  slice->writer.set_id(id);
  slice->first_write_at = Loop::current()->now();
  slice->last_write_at = slice->first_write_at;
  std::lock_guard const lock(file->mutex);
  slice->seq = file->next_seq++;
  file->pending.push_back(slice);
  env.dirty->add(file);
  return slice;
}

/// Counts bytes that were written into `slice`; freezes a full one.
void note_written(Env& env, FilePtr const& file, PendingSlice& slice) {
  auto& loop = *Loop::current();
  bool full = false;
  {
    std::lock_guard const lock(file->mutex);
    slice.length = slice.writer.length();
    slice.last_write = loop.wall();
    slice.last_write_at = loop.now();
    full = slice.pos + slice.length == kChunkSize;
  }
  if (full) {
    freeze(*file, slice.seq, false);
    start_helpers(env, file, 0);
  }
}

/// Writes the head of `bytes` up to the end of a block; returns how much, 0 = try again. `writing`
/// is held.
Result<std::size_t> write_piece(Env& env, FilePtr const& file, Context const& ctx,
                                std::uint64_t offset, ByteView bytes) {
  {
    std::lock_guard const lock(file->mutex);
    if (auto const error = file->take_error()) {
      return *error;
    }
  }
  auto const chunk = ChunkIndex{static_cast<std::uint32_t>(offset / kChunkSize)};
  auto const pos = static_cast<std::uint32_t>(offset % kChunkSize);
  auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes.size(), kChunkSize - pos));
  auto slice = find_open_slice(*file, chunk, pos, length, env.services.meta.session());
  if (!slice) {
    ZEST_TRY(slice, start_slice(env, file, ctx, chunk, pos));
  }
  auto const block_size = env.services.blocks.config().block_size;
  auto const at = pos - slice->pos;
  length = std::min(length, block_size - at % block_size);
  auto& loop = *Loop::current();
  Context patient = ctx;
  patient.deadline = std::min(ctx.deadline, loop.now() + kBufferPatience);
  auto written = slice->writer.write(patient, at, bytes.first(length));
  if (written.ok()) {
    note_written(env, file, *slice);
    return length;
  }
  if (failed_with(written, Errc::again)) {
    // Memory is short and this slice holds some: it has to be stored before the same bytes are
    // tried again, in a new slice.
    freeze(*file, slice->seq, false);
    start_helpers(env, file, 0);
    return std::size_t{0};
  }
  if (failed_with(written, Errc::timedout) && loop.now() < ctx.deadline) {
    // This slice holds nothing, but other open ones of the file may.
    freeze(*file, slice->seq - 1, false);
    start_helpers(env, file, 0);
    return std::size_t{0};
  }
  return std::move(written).error();
}

/// Makes committed slices that were stored without it power-cut safe, then the metadata.
Result<void> sync_committed(Env& env, FilePtr const& file, Context const& ctx, bool always) {
  std::vector<DelayedSlice> slices;
  bool dirty = false;
  {
    std::lock_guard const lock(file->mutex);
    slices.swap(file->unsynced);
    dirty = std::exchange(file->meta_dirty, false);
  }
  Result<void> result;
  while (result.ok() && !slices.empty()) {
    auto const& slice = slices.back();
    result = env.services.blocks.sync_slice(ctx, slice.id, slice.size);
    // Missing objects belong to a slice that was compacted away meanwhile; the merged one is safe.
    if (failed_with(result, Errc::noent)) {
      result = {};
    }
    if (result.ok()) {
      slices.pop_back();
    }
  }
  if (result.ok() && (dirty || always)) {
    result = env.services.meta.sync(ctx);
  }
  if (!result.ok()) {
    std::lock_guard const lock(file->mutex);
    file->unsynced.insert(file->unsynced.end(), slices.begin(), slices.end());
    file->meta_dirty = file->meta_dirty || dirty;
  }
  return result;
}

/// Keeps the list of owed syncs bounded.
void sync_surplus(Env& env, FilePtr const& file) {
  bool surplus = false;
  {
    std::lock_guard const lock(file->mutex);
    surplus = file->unsynced.size() > kUnsyncedMax;
  }
  if (surplus) {
    auto const ctx = Env::background();
    if (auto synced = sync_committed(env, file, ctx, false); !synced.ok()) {
      env.services.log.warn("sync of written data failed, trying again later",
                            {{"inode", file->ino.value}, {"error", synced.error().text()}});
    }
  }
}

}  // namespace

Result<std::size_t> write_file(Env& env, FilePtr const& file, Context const& ctx,
                               std::uint64_t offset, ByteView bytes) {
  ZEST_CHECK(file->writing.lock(ctx));
  std::lock_guard const writing(file->writing, std::adopt_lock);
  std::size_t done = 0;
  while (done < bytes.size()) {
    auto piece = write_piece(env, file, ctx, offset + done, bytes.subspan(done));
    if (!piece.ok()) {
      bool const gave_up = failed_with(piece, Errc::intr) || failed_with(piece, Errc::timedout);
      if (gave_up && done > 0) {
        return done;
      }
      return std::move(piece).error();
    }
    done += *piece;
  }
  return done;
}

Result<void> drain_while_writing(Env& env, FilePtr const& file, Context const& ctx) {
  auto const last = newest_seq(*file);
  freeze(*file, last, false);
  return drain(env, file, ctx, last);
}

Result<void> flush_file(Env& env, FilePtr const& file, Context const& ctx, Durability durability) {
  bool const durable = durability != Durability::client_death;
  bool const always = durability == Durability::fsync;
  bool pending = false;
  bool owed = false;
  {
    std::lock_guard const lock(file->mutex);
    pending = !file->pending.empty();
    owed = durable && (file->meta_dirty || !file->unsynced.empty());
  }
  if (pending) {
    std::uint64_t last = 0;
    {
      ZEST_CHECK(file->writing.lock(ctx));
      std::lock_guard const writing(file->writing, std::adopt_lock);
      last = newest_seq(*file);
      freeze(*file, last, durable);
    }
    ZEST_CHECK(drain(env, file, ctx, last));
    sync_surplus(env, file);
  }
  if (always || (durable && (pending || owed))) {
    ZEST_CHECK(sync_committed(env, file, ctx, always));
  }
  std::lock_guard const lock(file->mutex);
  if (auto const error = file->take_error()) {
    return *error;
  }
  return {};
}

void flush_old_writes(Env& env, FilePtr const& file, bool memory_short) {
  if (!file->writing.try_lock()) {
    return;  // Its writer looks after the file itself; the next round comes soon.
  }
  std::lock_guard const writing(file->writing, std::adopt_lock);
  auto const now = Loop::current()->now();
  std::uint64_t last = 0;
  {
    std::lock_guard const lock(file->mutex);
    if (file->pending.empty()) {
      env.dirty->remove(file->ino);
    }
    for (auto const& slice : file->pending) {
      bool const old = now - slice->first_write_at >= kSliceAgeMax;
      bool const idle = now - slice->last_write_at >= kSliceIdleMax;
      if (memory_short || old || idle) {
        last = slice->seq;
      }
    }
  }
  if (last > 0) {
    freeze(*file, last, false);
    start_helpers(env, file, 0);
  }
}

void run_flusher(Env& env) {
  auto const ctx = env.periodic();
  while (env.dirty->wait(ctx, kFlusherPeriod).ok()) {
    bool const memory_short =
        env.dirty->take_pressure() || env.services.blocks.buffers().waiters() > 0;
    for (auto const& file : env.dirty->all()) {
      flush_old_writes(env, file, memory_short);
      sync_surplus(env, file);
    }
  }
}

}  // namespace zest::vfs
