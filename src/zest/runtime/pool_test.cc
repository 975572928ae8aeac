// The blocking pool, the buffer pool, loop groups.
#include "zest/runtime/pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <cstring>
#include <latch>
#include <stdexcept>
#include <thread>
#include <vector>

#include "zest/base/metrics.h"
#include "zest/base/types.h"
#include "zest/runtime/buffer_pool.h"
#include "zest/runtime/loop_cases.h"

namespace zest {
namespace {

using std::chrono::milliseconds;

class AnyPool : public LoopCase {};
ZEST_ALL_LOOPS(AnyPool);
class RealPool : public LoopCase {};
ZEST_REAL_LOOPS(RealPool);

// --- BlockingPool

TEST_P(AnyPool, ReturnsResultsOnTheCallingFiber) {
  Registry metrics;
  BlockingPool pool({.name = "test", .threads = 2}, metrics);
  run([&] {
    auto* const loop = Loop::current();
    Scope scope;
    std::int64_t sum = 0;
    for (int i = 0; i < 100; ++i) {
      scope.spawn([&, i] {
        auto result =
            pool.run([i]() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(i); });
        ASSERT_TRUE(result.ok());
        EXPECT_EQ(Loop::current(), loop);
        sum += **result;
      });
    }
    scope.join();
    EXPECT_EQ(sum, 4950);
    EXPECT_TRUE(failed_with(pool.run([]() -> Result<void> { return Errc::nospc; }), Errc::nospc));
    bool ran = false;
    pool.run([&ran] { ran = true; });
    EXPECT_TRUE(ran);
  });
}

TEST_P(AnyPool, AnExceptionOfTheJobReachesTheCaller) {
  Registry metrics;
  BlockingPool pool({.threads = 1}, metrics);
  run([&] {
    EXPECT_THROW(pool.run([] { throw std::runtime_error("from the job"); }), std::runtime_error);
    EXPECT_EQ(pool.run([] { return 1; }), 1);
  });
}

TEST_P(RealPool, JobsRunOnOtherThreadsAndTheLoopGoesOn) {
  Registry metrics;
  BlockingPool pool({.threads = 1}, metrics);
  run([&] {
    Event turned;
    Scope scope;
    scope.spawn([&] { turned.set(); });
    auto const here = std::this_thread::get_id();
    // The job ends only after another fiber of the loop has run.
    EXPECT_NE(pool.run([&] {
      turned.wait();
      return std::this_thread::get_id();
    }),
              here);
    scope.join();
  });
}

TEST_P(RealPool, ThreadsAreBoundedAndTheQueueMakesFibersWait) {
  Registry metrics;
  auto& threads = metrics.gauge("blocking_pool_threads", "", "pool=\"small\"");
  auto& queued = metrics.gauge("blocking_pool_queue_length", "", "pool=\"small\"");
  auto& running = metrics.gauge("blocking_pool_running", "", "pool=\"small\"");
  {
    BlockingPool pool({.name = "small", .threads = 2, .queue_max = 3}, metrics);
    EXPECT_EQ(threads.value(), 0);
    run([&] {
      Event go;
      Scope scope;
      std::atomic<int> started = 0;
      int ended = 0;
      for (int i = 0; i < 20; ++i) {
        scope.spawn([&] {
          pool.run([&] {
            ++started;
            go.wait();
          });
          ++ended;
        });
      }
      while (started < 2 || queued.value() < 3) {
        Loop::current()->yield();
      }
      EXPECT_EQ(started, 2);
      EXPECT_EQ(queued.value(), 3);
      EXPECT_EQ(running.value(), 2);
      EXPECT_EQ(threads.value(), 2);
      EXPECT_EQ(ended, 0);
      go.set();
      scope.join();
      EXPECT_EQ(ended, 20);
    });
    EXPECT_EQ(queued.value(), 0);
  }
  EXPECT_EQ(threads.value(), 0);
  EXPECT_EQ(running.value(), 0);
}

TEST_P(RealPool, JobsStartInOrder) {
  Registry metrics;
  BlockingPool pool({.threads = 1, .queue_max = 2}, metrics);
  run([&] {
    Scope scope;
    std::vector<int> order;
    for (int i = 0; i < 10; ++i) {
      scope.spawn([&, i] { pool.run([&, i] { order.push_back(i); }); });
    }
    scope.join();
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  });
}

TEST(BlockingPool, RunsInPlaceOnAForeignThread) {
  Registry metrics;
  BlockingPool pool({}, metrics);
  EXPECT_EQ(pool.run([] { return std::this_thread::get_id(); }), std::this_thread::get_id());
}

TEST_P(RealPool, ServesSeveralLoops) {
  Registry metrics;
  BlockingPool pool({.threads = 3, .queue_max = 4}, metrics);
  auto const loops = group(2);
  Scope scope;
  std::atomic<int> right = 0;
  for (std::size_t i = 0; i < 200; ++i) {
    scope.spawn_on(loops->loop(i % 2), [&, home = &loops->loop(i % 2)] {
      int const answer = pool.run([] { return 7; });
      right += answer == 7 && Loop::current() == home ? 1 : 0;
    });
  }
  scope.join();
  EXPECT_EQ(right, 200);
}

// --- BufferPool

TEST_P(AnyPool, BuffersArePageAlignedPowersOfTwo) {
  Registry metrics;
  BufferPool pool(128 * kMiB, metrics);
  auto& gauge = metrics.gauge("used_buffer_size_bytes", "");
  run([&] {
    struct Case {
      std::size_t size;
      std::size_t capacity;
    };
    for (auto const [size, capacity] :
         {Case{0, 4 * kKiB}, Case{1, 4 * kKiB}, Case{4096, 4 * kKiB}, Case{4097, 8 * kKiB},
          Case{4 * kMiB, 4 * kMiB}, Case{4 * kMiB + 1, 8 * kMiB}, Case{64 * kMiB, 64 * kMiB}}) {
      auto buffer = pool.acquire({}, size);
      ASSERT_TRUE(buffer.ok());
      EXPECT_EQ(buffer->capacity(), capacity);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % 4096, 0U);
      buffer->data()[0] = std::byte{1};
      buffer->data()[capacity - 1] = std::byte{2};
      EXPECT_EQ(pool.used(), capacity);
      EXPECT_EQ(gauge.value(), static_cast<std::int64_t>(capacity));
    }
    EXPECT_EQ(pool.used(), 0U);
    EXPECT_EQ(gauge.value(), 0);
    EXPECT_TRUE(failed_with(pool.acquire({}, 64 * kMiB + 1), Errc::inval));
    EXPECT_FALSE(pool.try_acquire(64 * kMiB + 1));
  });
}

