// Fibers, timers, descriptors, stops and deadlines: what every loop promises in loop.h.
#include "zest/runtime/loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "zest/base/rng.h"
#include "zest/runtime/loop_cases.h"
#include "zest/runtime/mutex.h"
#include "zest/runtime/socket.h"

namespace zest {
namespace {

using std::chrono::milliseconds;

// ThreadSanitizer's tables are large: the runtime caps fibers there.
#if defined(__SANITIZE_THREAD__)
constexpr int kFibers = 500;
#else
constexpr int kFibers = 3000;
#endif

class AnyLoop : public LoopCase {};
ZEST_ALL_LOOPS(AnyLoop);
class RealLoop : public LoopCase {};
ZEST_REAL_LOOPS(RealLoop);

TEST_P(AnyLoop, KnowsWhereItIs) {
  EXPECT_EQ(Loop::current(), nullptr);
  EXPECT_FALSE(Loop::on_fiber());
  run([] {
    EXPECT_NE(Loop::current(), nullptr);
    EXPECT_TRUE(Loop::on_fiber());
    Event posted;
    Loop::current()->post([&] {
      EXPECT_NE(Loop::current(), nullptr);
      EXPECT_FALSE(Loop::on_fiber());
      posted.set();
    });
    posted.wait();
  });
  EXPECT_EQ(Loop::current(), nullptr);
}

TEST_P(AnyLoop, YieldLetsAllOthersRun) {
  run([] {
    Scope scope;
    std::vector<int> turns(50);
    for (auto& mine : turns) {
      scope.spawn([&mine] {
        for (int i = 0; i < 20; ++i) {
          ++mine;
          Loop::current()->yield();
        }
      });
    }
    scope.join();
    EXPECT_EQ(turns, std::vector<int>(50, 20));
  });
}

TEST_P(AnyLoop, TimersFireInOrderAndNotEarly) {
  run([] {
    Scope scope;
    std::vector<int> order;
    auto const start = Loop::current()->now();
    for (int const ms : {7, 3, 9, 1, 5}) {
      scope.spawn([&order, ms, start] {
        auto const when = start + milliseconds(ms);
        EXPECT_TRUE(Loop::current()->sleep_until({}, when).ok());
        EXPECT_GE(Loop::current()->now(), when);
        order.push_back(ms);
      });
    }
    scope.join();
    EXPECT_EQ(order, (std::vector<int>{1, 3, 5, 7, 9}));
  });
}

TEST_P(AnyLoop, SleepOfThePastReturnsAtOnce) {
  run([] {
    auto* const loop = Loop::current();
    EXPECT_TRUE(loop->sleep_until({}, loop->now() - milliseconds(5)).ok());
    EXPECT_TRUE(loop->sleep_for({}, Duration::zero()).ok());
  });
}

TEST_P(AnyLoop, DeadlineEndsASleep) {
  run([] {
    auto* const loop = Loop::current();
    auto const start = loop->now();
    EXPECT_TRUE(failed_with(loop->sleep_for(within(milliseconds(2)), std::chrono::hours(1)),
                            Errc::timedout));
    EXPECT_GE(loop->now(), start + milliseconds(2));
    EXPECT_TRUE(loop->sleep_for(within(std::chrono::hours(1)), milliseconds(1)).ok());
  });
}

TEST_P(AnyLoop, StopEndsASleepAndAnythingAfterIt) {
  run([] {
    auto* const loop = Loop::current();
    Scope scope;
    scope.spawn([&] {
      auto const ctx = stopped_by(scope);
      EXPECT_TRUE(failed_with(loop->sleep_for(ctx, std::chrono::hours(1)), Errc::intr));
      EXPECT_TRUE(failed_with(loop->sleep_for(ctx, std::chrono::hours(1)), Errc::intr));
    });
    loop->yield();
    scope.request_stop();
    scope.join();
  });
}

TEST_P(AnyLoop, ManyTimersAreCancelledAndFiredAtRandom) {
  // Half of 2,000 sleepers are stopped before their time: each ends once, and the heap stays in
  // order.
  constexpr std::uint64_t kSeed = 7;
  SCOPED_TRACE(kSeed);
  run([] {
    Rng rng(kSeed);
    std::array<Scope, 2> scopes;
    std::array<int, 2> ended{};
    for (std::size_t i = 0; i < 2000; ++i) {
      auto const which = i % 2;
      auto const delay = std::chrono::microseconds(rng.below(20'000));
      scopes[which].spawn([&, which, delay] {
        auto const slept = Loop::current()->sleep_for(stopped_by(scopes[which]), delay);
        EXPECT_TRUE(slept.ok() || (which == 1 && failed_with(slept, Errc::intr)));
        ++ended[which];
      });
    }
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(5)).ok());
    scopes[1].request_stop();
    scopes[1].join();
    scopes[0].join();
    EXPECT_EQ(ended, (std::array<int, 2>{1000, 1000}));
  });
}

[[gnu::noinline]] void throw_after_yield(int number) {
  Loop::current()->yield();
  throw std::runtime_error(std::to_string(number));
}

TEST_P(AnyLoop, ExceptionsSurviveSuspensionsInsideCatch) {
  // The C++ ABI keeps caught exceptions per thread: without care a rethrow after a switch gives
  // somebody else's.
  run([] {
    Scope scope;
    for (int i = 0; i < 100; ++i) {
      scope.spawn([i] {
        for (int round = 0; round < 10; ++round) {
          try {
            throw_after_yield(i);
          } catch (std::runtime_error const& first) {
            EXPECT_EQ(first.what(), std::to_string(i));
            Loop::current()->yield();
            try {
              throw;
            } catch (std::runtime_error const& again) {
              EXPECT_EQ(again.what(), std::to_string(i));
              Loop::current()->yield();
            }
          }
          EXPECT_EQ(std::uncaught_exceptions(), 0);
        }
      });
    }
    scope.join();
    EXPECT_EQ(std::current_exception(), nullptr);
  });
}

[[gnu::noinline]] int recurse(int depth) {
  std::array<char volatile, 512> frame{};
  frame[static_cast<std::size_t>(depth) % frame.size()] = 1;
  if (depth == 0) {
    Loop::current()->yield();
    return 0;
  }
  return recurse(depth - 1) + frame[static_cast<std::size_t>(depth) % frame.size()];
}

TEST_P(AnyLoop, DeepCallsSuspendAndReturn) {
  run([] {
    Scope scope;
    for (int i = 0; i < 20; ++i) {
      scope.spawn([] { EXPECT_EQ(recurse(100), 100); });
    }
    scope.join();
  });
}

TEST_P(AnyLoop, CapturesAreDestroyedBeforeTheScopeIsJoined) {
  run([] {
    auto const shared = std::make_shared<int>(1);
    Scope scope;
    for (int i = 0; i < 10; ++i) {
      scope.spawn([shared] { Loop::current()->yield(); });
    }
    scope.join();
    EXPECT_EQ(shared.use_count(), 1);
  });
}

TEST_P(AnyLoop, SpawnsFromSpawnsAreJoined) {
  run([] {
    Scope scope;
    int count = 0;
    std::function<void(int)> grow = [&](int depth) {
      ++count;
      if (depth > 0) {
        scope.spawn([&grow, depth] { grow(depth - 1); });
        scope.spawn([&grow, depth] { grow(depth - 1); });
      }
    };
    scope.spawn([&] { grow(6); });
    scope.join();
    EXPECT_EQ(count, 127);
  });
}

// --- real loops only

TEST_P(RealLoop, SpawnsBeyondTheLimitWaitForAFreeFiber) {
  auto const loops = group(1, {.fibers_max = 8});
  std::atomic<int> alive = 0;
  std::atomic<int> alive_max = 0;
  std::atomic<int> ended = 0;
  Scope scope;
  for (int i = 0; i < 200; ++i) {
    scope.spawn_on(loops->loop(0), [&] {
      alive_max = std::max(alive_max.load(), ++alive);
      Loop::current()->yield();
      --alive;
      ++ended;
    });
  }
  scope.join();
  EXPECT_EQ(ended, 200);
  EXPECT_EQ(alive_max, 8);
}

TEST_P(RealLoop, ThousandsOfFibersSleepAtOnceAndTheirStacksAreReused) {
  run([] {
    for (int round = 0; round < 3; ++round) {
      Scope scope;
      int ended = 0;
      for (int i = 0; i < kFibers; ++i) {
        scope.spawn([&ended] {
          EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(2)).ok());
          ++ended;
        });
      }
      scope.join();
      EXPECT_EQ(ended, kFibers);
    }
  });
}

