// For tests: runs a function on a fiber of a loop made for it.
#pragma once

#include <cstdint>
#include <functional>

#include "zest/runtime/loop.h"

namespace zest::testing {

/// On a simulated loop with `seed`; returns when `fn` and everything it spawned ended.
void run_simulated(std::function<void()> const& fn, std::uint64_t seed = 1);
/// On a real loop (epoll, or `kind`) on the calling thread.
void run_on_loop(std::function<void()> const& fn, LoopKind kind = LoopKind::epoll);
/// False where the kernel or a seccomp profile forbids io_uring: tests on it say so and skip.
bool uring_works();

}  // namespace zest::testing
