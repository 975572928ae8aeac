#include "zest/meta/lock_waiters.h"

#include <algorithm>

#include "zest/runtime/loop.h"

namespace zest::meta {

std::uint64_t LockWaiters::generation() const {
  std::unique_lock const lock(mutex_);
  return generation_;
}

Result<void> LockWaiters::wait(Context const& ctx, std::uint64_t generation, Duration pause) {
  Context limited = ctx;
  auto const until = Loop::current()->now() + pause;
  limited.deadline = std::min(ctx.deadline, until);
  std::unique_lock lock(mutex_);
  while (generation_ == generation) {
    auto result = released_.wait(limited, lock);
    if (failed_with(result, Errc::timedout) && until <= ctx.deadline) {
      return {};
    }
    if (!result.ok()) {
      return result;
    }
  }
  return {};
}

void LockWaiters::wake() {
  {
    std::unique_lock const lock(mutex_);
    ++generation_;
  }
  released_.notify_all();
}

Result<void> LockWaiters::waits_for(LockOwner const& waiter,
                                    std::vector<LockOwner> const& holders) {
  std::lock_guard const lock(graph_mutex_);
  std::set<LockOwner> seen(holders.begin(), holders.end());
  std::vector<LockOwner> todo(holders);
  while (!todo.empty()) {
    auto const owner = todo.back();
    todo.pop_back();
    if (owner == waiter) {
      graph_.erase(waiter);
      return Errc::deadlk;
    }
    auto const found = graph_.find(owner);
    if (found == graph_.end()) {
      continue;
    }
    for (auto const& next : found->second) {
      if (seen.insert(next).second) {
        todo.push_back(next);
      }
    }
  }
  graph_[waiter] = std::set<LockOwner>(holders.begin(), holders.end());
  return {};
}

void LockWaiters::gave_up(LockOwner const& owner) {
  std::lock_guard const lock(graph_mutex_);
  for (auto& [waiter, holders] : graph_) {
    holders.erase(owner);
  }
}

void LockWaiters::stops_waiting(LockOwner const& waiter) {
  std::lock_guard const lock(graph_mutex_);
  graph_.erase(waiter);
}

}  // namespace zest::meta
