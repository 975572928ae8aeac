// Slices of a chunk: their records, what a reader sees of them, and what compaction makes of them
// (format/01 §3, §4).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/result.h"
#include "zest/format/types.h"

namespace zest {

constexpr std::size_t kSliceRecordSize = 24;

/// Appends the 24 bytes of one record.
void append_slice(std::string& out, SliceRecord const& record);

/// The records one after the other, as SQL and KV keep a chunk.
std::string encode_slices(std::span<SliceRecord const> records);

/// Corrupt: a length that is no multiple of 24, a record that leaves its chunk or its slice.
Result<std::vector<SliceRecord>> decode_slices(std::string_view bytes);

/// `len` bytes of a chunk at `pos`, from offset `off` of slice `id`; id 0 is zeros (off 0, size =
/// len).
struct Piece {
  std::uint32_t pos = 0;
  SliceId id;
  std::uint32_t size = 0;  ///< of the whole slice: part of its objects' names
  std::uint32_t off = 0;
  std::uint32_t len = 0;
  friend bool operator==(Piece const&, Piece const&) = default;
};

/// What a reader sees: each byte from the last record that covers it.
///
/// Pieces are in order, not empty, without gaps, the first at 0; gaps and zero records give zero
/// pieces, neighbouring ones joined. After the last piece all is zero. O(n log n) time, at most 2n
/// + 1 pieces. `records` as decode_slices accepts them; parts beyond 64 MiB are cut off.
std::vector<Piece> overlay(std::span<SliceRecord const> records);

/// The content of the one slice that may replace some records.
struct CompactionView {
  std::uint32_t pos = 0;   ///< start in the chunk
  std::uint32_t size = 0;  ///< sum of the pieces' lengths
  std::vector<Piece> pieces;
};

/// The overlay of `records` without leading and trailing zeros; where nothing but zeros is left,
/// one byte of them (so that the record list still shrinks). Without any byte covered, size is 0.
CompactionView compaction_view(std::span<SliceRecord const> records);

/// How many records at the head of a chunk compaction leaves alone, because they are large and
/// still wholly visible.
std::size_t compaction_skip_count(std::span<SliceRecord const> records);

/// The delayed (trash) slice list: twelve bytes a slice.
std::string encode_delayed_slices(std::span<DelayedSlice const> slices);

/// Corrupt: a length that is no multiple of twelve.
Result<std::vector<DelayedSlice>> decode_delayed_slices(std::string_view bytes);

}  // namespace zest
