#include <algorithm>
#include <map>

#include "zest/format/slice.h"
#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"

namespace zest::meta::ops {
namespace {

// Source chunks of one call; a longer copy is cut short, as copy_file_range(2) allows. 4 GiB.
constexpr std::uint64_t kChunksMax = 64;

ChunkKey chunk(Ino ino, std::uint64_t index) noexcept {
  return {ino, ChunkIndex{static_cast<std::uint32_t>(index)}};
}

// Appends a piece that belongs at file offset `to`, split where it crosses a chunk of the
// destination.
void append_piece(std::map<std::uint64_t, Slices>& chunks, std::uint64_t to, Piece piece) {
  while (piece.len > 0) {
    auto const pos = to % kChunkSize;
    auto const part =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(piece.len, kChunkSize - pos));
    auto const zero = piece.id.value == 0;
    chunks[to / kChunkSize].push_back({.pos = static_cast<std::uint32_t>(pos),
                                       .id = piece.id,
                                       .size = zero ? 0 : piece.size,
                                       .off = zero ? 0 : piece.off,
                                       .len = part});
    piece.off += part;
    piece.len -= part;
    to += part;
  }
}

// What `[begin, end)` of a chunk shows, as pieces with positions in the chunk; zeros where nothing
// is.
std::vector<Piece> view_range(Slices const& slices, std::uint64_t begin, std::uint64_t end) {
  std::vector<Piece> range;
  auto at = begin;
  for (auto const& piece : overlay(slices)) {
    auto const from = std::max<std::uint64_t>(begin, piece.pos);
    auto const to = std::min<std::uint64_t>(end, std::uint64_t{piece.pos} + piece.len);
    if (from >= to) {
      continue;
    }
    auto part = piece;
    part.pos = static_cast<std::uint32_t>(from);
    part.off = static_cast<std::uint32_t>(piece.off + (from - piece.pos));
    part.len = static_cast<std::uint32_t>(to - from);
    range.push_back(part);
    at = to;
  }
  if (at < end) {
    range.push_back({.pos = static_cast<std::uint32_t>(at),
                     .id = {},
                     .size = 0,
                     .off = 0,
                     .len = static_cast<std::uint32_t>(end - at)});
  }
  return range;
}

struct Copy {
  CopyRangeRequest const& request;
  std::uint64_t length = 0;
};

// Reads the source chunks and returns what the destination chunks get. The chunks are conditions: a
// compaction may be replacing slices whose last reference goes with them.
Result<std::map<std::uint64_t, Slices>> collect(Txn& txn, Copy const& copy) {
  auto const begin = copy.request.offset_in;
  auto const end = begin + copy.length;
  std::vector<Key> keys;
  for (auto index = begin / kChunkSize; index * kChunkSize < end; ++index) {
    keys.emplace_back(chunk(copy.request.in, index));
  }
  ZEST_CHECK(txn.fetch(keys));
  std::map<std::uint64_t, Slices> chunks;
  for (auto index = begin / kChunkSize; index * kChunkSize < end; ++index) {
    auto const key = chunk(copy.request.in, index);
    ZEST_TRY(auto const slices, txn.get(key));
    txn.expect_unchanged(key);
    auto const start = index * kChunkSize;
    auto const from = std::max(begin, start) - start;
    auto const to = std::min(end, start + kChunkSize) - start;
    for (auto const& piece : view_range(slices.value_or(Slices{}), from, to)) {
      append_piece(chunks, copy.request.offset_out + (start + piece.pos - begin), piece);
    }
  }
  return chunks;
}

Result<void> check_files(Txn& txn, CopyRangeRequest const& request, Attr const& in,
                         Attr const& out) {
  for (auto const* node : {&in, &out}) {
    if (node->type == FileType::directory) {
      return Errc::isdir;
    }
    if (node->type != FileType::regular) {
      return Errc::inval;
    }
  }
  ZEST_CHECK(check_permission(txn, request.in, in, kRead));
  ZEST_CHECK(check_permission(txn, request.out, out, kWrite));
  ZEST_CHECK(check_node_flags(out));
  auto const apart = request.offset_in + request.length <= request.offset_out ||
                     request.offset_out + request.length <= request.offset_in;
  if (request.in == request.out && !apart) {
    return Errc::inval;
  }
  return {};
}

void append_copies(Txn& txn, Ino out, std::map<std::uint64_t, Slices> chunks,
                   std::uint64_t length) {
  for (auto& [index, slices] : chunks) {
    for (auto const& slice : slices) {
      if (slice.id.value != 0) {
        txn.change(AddSliceRef{slice.id, slice.size, 1});
      }
    }
    txn.change(AppendSlices{chunk(out, index), std::move(slices), false});
  }
  txn.change(UpdateNode{
      .ino = out, .grow_length = length, .raise_mtime = txn.now(), .raise_ctime = txn.now()});
}

}  // namespace