struct Pair {
  Pair() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()), 0);
    a = UniqueFd(fds[0]);
    b = UniqueFd(fds[1]);
  }
  void fill_a() const {
    std::array<char, 4096> bytes{};
    while (::write(a.get(), bytes.data(), bytes.size()) > 0) {
    }
  }
  void drain_b() const {
    std::array<char, 65536> bytes{};
    while (::read(b.get(), bytes.data(), bytes.size()) > 0) {
    }
  }
  UniqueFd a;
  UniqueFd b;
};

constexpr PollEvents kReadable{.readable = true, .writable = false};
constexpr PollEvents kWritable{.readable = false, .writable = true};

TEST_P(RealLoop, WaitsUntilADescriptorIsReadable) {
  run([] {
    Pair const pair;
    Scope scope;
    bool ready = false;
    scope.spawn([&] {
      auto const got = Loop::current()->wait_fd({}, pair.a.get(), kReadable);
      ASSERT_TRUE(got.ok());
      EXPECT_TRUE(got->readable);
      EXPECT_FALSE(got->writable);
      ready = true;
    });
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(2)).ok());
    EXPECT_FALSE(ready);
    EXPECT_EQ(::write(pair.b.get(), "x", 1), 1);
    scope.join();
    EXPECT_TRUE(ready);
  });
}