TEST_P(AnyPool, BuffersMoveAndComeBackOnce) {
  Registry metrics;
  BufferPool pool(1 * kMiB, metrics);
  run([&] {
    auto a = pool.try_acquire(4096);
    auto b = pool.try_acquire(8192);
    auto* const data = b.data();
    EXPECT_EQ(pool.used(), 12288U);
    a = std::move(b);
    EXPECT_EQ(a.data(), data);
    EXPECT_EQ(pool.used(), 8192U);
    EXPECT_FALSE(b);  // NOLINT(bugprone-use-after-move): empty is what it promises
    auto& self = a;
    a = std::move(self);
    EXPECT_EQ(a.data(), data);
    a = Buffer();
    EXPECT_EQ(pool.used(), 0U);
    EXPECT_EQ(pool.try_acquire(8192).data(), data);  // reused
  });
}

TEST_P(AnyPool, AtItsLimitFibersWaitInOrder) {
  Registry metrics;
  BufferPool pool(8 * kMiB, metrics);
  run([&] {
    EXPECT_TRUE(failed_with(pool.acquire({}, 9 * kMiB), Errc::inval));
    auto first = pool.try_acquire(4 * kMiB);
    auto second = pool.try_acquire(4 * kMiB);
    ASSERT_TRUE(first && second);
    EXPECT_FALSE(pool.try_acquire(1));
    EXPECT_TRUE(failed_with(pool.acquire(within(milliseconds(1)), 1), Errc::timedout));
    Scope scope;
    std::vector<int> order;
    auto const want = [&](int name, std::size_t size) {
      scope.spawn([&, name, size] {
        auto const buffer = pool.acquire({}, size);
        ASSERT_TRUE(buffer.ok());
        order.push_back(name);
        EXPECT_LE(pool.used(), pool.limit());
        EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
      });
      EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
    };
    want(1, 8 * kMiB);
    want(2, 4 * kKiB);
    EXPECT_EQ(pool.waiters(), 2U);
    first = Buffer();
    EXPECT_FALSE(pool.try_acquire(1));  // nobody overtakes
    second = Buffer();
    scope.join();
    EXPECT_EQ(order, (std::vector<int>{1, 2}));
    EXPECT_EQ(pool.used(), 0U);
  });
}