/// copy_file_range(2) without copying data: the destination's chunks get records of the same
/// slices. At most 4 GiB a call.
///
/// Errors, in this order: EFBIG, ENOENT, EISDIR, EINVAL (no regular file), EACCES, EPERM
/// (immutable, append-only), EINVAL (overlapping ranges of one file), EDQUOT, ENOSPC. Trips: 2
/// fetches, 1 commit.
Result<CopyRangeReply> copy_file_range(Txn& txn, VolumeView const& view,
                                       CopyRangeRequest const& request) {
  for (auto const offset : {request.offset_in, request.offset_out}) {
    if (offset >= kFileSizeMax || request.length > kFileSizeMax - offset) {
      return Errc::fbig;
    }
  }
  ZEST_CHECK(txn.fetch({NodeKey{request.in}, NodeKey{request.out}}));
  ZEST_TRY(auto const in, txn.node(request.in));
  ZEST_TRY(auto out, txn.node(request.out));
  ZEST_CHECK(check_files(txn, request, in, out));
  if (request.offset_in >= in.length || request.length == 0) {
    return CopyRangeReply{.copied = 0, .out_attr = out};
  }
  auto const first_end = (request.offset_in / kChunkSize + kChunksMax) * kChunkSize;
  auto const end = std::min({request.offset_in + request.length, in.length, first_end});
  Copy const copy{request, end - request.offset_in};
  ZEST_TRY(auto chunks, collect(txn, copy));

  auto const length = std::max(out.length, request.offset_out + copy.length);
  ZEST_CHECK(account_length(txn, view, request.out, out, length));
  txn.expect_node(request.in, kType | kMode | kOwner | kLength);
  txn.expect_node(request.out, kType | kMode | kOwner | kFlags | kLength);
  append_copies(txn, request.out, std::move(chunks), length);
  out.length = length;
  out.mtime = raise_time(out.mtime, txn.now());
  out.ctime = raise_time(out.ctime, txn.now());
  return CopyRangeReply{.copied = copy.length, .out_attr = out};
}

/// Appends whole files to another one: all of them or nothing. At most 4 GiB of sources.
///
/// Errors, in this order: ENOENT, EISDIR, EINVAL (no regular file, a source is the target), EACCES,
/// EPERM (immutable, append-only), EFBIG, ENOSPC. Trips: 2 fetches, 1 commit.
Result<Attr> concat(Txn& txn, VolumeView const& view, ConcatRequest const& request) {
  std::vector<Key> keys{NodeKey{request.out}};
  for (auto const source : request.sources) {
    keys.emplace_back(NodeKey{source});
  }
  ZEST_CHECK(txn.fetch(keys));
  ZEST_TRY(auto out, txn.node(request.out));
  auto length = out.length;
  std::uint64_t source_chunks = 0;
  std::map<std::uint64_t, Slices> all;
  for (auto const source : request.sources) {
    ZEST_TRY(auto const in, txn.node(source));
    CopyRangeRequest const part{.in = source,
                                .offset_in = 0,
                                .out = request.out,
                                .offset_out = length,
                                .length = in.length};
    if (source == request.out) {
      return Errc::inval;
    }
    ZEST_CHECK(check_files(txn, part, in, out));
    source_chunks += (in.length + kChunkSize - 1) / kChunkSize;
    length += in.length;
    if (source_chunks > kChunksMax || length >= kFileSizeMax) {
      return Errc::fbig;
    }
    ZEST_TRY(auto chunks, collect(txn, Copy{part, in.length}));
    for (auto& [index, slices] : chunks) {
      auto& into = all[index];
      into.insert(into.end(), slices.begin(), slices.end());
    }
    txn.expect_node(source, kType | kMode | kOwner | kLength);
  }
  ZEST_CHECK(account_length(txn, view, request.out, out, length));
  txn.expect_node(request.out, kType | kMode | kOwner | kFlags | kLength);
  append_copies(txn, request.out, std::move(all), length);
  out.length = length;
  out.mtime = raise_time(out.mtime, txn.now());
  out.ctime = raise_time(out.ctime, txn.now());
  return out;
}

}  // namespace zest::meta::ops
