// What a simulated loop adds: reproducible interleavings and a virtual clock.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <vector>

#include "zest/runtime/loop.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest {
namespace {

std::vector<int> interleaving(std::uint64_t seed) {
  std::vector<int> order;
  testing::run_simulated(
      [&] {
        Scope scope;
        for (int i = 0; i < 5; ++i) {
          scope.spawn([&order, i] {
            for (int k = 0; k < 5; ++k) {
              order.push_back(i);
              Loop::current()->yield();
            }
          });
        }
        scope.join();
      },
      seed);
  return order;
}

TEST(Simulation, TheSeedDecidesTheInterleaving) {
  EXPECT_EQ(interleaving(1), interleaving(1));
  int different = 0;
  for (std::uint64_t seed = 2; seed < 20; ++seed) {
    different += interleaving(seed) != interleaving(1) ? 1 : 0;
  }
  EXPECT_GT(different, 15);
}

TEST(Simulation, TimeJumpsToTheNextTimer) {
  auto const real = std::chrono::steady_clock::now();
  testing::run_simulated([] {
    auto* const loop = Loop::current();
    auto const start = loop->now();
    auto const wall = loop->wall();
    EXPECT_TRUE(loop->sleep_for({}, std::chrono::hours(1000)).ok());
    EXPECT_EQ(loop->now() - start, std::chrono::hours(1000));
    EXPECT_EQ(nanoseconds_between(loop->wall(), wall), 3'600'000'000'000'000);
    EXPECT_TRUE(
        failed_with(loop->wait_fd({}, 0, {.readable = true, .writable = false}), Errc::nosys));
    EXPECT_EQ(loop->name(), "sim");
  });
  EXPECT_LT(std::chrono::steady_clock::now() - real, std::chrono::minutes(1));
}

}  // namespace
}  // namespace zest
