#include "zest/meta/engine/sql/remote/batch_runner.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "zest/runtime/loop.h"

namespace zest::meta::sql {

namespace {

using std::chrono::milliseconds;

/// The server picks one of those who wait for each other and undoes it; the others go on. More than
/// a few in a row mean contention, which the transaction runner's pauses resolve better.
constexpr unsigned kDeadlocksMax = 5;
/// Between attempts to reach a server: short at first, because a proxy or a failover is often
/// quick.
constexpr milliseconds kPauseFirst{20};
constexpr milliseconds kPauseMax{1000};

bool is_deadlock(Error const& error) {
  return error.fault() == Fault::conflict && error.code() == Errc::deadlk;
}

}  // namespace

BatchRunner::BatchRunner(std::unique_ptr<Connector> connector, RunnerOptions const& options,
                         Logger& log, Registry& metrics)
    : pool_(std::move(connector), options.pool, metrics),
      options_(options),
      log_(log),
      deadlocks_(
          metrics.counter("meta_sql_deadlocks", "Batches that the database undid for a deadlock.")),
      reconnects_(metrics.counter("meta_sql_retries",
                                  "Batches that were repeated because the database was away.")) {}

Result<std::vector<ResultSet>> BatchRunner::once(Context const& ctx,
                                                 std::span<Statement const> batch, Kind kind) {
  ZEST_TRY(auto session, pool_.acquire(ctx));
  trips_.fetch_add(1, std::memory_order_relaxed);
  // A batch that was sent is not stopped half-way: its outcome would be unknown.
  Context bounded;
  bounded.caller = ctx.caller;
  bounded.deadline = std::min(ctx.deadline, Loop::current()->now() + options_.batch_timeout);
  if (kind == Kind::execute) {
    ZEST_CHECK(session->execute(bounded, batch));
    return std::vector<ResultSet>();
  }
  return session->run(bounded, batch);
}

Result<std::vector<ResultSet>> BatchRunner::run(Context const& ctx,
                                                std::span<Statement const> batch, Kind kind) {
  auto& loop = *Loop::current();
  auto const until = std::min(ctx.deadline, loop.now() + options_.patience);
  Duration pause = kPauseFirst;
  for (unsigned deadlocks = 0;;) {
    if (ctx.stop.stop_requested()) {
      return Errc::intr;
    }
    auto result = once(ctx, batch, kind);
    if (result.ok()) {
      if (away_.load(std::memory_order_relaxed) && away_.exchange(false)) {
        log_.info("the metadata database answers again", {{"engine", pool_.connector().name()}});
      }
      return result;
    }
    if (is_deadlock(result.error())) {
      deadlocks_.add();
      if (++deadlocks > kDeadlocksMax) {
        return result;
      }
      loop.yield();
      continue;
    }
    auto const& error = result.error();
    auto const unsent = error.code() != Errc::timedout;
    if (error.fault() != Fault::transient || !(unsent || kind == Kind::read) ||
        loop.now() + pause >= until) {
      return result;
    }
    if (!away_.exchange(true)) {
      log_.warn("the metadata database does not answer, trying again",
                {{"engine", pool_.connector().name()}, {"error", error.text()}});
    }
    reconnects_.add();
    ZEST_CHECK(loop.sleep_for(ctx, pause));
    pause = std::min<Duration>(pause * 2, kPauseMax);
  }
}

Result<std::vector<ResultSet>> BatchRunner::read(Context const& ctx,
                                                 std::span<Statement const> batch) {
  return run(ctx, batch, Kind::read);
}

Result<std::vector<ResultSet>> BatchRunner::write(Context const& ctx,
                                                  std::span<Statement const> batch) {
  return run(ctx, batch, Kind::write);
}

Result<void> BatchRunner::execute(Context const& ctx, std::span<Statement const> batch) {
  ZEST_CHECK(run(ctx, batch, Kind::execute));
  return {};
}

}  // namespace zest::meta::sql
