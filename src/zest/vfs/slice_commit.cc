#include "zest/vfs/slice_commit.h"

#include <algorithm>
#include <span>
#include <utility>

#include "zest/vfs/jobs.h"

namespace zest::vfs {

namespace {

using State = PendingSlice::State;
using SlicePtr = std::shared_ptr<PendingSlice>;
/// Slices of one chunk, oldest first, that share an object and a commit.
using Group = std::vector<SlicePtr>;

constexpr std::size_t kHelpersPerFile = 4;
constexpr std::size_t kGroupMax = 256;
constexpr std::size_t kCountedChunksMax = 64;

std::uint32_t size_of(Group const& group) {
  std::uint32_t size = 0;
  for (auto const& slice : group) {
    size += slice->length;
  }
  return size;
}

bool durable(Group const& group) {
  return std::ranges::any_of(group, [](SlicePtr const& slice) { return slice->durable; });
}

/// True when no earlier slice must be committed before this one; file.mutex is held.
bool has_turn(FileState const& file, PendingSlice const& slice) {
  bool const grows = slice.end() > file.attr.length;
  for (auto const& earlier : file.pending) {
    if (earlier->seq >= slice.seq) {
      break;
    }
    if (earlier->chunk == slice.chunk || (grows && earlier->end() > file.attr.length)) {
      return false;
    }
  }
  return true;
}

void leave_pending(Env& env, FileState& file, PendingSlice const& slice) {
  std::erase_if(file.pending, [&](SlicePtr const& other) { return other.get() == &slice; });
  file.changed.notify_all();
  if (file.pending.empty()) {
    env.dirty->remove(file.ino);
  }
}

void settle_failed(Env& env, FilePtr const& file, PendingSlice& slice, Error const& error,
                   bool keep_blocks) {
  if (!keep_blocks) {
    auto const ctx = Env::background();
    slice.writer.abort(ctx);
  }
  if (error.fault() != Fault::semantic || error.code() == Errc::io) {
    env.services.log.error("written data could not be stored and is lost",
                           {{"inode", file->ino.value},
                            {"offset", slice.begin()},
                            {"bytes", slice.length},
                            {"error", error.text()}});
  }
  {
    std::lock_guard const lock(file->mutex);
    auto const errc = slice.doomed ? *slice.doomed : write_errc(error);
    if (!file->error) {
      file->error = errc;
    }
    for (auto const& later : file->pending) {
      if (later->seq > slice.seq && later->end() > file->attr.length &&
          slice.end() > file->attr.length) {
        later->doomed = errc;
      }
    }
    leave_pending(env, *file, slice);
  }
  env.invalidate_pages(file->ino, slice.begin(), slice.length);
}

void settle_failed(Env& env, FilePtr const& file, Group const& group, Error const& error,
                   bool keep_blocks) {
  for (auto const& slice : group) {
    settle_failed(env, file, *slice, error, keep_blocks);
  }
}

void settle_committed(Env& env, FilePtr const& file, Group const& group,
                      meta::WriteSliceRequest const& request, std::uint64_t before,
                      meta::WriteSliceReply const& reply) {
  std::size_t records = 0;
  {
    std::lock_guard const lock(file->mutex);
    if (file->committed.size() >= kCountedChunksMax &&
        !file->committed.contains(request.index.value)) {
      file->committed.erase(file->committed.begin());
    }
    records = file->committed[request.index.value] += group.size();
    auto grown = reply.attr;
    // Replies of commits to different chunks may overtake each other.
    grown.length = std::max(grown.length, file->attr.length);
    if (file->stamp && file->stamp->mtime != reply.replaced_mtime) {
      file->stamp.reset();  // Somebody else wrote: the kernel's pages may be old.
    }
    env.kernel_attrs.wrote(file->ino, reply.replaced_mtime, grown);
    file->apply_own(grown, before, env.note_change(file->ino));
    file->drop_view(request.index);
    file->meta_dirty = true;
    if (!durable(group) && env.config.sync != SyncPolicy::never) {
      auto const& slice = request.slices.front();
      file->unsynced.push_back({.id = slice.id, .size = slice.size});
    }
    for (auto const& slice : group) {
      leave_pending(env, *file, *slice);
    }
  }
  if (env.jobs != nullptr) {
    env.jobs->slices_written(file, request.index, group.size(), records);
  }
}

Result<void> store(Context const& ctx, Group const& group) {
  auto& writer = group.front()->writer;
  if (group.size() == 1) {
    return writer.finish(ctx, durable(group));
  }
  std::vector<SliceWriter*> others;
  for (auto const& slice : std::span(group).subspan(1)) {
    others.push_back(&slice->writer);
  }
  return writer.finish_with(ctx, durable(group), others);
}

/// Waits until nothing has to be committed before the group; then takes the slices out that must
/// not be committed any more, and returns the request for the others.
meta::WriteSliceRequest request_for(FileState& file, Group& group, Group& doomed) {
  meta::WriteSliceRequest request{
      .ino = file.ino, .index = group.front()->chunk, .slices = {}, .mtime = {}, .session = {}};
  auto const id = group.front()->writer.id();
  auto const size = size_of(group);
  std::unique_lock lock(file.mutex);
  while (!has_turn(file, *group.front())) {
    file.changed.wait(lock);
  }
  std::uint32_t offset = 0;
  for (auto const& slice : std::exchange(group, {})) {
    (slice->doomed ? doomed : group).push_back(slice);
    if (!slice->doomed) {
      request.slices.push_back(
          {.pos = slice->pos, .id = id, .size = size, .off = offset, .len = slice->length});
      request.mtime = std::max(request.mtime, slice->last_write);
      request.session = slice->session;
    }
    offset += slice->length;
  }
  return request;
}

/// Stores and commits a claimed group, whatever the caller's context says: somebody was told that
/// these bytes are written.
void commit_group(Env& env, FilePtr const& file, Group group) {
  auto const ctx = Env::background();
  auto stored = env.check_alive(group.front()->session);
  if (stored.ok()) {
    stored = store(ctx, group);
  }
  Group doomed;
  auto const request = request_for(*file, group, doomed);
  for (auto const& slice : doomed) {
    settle_failed(env, file, *slice, Error(*slice->doomed), !group.empty());
  }
  if (group.empty()) {
    return;
  }
  if (!stored.ok()) {
    settle_failed(env, file, group, stored.error(), false);
    return;
  }
  auto const before = env.epoch.load();
  auto committed = env.services.meta.write_slice(ctx, request);
  if (committed.ok()) {
    settle_committed(env, file, group, request, before, *committed);
  } else {
    // Without an answer the records may be there: their blocks must stay (gc finds them otherwise).
    bool const unknown = committed.error().fault() != Fault::semantic;
    settle_failed(env, file, group, committed.error(), unknown);
  }
}

}  // namespace

/// Freezes all open slices up to `last`; `writing` is held, so no SliceWriter is in use.
void freeze(FileState& file, std::uint64_t last, bool durable) {
  std::lock_guard const lock(file.mutex);
  std::erase_if(file.pending, [&](SlicePtr const& slice) {
    return slice->state == State::open && slice->length == 0 && slice->seq <= last;
  });
  for (auto const& slice : file.pending) {
    if (slice->seq > last) {
      break;
    }
    if (slice->state == State::open) {
      slice->state = State::frozen;
    }
    if (slice->state == State::frozen && durable) {
      slice->durable = true;
    }
  }
}

bool may_join(Group const& group, std::uint32_t bytes, PendingSlice const& slice,
              std::uint32_t block_size) {
  return slice.state == State::frozen && !slice.doomed && slice.session == group.front()->session &&
         slice.writer.frozen_end() == 0 && slice.length <= block_size - bytes &&
         group.size() < kGroupMax;
}

/// Adds the slices of its chunk that follow and fit into the same block: random writes are many
/// small slices, which would be an object and a commit each. It ends where the order would change
/// in which slices of the chunk are committed, or those that make the file longer.
void complete_group(FileState& file, Group& group, std::uint32_t block_size) {
  auto const chunk = group.front()->chunk;
  auto bytes = group.front()->length;
  if (group.front()->writer.frozen_end() > 0 || bytes >= block_size) {
    return;
  }
  bool grows = false;  // an earlier slice of another chunk does
  for (auto const& slice : file.pending) {
    bool const longer = slice->end() > file.attr.length;
    if (slice->chunk != chunk) {
      grows = grows || longer;
      continue;
    }
    if (slice->seq <= group.front()->seq) {
      continue;
    }
    if ((grows && longer) || !may_join(group, bytes, *slice, block_size)) {
      return;
    }
    slice->state = State::claimed;
    bytes += slice->length;
    group.push_back(slice);
  }
}

/// The oldest frozen slice up to `last` and what joins it, now the caller's to commit; empty when
/// there is none. `mutex` is held.
Group claim_locked(Env& env, FileState& file, std::uint64_t last) {
  Group group;
  for (auto const& slice : file.pending) {
    if (slice->seq > last) {
      break;
    }
    if (slice->state == State::frozen) {
      slice->state = State::claimed;
      group.push_back(slice);
      complete_group(file, group, env.services.blocks.config().block_size);
      break;
    }
  }
  return group;
}

Group claim(Env& env, FileState& file, std::uint64_t last) {
  std::lock_guard const lock(file.mutex);
  return claim_locked(env, file, last);
}

/// What a helper does next; empty when it is no longer needed, and then it is not counted any more.
Group claim_as_helper(Env& env, FileState& file) {
  std::lock_guard const lock(file.mutex);
  auto group = claim_locked(env, file, ~std::uint64_t{0});
  if (group.empty()) {
    --file.helpers;
  }
  return group;
}

/// Starts helpers for frozen slices beyond those that the caller (`mine`) takes care of itself.
void start_helpers(Env& env, FilePtr const& file, std::size_t mine) {
  std::size_t start = 0;
  {
    std::lock_guard const lock(file->mutex);
    auto const frozen = static_cast<std::size_t>(std::ranges::count_if(
        file->pending, [](SlicePtr const& slice) { return slice->state == State::frozen; }));
    auto const wanted = std::min(frozen > mine ? frozen - mine : 0, kHelpersPerFile);
    start = wanted > file->helpers ? wanted - file->helpers : 0;
    file->helpers += start;
  }
  for (; start > 0; --start) {
    env.scope.spawn([&env, file] {
      for (auto group = claim_as_helper(env, *file); !group.empty();
           group = claim_as_helper(env, *file)) {
        commit_group(env, file, std::move(group));
      }
    });
  }
}

/// Commits everything up to `last`, together with whoever is at it already.
Result<void> drain(Env& env, FilePtr const& file, Context const& ctx, std::uint64_t last) {
  start_helpers(env, file, 1);
  for (;;) {
    if (auto group = claim(env, *file, last); !group.empty()) {
      commit_group(env, file, std::move(group));
      continue;
    }
    std::unique_lock lock(file->mutex);
    if (file->pending.empty() || file->pending.front()->seq > last) {
      return {};
    }
    if (file->pending.front()->state != State::frozen) {
      ZEST_CHECK(file->changed.wait(ctx, lock));
    }
  }
}

}  // namespace zest::vfs
