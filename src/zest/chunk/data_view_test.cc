#include "zest/chunk/data_view.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace zest {
namespace {

// Goal: any sequence of appends and truncations equals the same on an array.
TEST(DataView, EqualsAnArray) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    DataView view;
    std::vector<std::byte> model;
    for (int step = 0; step < 30; ++step) {
      auto const n = random() % 1000;
      switch (random() % 4) {
        case 0: {
          auto const bytes = std::make_shared<std::vector<std::byte>>(n, std::byte(random() % 256));
          view.append(*bytes, bytes);
          model.insert(model.end(), bytes->begin(), bytes->end());
          break;
        }
        case 1:
          view.append_zeros(n * 300);
          model.resize(model.size() + n * 300);
          break;
        case 2: {
          DataView other;
          other.append_zeros(n);
          view.append(std::move(other));
          model.resize(model.size() + n);
          break;
        }
        default: {
          auto const to = random() % (model.size() + 10);
          view.truncate(to);
          model.resize(std::min(model.size(), to));
          break;
        }
      }
      ASSERT_EQ(view.size(), model.size());
      std::vector<std::byte> out(model.size());
      view.copy_to(out);
      ASSERT_EQ(out, model);
    }
  }
}

TEST(DataView, KeepsOwnersAlive) {
  DataView view;
  auto bytes = std::make_shared<std::vector<std::byte>>(10);
  view.append(*bytes, bytes);
  std::weak_ptr<void const> const watch = bytes;
  bytes.reset();
  EXPECT_FALSE(watch.expired());
  view.truncate(0);
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace zest
