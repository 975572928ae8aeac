#include "zest/vfs/file_reader.h"

#include <algorithm>
#include <utility>

#include "zest/vfs/file_writer.h"
#include "zest/vfs/jobs.h"

namespace zest::vfs {

namespace {

constexpr std::uint64_t kWindowMin = 128 * kKiB;
// The kernel sends reads of one stream in parallel, so they arrive a little out of order.
constexpr std::uint64_t kReorderMax = 512 * kKiB;
// Slice lists of a chunk that a read finds outdated one after the other. Each is a compaction that
// began and ended since the list was read.
constexpr int kMissingMax = 100;

/// What a read does about pending writes.
struct PendingPlan {
  bool none = false;                   ///< nothing pending in the range
  std::shared_ptr<PendingSlice> only;  ///< this open slice holds all of it
};

PendingPlan plan_pending(FileState& file, std::uint64_t begin, std::uint64_t end) {
  std::lock_guard const lock(file.mutex);
  auto const stop = std::min(end, file.length());
  for (auto it = file.pending.rbegin(); it != file.pending.rend(); ++it) {
    auto const& slice = **it;
    if (slice.length == 0 || slice.begin() >= stop || begin >= slice.end()) {
      continue;
    }
    bool const whole = slice.begin() <= begin && stop <= slice.end();
    if (whole && slice.state == PendingSlice::State::open) {
      return {.only = *it};
    }
    return {};
  }
  return {.none = true};
}

/// Serves the range from pending writes (true), or makes sure that none are in the way (false).
Result<bool> read_pending(Env& env, FilePtr const& file, Context const& ctx, std::uint64_t offset,
                          std::size_t size, DataView& out) {
  auto const end = offset + size;
  if (plan_pending(*file, offset, end).none) {
    return false;
  }
  ZEST_CHECK(file->writing.lock(ctx));
  std::lock_guard const writing(file->writing, std::adopt_lock);
  auto const plan = plan_pending(*file, offset, end);
  if (plan.none) {
    return false;
  }
  if (plan.only) {
    auto const stop = std::min(end, plan.only->end());
    if (plan.only->writer.read(static_cast<std::uint32_t>(offset - plan.only->begin()),
                               static_cast<std::uint32_t>(stop - offset), out)) {
      return true;
    }
  }
  ZEST_CHECK(drain_while_writing(env, file, ctx));
  return false;
}

struct ChunkRange {
  ChunkIndex index;
  std::uint32_t pos = 0;
  std::uint32_t length = 0;
};

/// Calls `fn(piece, offset in piece, length)` for each part of a chunk's range; `fn` returns
/// Result<void>. What is behind the last piece is zeros.
template <class Fn>
Result<void> for_each_part(std::vector<Piece> const& pieces, ChunkRange const& range, Fn&& fn) {
  auto pos = range.pos;
  auto const end = range.pos + range.length;
  auto it = std::ranges::upper_bound(pieces, pos, {}, &Piece::pos);
  if (it != pieces.begin()) {
    --it;
  }
  for (; it != pieces.end() && pos < end; ++it) {
    auto const piece_end = it->pos + it->len;
    if (piece_end <= pos) {
      continue;
    }
    auto const length = std::min(piece_end, end) - pos;
    ZEST_CHECK(fn(*it, pos - it->pos, length));
    pos += length;
  }
  if (pos < end) {
    ZEST_CHECK(fn(Piece{.pos = pos, .len = end - pos}, 0U, end - pos));
  }
  return {};
}

Result<void> read_view(Env& env, Context const& ctx, std::vector<Piece> const& pieces,
                       ChunkRange const& range, bool sequential, DataView& out) {
  return for_each_part(
      pieces, range,
      [&](Piece const& piece, std::uint32_t offset, std::uint32_t length) -> Result<void> {
        if (piece.id.value == 0) {
          out.append_zeros(length);
          return {};
        }
        return env.services.blocks.read(ctx, piece.id, piece.size, piece.off + offset, length,
                                        sequential, out);
      });
}

/// Forgets a slice list that named a missing object, unless somebody has loaded a newer one.
void drop_stale_view(FileState& file, ChunkIndex index, ChunkView const& stale) {
  std::lock_guard const lock(file.mutex);
  auto const it = file.views.find(index.value);
  if (it != file.views.end() && it->second == stale) {
    file.drop_view(index);
  }
}

// A missing object is no damage as long as the slice list has changed since: another client has
// compacted the chunk and removed what it replaced. Only a list that was read anew and still wants
// the same bytes from the same slices proves a loss.
Result<void> read_chunk(Env& env, FilePtr const& file, Context const& ctx, ChunkRange const& range,
                        bool sequential, DataView& out) {
  auto const start = out.size();
  ChunkView failed;
  for (int tries = 0;; ++tries) {
    ZEST_TRY(auto const view, chunk_view(env, file, ctx, range.index));
    auto read = read_view(env, ctx, *view, range, sequential, out);
    if (!failed_with(read, Errc::noent)) {
      return read;
    }
    out.truncate(start);
    drop_stale_view(*file, range.index, view);
    bool const same = failed && *failed == *view;
    if (same || tries == kMissingMax) {
      env.services.log.error("an object that the file's metadata names is missing in the store",
                             {{"inode", file->ino.value},
                              {"chunk", range.index.value},
                              {"tries", tries + 1},
                              {"error", read.error().text()}});
      return Error(Errc::io);
    }
    failed = view;
  }
}

template <class Fn>
Result<void> for_each_chunk(std::uint64_t begin, std::uint64_t end, Fn&& fn) {
  while (begin < end) {
    auto const pos = begin % kChunkSize;
    auto const length = std::min(end - begin, kChunkSize - pos);
    ZEST_CHECK(fn(ChunkRange{.index = {static_cast<std::uint32_t>(begin / kChunkSize)},
                             .pos = static_cast<std::uint32_t>(pos),
                             .length = static_cast<std::uint32_t>(length)}));
    begin += length;
  }
  return {};
}

void prefetch_view(Env& env, std::vector<Piece> const& pieces, ChunkRange const& range) {
  (void)for_each_part(
      pieces, range,
      [&](Piece const& piece, std::uint32_t offset, std::uint32_t length) -> Result<void> {
        if (piece.id.value != 0) {
          env.services.blocks.prefetch(piece.id, piece.size, piece.off + offset, length);
        }
        return {};
      });
}

/// Starts fetching [begin, end); loads slice lists on a fiber of its own.
void prefetch(Env& env, FilePtr const& file, std::uint64_t begin, std::uint64_t end) {
  (void)for_each_chunk(begin, end, [&](ChunkRange const& range) -> Result<void> {
    ChunkView view;
    {
      std::lock_guard const lock(file->mutex);
      auto const it = file->views.find(range.index.value);
      if (it != file->views.end()) {
        view = it->second;
      }
    }
    if (view) {
      prefetch_view(env, *view, range);
    } else if (env.jobs != nullptr && env.jobs->try_start_prefetch()) {
      env.scope.spawn([&env, file, range] {
        auto const ctx = env.periodic();
        if (auto loaded = chunk_view(env, file, ctx, range.index); loaded.ok()) {
          prefetch_view(env, **loaded, range);
        }
        env.jobs->end_prefetch();
      });
    }
    return {};
  });
}

}  // namespace

ReadAhead::Advice ReadAhead::note(std::uint64_t offset, std::uint64_t size,
                                  std::uint64_t window_max) {
  std::lock_guard const lock(mutex_);
  ++clock_;
  auto const end = offset + size;
  Stream* stream = nullptr;
  Stream* oldest = streams_.data();
  for (auto& candidate : streams_) {
    bool const near = offset <= candidate.next + kReorderMax && candidate.next <= end + kReorderMax;
    if (candidate.window > 0 && near) {
      stream = &candidate;
      break;
    }
    if (candidate.used_at < oldest->used_at) {
      oldest = &candidate;
    }
  }
  if (stream == nullptr) {
    // A first read at the start of a file is taken for a sequential one; elsewhere a second read
    // has to follow it.
    *oldest = {.next = end, .fetched = end, .window = kWindowMin, .used_at = clock_};
    return {.sequential = offset == 0 && window_max > 0};
  }
  stream->used_at = clock_;
  if (end <= stream->next) {
    return {.sequential = window_max > 0};
  }
  stream->next = end;
  stream->window = std::min(stream->window * 2, std::max(window_max, kWindowMin));
  stream->fetched = std::max(stream->fetched, end);
  if (window_max == 0) {
    return {};
  }
  auto const window = std::min(stream->window, window_max);
  if (stream->fetched - end > window / 2) {
    return {.sequential = true};  // Enough is under way; asking in larger steps costs less.
  }
  auto const begin = stream->fetched;
  stream->fetched = end + window;
  return {.sequential = true, .begin = begin, .end = stream->fetched};
}

Result<ChunkView> chunk_view(Env& env, FilePtr const& file, Context const& ctx, ChunkIndex index) {
  auto const cached = [&]() -> ChunkView {
    std::lock_guard const lock(file->mutex);
    auto const it = file->views.find(index.value);
    return it == file->views.end() ? nullptr : it->second;
  };
  if (auto view = cached()) {
    return view;
  }
  ZEST_CHECK(file->viewing.lock(ctx));
  std::lock_guard const viewing(file->viewing, std::adopt_lock);
  if (auto view = cached()) {
    return view;
  }
  std::uint64_t generation = 0;
  {
    std::lock_guard const lock(file->mutex);
    generation = file->view_generation;
  }
  auto slices = env.services.meta.read_chunk(ctx, file->ino, index);
  if (!slices.ok()) {
    if (failed_with(slices, Errc::noent)) {
      return Error(Errc::badf);
    }
    return std::move(slices).error();
  }
  auto view = std::make_shared<std::vector<Piece> const>(overlay(*slices));
  {
    std::lock_guard const lock(file->mutex);
    file->keep_view(index, view, generation);
  }
  if (env.jobs != nullptr) {
    env.jobs->chunk_read(file, index, *slices, view->size());
  }
  return ChunkView(std::move(view));
}

Result<DataView> read_file(Env& env, FilePtr const& file, ReadAhead& ahead, Context const& ctx,
                           std::uint64_t offset, std::size_t size) {
  DataView out;
  ZEST_TRY(bool const served, read_pending(env, file, ctx, offset, size, out));
  if (served) {
    return out;
  }
  std::uint64_t length = 0;
  {
    std::lock_guard const lock(file->mutex);
    length = file->length();
  }
  if (offset >= length) {
    return out;
  }
  auto const end = std::min<std::uint64_t>(offset + size, length);
  auto const advice = ahead.note(offset, end - offset, env.config.readahead_max);
  if (advice.begin < advice.end) {
    prefetch(env, file, std::min(advice.begin, length), std::min(advice.end, length));
  }
  ZEST_CHECK(for_each_chunk(offset, end, [&](ChunkRange const& range) {
    return read_chunk(env, file, ctx, range, advice.sequential, out);
  }));
  return out;
}

}  // namespace zest::vfs
