#include "tests/model/shrink.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace zest::model {
namespace {

std::vector<int> numbers(int count) {
  std::vector<int> items(static_cast<std::size_t>(count));
  std::iota(items.begin(), items.end(), 0);
  return items;
}

bool has(std::vector<int> const& items, int wanted) {
  return std::ranges::find(items, wanted) != items.end();
}

TEST(Shrink, FindsTheTwoItemsThatMatter) {
  auto const least = shrink<int>(numbers(300), [](std::vector<int> const& items) {
    return has(items, 17) && has(items, 240);
  });
  EXPECT_EQ(least, (std::vector<int>{17, 240}));
}

TEST(Shrink, KeepsAllThatIsNeeded) {
  auto const all = numbers(7);
  EXPECT_EQ(shrink<int>(all, [&](std::vector<int> const& items) { return items == all; }), all);
}

TEST(Shrink, LeavesNothingWhereNothingIsNeeded) {
  EXPECT_TRUE(shrink<int>(numbers(5), [](std::vector<int> const&) { return true; }).empty());
}

// An odd number of items from 10 on: a rule that is not monotonous still ends with a failing list.
TEST(Shrink, EndsWithAListThatFails) {
  auto const fails = [](std::vector<int> const& items) {
    return items.size() >= 10 && items.size() % 2 == 1;
  };
  EXPECT_TRUE(fails(shrink<int>(numbers(101), fails)));
}

}  // namespace
}  // namespace zest::model
