// Goal: object names are the peer's, and only they are accepted back.
#include <gtest/gtest.h>

#include "zest/format/object_name.h"

namespace zest {
namespace {

TEST(BlockKey, OfTheWorkedExamples) {
  SliceId const id{1234567};
  EXPECT_EQ(block_key(id, 0, 4194304, false), "chunks/1/1234/1234567_0_4194304");
  EXPECT_EQ(block_key(id, 2, 1048576, false), "chunks/1/1234/1234567_2_1048576");
  EXPECT_EQ(block_key(id, 0, 4194304, true), "chunks/87/1/1234567_0_4194304");
  EXPECT_EQ(block_key(SliceId{10}, 0, 1, true), "chunks/0A/0/10_0_1");
}

TEST(BlockKey, ParsesOnlyItself) {
  for (bool const hash_prefix : {false, true}) {
    for (std::uint64_t const id :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1234567}, ~std::uint64_t{0}}) {
      BlockRef const block{SliceId{id}, 0xFFFFFFFF, 16U << 20};
      auto const parsed =
          parse_block_key(block_key(block.id, block.index, block.size, hash_prefix), hash_prefix);
      ASSERT_TRUE(parsed.ok());
      EXPECT_EQ(*parsed, block);
    }
  }
  for (auto const* bad :
       {"", "chunks", "chunks/0/0/1_0", "chunks/0/0/1_0_", "chunks/0/0/_0_1", "chunks/0/0/1_0_1x",
        "chunks/0/1/1_0_1", "chunks/1/0/1_0_1", "chunks/0/0/01_0_1", "chunks/0/0/1_0_-1",
        "chunks/0/0/1_0_+1", "/chunks/0/0/1_0_1", "chunks/0/0/18446744073709551616_0_1",
        "chunks/0/0/1_4294967296_1", "v/chunks/0/0/1_0_1", "chunks/01/0/1_0_1",
        "chunks/0/0/1_0_1.tmp"}) {
    EXPECT_TRUE(failed_with(parse_block_key(bad, false), Errc::inval)) << bad;
  }
  EXPECT_TRUE(parse_block_key("chunks/01/0/1_0_1", true).ok());
  EXPECT_FALSE(parse_block_key("chunks/0a/0/10_0_1", true).ok());
}

TEST(Blocks, CutASlice) {
  EXPECT_EQ(block_count(9U << 20, 4U << 20), 3U);
  EXPECT_EQ(block_count(8U << 20, 4U << 20), 2U);
  EXPECT_EQ(block_count(0, 4U << 20), 0U);
  EXPECT_EQ(block_length(9U << 20, 4U << 20, 1), 4U << 20);
  EXPECT_EQ(block_length(9U << 20, 4U << 20, 2), 1U << 20);
  EXPECT_EQ(block_length(9U << 20, 4U << 20, 3), 0U);
  EXPECT_EQ(block_length(0xFFFFFFFF, 4U << 20, 0xFFFFFFFF), 0U);
}

TEST(Shards, FollowFnv1a) {
  // Published test vectors of FNV-1a: "" → 811c9dc5, "a" → e40c292c, "foobar" → bf9cf968.
  EXPECT_EQ(shard_of("", 256), 0xC5U);
  EXPECT_EQ(shard_of("a", 256), 0x2CU);
  EXPECT_EQ(shard_of("foobar", 0x10000), 0xF968U);
}

TEST(Shards, ExpandTheBucket) {
  EXPECT_EQ(*shard_bucket("http://h/b-%d", 12), "http://h/b-12");
  EXPECT_EQ(*shard_bucket("b%03d.x", 7), "b007.x");
  EXPECT_EQ(*shard_bucket("b%02X%%", 171), "bAB%");
  EXPECT_EQ(*shard_bucket("b%3x|", 10), "b  a|");
  for (auto const* bad :
       {"", "b", "b%", "b%s", "%d%d", "b%0", "b%99d", "b%-2d", "%d%", "b%9999999999999d"}) {
    EXPECT_TRUE(failed_with(shard_bucket(bad, 1), Errc::inval)) << bad;
  }
}

TEST(TempName, IsRecognised) {
  EXPECT_EQ(temp_object_name("1_0_5", 42), ".jfs.1_0_5.tmp.42");
  EXPECT_EQ(temp_object_name(std::string(250, 'x'), 1).size(), 5 + 200 + 6U);
  EXPECT_TRUE(is_temp_object_name(temp_object_name("1_0_5", 42)));
  EXPECT_TRUE(is_temp_object_name(temp_object_name("", 42)));
  for (auto const* other :
       {"1_0_5", ".jfs.", ".jfs.x.tmp.", ".jfs.x.tmp.4a", "x.tmp.4", ".jfs.tmp", ".jfs.x"}) {
    EXPECT_FALSE(is_temp_object_name(other)) << other;
  }
}

}  // namespace
}  // namespace zest
