// Goal: the index finds every slice and nothing else, whether it fits into memory or not.
#include "zest/admin/slice_index.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace zest::admin {
namespace {

class SliceIndexSizes : public ::testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(InMemory, SliceIndexSizes, ::testing::Values(1, 7, 100, 10'000));

TEST_P(SliceIndexSizes, FindsWhatWasAdded) {
  SliceIndex index(::testing::TempDir(), GetParam());
  std::vector<IndexedSlice> slices;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    slices.push_back(
        {.id = (i * 7919) % 1009 * 3 + 1, .size = 100 + static_cast<std::uint32_t>(i)});
  }
  ASSERT_TRUE(index.add(slices).ok());
  ASSERT_TRUE(index.add(std::span(slices).first(10)).ok());
  ASSERT_TRUE(index.finish().ok());
  EXPECT_EQ(index.size(), 1010U);
  EXPECT_EQ(index.spilled() > 0, GetParam() < 1010);
  for (auto const& slice : slices) {
    auto const found = index.find(SliceId{slice.id});
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->size, slice.size);
    EXPECT_FALSE(index.find(SliceId{slice.id + 1}).has_value());
  }
}

TEST_P(SliceIndexSizes, TheUseThatKeepsItLongestCounts) {
  SliceIndex index(::testing::TempDir(), GetParam());
  for (auto const use : {SliceUse::pending, SliceUse::file, SliceUse::delayed}) {
    IndexedSlice const slice{.id = 5, .size = 1, .use = use};
    IndexedSlice const other{.id = 6, .size = 1, .use = SliceUse::delayed};
    ASSERT_TRUE(index.add(std::span(&slice, 1)).ok());
    ASSERT_TRUE(index.add(std::span(&other, 1)).ok());
  }
  ASSERT_TRUE(index.finish().ok());
  EXPECT_EQ(index.find(SliceId{5})->use, SliceUse::file);
  EXPECT_EQ(index.find(SliceId{6})->use, SliceUse::delayed);
}

TEST(SliceIndex, AnEmptyOneFindsNothing) {
  SliceIndex index(::testing::TempDir(), 10);
  ASSERT_TRUE(index.finish().ok());
  EXPECT_FALSE(index.find(SliceId{1}).has_value());
}

TEST(SliceIndex, ADirectoryThatIsMissingIsNamed) {
  SliceIndex index("/no/such/directory", 1);
  std::vector<IndexedSlice> const slices(3);
  auto const added = index.add(slices);
  ASSERT_FALSE(added.ok());
  EXPECT_NE(added.error().text().find("/no/such/directory"), std::string::npos);
}

}  // namespace
}  // namespace zest::admin
