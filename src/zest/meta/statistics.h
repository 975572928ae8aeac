// Usage of the volume and of its directories: summed in memory by every commit, written by a
// flusher.
//
// Two places want numbers that every operation changes: the volume's totals and the statistics of
// each directory's children (format/05 §1.7, 06 §3). Writing them inside of the operations would
// make all creators collide on one record, so commits add deltas here and flush() writes the sums.
// Engines that keep the totals inside of a commit (usage_in_commit) have only directories flushed.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>

#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/runtime/sync.h"

namespace zest::meta {

/// Thread-safe. At most kDirsMax directories are held; the commit that exceeds it flushes.
class Statistics {
 public:
  static constexpr std::size_t kDirsMax = 16384;

  explicit Statistics(Engine& engine) : engine_(engine) {}

  /// Adds the consequences of one successful commit. True: too much is held, call flush().
  [[nodiscard]] bool add(Usage const& usage, std::map<Ino, DirStat> const& dirs);
  /// Writes what is held; what cannot be written is held for the next time. Calls exclude one
  /// another. May suspend.
  Result<void> flush(Context const& ctx);
  /// Reads the volume's totals (one trip) and remembers them.
  Result<Usage> refresh(Context const& ctx);
  /// The totals as last read plus what this client has added since; never negative.
  [[nodiscard]] Usage known() const;

 private:
  Result<void> flush_usage(Context const& ctx);
  Result<void> flush_dirs(Context const& ctx);
  Result<void> recompute(Context const& ctx, Ino dir);

  Engine& engine_;
  mutable std::mutex mutex_;
  FiberMutex flushing_;
  Usage read_;     ///< as the engine said
  Usage pending_;  ///< not yet known to the engine, or known to it but not part of read_
  std::map<Ino, DirStat> dirs_;
};

/// What one entry adds to its directory's statistics.
DirStat dir_stat_of(Attr const& attr) noexcept;
/// The same with the opposite sign.
DirStat negative(DirStat const& stat) noexcept;

}  // namespace zest::meta
