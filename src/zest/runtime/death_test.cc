// What must end the program, and say why.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <stdexcept>

#include "zest/runtime/loop_cases.h"
#include "zest/runtime/mutex.h"

namespace zest {
namespace {

class LoopDeathTest : public LoopCase {
 protected:
  void SetUp() override {
    // A child that is a plain fork has only this thread, so it may not rely on others that run
    // here.
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    LoopCase::SetUp();
  }
};
ZEST_ALL_LOOPS(LoopDeathTest);

#if defined(__SANITIZE_ADDRESS__)
// ASan's own handler reports first, in its own words.
constexpr char const* kOverflow = "stack-overflow|stack overflow|SEGV";
#else
constexpr char const* kOverflow = "stack overflow in a fiber";
#endif

[[gnu::noinline]] int endless(int depth) {
  std::array<char volatile, 2048> frame{};
  frame[static_cast<std::size_t>(depth) % frame.size()] = 1;
  // NOLINTNEXTLINE(misc-no-recursion,clang-diagnostic-infinite-recursion): it's what the test is
  // about.
  return depth < 0 ? 0 : endless(depth + 1) + frame[static_cast<std::size_t>(depth) % frame.size()];
}

TEST_P(LoopDeathTest, AStackOverflowIsNamed) {
  EXPECT_DEATH(run([] { EXPECT_GE(endless(0), 0); }), kOverflow);
}

TEST_P(LoopDeathTest, AnUncaughtExceptionOfAFiberTerminates) {
  EXPECT_DEATH(run([] {
                 Scope scope;
                 scope.spawn([] {
                   Loop::current()->yield();
                   throw std::runtime_error("nobody catches this");
                 });
                 scope.join();
               }),
               "nobody catches this");
}

TEST_P(LoopDeathTest, SuspendingWithAMutexHeldIsABug) {
  EXPECT_DEATH(run([] {
                 Mutex mutex;
                 std::lock_guard const lock(mutex);
                 Loop::current()->yield();
               }),
               "mutexes_held == 0");
}

TEST_P(LoopDeathTest, WaitingInAPostedTaskIsABug) {
  EXPECT_DEATH(run([] {
                 Event never;
                 Loop::current()->post([&never] { never.wait(); });
                 never.wait();
               }),
               "current_ != nullptr");
}

TEST_P(LoopDeathTest, AScopeWithFibersCannotBeDestroyed) {
  EXPECT_DEATH(run([] {
                 Scope scope;
                 scope.spawn([] { Loop::current()->yield(); });
               }),
               "running\\(\\) == 0");
}

TEST(SimulatedLoopDeathTest, ADeadlockIsReported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(testing::run_simulated([] { Event().wait(); }), "the simulation is stuck");
}

}  // namespace
}  // namespace zest
