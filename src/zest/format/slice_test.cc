// Goal: slice records have the peer's bytes, the overlay shows for every byte what the last record
// wrote (checked against an array of bytes), and compaction follows format/01 §3.2.
#include <gtest/gtest.h>

#include <random>

#include "zest/format/slice.h"
#include "zest/format/test_bytes.h"

namespace zest {
namespace {

constexpr std::uint32_t kMega = 1 << 20;

SliceRecord whole(std::uint32_t pos, std::uint64_t id, std::uint32_t len) {
  return {.pos = pos, .id = SliceId{id}, .size = len, .off = 0, .len = len};
}
SliceRecord zeros(std::uint32_t pos, std::uint32_t len) {
  return {.pos = pos, .id = {}, .size = 0, .off = 0, .len = len};
}

TEST(Slices, HaveThePeersBytes) {
  auto const bytes = from_hex(
      "00000000 0000000000000001 00000006 00000000 00000006 00000006 0000000000000000 00000000 "
      "00000000 000000c2");
  auto const records = decode_slices(bytes);
  ASSERT_TRUE(records.ok());
  EXPECT_EQ(*records, (std::vector{whole(0, 1, 6), zeros(6, 194)}));
  EXPECT_EQ(encode_slices(*records), bytes);
}

TEST(Slices, ImpossibleListsAreCorrupt) {
  auto const good = encode_slices(std::vector{whole(0, 1, 6)});
  for (std::size_t size = 1; size < good.size(); ++size) {
    EXPECT_FALSE(decode_slices(good.substr(0, size)).ok()) << size;
  }
  std::vector<SliceRecord> const bad{
      {.pos = kChunkSize, .id = SliceId{1}, .size = 1, .off = 0, .len = 1},
      {.pos = 0xFFFFFFFF, .id = SliceId{1}, .size = 9, .off = 0, .len = 2},
      {.pos = 0, .id = {}, .size = 0, .off = 0, .len = kChunkSize + 1},
      {.pos = 0, .id = SliceId{1}, .size = 6, .off = 3, .len = 4},
      {.pos = 0, .id = SliceId{1}, .size = 6, .off = 0xFFFFFFFF, .len = 2},
  };
  for (auto const& record : bad) {
    auto const decoded = decode_slices(encode_slices({&record, 1}));
    ASSERT_FALSE(decoded.ok());
    EXPECT_EQ(decoded.error().fault(), Fault::corrupt);
  }
  EXPECT_TRUE(
      decode_slices(encode_slices(std::vector{zeros(0, kChunkSize), zeros(kChunkSize, 0)})).ok());
}

TEST(Overlay, FillsGapsAndStartsAtZero) {
  auto const pieces = overlay(std::vector{whole(10, 1, 5), whole(20, 2, 5), zeros(25, 5)});
  EXPECT_EQ(pieces, (std::vector<Piece>{{0, {}, 10, 0, 10},
                                        {10, SliceId{1}, 5, 0, 5},
                                        {15, {}, 5, 0, 5},
                                        {20, SliceId{2}, 5, 0, 5},
                                        {25, {}, 5, 0, 5}}));
  EXPECT_TRUE(overlay({}).empty());
}

TEST(Overlay, SplitsWhatALaterRecordCovers) {
  auto const pieces = overlay(std::vector{whole(0, 1, 30), whole(10, 2, 10)});
  EXPECT_EQ(pieces, (std::vector<Piece>{{0, SliceId{1}, 30, 0, 10},
                                        {10, SliceId{2}, 10, 0, 10},
                                        {20, SliceId{1}, 30, 20, 10}}));
}

TEST(Overlay, EqualsByteByByteReplay) {
  constexpr std::uint32_t kWindow = 512;
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    std::mt19937 engine(seed);
    auto const random = [&engine] { return static_cast<std::uint32_t>(engine()); };
    std::vector<SliceRecord> records(random() % 40);
    std::vector<std::pair<std::uint64_t, std::uint32_t>> bytes(kWindow);
    std::uint32_t end = 0;
    for (std::uint64_t id = 1; auto& record : records) {
      record.pos = random() % kWindow;
      record.len = random() % (kWindow - record.pos + 1);
      record.id.value = random() % 4 == 0 ? 0 : id++;
      record.off = record.id.value == 0 ? 0 : random() % 100;
      record.size = record.id.value == 0 ? 0 : record.off + record.len + random() % 100;
      for (std::uint32_t i = 0; i < record.len; ++i) {
        bytes[record.pos + i] = {record.id.value, record.id.value == 0 ? 0 : record.off + i};
      }
      end = std::max(end, record.len == 0 ? 0 : record.pos + record.len);
    }
    std::uint32_t at = 0;
    for (auto const& piece : overlay(records)) {
      ASSERT_EQ(piece.pos, at) << "seed " << seed;
      ASSERT_GT(piece.len, 0U) << "seed " << seed;
      for (std::uint32_t i = 0; i < piece.len; ++i, ++at) {
        std::pair<std::uint64_t, std::uint32_t> const seen{piece.id.value,
                                                           piece.id.value == 0 ? 0 : piece.off + i};
        ASSERT_EQ(seen, bytes[at]) << "seed " << seed << " byte " << at;
      }
    }
    ASSERT_EQ(at, end) << "seed " << seed;
  }
}

TEST(Overlay, IsFastOnManyNestedRecords) {
  // Each record lies inside the one before: a quadratic algorithm would need 10^10 steps.
  std::vector<SliceRecord> records;
  for (std::uint32_t i = 0; i < 100000; ++i) {
    records.push_back(whole(i, i + 1, 400000 - 2 * i));
  }
  EXPECT_EQ(overlay(records).size(), 2 * records.size() - 1);
}

TEST(Overlay, CutsWhatLeavesTheChunk) {
  auto const pieces = overlay(std::vector{SliceRecord{0xFFFFFF00, SliceId{1}, 1, 1, 0xFFFFFFFF},
                                          SliceRecord{0, SliceId{2}, 1, 0, 0xFFFFFFFF}});
  ASSERT_EQ(pieces.size(), 1U);
  EXPECT_EQ(pieces[0].len, kChunkSize);
}

TEST(Compaction, TrimsZerosAtBothEnds) {
  auto const view = compaction_view(std::vector{zeros(0, 100), whole(10, 1, 5), whole(30, 2, 5)});
  EXPECT_EQ(view.pos, 10U);
  EXPECT_EQ(view.size, 25U);
  ASSERT_EQ(view.pieces.size(), 3U);
  EXPECT_EQ(view.pieces[1], (Piece{15, {}, 15, 0, 15}));
}

TEST(Compaction, KeepsOneByteOfPureZeros) {
  auto const view = compaction_view(std::vector{zeros(5, 10), zeros(40, 10)});
  EXPECT_EQ(view.size, 1U);
  EXPECT_EQ(view.pieces, (std::vector<Piece>{{0, {}, 1, 0, 1}}));
  EXPECT_EQ(compaction_view({}).size, 0U);
}

TEST(Compaction, OfTheWorkedExamples) {
  // format/01 §13.3: a punched hole in a 10 MiB file; a sparse chunk with a late write.
  auto const punched = compaction_view(std::vector{whole(0, 2, 10 * kMega), zeros(4096, 8192)});
  EXPECT_EQ(punched.pos, 0U);
  EXPECT_EQ(punched.size, 0x00a00000U);
  auto const sparse = compaction_view(std::vector{zeros(0, 0x02400000), whole(0x002c1d80, 3, 3)});
  EXPECT_EQ(sparse.pos, 0x002c1d80U);
  EXPECT_EQ(sparse.size, 3U);
}

TEST(Compaction, SkipsLargeUntouchedHeads) {
  EXPECT_EQ(compaction_skip_count(std::vector{whole(0, 1, 8 * kMega), whole(8 * kMega, 2, 100),
                                              whole(8 * kMega, 3, 50)}),
            1U);
  // Too small.
  EXPECT_EQ(compaction_skip_count(std::vector{whole(0, 1, kMega - 1), whole(kMega - 1, 2, 5)}), 0U);
  // Less than a fifth of the result.
  EXPECT_EQ(compaction_skip_count(std::vector{whole(0, 1, kMega), whole(kMega, 2, 5 * kMega)}), 0U);
  // Exactly a fifth.
  EXPECT_EQ(compaction_skip_count(std::vector{whole(0, 1, kMega), whole(kMega, 2, 4 * kMega)}), 2U);
  // Partly overwritten.
  EXPECT_EQ(compaction_skip_count(std::vector{whole(0, 1, 8 * kMega), whole(0, 2, 1)}), 0U);
  // Repeated later.
  EXPECT_EQ(compaction_skip_count(std::vector{whole(0, 1, 8 * kMega), whole(8 * kMega, 2, 1),
                                              whole(0, 1, 8 * kMega)}),
            0U);
  // Two adjacent records of one slice stay two records.
  EXPECT_EQ(compaction_skip_count(
                std::vector{SliceRecord{0, SliceId{1}, 4 * kMega, 0, 2 * kMega},
                            SliceRecord{2 * kMega, SliceId{1}, 4 * kMega, 2 * kMega, 2 * kMega}}),
            2U);
}

TEST(DelayedSlices, HaveThePeersBytes) {
  auto const bytes = from_hex("0000000000000001 000249f0 0000000000000002 000003e8");
  auto const slices = decode_delayed_slices(bytes);
  ASSERT_TRUE(slices.ok());
  EXPECT_EQ(*slices, (std::vector<DelayedSlice>{{SliceId{1}, 150000}, {SliceId{2}, 1000}}));
  EXPECT_EQ(encode_delayed_slices(*slices), bytes);
  EXPECT_FALSE(decode_delayed_slices(bytes.substr(1)).ok());
}

}  // namespace
}  // namespace zest
