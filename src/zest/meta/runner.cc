#include "zest/meta/runner.h"

#include <algorithm>
#include <chrono>

#include "zest/meta/outcome.h"
#include "zest/runtime/loop.h"

namespace zest::meta {
namespace {

// The pause before repetition n is drawn from [0, 0.2 ms · 2^n), at most 50 ms: about one engine
// trip at first, and long enough at the end for dozens of clients in one directory.
constexpr std::uint64_t kPauseUsFirst = 200;
constexpr std::uint64_t kPauseUsMax = 50'000;

}  // namespace

Runner::Runner(Engine& engine, Clock const& clock, Rng& rng, Registry& metrics,
               Statistics& statistics)
    : engine_(engine),
      clock_(clock),
      rng_(rng),
      statistics_(statistics),
      restarts_(metrics.counter("transaction_restart",
                                "The number of times a metadata transaction was tried again.")) {}

Result<void> Runner::attempts(Context const& ctx, Body const& body, HintUse use) {
  for (unsigned attempt = 0; attempt < kAttemptsMax;) {
    Txn txn(engine_, ctx, clock_.wall(), attempt, hints_, use);
    auto result = body(txn);
    if (use == HintUse::any && txn.hinted() && (!result.ok() || txn.pending().changes.empty())) {
      use = HintUse::none;
      continue;
    }
    if (result.ok()) {
      result = commit(ctx, txn);
    }
    if (result.ok()) {
      hints_.committed(txn.pending());
      if (statistics_.add(txn.pending().usage, txn.dir_stats())) {
        // The operation is done; a failed flush is tried again by the flusher.
        static_cast<void>(statistics_.flush(ctx).ok());
      }
      return {};
    }
    if (result.error().fault() != Fault::conflict) {
      return result;
    }
    hints_.failed(txn.pending());
    use = HintUse::none;
    restarts_.add();
    ZEST_CHECK(pause(ctx, attempt));
    ++attempt;
  }
  return Error::transient(Errc::io, "metadata transaction: gave up after too many conflicts");
}

// ETIMEDOUT of a commit says that nobody knows. The caller must not hear that: it would take a file
// for missing that it has created, or create it again. So the volume itself is asked.
Result<void> Runner::commit(Context const& ctx, Txn const& txn) {
  if (txn.pending().changes.empty()) {
    return {};
  }
  auto committed = engine_.commit(ctx, txn.pending());
  if (committed.ok() || committed.error().fault() != Fault::transient ||
      committed.error().code() != Errc::timedout) {
    return committed;
  }
  auto const fate = fate_of(engine_, ctx, txn.pending());
  if (!fate.ok() || *fate == Fate::unknown) {
    return committed;  // The engine is away, or others were here: ETIMEDOUT says so.
  }
  if (*fate == Fate::not_happened) {
    return Error(Errc::again, Fault::conflict, "the commit did not happen");
  }
  return {};
}

Result<void> Runner::pause(Context const& ctx, unsigned attempt) {
  if (ctx.stop.stop_requested()) {
    return Errc::intr;
  }
  auto& loop = *Loop::current();
  if (loop.now() >= ctx.deadline) {
    return Error::transient(Errc::timedout, "metadata transaction: conflicts until the deadline");
  }
  if (attempt == 0) {
    loop.yield();
    return {};
  }
  auto const bound = std::min(kPauseUsMax, kPauseUsFirst << std::min(attempt, 20U));
  return loop.sleep_for(ctx, std::chrono::microseconds(rng_.below(bound) + 1));
}

}  // namespace zest::meta