TEST_P(RealLoop, AReadyDescriptorReturnsAgainAndAgain) {
  run([] {
    Pair const pair;
    EXPECT_EQ(::write(pair.b.get(), "x", 1), 1);
    for (int i = 0; i < 100; ++i) {
      auto const got =
          Loop::current()->wait_fd({}, pair.a.get(), {.readable = true, .writable = true});
      ASSERT_TRUE(got.ok());
      EXPECT_TRUE(got->readable && got->writable);
    }
  });
}

TEST_P(RealLoop, SeveralFibersWaitForOneDescriptor) {
  // Two readers and a writer; the event of one direction leaves the other asleep.
  run([] {
    Pair const pair;
    pair.fill_a();
    Scope scope;
    int readers = 0;
    bool writer = false;
    for (int i = 0; i < 2; ++i) {
      scope.spawn([&] {
        EXPECT_TRUE(Loop::current()->wait_fd({}, pair.a.get(), kReadable).ok());
        ++readers;
      });
    }
    scope.spawn([&] {
      EXPECT_TRUE(Loop::current()->wait_fd({}, pair.a.get(), kWritable).ok());
      writer = true;
    });
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(2)).ok());
    EXPECT_FALSE(writer);
    EXPECT_EQ(::write(pair.b.get(), "x", 1), 1);
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(2)).ok());
    EXPECT_EQ(readers, 2);
    EXPECT_FALSE(writer);
    pair.drain_b();
    scope.join();
    EXPECT_TRUE(writer);
  });
}

TEST_P(RealLoop, AHangUpWakesEverybody) {
  run([] {
    Pair pair;
    pair.fill_a();
    Scope scope;
    int woken = 0;
    for (auto const events : {kReadable, kWritable}) {
      scope.spawn([&, events] {
        EXPECT_TRUE(Loop::current()->wait_fd({}, pair.a.get(), events).ok());
        ++woken;
      });
    }
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
    pair.b.reset();
    scope.join();
    EXPECT_EQ(woken, 2);
  });
}

TEST_P(RealLoop, DeadlineAndStopEndAWaitForADescriptor) {
  run([] {
    Pair const pair;
    auto* const loop = Loop::current();
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(failed_with(
          loop->wait_fd(within(std::chrono::microseconds(300)), pair.a.get(), kReadable),
          Errc::timedout));
    }
    Scope scope;
    scope.spawn([&] {
      EXPECT_TRUE(
          failed_with(loop->wait_fd(stopped_by(scope), pair.a.get(), kReadable), Errc::intr));
      EXPECT_TRUE(
          failed_with(loop->wait_fd(stopped_by(scope), pair.a.get(), kReadable), Errc::intr));
    });
    loop->yield();
    scope.request_stop();
    scope.join();
    // What was given up leaves nothing behind that swallows the next event.
    EXPECT_EQ(::write(pair.b.get(), "x", 1), 1);
    EXPECT_TRUE(loop->wait_fd(within(std::chrono::seconds(20)), pair.a.get(), kReadable).ok());
  });
}

TEST_P(RealLoop, ADescriptorNumberUsedAgainIsANewDescriptor) {
  run([] {
    for (int i = 0; i < 50; ++i) {
      Pair const pair;
      EXPECT_TRUE(failed_with(
          Loop::current()->wait_fd(within(std::chrono::microseconds(50)), pair.a.get(), kReadable),
          Errc::timedout));
      EXPECT_EQ(::write(pair.b.get(), "x", 1), 1);
      EXPECT_TRUE(Loop::current()->wait_fd({}, pair.a.get(), kReadable).ok());
    }
  });
}

