#include "zest/runtime/loop_group.h"

#include <pthread.h>
#include <sched.h>

#include <future>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "zest/runtime/sync.h"
#include "zest/runtime/thread_name.h"

namespace zest {
namespace {

void pin_to_core(std::size_t core, Logger& log) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  if (int const number = ::pthread_setaffinity_np(::pthread_self(), sizeof cores, &cores);
      number != 0) {
    log.warn("a loop's thread can't be pinned to its core",
             {{"core", core}, {"why", Error::from_errno(number, "affinity").text()}});
  }
}

/// The cores the process may use: a container is often confined to some.
std::size_t usable_cores() noexcept {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (::sched_getaffinity(0, sizeof cores, &cores) != 0) {
    return 1;
  }
  auto const count = static_cast<std::size_t>(CPU_COUNT(&cores));
  return count == 0 ? 1 : count;
}

}  // namespace

struct LoopGroup::Impl {
  struct Member {
    std::thread thread;
    Loop* loop = nullptr;  // owned by its thread
  };
  std::vector<Member> members;
};

LoopGroup::LoopGroup() : impl_(std::make_unique<Impl>()) {}

LoopGroup::~LoopGroup() {
  for (auto& member : impl_->members) {
    if (member.loop != nullptr) {
      member.loop->stop();
    }
  }
  for (auto& member : impl_->members) {
    member.thread.join();
  }
}

Result<std::unique_ptr<LoopGroup>> LoopGroup::create(LoopGroupOptions const& options, Logger& log) {
  // tidy: allow(new) the constructor is private
  std::unique_ptr<LoopGroup> group(new LoopGroup);
  std::size_t const count = options.loops == 0 ? usable_cores() : options.loops;
  auto kind = options.kind;
  for (std::size_t i = 0; i < count; ++i) {
    std::promise<Result<Loop*>> made;
    auto answer = made.get_future();
    auto serve = [&options, &log, kind, i, made = std::move(made)]() mutable {
      name_thread("zest-loop-" + std::to_string(i));
      if (options.pin) {
        pin_to_core(i, log);
      }
      auto loop = make_loop(kind, options.loop, log);
      if (!loop.ok()) {
        made.set_value(std::move(loop).error());
        return;
      }
      made.set_value(loop->get());
      // From here on create() may have returned: only what this thread owns is used.
      (*loop)->run();
    };
    auto& member = group->impl_->members.emplace_back();
    try {
      member.thread = std::thread(std::move(serve));
    } catch (std::system_error const& error) {
      group->impl_->members.pop_back();
      return Error::from_errno(error.code().value() /* tidy: allow(value) of an error_code */,
                               "a loop's thread can't be started");
    }
    ZEST_TRY(member.loop, answer.get());
    // What the first loop found out holds for all, and is logged once.
    kind = member.loop->name() == "epoll" ? LoopKind::epoll : LoopKind::uring;
  }
  return group;
}

std::size_t LoopGroup::size() const noexcept {
  return impl_->members.size();
}
Loop& LoopGroup::loop(std::size_t index) noexcept {
  return *impl_->members[index].loop;
}

void LoopGroup::call_task(std::size_t index, Task task) {
  Scope scope;
  scope.spawn_on(loop(index), std::move(task));
  scope.join();
}

}  // namespace zest
