// The primitives of sync.h on one loop, across loops, and from foreign threads.
#include "zest/runtime/sync.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <numeric>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "zest/runtime/loop_cases.h"

namespace zest {
namespace {

using std::chrono::milliseconds;

class AnySync : public LoopCase {};
ZEST_ALL_LOOPS(AnySync);
class CrossLoopSync : public LoopCase {
 protected:
  /// Runs `fn(i)` on `fibers` fibers spread over two loops.
  void spread(int fibers, std::function<void(int)> const& fn) {
    auto const loops = group(2);
    Scope scope;
    for (int i = 0; i < fibers; ++i) {
      scope.spawn_on(loops->loop(static_cast<std::size_t>(i) % 2), [&fn, i] { fn(i); });
    }
    scope.join();
  }
};
ZEST_REAL_LOOPS(CrossLoopSync);

// --- FiberMutex

TEST_P(AnySync, MutexExcludesAcrossSuspensions) {
  run([] {
    FiberMutex mutex;
    Scope scope;
    int inside = 0;
    int sections = 0;
    for (int i = 0; i < 50; ++i) {
      scope.spawn([&] {
        for (int round = 0; round < 20; ++round) {
          std::lock_guard const lock(mutex);
          EXPECT_EQ(++inside, 1);
          Loop::current()->yield();
          --inside;
          ++sections;
        }
      });
    }
    scope.join();
    EXPECT_EQ(sections, 1000);
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

TEST_P(AnySync, MutexIsHandedOverInOrderAndNobodyOvertakes) {
  run([] {
    FiberMutex mutex;
    std::vector<int> order;
    Scope scope;
    mutex.lock();
    for (int i = 0; i < 10; ++i) {
      scope.spawn([&, i] {
        // Arrive one after the other, also where the scheduler draws lots.
        EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(i + 1)).ok());
        std::lock_guard const lock(mutex);
        order.push_back(i);
      });
    }
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(30)).ok());
    mutex.unlock();
    EXPECT_FALSE(mutex.try_lock());  // it already belongs to the first in line
    scope.join();
    std::vector<int> expected(10);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(order, expected);
  });
}

TEST_P(AnySync, MutexLockGivesUpAtDeadlineAndStop) {
  run([] {
    FiberMutex mutex;
    Scope scope;
    mutex.lock();
    EXPECT_TRUE(failed_with(mutex.lock(within(milliseconds(1))), Errc::timedout));
    scope.spawn([&] { EXPECT_TRUE(failed_with(mutex.lock(stopped_by(scope)), Errc::intr)); });
    Loop::current()->yield();
    scope.request_stop();
    scope.join();
    mutex.unlock();
    EXPECT_TRUE(mutex.lock(within(milliseconds(1))).ok());
    mutex.unlock();
  });
}

TEST_P(AnySync, AMutexPassesOverThoseWhoGaveUp) {
  run([] {
    FiberMutex mutex;
    Scope impatient;
    Scope patient;
    bool got = false;
    mutex.lock();
    impatient.spawn(
        [&] { EXPECT_TRUE(failed_with(mutex.lock(stopped_by(impatient)), Errc::intr)); });
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
    patient.spawn([&] {
      std::lock_guard const lock(mutex);
      got = true;
    });
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
    // Stopped but not yet off the queue when the mutex looks for its next owner.
    impatient.request_stop();
    mutex.unlock();
    patient.join();
    impatient.join();
    EXPECT_TRUE(got);
  });
}

TEST_P(CrossLoopSync, MutexExcludesFibersOfTwoLoops) {
  FiberMutex mutex;
  int inside = 0;
  int sections = 0;
  spread(40, [&](int i) {
    for (int round = 0; round < 200; ++round) {
      std::lock_guard const lock(mutex);
      EXPECT_EQ(++inside, 1);
      if (round % 8 == i % 8) {
        Loop::current()->yield();
      }
      --inside;
      ++sections;
    }
  });
  EXPECT_EQ(sections, 8000);
}

TEST_P(CrossLoopSync, MutexWithDeadlinesNeverLosesALock) {
  FiberMutex mutex;
  std::atomic<int> got = 0;
  std::atomic<int> gave_up = 0;
  int guarded = 0;
  spread(20, [&](int i) {
    for (int round = 0; round < 100; ++round) {
      auto const locked = mutex.lock(within(std::chrono::microseconds(i * 10)));
      if (locked.ok()) {
        ++guarded;
        Loop::current()->yield();
        mutex.unlock();
        ++got;
      } else {
        EXPECT_TRUE(failed_with(locked, Errc::timedout));
        ++gave_up;
      }
    }
  });
  EXPECT_EQ(got + gave_up, 2000);
  EXPECT_EQ(guarded, got);
  EXPECT_TRUE(mutex.try_lock());
  mutex.unlock();
}

TEST_P(CrossLoopSync, TheNextOwnerMayDestroyTheMutex) {
  for (int i = 0; i < 200; ++i) {
    auto mutex = std::make_unique<FiberMutex>();
    auto* const shared = mutex.get();
    std::atomic<bool> locked = false;
    std::thread holder([&] {
      shared->lock();
      locked = true;
      std::this_thread::yield();
      shared->unlock();
    });
    run([&] {
      while (!locked) {
        Loop::current()->yield();
      }
      mutex->lock();
      mutex->unlock();
      mutex.reset();
    });
    holder.join();
  }
}

// --- FiberSharedMutex

TEST_P(AnySync, SharedMutexAdmitsManyReadersOrOneWriter) {
  run([] {
    FiberSharedMutex mutex;
    Scope scope;
    int readers = 0;
    int readers_max = 0;
    int writers = 0;
    int ended = 0;
    for (int i = 0; i < 60; ++i) {
      scope.spawn([&, i] {
        for (int round = 0; round < 10; ++round) {
          if (i % 6 == 0) {
            std::unique_lock const lock(mutex);
            EXPECT_EQ(++writers, 1);
            EXPECT_EQ(readers, 0);
            Loop::current()->yield();
            --writers;
          } else {
            std::shared_lock const lock(mutex);
            EXPECT_EQ(writers, 0);
            readers_max = std::max(readers_max, ++readers);
            Loop::current()->yield();
            --readers;
          }
          ++ended;
        }
      });
    }
    scope.join();
    EXPECT_EQ(ended, 600);
    EXPECT_GT(readers_max, 1);
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

TEST_P(AnySync, AWaitingWriterHoldsBackNewReaders) {
  run([] {
    FiberSharedMutex mutex;
    Scope scope;
    bool written = false;
    mutex.lock_shared();
    scope.spawn([&] {
      std::unique_lock const lock(mutex);
      written = true;
    });
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
    EXPECT_FALSE(mutex.try_lock_shared());
    scope.spawn([&] {
      std::shared_lock const lock(mutex);
      EXPECT_TRUE(written);
    });
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
    EXPECT_FALSE(written);
    mutex.unlock_shared();
    scope.join();
    EXPECT_TRUE(mutex.try_lock_shared());
    EXPECT_TRUE(mutex.try_lock_shared());
    EXPECT_FALSE(mutex.try_lock());
    mutex.unlock_shared();
    mutex.unlock_shared();
  });
}

TEST_P(CrossLoopSync, SharedMutexAcrossLoops) {
  FiberSharedMutex mutex;
  std::vector<int> data(8);
  spread(40, [&](int i) {
    for (int round = 0; round < 100; ++round) {
      if (i % 8 == 0) {
        std::unique_lock const lock(mutex);
        for (auto& each : data) {
          ++each;
          if (round % 16 == 0) {
            Loop::current()->yield();
          }
        }
      } else {
        std::shared_lock const lock(mutex);
        EXPECT_EQ(std::ranges::count(data, data[0]), 8);
      }
    }
  });
  EXPECT_EQ(data, std::vector<int>(8, 500));
}

// --- FiberCondition

TEST_P(CrossLoopSync, ConditionCarriesABoundedQueue) {
  // Producers and consumers on both loops; everything arrives once, and nobody sleeps for good.
  FiberMutex mutex;
  FiberCondition changed;
  std::deque<int> queue;
  std::int64_t sum = 0;
  spread(20, [&](int i) {
    for (int round = 0; round < 100; ++round) {
      std::unique_lock lock(mutex);
      if (i < 10) {
        while (queue.size() >= 4) {
          changed.wait(lock);
        }
        queue.push_back(round);
      } else {
        while (queue.empty()) {
          changed.wait(lock);
        }
        sum += queue.front();
        queue.pop_front();
      }
      changed.notify_all();
    }
  });
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(sum, 10 * 4950);
}

TEST_P(AnySync, ConditionWakesOneOrAllAndHonoursTheContext) {
  run([] {
    FiberMutex mutex;
    FiberCondition condition;
    Scope scope;
    int woken = 0;
    for (int i = 0; i < 5; ++i) {
      scope.spawn([&] {
        std::unique_lock lock(mutex);
        condition.wait(lock);
        EXPECT_TRUE(lock.owns_lock());
        ++woken;
      });
    }
    auto const settle = [] { EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok()); };
    settle();
    condition.notify_one();
    settle();
    EXPECT_EQ(woken, 1);
    condition.notify_all();
    scope.join();
    EXPECT_EQ(woken, 5);

    std::unique_lock lock(mutex);
    EXPECT_TRUE(failed_with(condition.wait(within(milliseconds(1)), lock), Errc::timedout));
    EXPECT_TRUE(lock.owns_lock());
    condition.notify_one();  // nobody waits any more: it is lost, not kept
    EXPECT_TRUE(failed_with(condition.wait(within(milliseconds(1)), lock), Errc::timedout));
  });
}

// --- Semaphore

TEST_P(AnySync, SemaphoreCountsUnitsInOrder) {
  run([] {
    Semaphore semaphore(10);
    EXPECT_TRUE(failed_with(semaphore.acquire({}, 11), Errc::inval));
    ASSERT_TRUE(semaphore.acquire({}, 8).ok());
    EXPECT_EQ(semaphore.available(), 2U);
    EXPECT_FALSE(semaphore.try_acquire(3));
    Scope scope;
    std::vector<int> order;
    scope.spawn([&] {
      EXPECT_TRUE(semaphore.acquire({}, 5).ok());
      order.push_back(5);
    });
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
    scope.spawn([&] {
      // Two are free, but the one who wants five came first.
      EXPECT_TRUE(semaphore.acquire({}, 1).ok());
      order.push_back(1);
    });
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
    EXPECT_EQ(semaphore.waiters(), 2U);
    EXPECT_FALSE(semaphore.try_acquire(1));
    EXPECT_TRUE(order.empty());
    semaphore.release(8);
    scope.join();
    EXPECT_EQ(order.size(), 2U);
    EXPECT_EQ(semaphore.available(), 4U);
  });
}

TEST_P(AnySync, AnImpatientWaiterMakesWayForThoseBehind) {
  run([] {
    Semaphore semaphore(4);
    ASSERT_TRUE(semaphore.acquire({}, 3).ok());
    Scope scope;
    scope.spawn(
        [&] { EXPECT_TRUE(failed_with(semaphore.acquire(stopped_by(scope), 4), Errc::intr)); });
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
    Scope small;
    bool got = false;
    small.spawn([&] {
      EXPECT_TRUE(semaphore.acquire({}, 1).ok());
      got = true;
    });
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
    EXPECT_FALSE(got);
    scope.request_stop();
    small.join();
    scope.join();
    EXPECT_TRUE(got);
    EXPECT_TRUE(failed_with(semaphore.acquire(within(milliseconds(1)), 2), Errc::timedout));
  });
}

TEST_P(CrossLoopSync, SemaphoreNeverHandsOutMoreThanItHas) {
  Semaphore semaphore(5);
  std::atomic<int> held = 0;
  std::atomic<int> held_max = 0;
  spread(30, [&](int i) {
    auto const units = i % 5 + 1;
    for (int round = 0; round < 100; ++round) {
      ASSERT_TRUE(semaphore.acquire({}, static_cast<std::uint64_t>(units)).ok());
      int const now = held += units;
      EXPECT_LE(now, 5);
      held_max = std::max(held_max.load(), now);
      if (round % 4 == 0) {
        Loop::current()->yield();
      }
      held -= units;
      semaphore.release(static_cast<std::uint64_t>(units));
    }
  });
  EXPECT_EQ(semaphore.available(), 5U);
  EXPECT_EQ(held_max, 5);
}

// --- Event

TEST_P(AnySync, EventWakesEverybodyAndStaysSet) {
  run([] {
    Event event;
    Scope scope;
    int woken = 0;
    for (int i = 0; i < 10; ++i) {
      scope.spawn([&] {
        event.wait();
        ++woken;
      });
    }
    EXPECT_TRUE(failed_with(event.wait(within(milliseconds(1))), Errc::timedout));
    EXPECT_FALSE(event.is_set());
    event.set();
    scope.join();
    EXPECT_EQ(woken, 10);
    event.wait();
    EXPECT_TRUE(event.wait(within(milliseconds(1))).ok());
    EXPECT_TRUE(event.is_set());
  });
}

TEST_P(CrossLoopSync, AnEventMayBeDestroyedByWhoWaitedForIt) {
  auto const loops = group(2);
  for (int i = 0; i < 500; ++i) {
    Scope scope;
    loops->call(0, [&] {
      Event event;
      scope.spawn_on(loops->loop(1), [&event] { event.set(); });
      event.wait();
    });
    scope.join();
  }
}

TEST_P(CrossLoopSync, ForeignThreadsBlockInsteadOfSuspending) {
  auto const loops = group(1);
  FiberMutex mutex;
  Event event;
  Semaphore semaphore(1);
  Context late;
  late.deadline = SystemClock().now() + milliseconds(2);
  EXPECT_TRUE(failed_with(event.wait(late), Errc::timedout));
  std::stop_source stop;
  stop.request_stop();
  Context stopped;
  stopped.stop = stop.get_token();
  EXPECT_TRUE(failed_with(event.wait(stopped), Errc::intr));

  mutex.lock();
  Scope scope;
  scope.spawn_on(loops->loop(0), [&] {
    std::lock_guard const lock(mutex);
    EXPECT_TRUE(semaphore.acquire({}).ok());
    event.set();
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(2)).ok());
    semaphore.release();
  });
  mutex.unlock();
  event.wait();
  EXPECT_TRUE(semaphore.acquire({}).ok());
  std::lock_guard const lock(mutex);
  scope.join();
}

// --- Gate and Scope

TEST_P(AnySync, GateClosesWhenTheLastOneLeft) {
  run([] {
    Gate gate;
    Scope scope;
    int left = 0;
    for (int i = 0; i < 10; ++i) {
      ASSERT_TRUE(gate.enter());
      scope.spawn([&, i] {
        EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(i)).ok());
        ++left;
        gate.leave();
      });
    }
    EXPECT_EQ(gate.inside(), 10U);
    EXPECT_FALSE(gate.closed());
    gate.close();
    EXPECT_EQ(left, 10);
    EXPECT_TRUE(gate.closed());
    EXPECT_FALSE(gate.enter());
    gate.close();  // again: at once
    scope.join();
  });
}

