// The event loop: one a core, fibers pinned to it.
//
// A request is an ordinary function on a fiber. Where it waits (socket, timer, pool job, lock) the
// fiber is suspended and the loop runs another one; code between two suspensions is atomic on its
// loop. Three loops implement the interface: io_uring, epoll, and the simulated one (virtual clock,
// seeded scheduler).
//
// Rules: only the loop's own thread resumes its fibers; others post(). Nothing may block the thread
// for more than about 50 µs: such work goes to a BlockingPool. A std::mutex must never be held
// across a suspension.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"

namespace zest {

class Scope;
struct Fiber;  // fiber.h; opaque to users

using Task = std::move_only_function<void()>;

/// Which readiness a fiber waits for; values are those of poll(2).
struct PollEvents {
  bool readable = false;
  bool writable = false;
};

struct LoopOptions {
  /// Most fibers alive at once; further spawns queue until one ends.
  std::size_t fibers_max = 4096;
  /// A fiber that runs longer than this without a switch is reported; zero switches the detector
  /// off.
  Duration stall_limit = std::chrono::milliseconds(10);
};

class Loop {
 public:
  Loop() = default;
  virtual ~Loop() = default;
  Loop(Loop const&) = delete;
  Loop& operator=(Loop const&) = delete;

  /// The loop whose thread this is, or nullptr on a foreign thread.
  static Loop* current() noexcept;
  /// True when called on a fiber, that is, where suspending is allowed.
  static bool on_fiber() noexcept;

  /// Serves the calling thread's fibers until stop() was called. Create and run a loop on one and
  /// the same thread.
  virtual void run() = 0;
  /// Makes run() return once no fiber is ready. Any thread.
  virtual void stop() noexcept = 0;

  /// Runs `task` on the loop's thread, not on a fiber: it must not suspend. Any thread.
  virtual void post(Task task) = 0;
  /// Starts a fiber that `scope` owns. From the loop's own thread it is queued as ready; from
  /// another it is posted.
  virtual void spawn(Scope& scope, Task task) = 0;

  /// Suspends the calling fiber until `fd` is ready. Several fibers may wait on one descriptor for
  /// different events. Errors: EINTR (ctx.stop), ETIMEDOUT (ctx.deadline), EBADF.
  virtual Result<PollEvents> wait_fd(Context const& ctx, int fd, PollEvents events) = 0;
  /// Suspends the calling fiber until `when`. EINTR when stopped; ETIMEDOUT when the deadline comes
  /// first.
  virtual Result<void> sleep_until(Context const& ctx, TimePoint when) = 0;
  Result<void> sleep_for(Context const& ctx, Duration duration) {
    return sleep_until(ctx, now() + duration);
  }
  /// Lets other ready fibers run; long computations call it every few hundred steps.
  virtual void yield() = 0;

  /// Monotonic time; virtual under the simulated loop.
  [[nodiscard]] virtual TimePoint now() const noexcept = 0;
  [[nodiscard]] virtual WallTime wall() const noexcept = 0;
  /// "uring", "epoll" or "sim".
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  // For the primitives of sync.h. suspend() parks the calling fiber; wake() makes a parked fiber
  // ready and may be called from any thread, exactly once a suspension. "Publish the waiter,
  // unlock, suspend" loses no wake-up.
  virtual void suspend() = 0;
  virtual void wake(Fiber& fiber) = 0;
  [[nodiscard]] virtual Fiber& current_fiber() noexcept = 0;
};

enum class LoopKind : std::uint8_t { automatic, uring, epoll };

/// A loop for the calling thread. `automatic` takes io_uring and falls back to epoll where the
/// kernel or a seccomp profile forbids it; `uring` fails instead. Errors name what is missing.
Result<std::unique_ptr<Loop>> make_loop(LoopKind kind, LoopOptions const& options, Logger& log);

/// A loop with a virtual clock: time jumps to the next timer when no fiber is ready; which ready
/// fiber runs next is drawn from `seed`. Several clients on one loop give every interleaving,
/// reproducibly. run() returns when nothing is left to do.
std::unique_ptr<Loop> make_simulated_loop(std::uint64_t seed);

}  // namespace zest
