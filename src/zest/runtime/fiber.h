// Fibers: a stack, where to continue on it, and what the C++ ABI keeps per thread. Internal to the
// runtime.
//
// The switch itself is Boost.Context's jump_fcontext (saves the callee-saved registers, 20 ns a
// pair). Around it resume() and park() keep four observers informed that the stack changed:
//  * the C++ ABI: its list of caught exceptions is per thread, so a fiber that suspends inside a
//  catch block would find
//    another fiber's exception on rethrow; both words are swapped with the stack;
//  * AddressSanitizer: bounds of the stack and of its fake stack;
//  * ThreadSanitizer: one logical thread a fiber, the switch itself synchronises;
//  * LeakSanitizer: the stack of a suspended fiber may own the only pointer to something.
//
// Fibers never change their thread: compilers cache addresses of thread_local variables across
// calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "zest/runtime/loop.h"

namespace zest {

class LoopBase;
namespace detail {
class UserCount;
}

/// What `__cxa_get_globals()` points to: innermost caught exception and number of those in flight.
struct ExceptionState {
  void* caught = nullptr;
  unsigned int in_flight = 0;
};

/// The thread's side of the switch: where the loop continues when a fiber parks. One a loop.
struct SwitchPoint {
  void* saved = nullptr;
  ExceptionState* exceptions = nullptr;
  void const* stack_low = nullptr;
  std::size_t stack_size = 0;
  void* fake_stack = nullptr;
  void* tsan = nullptr;

  /// Binds to the calling thread; before the first resume().
  void bind_to_thread() noexcept;
};

/// One stack and the request on it. Kept and reused by its loop; tools/gdb/fiber_bt.py knows the
/// member names.
struct Fiber {
  void* saved = nullptr;  ///< Continuation while suspended.
  LoopBase* loop = nullptr;
  SwitchPoint* home = nullptr;
  Fiber* next =
      nullptr;  ///< In the ready queue, an inbox or the idle list: at most one of them at a time.
  Task task;
  detail::UserCount* owner = nullptr;  ///< The scope's count of running fibers.
  bool running_task = false;
  ExceptionState exceptions;
  std::byte* mapping = nullptr;  ///< Guard area, then the stack.
  std::size_t stack_size = 0;
  void* fake_stack = nullptr;
  void* tsan = nullptr;

  Fiber() = default;
  ~Fiber();
  Fiber(Fiber const&) = delete;
  Fiber& operator=(Fiber const&) = delete;

  /// Maps a stack for fibers of `loop`; ENOMEM when the system has no more memory or mappings.
  static Result<std::unique_ptr<Fiber>> create(LoopBase& loop, SwitchPoint& home);

  [[nodiscard]] std::byte* stack_low() const noexcept;
  /// True for addresses in the guard below the stack, where an overflow hits.
  [[nodiscard]] bool guards(void const* address) const noexcept;
};

/// Switches from the loop to `fiber`; returns when it parks or its task ended. Loop thread only.
void resume_fiber(Fiber& fiber) noexcept;
/// Switches from the calling fiber back to its loop; returns when it's resumed.
void park_fiber(Fiber& fiber) noexcept;

/// Makes stack overflows of fibers on the calling thread end with a message that names them: gives
/// the thread an alternate signal stack and, once a process, installs a SIGSEGV handler that passes
/// all other faults on.
class OverflowReporter {
 public:
  OverflowReporter();
  ~OverflowReporter();
  OverflowReporter(OverflowReporter const&) = delete;
  OverflowReporter& operator=(OverflowReporter const&) = delete;

 private:
  std::unique_ptr<std::byte[]> memory_;
};

}  // namespace zest
