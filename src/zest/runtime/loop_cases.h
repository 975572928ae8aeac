// For this module's tests: the same case on every loop. Not installed, not part of the library.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "zest/base/log.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/loop_group.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest {

enum class Backend : std::uint8_t { epoll, uring, simulated };

inline std::string backend_name(::testing::TestParamInfo<Backend> const& info) {
  switch (info.param) {
    case Backend::epoll: return "epoll";
    case Backend::uring: return "uring";
    case Backend::simulated: return "simulated";
  }
  return {};
}

/// A suite derived from this is instantiated with kRealLoops or kAllLoops.
class LoopCase : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    if (GetParam() == Backend::uring && !testing::uring_works()) {
      GTEST_SKIP() << "io_uring isn't permitted or known here";
    }
  }

  [[nodiscard]] LoopKind kind() const {
    return GetParam() == Backend::uring ? LoopKind::uring : LoopKind::epoll;
  }
  /// Runs `fn` on a fiber; returns when it and all it spawned ended.
  void run(std::function<void()> const& fn) const {
    if (GetParam() == Backend::simulated) {
      testing::run_simulated(fn);
    } else {
      testing::run_on_loop(fn, kind());
    }
  }
  /// `n` loops on threads of their own.
  std::unique_ptr<LoopGroup> group(std::size_t n, LoopOptions const& options = {}) {
    auto made =
        LoopGroup::create({.kind = kind(), .loops = n, .pin = false, .loop = options}, log_);
    EXPECT_TRUE(made.ok());
    return made.ok() ? *std::move(made) : nullptr;
  }
  [[nodiscard]] static Context within(Duration duration) {
    Context ctx;
    ctx.deadline = Loop::current()->now() + duration;
    return ctx;
  }
  [[nodiscard]] static Context stopped_by(Scope const& scope) {
    Context ctx;
    ctx.stop = scope.token();
    return ctx;
  }

  Logger log_{{.level = LogLevel::error, .file = {}, .json = false, .color = false}};
};

#define ZEST_REAL_LOOPS(suite)                                                              \
  INSTANTIATE_TEST_SUITE_P(Loops, suite, ::testing::Values(Backend::epoll, Backend::uring), \
                           backend_name)
#define ZEST_ALL_LOOPS(suite)                                                                     \
  INSTANTIATE_TEST_SUITE_P(Loops, suite,                                                          \
                           ::testing::Values(Backend::epoll, Backend::uring, Backend::simulated), \
                           backend_name)

}  // namespace zest