TEST_P(RealLoop, BadAndRegularDescriptors) {
  run([] {
    auto* const loop = Loop::current();
    EXPECT_TRUE(failed_with(loop->wait_fd({}, -1, kReadable), Errc::badf));
    EXPECT_TRUE(failed_with(loop->wait_fd({}, 999'999, kReadable), Errc::badf));
    UniqueFd const file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    EXPECT_TRUE(loop->wait_fd({}, file.get(), kReadable).ok());  // always ready, as poll(2) has it
  });
}

TEST_P(RealLoop, ForeignThreadsPostAndSpawn) {
  auto const loops = group(2);
  Scope scope;
  std::atomic<int> posted = 0;
  std::atomic<int> spawned = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (std::size_t i = 0; i < 500; ++i) {
        loops->loop(i % 2).post([&] { ++posted; });
        scope.spawn_on(loops->loop(i % 2), [&] {
          Loop::current()->yield();
          ++spawned;
        });
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  scope.join();
  EXPECT_EQ(spawned, 2000);
  for (std::size_t i = 0; i < 2; ++i) {
    loops->call(i, [] {});  // behind everything that was posted
  }
  EXPECT_EQ(posted, 2000);
}

TEST_P(RealLoop, LoopsComeAndGoWhileOthersWakeThem) {
  // The waker may still be inside wake() when the last fiber of the loop has ended it: nothing may
  // be touched then.
  for (int i = 0; i < 100; ++i) {
    Event go;
    std::thread waker([&go] { go.set(); });
    run([&go] { go.wait(); });
    waker.join();
  }
}

TEST_P(RealLoop, StopsFromManyThreadsRaceWithTimersAndEvents) {
  // Every wait ends exactly once whoever wins: stop on a foreign thread, deadline, or readiness.
  auto const loops = group(1);
  for (int round = 0; round < 100; ++round) {
    Pair const pair;
    Scope scope;
    std::atomic<int> ended = 0;
    for (int i = 0; i < 8; ++i) {
      scope.spawn_on(loops->loop(0), [&] {
        Context ctx = within(std::chrono::microseconds(100));
        ctx.stop = scope.token();
        auto const got = Loop::current()->wait_fd(ctx, pair.a.get(), kReadable);
        EXPECT_TRUE(got.ok() || failed_with(got, Errc::intr) || failed_with(got, Errc::timedout));
        ++ended;
      });
    }
    std::thread writer([&] { EXPECT_EQ(::write(pair.b.get(), "x", 1), 1); });
    scope.request_stop();
    writer.join();
    scope.join();
    EXPECT_EQ(ended, 8);
  }
}

TEST_P(RealLoop, StopReturnsOnceNoFiberIsReadyAndRunWorksAgain) {
  auto made = make_loop(kind(), {}, log_);
  ASSERT_TRUE(made.ok());
  auto& loop = **made;
  for (int round = 0; round < 3; ++round) {
    Scope scope;
    int turns = 0;
    scope.spawn_on(loop, [&] {
      loop.stop();
      for (; turns < 10; ++turns) {
        loop.yield();
      }
    });
    loop.run();
    EXPECT_EQ(turns, 10);
  }
}

TEST_P(RealLoop, NamesItsKind) {
  run([this] {
    EXPECT_EQ(Loop::current()->name(), kind() == LoopKind::uring ? "uring" : "epoll");
  });
}

TEST_P(RealLoop, AStallIsLoggedOnceWithItsLength) {
  auto pattern = (std::filesystem::temp_directory_path() / "zest-stall-XXXXXX").string();
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  std::filesystem::path const folder = pattern;
  {
    Logger log({.level = LogLevel::warn, .file = folder / "log", .json = false, .color = false});
    auto made = make_loop(kind(), {.fibers_max = 16, .stall_limit = milliseconds(10)}, log);
    ASSERT_TRUE(made.ok());
    auto& loop = **made;
    Scope scope;
    scope.spawn_on(loop, [&] {
      for (int i = 0; i < 3; ++i) {
        auto const until = loop.now() + milliseconds(30);
        while (loop.now() < until) {
        }
        loop.yield();
      }
      loop.stop();
    });
    loop.run();
  }
  std::ifstream in(folder / "log");
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  std::filesystem::remove_all(folder);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_NE(lines[0].find("held its loop too long"), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find("ran_ms="), std::string::npos) << lines[0];
}

TEST(MakeLoop, AutomaticAlwaysGivesALoop) {
  Logger log({.level = LogLevel::error, .file = {}, .json = false, .color = false});
  auto const made = make_loop(LoopKind::automatic, {}, log);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made)->name(), testing::uring_works() ? "uring" : "epoll");
}

}  // namespace
}  // namespace zest
