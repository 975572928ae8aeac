// A volume in the memory of this process: for tests and simulations, with the semantics of a real
// engine and faults on demand.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/meta/engine.h"

namespace zest::meta {

struct MemoryEngineOptions {
  /// Usage counters change inside the commit (as in Redis) instead of through add_usage (SQL, KV).
  bool usage_in_commit = false;
  /// Off: directories are listed in an order that has nothing to do with the names (as in Redis).
  bool ordered_listing = true;
  /// Parents of hard links are records of their own (Redis, KV); off: derived from entries (SQL).
  bool parents_stored = false;
  bool ids_fit_int32 = false;

  /// Faults; all zero = none. Chances in a thousand of each commit, drawn from `rng`, which has to
  /// outlive the engine.
  Rng* rng = nullptr;
  /// The commit fails as a conflict and changes nothing.
  std::uint32_t conflict_per_mille = 0;
  /// The commit is applied, but the caller sees ETIMEDOUT: outcome unknown.
  std::uint32_t lost_reply_per_mille = 0;
  /// Called before each trip with the name of the call ("fetch", "commit", …), without any lock
  /// held, so it may suspend (latency) or fail (engine away). May be empty.
  std::function<Result<void>(std::string_view call)> before_call;
  /// The same after each commit that succeeded: what it returns is what the caller sees.
  std::function<Result<void>()> after_commit;
  /// Lets other fibers run before each call, so that a simulated loop tries all interleavings.
  bool yield = true;
};

/// An empty database: initialize() makes a volume of it. Thread-safe; works on and off fibers.
std::unique_ptr<Engine> make_memory_engine(MemoryEngineOptions options = {});

}  // namespace zest::meta
