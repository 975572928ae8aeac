// What the runtime costs: switches, spawns, locks, timers, hops between threads. Times are those of
// the loop's thread.
#include <benchmark/benchmark.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <functional>
#include <shared_mutex>

#include "zest/base/metrics.h"
#include "zest/runtime/buffer_pool.h"
#include "zest/runtime/loop_group.h"
#include "zest/runtime/pool.h"
#include "zest/runtime/socket.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest {
namespace {

LoopKind kind_of(benchmark::State const& state) {
  return state.range(0) == 0 ? LoopKind::epoll : LoopKind::uring;
}

/// Runs the benchmark's loop on a fiber of the kind of loop that the first argument names.
void on_fiber(benchmark::State& state, std::function<void()> const& body) {
  if (kind_of(state) == LoopKind::uring && !testing::uring_works()) {
    state.SkipWithError("io_uring isn't permitted here");
    return;
  }
  state.SetLabel(kind_of(state) == LoopKind::uring ? "uring" : "epoll");
  testing::run_on_loop(body, kind_of(state));
}

/// One fiber that yields to itself and now and then looks for events: a switch pair and its share
/// of the turn.
void yield_alone(benchmark::State& state) {
  on_fiber(state, [&] {
    auto* const loop = Loop::current();
    for (auto _ : state) {
      loop->yield();
    }
  });
}
BENCHMARK(yield_alone)->Arg(0)->Arg(1);

void spawn_and_join(benchmark::State& state) {
  on_fiber(state, [&] {
    for (auto _ : state) {
      Scope scope;
      scope.spawn([] {});
      scope.join();
    }
  });
}
BENCHMARK(spawn_and_join)->Arg(0)->Arg(1);

/// Per fiber, 64 of a scope at a time: the fan-out of a large read.
void spawn_many(benchmark::State& state) {
  on_fiber(state, [&] {
    constexpr int kFibers = 64;
    for (auto _ : state) {
      Scope scope;
      for (int i = 0; i < kFibers; ++i) {
        scope.spawn([] { Loop::current()->yield(); });
      }
      scope.join();
    }
    state.SetItemsProcessed(state.iterations() * kFibers);
  });
}
BENCHMARK(spawn_many)->Arg(0)->Arg(1);

void mutex_uncontended(benchmark::State& state) {
  on_fiber(state, [&] {
    FiberMutex mutex;
    for (auto _ : state) {
      mutex.lock();
      benchmark::ClobberMemory();
      mutex.unlock();
    }
  });
}
BENCHMARK(mutex_uncontended)->Arg(0);

void shared_mutex_uncontended(benchmark::State& state) {
  on_fiber(state, [&] {
    FiberSharedMutex mutex;
    for (auto _ : state) {
      std::shared_lock const lock(mutex);
      benchmark::ClobberMemory();
    }
  });
}
BENCHMARK(shared_mutex_uncontended)->Arg(0);

void gate_uncontended(benchmark::State& state) {
  on_fiber(state, [&] {
    Gate gate;
    for (auto _ : state) {
      benchmark::DoNotOptimize(gate.enter());
      gate.leave();
    }
  });
}
BENCHMARK(gate_uncontended)->Arg(0);

void semaphore_uncontended(benchmark::State& state) {
  on_fiber(state, [&] {
    Semaphore semaphore(4);
    Context const ctx;
    for (auto _ : state) {
      benchmark::DoNotOptimize(semaphore.acquire(ctx).ok());
      semaphore.release();
    }
  });
}
BENCHMARK(semaphore_uncontended)->Arg(0);

/// Two fibers hand a mutex to each other: the whole slow path.
void mutex_handed_over(benchmark::State& state) {
  on_fiber(state, [&] {
    FiberMutex mutex;
    bool done = false;
    Scope scope;
    scope.spawn([&] {
      while (!done) {
        std::lock_guard const lock(mutex);
        Loop::current()->yield();
      }
    });
    for (auto _ : state) {
      std::lock_guard const lock(mutex);
      Loop::current()->yield();
    }
    done = true;
    scope.join();
  });
}
BENCHMARK(mutex_handed_over)->Arg(0);

/// A wait with deadline and stop token that ends by the deadline at once.
void expired_wait(benchmark::State& state) {
  on_fiber(state, [&] {
    Event never;
    Context ctx;
    ctx.deadline = Loop::current()->now();
    std::stop_source stop;
    ctx.stop = stop.get_token();
    for (auto _ : state) {
      benchmark::DoNotOptimize(never.wait(ctx).ok());
    }
  });
}
BENCHMARK(expired_wait)->Arg(0)->Arg(1);

/// A descriptor that is ready already: the price of asking the kernel.
void wait_fd_ready(benchmark::State& state) {
  on_fiber(state, [&] {
    UniqueFd const event(::eventfd(1, EFD_CLOEXEC));
    for (auto _ : state) {
      auto const got =
          Loop::current()->wait_fd({}, event.get(), {.readable = true, .writable = false});
      benchmark::DoNotOptimize(got.ok());
    }
  });
}
BENCHMARK(wait_fd_ready)->Arg(0)->Arg(1);

void buffer_4mib(benchmark::State& state) {
  on_fiber(state, [&] {
    Registry metrics;
    BufferPool pool(std::size_t{64} << 20, metrics);
    for (auto _ : state) {
      auto buffer = pool.acquire({}, std::size_t{4} << 20);
      benchmark::DoNotOptimize(buffer->data());
    }
  });
}
BENCHMARK(buffer_4mib)->Arg(0);

/// Fiber → pool thread → fiber, with an empty job.
void pool_hop(benchmark::State& state) {
  on_fiber(state, [&] {
    Registry metrics;
    BlockingPool pool({.name = "bench", .threads = 1}, metrics);
    for (auto _ : state) {
      pool.run([] {});
    }
  });
}
BENCHMARK(pool_hop)->Arg(0)->Arg(1)->UseRealTime();

/// Foreign thread → loop → fiber → back.
void group_call(benchmark::State& state) {
  Logger log({.level = LogLevel::error, .file = {}, .json = false, .color = false});
  auto const group = LoopGroup::create({.kind = kind_of(state), .loops = 1}, log);
  if (!group.ok()) {
    state.SkipWithError(group.error().text().c_str());
    return;
  }
  for (auto _ : state) {
    (*group)->call(0, [] {});
  }
}
BENCHMARK(group_call)->Arg(0)->Arg(1)->UseRealTime();

}  // namespace
}  // namespace zest

BENCHMARK_MAIN();
