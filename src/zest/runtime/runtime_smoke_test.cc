#include <gtest/gtest.h>

#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest {
namespace {
TEST(Smoke, Uring) {
  int n = 0;
  testing::run_on_loop(
      [&] {
        Scope scope;
        for (int i = 0; i < 10; ++i) {
          scope.spawn([&] {
            Loop::current()->yield();
            EXPECT_TRUE(Loop::current()->sleep_for({}, std::chrono::milliseconds(1)).ok());
            ++n;
          });
        }
        scope.join();
      },
      LoopKind::uring);
  EXPECT_EQ(n, 10);
}
TEST(Smoke, Sim) {
  int n = 0;
  testing::run_simulated([&] {
    Scope scope;
    for (int i = 0; i < 10; ++i) {
      scope.spawn([&] {
        Loop::current()->yield();
        EXPECT_TRUE(Loop::current()->sleep_for({}, std::chrono::hours(1)).ok());
        ++n;
      });
    }
    scope.join();
  });
  EXPECT_EQ(n, 10);
}
TEST(Smoke, Epoll) {
  int n = 0;
  testing::run_on_loop([&] {
    Scope scope;
    for (int i = 0; i < 10; ++i) {
      scope.spawn([&] {
        Loop::current()->yield();
        EXPECT_TRUE(Loop::current()->sleep_for({}, std::chrono::milliseconds(1)).ok());
        ++n;
      });
    }
    scope.join();
  });
  EXPECT_EQ(n, 10);
}
}  // namespace
}  // namespace zest
