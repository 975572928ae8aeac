// Callers that wait for an advisory lock.
//
// A lock's holder may be another client, so waiting is polling with a growing pause; an unlock in
// this client wakes its own waiters at once. For POSIX locks, who waits for whom is kept as a
// graph: a wait that closes a circle is EDEADLK. Only circles inside of this client are seen. A
// waiter that hasn't looked again yet may seem to wait for somebody who has let go meanwhile; so a
// circle counts when all its members have found their locks taken before and after its last one
// began to wait.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/record.h"
#include "zest/runtime/sync.h"

namespace zest::meta {

/// Thread-safe. Size: one entry a waiting caller.
class LockWaiters {
 public:
  /// Read before an attempt and given to wait(): an unlock in between is not lost.
  [[nodiscard]] std::uint64_t generation() const;
  /// Suspends until an unlock, or for `pause`. Errors: EINTR, ETIMEDOUT (the caller's deadline).
  Result<void> wait(Context const& ctx, std::uint64_t generation, Duration pause);
  /// A lock was released here.
  void wake();

  /// Notes that `waiter` found its lock taken by `holders`, now or again; EDEADLK when one of them
  /// waits for `waiter`, directly or through others.
  Result<void> waits_for(LockOwner const& waiter, std::vector<LockOwner> const& holders);
  void stops_waiting(LockOwner const& waiter);
  /// `owner` has given up a lock: nobody is known to wait for it until the next attempt says so. An
  /// edge that outlives its reason would make a circle that is none.
  void gave_up(LockOwner const& owner);

 private:
  mutable FiberMutex mutex_;
  FiberCondition released_;
  std::uint64_t generation_ = 0;

  /// That one owner waits for another, in rounds (calls of waits_for).
  struct Wait {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
  };
  bool leads_to(LockOwner const& from, LockOwner const& to, std::uint64_t round) const;

  std::mutex graph_mutex_;
  std::uint64_t round_ = 0;
  std::map<LockOwner, std::map<LockOwner, Wait>> graph_;
};

}  // namespace zest::meta
