#include "zest/runtime/fiber.h"

#include <cxxabi.h>
#include <sys/mman.h>
#include <unistd.h>

#include <boost/context/detail/fcontext.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <utility>

#include "zest/base/assert.h"
#include "zest/runtime/loop_base.h"
#include "zest/runtime/sanitizers.h"
#include "zest/runtime/sync.h"

namespace zest {
namespace {

namespace ctx = boost::context::detail;

// 256 KiB is ample: libraries were seen to touch 16 KiB (getaddrinfo, libpq). Only touched pages
// cost memory, so sanitizer builds, whose frames are two to three times as large, simply get more.
#if defined(ZEST_ASAN) || defined(ZEST_TSAN)
constexpr std::size_t kStackSize = std::size_t{512} << 10;
#else
constexpr std::size_t kStackSize = std::size_t{256} << 10;
#endif
// Our code probes every page (-fstack-clash-protection); the guard is wide for libraries that
// don't.
constexpr std::size_t kGuardSize = std::size_t{64} << 10;

/// The first and only function on a fiber's stack. Each turn runs one task; between turns the fiber
/// is idle. noexcept: an exception that no task caught ends the program with its message instead of
/// unwinding into nothing.
void fiber_main(ctx::transfer_t from) noexcept {
  auto& fiber = *static_cast<Fiber*>(from.data);
  fiber.home->saved = from.fctx;
#ifdef ZEST_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &fiber.home->stack_low, &fiber.home->stack_size);
#endif
  for (;;) {
    fiber.task();
    // What the task captured may belong to whoever waits for its end: destroy it first.
    fiber.task = nullptr;
    fiber.running_task = false;
    if (auto* owner = std::exchange(fiber.owner, nullptr); owner != nullptr) {
      owner->leave();
    }
    park_fiber(fiber);
  }
}

}  // namespace

void SwitchPoint::bind_to_thread() noexcept {
  // The ABI declares the type opaque, but fixes these two members.
  exceptions = reinterpret_cast<ExceptionState*>(abi::__cxa_get_globals());
#ifdef ZEST_TSAN
  tsan = __tsan_get_current_fiber();
#endif
}

Result<std::unique_ptr<Fiber>> Fiber::create(LoopBase& loop, SwitchPoint& home) {
  void* const mapping = ::mmap(nullptr, kGuardSize + kStackSize, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    return Error::from_errno(errno, "a fiber's stack can't be mapped (see vm.max_map_count)");
  }
  if (::mprotect(mapping, kGuardSize, PROT_NONE) != 0) {
    int const number = errno;
    ::munmap(mapping, kGuardSize + kStackSize);
    return Error::from_errno(number, "a fiber's stack guard can't be set (see vm.max_map_count)");
  }
  auto fiber = std::make_unique<Fiber>();
  fiber->loop = &loop;
  fiber->home = &home;
  fiber->mapping = static_cast<std::byte*>(mapping);
  fiber->stack_size = kStackSize;
  fiber->saved = ctx::make_fcontext(fiber->stack_low() + kStackSize, kStackSize, &fiber_main);
#ifdef ZEST_ASAN
  __lsan_register_root_region(fiber->stack_low(), kStackSize);
#endif
#ifdef ZEST_TSAN
  fiber->tsan = __tsan_create_fiber(0);
#endif
  return fiber;
}

Fiber::~Fiber() {
  ZEST_ASSERT(!running_task);  // its destructors would never run
  if (mapping == nullptr) {
    return;
  }
#ifdef ZEST_ASAN
  __lsan_unregister_root_region(stack_low(), stack_size);
  __asan_unpoison_memory_region(stack_low(), stack_size);
#endif
#ifdef ZEST_TSAN
  __tsan_destroy_fiber(tsan);
#endif
  ::munmap(mapping, kGuardSize + stack_size);
}

std::byte* Fiber::stack_low() const noexcept {
  return mapping + kGuardSize;
}

bool Fiber::guards(void const* address) const noexcept {
  auto const* at = static_cast<std::byte const*>(address);
  return at >= mapping && at < mapping + kGuardSize;
}

void resume_fiber(Fiber& fiber) noexcept {
  auto& home = *fiber.home;
  ExceptionState const mine = std::exchange(*home.exceptions, fiber.exceptions);
#ifdef ZEST_ASAN
  __sanitizer_start_switch_fiber(&home.fake_stack, fiber.stack_low(), fiber.stack_size);
#endif
#ifdef ZEST_TSAN
  __tsan_switch_to_fiber(fiber.tsan, 0);
#endif
  auto const back = ctx::jump_fcontext(fiber.saved, &fiber);
#ifdef ZEST_ASAN
  __sanitizer_finish_switch_fiber(home.fake_stack, nullptr, nullptr);
#endif
  fiber.saved = back.fctx;
  fiber.exceptions = std::exchange(*home.exceptions, mine);
}

void park_fiber(Fiber& fiber) noexcept {
  auto& home = *fiber.home;
#ifdef ZEST_ASAN
  __sanitizer_start_switch_fiber(&fiber.fake_stack, home.stack_low, home.stack_size);
#endif
#ifdef ZEST_TSAN
  __tsan_switch_to_fiber(home.tsan, 0);
#endif
  auto const back = ctx::jump_fcontext(home.saved, nullptr);
  home.saved = back.fctx;
#ifdef ZEST_ASAN
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &home.stack_low, &home.stack_size);
#endif
}

// --- stack overflow

namespace {

struct sigaction previous_action;  // written once, before the handler can run

void write_text(char const* text) noexcept {
  // Nothing can be done about a failure in a signal handler.
  [[maybe_unused]] auto const written = ::write(STDERR_FILENO, text, std::strlen(text));
}

void on_segv(int number, siginfo_t* info, void* context) {
  if (auto const* fiber = LoopBase::current_fiber_of_thread();
      fiber != nullptr && fiber->guards(info->si_addr)) {
    write_text("zest: internal error: stack overflow in a fiber. Please report it.\n");
    ::signal(SIGSEGV, SIG_DFL);
    return;  // the instruction faults again and leaves a core
  }
  if ((previous_action.sa_flags & SA_SIGINFO) != 0 && previous_action.sa_sigaction != nullptr) {
    previous_action.sa_sigaction(number, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(number);
  } else {
    ::signal(SIGSEGV, SIG_DFL);
  }
}

void install_handler() {
  struct sigaction action{};
  action.sa_sigaction = &on_segv;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGSEGV, nullptr, &previous_action);
  ::sigaction(SIGSEGV, &action, nullptr);
}

constexpr std::size_t kSignalStackSize = std::size_t{64} << 10;

}  // namespace

OverflowReporter::OverflowReporter() {
  static std::once_flag installed;
  std::call_once(installed, &install_handler);
  stack_t existing{};
  ::sigaltstack(nullptr, &existing);
  if ((existing.ss_flags & SS_DISABLE) == 0) {
    return;  // a sanitizer or an embedding runtime has provided one
  }
  memory_ = std::make_unique<std::byte[]>(kSignalStackSize);
  stack_t own{};
  own.ss_sp = memory_.get();
  own.ss_size = kSignalStackSize;
  ::sigaltstack(&own, nullptr);
}

OverflowReporter::~OverflowReporter() {
  if (memory_) {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    ::sigaltstack(&none, nullptr);
  }
}

}  // namespace zest
