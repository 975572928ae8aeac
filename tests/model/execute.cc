#include "tests/model/execute.h"

#include <fcntl.h>

#include <string>

#include "zest/format/slice.h"
#include "zest/meta/testing.h"

namespace zest::model {
namespace {

template <class T>
Reply error_of(Result<T> const& result) {
  Reply reply;
  if (!result.ok()) {
    auto const& error = result.error();
    reply.error = error.number();
    reply.text = error.text();
    if (error.fault() == Fault::transient) {
      reply.outcome = error.code() == Errc::timedout ? Outcome::unknown : Outcome::refused;
    }
  }
  return reply;
}

Reply reply_of(Result<meta::EntryReply> const& result) {
  auto reply = error_of(result);
  if (result.ok()) {
    reply.ino = result->ino;
    reply.mode = result->attr.mode;
  }
  return reply;
}

Reply execute_name(Op& op, Context const& ctx, meta::Meta& meta) {
  meta::MknodRequest request{.parent = op.ino,
                             .name = op.name,
                             .type = FileType::regular,
                             .mode = static_cast<std::uint16_t>(op.flags),
                             .target = {}};
  switch (op.kind) {
    case Kind::mkdir: request.type = FileType::directory; return reply_of(meta.mknod(ctx, request));
    case Kind::symlink:
      request.type = FileType::symlink;
      request.target = "there";
      return reply_of(meta.mknod(ctx, request));
    case Kind::create: return reply_of(meta.mknod(ctx, request));
    case Kind::link: {
      auto const result = meta.link(ctx, op.ino, op.other, op.name);
      auto reply = error_of(result);
      if (result.ok()) {
        reply.ino = result->ino;
        reply.nlink = result->attr.nlink;
      }
      return reply;
    }
    case Kind::unlink: {
      auto const result = meta.unlink(ctx, op.ino, op.name);
      auto reply = error_of(result);
      if (result.ok()) {
        reply.ino = result->ino;
        reply.data_unused = result->data_unused;
      }
      return reply;
    }
    case Kind::rmdir: {
      auto const result = meta.rmdir(ctx, op.ino, op.name);
      auto reply = error_of(result);
      if (result.ok()) {
        reply.ino = *result;
      }
      return reply;
    }
    case Kind::rename: {
      auto const result = meta.rename(ctx, {.parent = op.ino,
                                            .name = op.name,
                                            .new_parent = op.other,
                                            .new_name = op.other_name,
                                            .flags = op.flags});
      auto reply = error_of(result);
      if (result.ok()) {
        reply.ino = result->ino;
        reply.data_unused = result->replaced.has_value() && result->replaced->data_unused;
      }
      return reply;
    }
    default: {
      auto const result = meta.lookup(ctx, op.ino, op.name);
      auto reply = reply_of(result);
      if (result.ok()) {
        reply.nlink = result->attr.nlink;
        reply.length = result->attr.type == FileType::regular ? result->attr.length : 0;
      }
      return reply;
    }
  }
}

Reply execute_data(Op& op, Context const& ctx, meta::Meta& meta) {
  auto const with_length = [](auto const& result, auto const& attr) {
    auto reply = error_of(result);
    if (result.ok()) {
      reply.length = attr(*result).length;
    }
    return reply;
  };
  switch (op.kind) {
    case Kind::truncate:
      return with_length(meta.truncate(ctx, op.ino, op.first * kCell, false),
                         [](Attr const& attr) { return attr; });
    case Kind::write: {
      auto const slice = meta.new_slice(ctx);
      if (!slice.ok()) {
        return error_of(slice);
      }
      op.slice = slice->value;
      auto const size = static_cast<std::uint32_t>(op.count * kCell);
      return with_length(
          meta.write_slice(
              ctx,
              {.ino = op.ino,
               .index = ChunkIndex{static_cast<std::uint32_t>(op.first / kCellsPerChunk)},
               .slices = {{.pos = static_cast<std::uint32_t>(op.first % kCellsPerChunk * kCell),
                           .id = SliceId{op.slice},
                           .size = size,
                           .off = 0,
                           .len = size}},
               .mtime = Loop::current()->wall()}),
          [](meta::WriteSliceReply const& reply) { return reply.attr; });
    }
    case Kind::read: {
      auto const result =
          meta.read_chunk(ctx, op.ino, ChunkIndex{static_cast<std::uint32_t>(op.first)});
      auto reply = error_of(result);
      if (result.ok()) {
        reply.cells = cells_of(*result);
      }
      return reply;
    }
    case Kind::copy:
      return with_length(meta.copy_file_range(ctx, {.in = op.ino,
                                                    .offset_in = op.first * kCell,
                                                    .out = op.other,
                                                    .offset_out = op.to * kCell,
                                                    .length = op.count * kCell}),
                         [](meta::CopyRangeReply const& reply) { return reply.out_attr; });
    case Kind::open: return error_of(meta.open(ctx, op.ino, O_RDONLY));
    default: {
      auto const result = meta.close(ctx, op.ino);
      auto reply = error_of(result);
      reply.data_unused = result.ok() && result->has_value() && (*result)->data_unused;
      return reply;
    }
  }
}

Reply execute_node(Op& op, Context const& ctx, meta::Meta& meta) {
  switch (op.kind) {
    case Kind::getattr: {
      auto const result = meta.getattr(ctx, op.ino);
      auto reply = error_of(result);
      if (result.ok()) {
        reply.ino = op.ino;
        reply.nlink = result->nlink;
        reply.mode = result->mode;
        reply.length = result->type == FileType::regular ? result->length : 0;
      }
      return reply;
    }
    case Kind::chmod: {
      meta::SetattrRequest request{.ino = op.ino};
      request.mode = static_cast<std::uint16_t>(op.flags);
      auto const result = meta.setattr(ctx, request);
      auto reply = error_of(result);
      if (result.ok()) {
        reply.mode = result->mode;
      }
      return reply;
    }
    default: return execute_data(op, ctx, meta);
  }
}

}  // namespace

std::vector<Cell> cells_of(meta::Slices const& slices) {
  std::vector<Cell> cells(kCellsPerChunk);
  for (auto const& piece : overlay(slices)) {
    for (std::uint64_t at = 0; piece.id.value != 0 && at < piece.len; at += kCell) {
      cells[(piece.pos + at) / kCell] = {piece.id.value, (piece.off + at) / kCell};
    }
  }
  return cells;
}

Reply execute(Op& op, meta::Meta& meta) {
  auto const ctx = op.root ? Context{} : meta::testing::as_user(5, 5);
  return op.kind <= Kind::lookup ? execute_name(op, ctx, meta) : execute_node(op, ctx, meta);
}

}  // namespace zest::model
