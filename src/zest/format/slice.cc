#include "zest/format/slice.h"

#include <algorithm>
#include <numeric>
#include <queue>
#include <utility>

#include <fmt/format.h>

#include "zest/format/endian.h"

namespace zest {

namespace {

constexpr std::size_t kDelayedSliceSize = 12;
/// Records shorter than this are always worth merging.
constexpr std::uint32_t kSkipLengthMin = 1 << 20;

std::uint32_t end_of(SliceRecord const& record) {
  return static_cast<std::uint32_t>(std::min(std::uint64_t{record.pos} + record.len, kChunkSize));
}

/// Pieces in order; joins what one record or several zero ones contribute in a row.
class PieceList {
 public:
  /// Appends [begin, end) as seen through `record`; null is a gap.
  void append(SliceRecord const* record, std::uint32_t begin, std::uint32_t end) {
    bool const zeros = record == nullptr || record->id.value == 0;
    auto const len = end - begin;
    if (!pieces_.empty() && (zeros ? pieces_.back().id.value == 0 : record == last_)) {
      pieces_.back().len += len;
      if (zeros) {
        pieces_.back().size += len;
      }
      return;
    }
    last_ = record;
    if (zeros) {
      pieces_.push_back({.pos = begin, .id = {}, .size = len, .off = 0, .len = len});
    } else {
      auto const off = record->off + (begin - record->pos);
      pieces_.push_back(
          {.pos = begin, .id = record->id, .size = record->size, .off = off, .len = len});
    }
  }
  std::vector<Piece> take() && { return std::move(pieces_); }

 private:
  std::vector<Piece> pieces_;
  SliceRecord const* last_ = nullptr;
};

}  // namespace

void append_slice(std::string& out, SliceRecord const& record) {
  append_be(out, record.pos);
  append_be(out, record.id.value);
  append_be(out, record.size);
  append_be(out, record.off);
  append_be(out, record.len);
}

std::string encode_slices(std::span<SliceRecord const> records) {
  std::string out;
  out.reserve(records.size() * kSliceRecordSize);
  for (auto const& record : records) {
    append_slice(out, record);
  }
  return out;
}

Result<std::vector<SliceRecord>> decode_slices(std::string_view bytes) {
  if (bytes.size() % kSliceRecordSize != 0) {
    return Error::corrupt(fmt::format("a slice list has {} bytes, not a multiple of {}",
                                      bytes.size(), kSliceRecordSize));
  }
  std::vector<SliceRecord> records;
  records.reserve(bytes.size() / kSliceRecordSize);
  ByteReader reader(bytes);
  while (reader.remaining() > 0) {
    SliceRecord record;
    record.pos = reader.be<std::uint32_t>();
    record.id.value = reader.be<std::uint64_t>();
    record.size = reader.be<std::uint32_t>();
    record.off = reader.be<std::uint32_t>();
    record.len = reader.be<std::uint32_t>();
    if (std::uint64_t{record.pos} + record.len > kChunkSize) {
      return Error::corrupt(fmt::format("slice {} leaves its chunk: position {}, length {}",
                                        record.id.value, record.pos, record.len));
    }
    if (record.id.value != 0 && std::uint64_t{record.off} + record.len > record.size) {
      return Error::corrupt(fmt::format("a record uses bytes {}+{} of slice {}, which has {}",
                                        record.off, record.len, record.id.value, record.size));
    }
    records.push_back(record);
  }
  return records;
}

// A sweep over the chunk: at every position where a record starts or ends, the latest record that
// is open there is what the reader sees. Ended records leave the heap only when they surface, so
// each is pushed and popped once.
std::vector<Piece> overlay(std::span<SliceRecord const> records) {
  std::vector<std::size_t> by_start(records.size());
  std::iota(by_start.begin(), by_start.end(), std::size_t{0});
  std::erase_if(by_start, [&](std::size_t i) { return records[i].pos >= end_of(records[i]); });
  std::ranges::sort(by_start, {}, [&](std::size_t i) { return records[i].pos; });
  std::vector<std::uint32_t> bounds;
  bounds.reserve(2 * by_start.size() + 1);
  for (auto const i : by_start) {
    bounds.push_back(records[i].pos);
    bounds.push_back(end_of(records[i]));
  }
  std::ranges::sort(bounds);

  PieceList pieces;
  std::priority_queue<std::size_t> open;
  SliceRecord const* visible = nullptr;
  std::uint32_t begin = 0;
  std::size_t next = 0;
  for (auto const bound : bounds) {
    if (bound > begin) {
      pieces.append(visible, begin, bound);
      begin = bound;
    }
    while (next < by_start.size() && records[by_start[next]].pos <= bound) {
      open.push(by_start[next++]);
    }
    while (!open.empty() && end_of(records[open.top()]) <= bound) {
      open.pop();
    }
    visible = open.empty() ? nullptr : &records[open.top()];
  }
  return std::move(pieces).take();
}

CompactionView compaction_view(std::span<SliceRecord const> records) {
  CompactionView view{.pieces = overlay(records)};
  auto& pieces = view.pieces;
  if (pieces.size() > 1 && pieces.front().id.value == 0) {
    pieces.erase(pieces.begin());
  }
  if (pieces.size() > 1 && pieces.back().id.value == 0) {
    pieces.pop_back();
  }
  if (pieces.empty()) {
    return view;
  }
  if (pieces.size() == 1 && pieces.front().id.value == 0) {
    pieces.front().size = 1;
    pieces.front().len = 1;
  }
  view.pos = pieces.front().pos;
  for (auto const& piece : pieces) {
    view.size += piece.len;
  }
  return view;
}

std::size_t compaction_skip_count(std::span<SliceRecord const> records) {
  for (std::size_t skipped = 0; skipped < records.size(); ++skipped) {
    auto const rest = records.subspan(skipped);
    auto const& first = rest.front();
    if (first.len < kSkipLengthMin) {
      return skipped;
    }
    auto const view = compaction_view(rest);
    if (view.size == 0 || std::uint64_t{first.len} * 5 < view.size) {
      return skipped;
    }
    auto const& piece = view.pieces.front();
    if (piece.pos != first.pos || piece.id != first.id || piece.off != first.off ||
        piece.len != first.len) {
      return skipped;
    }
    // The commit compares and replaces by value: an identical later record would make the head
    // ambiguous.
    if (std::ranges::find(rest.subspan(1), first) != rest.end()) {
      return skipped;
    }
  }
  return records.size();
}

std::string encode_delayed_slices(std::span<DelayedSlice const> slices) {
  std::string out;
  out.reserve(slices.size() * kDelayedSliceSize);
  for (auto const& slice : slices) {
    append_be(out, slice.id.value);
    append_be(out, slice.size);
  }
  return out;
}

Result<std::vector<DelayedSlice>> decode_delayed_slices(std::string_view bytes) {
  if (bytes.size() % kDelayedSliceSize != 0) {
    return Error::corrupt(fmt::format("a delayed slice list has {} bytes, not a multiple of {}",
                                      bytes.size(), kDelayedSliceSize));
  }
  std::vector<DelayedSlice> slices;
  slices.reserve(bytes.size() / kDelayedSliceSize);
  ByteReader reader(bytes);
  while (reader.remaining() > 0) {
    DelayedSlice slice;
    slice.id.value = reader.be<std::uint64_t>();
    slice.size = reader.be<std::uint32_t>();
    slices.push_back(slice);
  }
  return slices;
}

}  // namespace zest
