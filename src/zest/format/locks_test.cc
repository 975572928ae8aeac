// Goal: lock records have the peer's bytes, and merging equals doing it byte by byte.
#include <gtest/gtest.h>

#include <random>

#include "zest/format/locks.h"
#include "zest/format/test_bytes.h"

namespace zest {
namespace {

using Type = LockRange::Type;

TEST(Locks, HaveThePeersBytes) {
  auto const bytes = from_hex(
      "00000001 00007e75 0000000000000005 000000000000000e 00000000 00007e75 0000000000000064 "
      "0000000000000077");
  auto const ranges = decode_locks(bytes);
  ASSERT_TRUE(ranges.ok());
  EXPECT_EQ(*ranges,
            (std::vector<LockRange>{{Type::write, 0x7e75, 5, 14}, {Type::read, 0x7e75, 100, 119}}));
  EXPECT_EQ(encode_locks(*ranges), bytes);
}

TEST(Locks, ImpossibleListsAreCorrupt) {
  for (auto const* digits : {"00", "00000002 00000001 0000000000000000 0000000000000001",
                             "00000001 00000001 0000000000000002 0000000000000001"}) {
    EXPECT_EQ(decode_locks(from_hex(digits)).error().fault(), Fault::corrupt) << digits;
  }
}

TEST(MergeLock, SplitsJoinsAndRemoves) {
  std::vector<LockRange> const one{{Type::write, 1, 10, 19}};
  EXPECT_EQ(merge_lock(one, {Type::unlock, 1, 13, 14}),
            (std::vector<LockRange>{{Type::write, 1, 10, 12}, {Type::write, 1, 15, 19}}));
  EXPECT_EQ(merge_lock(one, {Type::read, 1, 15, 25}),
            (std::vector<LockRange>{{Type::write, 1, 10, 14}, {Type::read, 1, 15, 25}}));
  EXPECT_EQ(merge_lock(one, {Type::write, 1, 20, 25}),
            (std::vector<LockRange>{{Type::write, 1, 10, 25}}));
  EXPECT_EQ(merge_lock(one, {Type::write, 2, 20, 25}).size(), 2U) << "another process";
  EXPECT_TRUE(merge_lock(one, {Type::unlock, 1, 0, kLockToEof}).empty());
  EXPECT_EQ(merge_lock({}, {Type::read, 1, 0, ~std::uint64_t{0}}).size(), 1U);
  EXPECT_TRUE(merge_lock({}, {Type::unlock, 1, 0, 5}).empty());
}

TEST(MergeLock, EqualsByteByByte) {
  constexpr std::uint64_t kBytes = 40;
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    std::mt19937 engine(seed);
    auto const below = [&engine](std::uint32_t bound) {
      return static_cast<std::uint32_t>(engine() % bound);
    };
    std::vector<LockRange> ranges;
    std::vector<std::pair<Type, std::uint32_t>> bytes(kBytes, {Type::unlock, 0});
    for (int step = 0; step < 20; ++step) {
      LockRange range{static_cast<Type>(below(3)), below(2), below(kBytes), 0};
      range.end = range.start + below(static_cast<std::uint32_t>(kBytes - range.start));
      ranges = merge_lock(ranges, range);
      for (auto i = range.start; i <= range.end; ++i) {
        bytes[i] = {range.type, range.type == Type::unlock ? 0 : range.pid};
      }
      std::vector<std::pair<Type, std::uint32_t>> seen(kBytes, {Type::unlock, 0});
      LockRange last{Type::unlock, 0, 0, 0};
      for (auto const& part : ranges) {
        ASSERT_LE(part.start, part.end) << "seed " << seed;
        ASSERT_FALSE(part.type == last.type && part.pid == last.pid && part.start == last.end + 1)
            << "seed " << seed << ": neighbours not joined";
        for (auto i = part.start; i <= part.end; ++i) {
          ASSERT_EQ(seen[i].first, Type::unlock) << "seed " << seed << ": overlap";
          seen[i] = {part.type, part.pid};
        }
        ASSERT_TRUE(last.type == Type::unlock || part.start > last.end)
            << "seed " << seed << ": unsorted";
        last = part;
      }
      ASSERT_EQ(seen, bytes) << "seed " << seed << " step " << step;
    }
  }
}

TEST(FindConflict, NeedsOverlapAndAWriter) {
  std::vector<LockRange> const held{{Type::read, 1, 0, 9}, {Type::write, 1, 20, 29}};
  EXPECT_FALSE(find_conflict(held, {Type::read, 2, 0, 19}));
  EXPECT_EQ(find_conflict(held, {Type::write, 2, 9, 9}), held[0]);
  EXPECT_EQ(find_conflict(held, {Type::read, 2, 15, 20}), held[1]);
  EXPECT_FALSE(find_conflict(held, {Type::write, 2, 10, 19}));
  EXPECT_FALSE(find_conflict(held, {Type::unlock, 2, 0, 29}));
}

TEST(LockOwner, IsThePeersField) {
  EXPECT_EQ(format_lock_owner(SessionId{1}, 0x05EA9D7256A3F15C), "1_05EA9D7256A3F15C");
  EXPECT_EQ(*parse_lock_owner("1_b36aa1e4CAB4F837"), (LockOwner{SessionId{1}, 0xB36AA1E4CAB4F837}));
  for (auto const* bad :
       {"", "1", "1_", "_1", "1_G", "1_1_", "x_1", "1_00000000000000001F", "-1_1"}) {
    auto const owner = parse_lock_owner(bad);
    EXPECT_EQ(owner.ok(), std::string_view(bad) == "1_00000000000000001F") << bad;
  }
  EXPECT_FALSE(parse_lock_owner("1_1FFFFFFFFFFFFFFFF").ok()) << "more than 64 bits";
}

TEST(KvLocks, HaveThePeersBytes) {
  auto const flocks = from_hex("0000000000000001 8f8efb9e273c57b2 57");
  auto const holders = decode_flocks(flocks);
  ASSERT_TRUE(holders.ok());
  EXPECT_EQ(*holders,
            (std::vector<FlockHolder>{{{SessionId{1}, 0x8f8efb9e273c57b2}, FlockType::write}}));
  EXPECT_EQ(encode_flocks(*holders), flocks);

  auto const plocks = from_hex(
      "0000000000000001 a6a116722bd71501 00000018 00000001 00006dd5 0000000000000005 "
      "000000000000000e");
  auto const owners = decode_plocks(plocks);
  ASSERT_TRUE(owners.ok());
  ASSERT_EQ(owners->size(), 1U);
  EXPECT_EQ((*owners)[0].ranges, (std::vector<LockRange>{{Type::write, 0x6dd5, 5, 14}}));
  EXPECT_EQ(encode_plocks(*owners), plocks);
  EXPECT_EQ(encode_plocks(std::vector{(*owners)[0], (*owners)[0]}), plocks + plocks);
}

TEST(KvLocks, ImpossibleListsAreCorrupt) {
  EXPECT_FALSE(decode_flocks(from_hex("00")).ok());
  EXPECT_FALSE(decode_flocks(from_hex("0000000000000001 8f8efb9e273c57b2 58")).ok());
  EXPECT_FALSE(decode_plocks(from_hex("0000000000000001 a6a116722bd71501 00000018")).ok());
  EXPECT_FALSE(decode_plocks(from_hex("0000000000000001 a6a116722bd71501 ffffffff 00")).ok());
  EXPECT_FALSE(decode_plocks(from_hex("0000000000000001 a6a116722bd71501 00000001 00")).ok());
}

}  // namespace
}  // namespace zest
