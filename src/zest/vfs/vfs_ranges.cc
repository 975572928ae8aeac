// Open files: fallocate, copy_file_range, lseek.
#include <unistd.h>

#include <fcntl.h>
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "zest/vfs/file_reader.h"
#include "zest/vfs/file_writer.h"
#include "zest/vfs/impl.h"

namespace zest::vfs {

Result<void> Vfs::fallocate(Context const& ctx, Handle handle,
                            meta::FallocateRequest const& request) {
  auto& impl = *impl_;
  auto const opened = impl.handles.find<FileHandle>(handle);
  if (!opened || (opened->flags & O_ACCMODE) == O_RDONLY) {
    return Errc::badf;
  }
  auto const& file = opened->file;
  auto const run = [&]() -> Result<void> {
    ZEST_CHECK(impl.check_writable());
    if (request.offset >= kFileSizeMax || request.length > kFileSizeMax - request.offset) {
      return Errc::fbig;
    }
    ZEST_CHECK(file->writing.lock(ctx));
    std::lock_guard const writing(file->writing, std::adopt_lock);
    ZEST_CHECK(drain_while_writing(impl.env, file, ctx));
    auto wanted = request;
    wanted.ino = file->ino;
    auto const before = impl.env.epoch.load();
    auto changed = impl.meta().fallocate(ctx, wanted);
    std::lock_guard const lock(file->mutex);
    file->drop_views();
    if (!changed.ok()) {
      return std::move(changed).error();
    }
    file->stamp.reset();  // Somebody else's write may hide behind this change of mtime.
    file->apply_own(*changed, before, impl.env.note_change(file->ino));
    file->meta_dirty = true;
    return {};
  };
  return impl.traced(ctx, "fallocate", run, [&](auto const&) {
    return describe_args(fmt::format("{},{:#x},{},{}", file->ino.value, request.mode,
                                     request.offset, request.length));
  });
}

namespace {

Result<void> commit_pending(Env& env, FilePtr const& file, Context const& ctx) {
  ZEST_CHECK(file->writing.lock(ctx));
  std::lock_guard const writing(file->writing, std::adopt_lock);
  return drain_while_writing(env, file, ctx);
}

}  // namespace

Result<std::uint64_t> Vfs::copy_file_range(Context const& ctx, CopyRangeRequest const& request) {
  auto& impl = *impl_;
  auto const source = impl.handles.find<FileHandle>(request.handle_in);
  auto const target = impl.handles.find<FileHandle>(request.handle_out);
  if (!source || !target || (target->flags & O_ACCMODE) == O_RDONLY ||
      (source->flags & O_ACCMODE) == O_WRONLY) {
    return Errc::badf;
  }
  auto const& in = source->file;
  auto const& out = target->file;
  auto const run = [&]() -> Result<std::uint64_t> {
    ZEST_CHECK(impl.check_writable());
    auto const length = std::min(request.length, kFileSizeMax);
    if (request.flags != 0) {
      return Errc::inval;
    }
    if (request.offset_in > kFileSizeMax || request.offset_out >= kFileSizeMax - length) {
      return Errc::fbig;
    }
    bool const overlaps = request.offset_in < request.offset_out + length &&
                          request.offset_out < request.offset_in + length;
    if (in == out && overlaps) {
      return Errc::inval;
    }
    if (in != out) {
      ZEST_CHECK(commit_pending(impl.env, in, ctx));
    }
    ZEST_CHECK(out->writing.lock(ctx));
    std::lock_guard const writing(out->writing, std::adopt_lock);
    ZEST_CHECK(drain_while_writing(impl.env, out, ctx));
    auto const before = impl.env.epoch.load();
    auto copied = impl.meta().copy_file_range(ctx, {.in = in->ino,
                                                    .offset_in = request.offset_in,
                                                    .out = out->ino,
                                                    .offset_out = request.offset_out,
                                                    .length = length});
    std::lock_guard const lock(out->mutex);
    out->drop_views();
    if (!copied.ok()) {
      return std::move(copied).error();
    }
    if (copied->copied > 0) {
      out->stamp.reset();  // Somebody else's write may hide behind this change of mtime.
      out->apply_own(copied->out_attr, before, impl.env.note_change(out->ino));
      out->meta_dirty = true;
    }
    return copied->copied;
  };
  return impl.traced(ctx, "copy_file_range", run, [&](Result<std::uint64_t> const& result) {
    return describe_args(fmt::format("{},{},{},{},{},{}", in->ino.value, request.offset_in,
                                     out->ino.value, request.offset_out, request.length,
                                     request.flags)) +
           (result.ok() ? fmt::format(": {}", *result) : "");
  });
}

namespace {

/// First offset from `offset` on that is (or is not) covered by data, inside of one chunk's view;
/// kChunkSize when there is none.
std::uint64_t seek_in_chunk(std::vector<Piece> const& pieces, std::uint64_t pos, bool data) {
  for (auto const& piece : pieces) {
    auto const end = std::uint64_t{piece.pos} + piece.len;
    if (end > pos && (piece.id.value != 0) == data) {
      return std::max<std::uint64_t>(pos, piece.pos);
    }
  }
  if (data) {
    return kChunkSize;
  }
  auto const covered = pieces.empty() ? 0 : std::uint64_t{pieces.back().pos} + pieces.back().len;
  return std::max(pos, covered);  // Behind the last piece all is hole.
}

/// The first chunk from `index` on that has records, or nothing.
Result<std::optional<ChunkIndex>> next_chunk(Env& env, Context const& ctx, Ino ino,
                                             ChunkIndex index) {
  ZEST_TRY(auto const page,
           env.services.meta.engine().list_chunks(ctx, {.ino = ino, .index = index}, /*limit=*/1));
  if (page.chunks.empty()) {
    return std::optional<ChunkIndex>();
  }
  return std::optional(page.chunks.front().first.index);
}

Result<std::uint64_t> seek_file(Env& env, FilePtr const& file, Context const& ctx,
                                std::uint64_t offset, bool data) {
  std::uint64_t length = 0;
  {
    std::lock_guard const lock(file->mutex);
    length = file->length();
  }
  if (offset >= length) {
    return Errc::nxio;
  }
  while (offset < length) {
    ChunkIndex index{static_cast<std::uint32_t>(offset / kChunkSize)};
    if (data) {
      // Chunks without records may be many in a sparse file: skip them in one trip.
      ZEST_TRY(auto const next, next_chunk(env, ctx, file->ino, index));
      if (!next) {
        return Errc::nxio;
      }
      if (*next != index) {
        index = *next;
        offset = index.value * kChunkSize;
      }
    }
    ZEST_TRY(auto const view, chunk_view(env, file, ctx, index));
    auto const base = index.value * kChunkSize;
    auto const found = base + seek_in_chunk(*view, offset - base, data);
    if (found < base + kChunkSize) {
      offset = found;
      break;
    }
    offset = base + kChunkSize;
  }
  if (offset >= length) {
    return data ? Result<std::uint64_t>(Errc::nxio) : Result<std::uint64_t>(length);
  }
  return offset;
}

}  // namespace

Result<std::uint64_t> Vfs::lseek(Context const& ctx, Handle handle, std::uint64_t offset,
                                 int whence) {
  auto& impl = *impl_;
  auto const opened = impl.handles.find<FileHandle>(handle);
  if (!opened) {
    return Errc::badf;
  }
  auto const& file = opened->file;
  auto const run = [&]() -> Result<std::uint64_t> {
    if (whence != SEEK_DATA && whence != SEEK_HOLE) {
      return Errc::inval;
    }
    ZEST_CHECK(commit_pending(impl.env, file, ctx));
    return seek_file(impl.env, file, ctx, offset, whence == SEEK_DATA);
  };
  return impl.traced(ctx, "lseek", run, [&](Result<std::uint64_t> const& result) {
    return describe_args(fmt::format("{},{},{}", file->ino.value, offset, whence)) +
           (result.ok() ? fmt::format(": {}", *result) : "");
  });
}

}  // namespace zest::vfs
