// Runs the bodies of operations as transactions.
//
// Every attempt gets a fresh Txn. A body that changed nothing ends without a commit; otherwise the
// commit's conditions decide. Only Fault::conflict is tried again, after a jittered pause that
// grows with the attempts; the first repetition is immediate, because most conflicts are over at
// once. The caller's deadline and stop end the tries. A commit whose reply was lost is looked up in
// the volume. What a commit changed in usage is summed once, after it succeeded.
//
// run_hinted() lets the first attempt decide on what this client remembers (record_hints.h). Only a
// commit can confirm that: where the attempt fails or changes nothing, it is made again on fresh
// records before anybody is told.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/meta/acl_rules.h"
#include "zest/meta/engine.h"
#include "zest/meta/outcome.h"
#include "zest/meta/statistics.h"
#include "zest/meta/txn.h"

namespace zest::meta {

/// Whose session this client's commits need alive, and who hears that it is not. Any loop.
class Fence {
 public:
  virtual ~Fence() = default;
  /// 0 = commits are not fenced.
  [[nodiscard]] virtual SessionId session() const noexcept = 0;
  /// The engine refused a commit: this session is no longer its client's.
  virtual void refused(SessionId session) = 0;
};

/// Thread-safe; the parts it refers to outlive it. Calls run on a fiber and may suspend.
class Runner {
 public:
  /// With more attempts than this an operation fails with EIO (Fault::transient): conditions that
  /// never hold are an error of ours or a damaged volume, not a race.
  static constexpr unsigned kAttemptsMax = 200;

  Runner(Engine& engine, Clock const& clock, Rng& rng, Registry& metrics, Statistics& statistics);
  Runner(Runner const&) = delete;
  Runner& operator=(Runner const&) = delete;

  /// From now on commits carry this fence's session; it outlives the runner. A refused commit is
  /// EIO (Fault::semantic: nothing happened, and trying again changes nothing).
  void set_fence(Fence* fence) noexcept { fence_ = fence; }

  /// Runs `body(Txn&) -> Result<T>` until it commits or fails. The body may run several times.
  template <class Body>
  auto run(Context const& ctx, Body const& body) -> std::invoke_result_t<Body const&, Txn&> {
    return run_with(ctx, body, HintUse::none);
  }
  /// For changes all of whose decisions are conditions of their commit: remembered records are good
  /// enough for the first attempt.
  template <class Body>
  auto run_hinted(Context const& ctx, Body const& body) -> std::invoke_result_t<Body const&, Txn&> {
    return run_with(ctx, body, HintUse::any);
  }
  /// For answers: records that are known to be current need no trip.
  template <class Body>
  auto read(Context const& ctx, Body const& body) -> std::invoke_result_t<Body const&, Txn&> {
    return run_with(ctx, body, HintUse::current);
  }

  [[nodiscard]] RecordHints& hints() noexcept { return hints_; }
  /// The rules that bodies see.
  [[nodiscard]] AclRules& acls() noexcept { return acls_; }
  /// Quotas that hear of every commit; they outlive the runner.
  void count_in(Quotas& quotas) noexcept { quotas_ = &quotas; }

 private:
  struct Body {
    std::function<Result<void>(Txn&)> run;
    /// Keeps the reply of the attempt that ran last (false), or makes the kept one the reply
    /// (true).
    std::function<void(bool back)> remember;
  };
  /// A commit that had not happened when it was looked for: it may still have been under way.
  struct Lost {
    Commit commit;
    std::map<Ino, DirStat> dir_stats;
    QuotaChanges quota_changes;
  };

  template <class Body>
  auto run_with(Context const& ctx, Body const& body, HintUse use)
      -> std::invoke_result_t<Body const&, Txn&> {
    using Reply = std::invoke_result_t<Body const&, Txn&>;
    if constexpr (std::is_same_v<Reply, Result<void>>) {
      return attempts(ctx, {std::cref(body), [](bool /*back*/) {}}, use);
    } else {
      std::optional<typename Reply::value_type> reply;
      std::optional<typename Reply::value_type> lost;
      auto const once = [&](Txn& txn) -> Result<void> {
        auto result = body(txn);
        if (!result.ok()) {
          return std::move(result).error();
        }
        reply.emplace(*std::move(result));
        return {};
      };
      auto const remember = [&](bool back) {
        if (back) {
          reply = std::move(lost);
        } else {
          lost = std::move(reply);
        }
      };
      ZEST_CHECK(attempts(ctx, {std::cref(once), std::cref(remember)}, use));
      return *std::move(reply);
    }
  }

  Result<void> attempts(Context const& ctx, Body const& body, HintUse use);
  void account(Context const& ctx, Usage const& usage, std::map<Ino, DirStat> const& dir_stats,
               QuotaChanges const& quota_changes);
  /// True when it arrived after all, which is why a later attempt was refused.
  bool came_late(Context const& ctx, Lost const& lost, Error const& refusal);
  WallTime next_stamp();
  Result<void> pause(Context const& ctx, unsigned attempt);
  Result<void> commit(Context const& ctx, Txn const& txn);
  Result<Outcome> find_outcome(Context const& ctx, Commit const& commit);

  Engine& engine_;
  AclRules acls_;
  Quotas* quotas_ = nullptr;
  Clock const& clock_;
  Rng& rng_;
  Statistics& statistics_;
  RecordHints hints_;
  Counter& restarts_;
  Fence* fence_ = nullptr;
  std::mutex stamp_mutex_;
  WallTime last_stamp_;
};

}  // namespace zest::meta
