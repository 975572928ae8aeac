#include "zest/meta/lock_waiters.h"

#include <algorithm>
#include <utility>

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
  ++round_;
  std::map<LockOwner, Wait> waits;
  auto const& before = graph_[waiter];
  for (auto const& holder : holders) {
    auto const found = before.find(holder);
    waits[holder] = {.first = found == before.end() ? round_ : found->second.first, .last = round_};
  }
  for (auto const& [holder, wait] : waits) {
    if (leads_to(holder, waiter, wait.first)) {
      graph_.erase(waiter);
      return Errc::deadlk;
    }
  }
  graph_[waiter] = std::move(waits);
  return {};
}

// Over waits that began before `round` and were found again after it.
bool LockWaiters::leads_to(LockOwner const& from, LockOwner const& to, std::uint64_t round) const {
  std::set<LockOwner> seen{from};
  std::vector<LockOwner> todo{from};
  while (!todo.empty()) {
    auto const owner = todo.back();
    todo.pop_back();
    if (owner == to) {
      return true;
    }
    auto const found = graph_.find(owner);
    if (found == graph_.end()) {
      continue;
    }
    for (auto const& [next, wait] : found->second) {
      if (wait.first <= round && wait.last >= round && seen.insert(next).second) {
        todo.push_back(next);
      }
    }
  }
  return false;
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
