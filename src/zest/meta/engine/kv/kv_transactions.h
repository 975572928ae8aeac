// Runs bodies as transactions of the store: reads what they miss, compares what they saw, tries
// again when somebody else was faster.
//
// In a KV store an update of a record is read, change, compare and write, so two creators in one
// directory conflict on the directory's node. Bodies of one client that change the same record
// therefore meet in a lane: while one transaction of the lane is under way, others gather, and the
// next transaction carries them all, one after the other. So they never conflict with each other,
// and a busy directory is not limited to one commit a round trip.
//
// Trips: 1 where everything a body reads is in the cache or supposed by its conditions; 2 else, as
// bodies can be made to miss everything at once; 1 more for every conflict with another client (the
// refusal brings the new records).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/meta/engine/kv/kv_cache.h"
#include "zest/meta/engine/kv/kv_store.h"
#include "zest/meta/engine/kv/kv_view.h"
#include "zest/runtime/mutex.h"
#include "zest/runtime/sync.h"

namespace zest::meta::kv {

/// May run several times; changes nothing but the view and what it owns.
using Body = std::function<Result<void>(View&)>;

struct TransactionRequest {
  Body const& body;
  /// Bodies with equal lanes meet; 0 = this one meets nobody.
  std::uint64_t lane = 0;
  /// About as many operations as this.
  std::size_t weight = 1;
};

/// Thread-safe; calls may suspend.
class Transactions {
 public:
  /// A body that met this many conflicts fails as one; the caller's own repetition comes next.
  static constexpr unsigned kAttemptsMax = 64;

  Transactions(Store& store, Cache& cache, Rng& rng, Registry& metrics);
  ~Transactions();
  Transactions(Transactions const&) = delete;
  Transactions& operator=(Transactions const&) = delete;

  /// Runs the body until its transaction is applied or its verdict is certain. Errors: the body's,
  /// the store's, Fault::conflict; EINTR before anything was sent.
  Result<void> run(Context const& ctx, TransactionRequest const& request);
  /// Runs the body on what is in the store now, for its reads only; all of one revision.
  Result<void> read(Context const& ctx, Body const& body);

 private:
  struct Waiting;
  struct Batch;
  struct Lane {
    Mutex mutex;
    bool busy = false;
    std::deque<std::shared_ptr<Waiting>> queue;
  };
  static constexpr std::size_t kLanes = 256;

  Result<void> queue_up(Context const& ctx, Lane& lane, std::shared_ptr<Waiting> const& own);
  void lead(Lane& lane, std::shared_ptr<Waiting> const& own);
  std::vector<std::shared_ptr<Waiting>> gather(Lane& lane, std::shared_ptr<Waiting> const& own);
  void process(Context const& ctx, Batch& batch);
  void evaluate(Batch& batch);
  bool fits(Batch& batch, View& view);
  void applied(Batch& batch, Revision revision);
  Result<void> pause(Context const& ctx, unsigned attempt);

  Store& store_;
  Cache& cache_;
  Rng& rng_;
  Counter& conflicts_;
  std::array<Lane, kLanes> lanes_;
};

}  // namespace zest::meta::kv
