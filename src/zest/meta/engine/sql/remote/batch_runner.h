// Runs batches on sessions of the pool, and decides what may be tried again.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/meta/engine/sql/remote/session.h"
#include "zest/meta/engine/sql/remote/session_pool.h"

namespace zest::meta::sql {

struct RunnerOptions {
  PoolOptions pool;
  Duration patience;
  Duration batch_timeout;
};

/// Thread-safe; calls on fibers.
class BatchRunner {
 public:
  BatchRunner(std::unique_ptr<Connector> connector, RunnerOptions const& options, Logger& log,
              Registry& metrics);

  /// A batch that changes nothing: tried again after any transient failure, with growing pauses,
  /// until the patience or the request's deadline ends.
  Result<std::vector<ResultSet>> read(Context const& ctx, std::span<Statement const> batch);
  /// A batch that changes something: tried again only when nothing was sent, or when the server
  /// undid it for a deadlock. ETIMEDOUT (transient): nobody knows whether it happened.
  Result<std::vector<ResultSet>> write(Context const& ctx, std::span<Statement const> batch);

  /// write() without results.
  Result<void> execute(Context const& ctx, std::span<Statement const> batch);

  [[nodiscard]] std::uint64_t trips() const noexcept {
    return trips_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] Connector& connector() noexcept { return pool_.connector(); }

 private:
  enum class Kind : std::uint8_t { read, write, execute };
  Result<std::vector<ResultSet>> run(Context const& ctx, std::span<Statement const> batch,
                                     Kind kind);
  Result<std::vector<ResultSet>> once(Context const& ctx, std::span<Statement const> batch,
                                      Kind kind);

  SessionPool pool_;
  RunnerOptions options_;
  Logger& log_;
  Counter& deadlocks_;
  Counter& reconnects_;
  std::atomic<std::uint64_t> trips_{0};
  std::atomic<bool> away_{false};  ///< said so in the log
};

}  // namespace zest::meta::sql
