// What must end the program, and say why.
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <stdexcept>

#include "zest/base/assert.h"
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

/// What a container's profile does: io_uring_setup fails with EPERM from now on. For a child
/// process.
bool forbid_uring() {
  std::array filter{
      sock_filter{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
      sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_io_uring_setup},
      sock_filter{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM},
      sock_filter{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
  };
  sock_fprog const program{.len = filter.size(), .filter = filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(MakeLoopDeathTest, WithoutUringAutomaticFallsBackWithOneLineForAllLoops) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto const child = [] {
    ZEST_ASSERT(forbid_uring());
    Logger log({.level = LogLevel::info, .file = {}, .json = false, .color = false});
    auto const refused = make_loop(LoopKind::uring, {}, log);
    ZEST_ASSERT(failed_with(refused, Errc::perm));
    ZEST_ASSERT(!testing::uring_works());
    auto const group = LoopGroup::create(
        {.kind = LoopKind::automatic, .loops = 3, .loop = {.stall_limit = Duration::zero()}}, log);
    ZEST_ASSERT(group.ok());
    for (std::size_t i = 0; i < 3; ++i) {
      ZEST_ASSERT((*group)->call(i, [] { return Loop::current()->name(); }) == "epoll");
    }
    std::_Exit(7);
  };
  // The whole of standard error: one line, which names the reason.
  EXPECT_EXIT(child(), ::testing::ExitedWithCode(7),
              ::testing::AllOf(
                  ::testing::ContainsRegex("using epoll.*io_uring.*seccomp.*permitted"),
                  ::testing::ResultOf(
                      [](std::string const& text) { return std::ranges::count(text, '\n'); }, 1)));
}

}  // namespace
}  // namespace zest