TEST_P(AnyPool, AStoppedWaiterLeavesTheLine) {
  Registry metrics;
  BufferPool pool(4 * kKiB, metrics);
  run([&] {
    auto const all = pool.try_acquire(1);
    Scope scope;
    scope.spawn([&] { EXPECT_TRUE(failed_with(pool.acquire(stopped_by(scope), 1), Errc::intr)); });
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
    EXPECT_EQ(pool.waiters(), 1U);
    scope.request_stop();
    scope.join();
    EXPECT_EQ(pool.waiters(), 0U);
  });
}

TEST_P(RealPool, BuffersKeepTheirBytesUnderChurnFromTwoLoops) {
  // Every buffer is filled with its owner's mark and checked after a switch: none is handed out
  // twice.
  Registry metrics;
  BufferPool pool(2 * kMiB, metrics);
  auto const loops = group(2);
  Scope scope;
  std::atomic<int> wrong = 0;
  for (std::size_t i = 0; i < 40; ++i) {
    scope.spawn_on(loops->loop(i % 2), [&, i] {
      for (std::size_t round = 0; round < 50; ++round) {
        auto buffer = pool.acquire({}, std::size_t{4096} << ((i + round) % 9));
        ASSERT_TRUE(buffer.ok());
        std::memset(buffer->data(), static_cast<int>(i), buffer->capacity());
        Loop::current()->yield();
        wrong += buffer->data()[0] != static_cast<std::byte>(i) ||
                         buffer->data()[buffer->capacity() - 1] != static_cast<std::byte>(i)
                     ? 1
                     : 0;
      }
    });
  }
  scope.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(pool.used(), 0U);
}

// --- LoopGroup

TEST_P(RealPool, GroupCallReturnsWhatTheFiberReturned) {
  auto const loops = group(3);
  EXPECT_EQ(loops->size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    auto const result = loops->call(i, [&, i]() -> Result<std::string> {
      EXPECT_EQ(Loop::current(), &loops->loop(i));
      EXPECT_TRUE(Loop::on_fiber());
      ZEST_CHECK(Loop::current()->sleep_for({}, milliseconds(1)));
      return std::string("done");
    });
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(*result, "done");
  }
}

TEST_P(RealPool, GroupCallWorksBetweenItsOwnFibers) {
  auto const loops = group(2);
  EXPECT_EQ(
      loops->call(0,
                  [&] { return loops->call(1, [&] { return loops->call(0, [] { return 5; }); }); }),
      5);
}

TEST(LoopGroup, OneLoopACoreByDefaultAndPinnedOnDemand) {
  Logger log({.level = LogLevel::error, .file = {}, .json = false, .color = false});
  auto const made = LoopGroup::create({.kind = LoopKind::epoll, .pin = true}, log);
  ASSERT_TRUE(made.ok());
  cpu_set_t cores;
  ASSERT_EQ(::sched_getaffinity(0, sizeof cores, &cores), 0);
  EXPECT_EQ((*made)->size(), static_cast<std::size_t>(CPU_COUNT(&cores)));
  auto const pinned_to = (*made)->call(0, [] {
    cpu_set_t mine;
    EXPECT_EQ(::sched_getaffinity(0, sizeof mine, &mine), 0);
    return CPU_COUNT(&mine);
  });
  EXPECT_EQ(pinned_to, 1);
}

}  // namespace
}  // namespace zest