TEST_P(CrossLoopSync, GateAcrossLoops) {
  auto const loops = group(2);
  for (int i = 0; i < 100; ++i) {
    auto gate = std::make_unique<Gate>();
    Scope scope;
    std::atomic<int> entered = 0;
    for (std::size_t f = 0; f < 8; ++f) {
      scope.spawn_on(loops->loop(f % 2), [&entered, gate = gate.get()] {
        while (gate->enter()) {
          ++entered;
          Loop::current()->yield();
          gate->leave();
        }
      });
    }
    while (entered < 8) {
      std::this_thread::yield();
    }
    loops->call(1, [&] { gate->close(); });
    EXPECT_EQ(gate->inside(), 0U);
    scope.join();
  }
}

TEST_P(AnySync, ScopeCountsStopsAndIsUsableAfterAJoin) {
  run([] {
    Scope scope;
    scope.join();  // of nothing
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 5; ++i) {
        scope.spawn([] { Loop::current()->yield(); });
      }
      EXPECT_EQ(scope.running(), 5U);
      scope.join();
      EXPECT_EQ(scope.running(), 0U);
    }
    EXPECT_FALSE(scope.token().stop_requested());
    scope.request_stop();
    EXPECT_TRUE(scope.token().stop_requested());
  });
}

TEST_P(CrossLoopSync, ScopeJoinsFibersOfAllLoopsFromAnywhere) {
  auto const loops = group(2);
  for (int round = 0; round < 100; ++round) {
    std::atomic<int> ended = 0;
    Scope outer;
    for (std::size_t i = 0; i < 4; ++i) {
      outer.spawn_on(loops->loop(i % 2), [&] {
        Scope inner;
        for (std::size_t k = 0; k < 4; ++k) {
          inner.spawn_on(loops->loop(k % 2), [&ended] { ++ended; });
        }
        inner.join();
      });
    }
    outer.join();
    EXPECT_EQ(ended, 16);
  }
}

}  // namespace
}  // namespace zest
