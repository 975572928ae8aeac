// Blocking work away from the loops: a bounded number of threads, a bounded queue.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/runtime/loop.h"

namespace zest {

struct PoolOptions {
  std::string_view name = "pool";
  std::size_t threads = 4;
  /// Jobs that may wait for a thread; a further run() suspends its fiber until there is room.
  std::size_t queue_max = 1024;
};

/// Threads start on demand and end in the destructor, which waits for running jobs.
class BlockingPool {
 public:
  BlockingPool(PoolOptions const& options, Registry& metrics);
  ~BlockingPool();
  BlockingPool(BlockingPool const&) = delete;
  BlockingPool& operator=(BlockingPool const&) = delete;

  /// Runs `fn` on a pool thread and returns its result on the calling fiber, on its own loop. A job
  /// that has started is not interrupted: `fn` may refer to the caller's stack. `fn` must not use
  /// fiber primitives.
  template <class Fn>
  auto run(Fn&& fn) -> std::invoke_result_t<Fn> {
    using R = std::invoke_result_t<Fn>;
    if constexpr (std::is_void_v<R>) {
      run_task([&fn] { fn(); });
    } else {
      std::optional<R> result;
      run_task([&fn, &result] { result.emplace(fn()); });
      return std::move(*result);
    }
  }

 private:
  void run_task(Task task);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest
