#include "zest/chunk/compaction.h"

#include <algorithm>
#include <utility>

#include "zest/format/slice.h"

namespace zest {

namespace {

// As the peer does (format/06 §4): bounds what one commit carries.
constexpr std::size_t kRecordsMax = 1000;
// Random writes leave small records all over a chunk. Below this many, rewriting is put off while
// it would move more than so many bytes for each byte of them: a database that changes 100 pages
// would have 64 MiB rewritten.
constexpr std::size_t kAffordableRecords = 500;
constexpr std::uint64_t kRewriteFactorMax = 16;

/// What may be merged: the skipped head and the records behind it.
struct Selection {
  std::size_t skipped = 0;
  CompactionView view;
};

Selection select(std::span<SliceRecord const> slices) {
  Selection out{.skipped = compaction_skip_count(slices)};
  out.view = compaction_view(slices.subspan(out.skipped));
  auto const begin = out.view.pos;
  auto const end = out.view.pos + out.view.size;
  bool const overlaps = std::ranges::any_of(slices.first(out.skipped), [&](auto const& record) {
    return record.pos < end && begin < record.pos + record.len;
  });
  if (overlaps) {
    // Holes of the merged slice would hide bytes of the skipped records.
    out.skipped = 0;
    out.view = compaction_view(slices);
  }
  return out;
}

Result<void> write_merged(Context const& ctx, BlockStore& blocks, CompactionView const& view,
                          SliceWriter& writer) {
  auto const step = blocks.config().block_size;
  std::uint32_t at = 0;
  for (auto const& piece : view.pieces) {
    for (std::uint32_t done = 0; done < piece.len;) {
      auto const length = std::min(piece.len - done, step);
      DataView bytes;
      if (piece.id.value == 0) {
        bytes.append_zeros(length);
      } else {
        ZEST_CHECK(blocks.read(ctx, piece.id, piece.size, piece.off + done, length, false, bytes));
      }
      for (auto const& part : bytes.pieces()) {
        ZEST_CHECK(writer.write(ctx, at, part.bytes));
        at += static_cast<std::uint32_t>(part.bytes.size());
      }
      done += length;
    }
  }
  return {};
}

}  // namespace

bool worth_compacting(std::span<SliceRecord const> slices) {
  auto const selection = select(slices);
  auto const records = slices.subspan(selection.skipped);
  if (records.size() < 2) {
    return false;
  }
  std::uint64_t sum = 0;
  std::uint32_t largest = 0;
  for (auto const& record : records) {
    sum += record.len;
    largest = std::max(largest, record.len);
  }
  return records.size() >= kAffordableRecords ||
         selection.view.size <= (sum - largest) * kRewriteFactorMax;
}

Result<CompactionReply> compact_chunk(Context const& ctx, meta::Meta& meta, BlockStore& blocks,
                                      CompactionRequest const& request) {
  auto const& key = request.key;
  ZEST_TRY(auto slices, meta.read_chunk(ctx, key.ino, key.index));
  slices.resize(std::min(slices.size(), kRecordsMax));
  auto const [skipped, view] = select(slices);
  if (view.size == 0 || slices.size() - skipped < 2 ||
      (request.which == Compaction::in_proportion && !worth_compacting(slices))) {
    return CompactionReply{};
  }
  ZEST_TRY(auto const id, meta.new_slice(ctx));
  SliceWriter writer(blocks, view.size >= blocks.config().block_size
                                 ? SliceWriter::Memory::whole_blocks
                                 : SliceWriter::Memory::stepwise);
  writer.set_id(id);
  auto stored = write_merged(ctx, blocks, view, writer);
  if (stored.ok()) {
    // The old slices may be removed at once, so the new one has to be as safe as they were.
    stored = writer.finish(ctx, request.durable);
  }
  // Nobody may give up in the middle of what follows.
  Context const background;
  if (!stored.ok()) {
    writer.abort(background);
    return std::move(stored).error();
  }
  SliceRecord const merged{
      .pos = view.pos, .id = id, .size = view.size, .off = 0, .len = view.size};
  auto unused = meta.compact_chunk(background, key, slices, skipped, merged);
  if (!unused.ok()) {
    // Only an answer says that the slice is in nobody's list; otherwise gc finds it, if so.
    if (unused.error().fault() == Fault::semantic) {
      writer.abort(background);
    }
    return std::move(unused).error();
  }
  return CompactionReply{
      .replaced = slices.size() - skipped, .bytes = view.size, .unused = *std::move(unused)};
}

}  // namespace zest
