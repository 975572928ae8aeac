#include "zest/meta/runner.h"

#include <algorithm>
#include <chrono>
#include <mutex>

#include "zest/meta/outcome.h"
#include "zest/runtime/loop.h"

namespace zest::meta {
namespace {

// The pause before repetition n is drawn from [0, 0.2 ms · 2^n), at most 50 ms: about one engine
// trip at first, and long enough at the end for dozens of clients in one directory.
constexpr std::uint64_t kPauseUsFirst = 200;
constexpr std::uint64_t kPauseUsMax = 50'000;

// How often, and how patiently, an engine that lost a reply is asked for the outcome: ten seconds
// in all, which a failover takes.
constexpr unsigned kAskAttempts = 10;
constexpr Duration kAskPauseFirst = std::chrono::milliseconds(10);

Error fenced_out() {
  return {Errc::io, Fault::semantic,
          "nothing was changed: another client has ended this client's session, because it was "
          "paused or cut off for longer than its lease"};
}

// The code of the conflict that says: this commit was looked for, and was not there.
constexpr Errc kLookedFor = Errc::timedout;

}  // namespace

Runner::Runner(Engine& engine, Clock const& clock, Rng& rng, Registry& metrics,
               Statistics& statistics)
    : engine_(engine),
      acls_(engine),
      clock_(clock),
      rng_(rng),
      statistics_(statistics),
      hints_(clock),
      restarts_(metrics.counter("transaction_restart",
                                "The number of times a metadata transaction was tried again.")) {}

Result<void> Runner::attempts(Context const& ctx, Body const& body, HintUse use) {
  // One session for all attempts: what began under a session that ended must not happen under the
  // next one without its caller's knowledge.
  auto const session = fence_ != nullptr ? fence_->session() : SessionId{};
  std::optional<Lost> lost;
  for (unsigned attempt = 0; attempt < kAttemptsMax;) {
    Txn txn(engine_, ctx, next_stamp(), attempt, hints_, use);
    txn.use_acls(acls_);
    txn.fence(session);
    auto result = body.run(txn);
    if (use == HintUse::any && txn.hinted() && (!result.ok() || txn.pending().changes.empty())) {
      use = HintUse::none;
      continue;
    }
    auto const decided = result.ok();
    auto const sent = decided ? hints_.sending(txn.pending()) : Moment();
    if (decided) {
      result = commit(ctx, txn);
    }
    if (result.ok()) {
      hints_.committed(txn.pending(), sent);
      account(ctx, txn.pending().usage, txn.dir_stats(), txn.quota_changes());
      return {};
    }
    if (decided || result.error().fault() == Fault::conflict) {
      hints_.failed(txn.pending(), sent);
    }
    if (result.error().fault() != Fault::conflict) {
      if (!lost.has_value() || !came_late(ctx, *lost, result.error())) {
        return result;
      }
      hints_.failed(lost->commit, sent);
      account(ctx, lost->commit.usage, lost->dir_stats, lost->quota_changes);
      body.remember(/*back=*/true);
      return {};
    }
    if (result.error().code() == kLookedFor) {
      lost = Lost{txn.pending(), txn.dir_stats(), txn.quota_changes()};
      body.remember(/*back=*/false);
    }
    use = HintUse::none;
    restarts_.add();
    ZEST_CHECK(pause(ctx, attempt));
    ++attempt;
  }
  return Error::transient(Errc::io, "metadata transaction: gave up after too many conflicts");
}

void Runner::account(Context const& ctx, Usage const& usage,
                     std::map<Ino, DirStat> const& dir_stats, QuotaChanges const& quota_changes) {
  if (quotas_ != nullptr && quotas_->active()) {
    quotas_->add(ctx, dir_stats, quota_changes);
  }
  if (statistics_.add(usage, dir_stats)) {
    // The operation is done; a failed flush is tried again by the flusher.
    static_cast<void>(statistics_.flush(ctx).ok());
  }
}

// A server may still be at work on a commit whose connection broke when the volume is asked for it;
// the next attempt then meets its own success as EEXIST or ENOENT.
bool Runner::came_late(Context const& ctx, Lost const& lost, Error const& refusal) {
  if (refusal.fault() != Fault::semantic) {
    return false;
  }
  auto const outcome = find_outcome(ctx, lost.commit);
  return outcome.ok() && *outcome == Outcome::happened;
}

// A time of its own for each attempt, so that a node's time stamp tells whose change was the last.
WallTime Runner::next_stamp() {
  auto const now = clock_.wall();
  std::lock_guard const lock(stamp_mutex_);
  last_stamp_ = raise_time(last_stamp_, now);
  return last_stamp_;
}

// ETIMEDOUT of a commit says that nobody knows. The caller must not hear that: it would take a file
// for missing that it has created, or create it again. So the volume itself is asked.
Result<void> Runner::commit(Context const& ctx, Txn const& txn) {
  if (txn.pending().changes.empty()) {
    return {};
  }
  auto committed = engine_.commit(ctx, txn.pending());
  if (failed_with(committed, Errc::stale) && txn.pending().fence.value != 0) {
    if (fence_ != nullptr) {
      fence_->refused(txn.pending().fence);
    }
    return fenced_out();
  }
  if (committed.ok() || committed.error().fault() != Fault::transient ||
      committed.error().code() != Errc::timedout) {
    return committed;
  }
  auto const outcome = find_outcome(ctx, txn.pending());
  if (!outcome.ok()) {
    return committed;  // The engine is away: the outcome stays unknown, and the message says so.
  }
  switch (*outcome) {
    case Outcome::happened: return {};
    case Outcome::not_happened:
      return Error(kLookedFor, Fault::conflict, "the commit did not happen");
    case Outcome::unknown: break;
  }
  return std::move(committed).error().with(
      "whether it was done cannot be told, because others changed the same records meanwhile");
}

// An engine that lost a reply may take a moment to come back.
Result<Outcome> Runner::find_outcome(Context const& ctx, Commit const& commit) {
  auto& loop = *Loop::current();
  Duration pause = kAskPauseFirst;
  for (unsigned attempt = 1;; ++attempt) {
    auto outcome = outcome_of(engine_, ctx, commit);
    auto const again = !outcome.ok() && outcome.error().fault() == Fault::transient &&
                       attempt < kAskAttempts && loop.now() < ctx.deadline;
    if (!again) {
      return outcome;
    }
    ZEST_CHECK(loop.sleep_for(ctx, pause));
    pause *= 2;
  }
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
