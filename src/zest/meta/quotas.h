// Quotas of directories, users and groups (format/05 §1.7, §1.8).
//
// A quota has limits and a use. The use is what all clients have added to its record; this client
// adds what its commits changed every three seconds, and reads all records at each heartbeat. So a
// check sees the use that others had some seconds ago plus all of this client's own: several
// clients together may exceed a limit by what they write meanwhile, as on the peer.
//
// A change of a directory counts for every quota above it. The chain of parents comes from a cache
// that is emptied with each reading, so another client's rename is known a heartbeat later at most.
// Volumes without directory quotas never walk.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/record.h"
#include "zest/runtime/sync.h"

namespace zest::meta {

/// What an owner has more or less of.
struct OwnerUsage {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  Usage usage;
};

/// What one commit changed beside the direct entries of directories.
struct QuotaChanges {
  /// Everything below a directory that moved, for its old and its new parent.
  std::map<Ino, Usage> trees;
  std::vector<OwnerUsage> owners;
};

/// Which kinds count; from the Setting.
struct QuotaKinds {
  bool directories = false;  ///< DirStats
  bool owners = false;       ///< UserGroupQuota
};

/// Thread-safe. Calls may suspend where noted.
class Quotas {
 public:
  /// Directories whose parent is remembered; one more makes a new beginning.
  static constexpr std::size_t kParentsMax = 65536;
  /// Directories with changes whose chain of parents could not be read.
  static constexpr std::size_t kUnresolvedMax = 16384;

  Quotas(Engine& engine, Logger& log) : engine_(engine), log_(log) {}
  Quotas(Quotas const&) = delete;
  Quotas& operator=(Quotas const&) = delete;

  void set_kinds(QuotaKinds kinds);
  /// Reads all quotas. One trip; may suspend.
  Result<void> load(Context const& ctx);
  /// Writes what this client has added; what cannot be written waits for the next time. May
  /// suspend.
  Result<void> flush(Context const& ctx);

  /// False: nothing is limited and nothing counted.
  [[nodiscard]] bool active() const noexcept { return has_dirs() || counts_owners(); }
  [[nodiscard]] bool has_dirs() const noexcept { return has_dirs_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool counts_owners() const noexcept {
    return counts_owners_.load(std::memory_order_relaxed);
  }

  /// EDQUOT when the user's or the group's limits do not allow this growth.
  Result<void> check_owner(OwnerUsage const& growth) const;
  /// EDQUOT when a quota of `dir` or above it does not. May suspend.
  Result<void> check_dir(Context const& ctx, Ino dir, Usage const& growth);
  /// The same for what moves from one directory into another: quotas above both do not change.
  struct Move {
    Ino from;
    Ino to;
  };
  Result<void> check_move(Context const& ctx, Move const& move, Usage const& growth);
  /// Whether a move changes what any quota counts. May suspend.
  Result<bool> crosses(Context const& ctx, Move const& move);

  /// Adds what a commit changed. May suspend; its failures wait for the next flush().
  void add(Context const& ctx, std::map<Ino, DirStat> const& dirs, QuotaChanges const& changes);
  /// A directory was moved: no remembered chain of parents counts any more.
  void forget_parents();

  /// What is known of this quota, with this client's changes.
  [[nodiscard]] std::optional<Quota> find(QuotaKey const& key) const;
  /// Those of `dir` and above it, the nearest first. May suspend.
  Result<std::vector<Quota>> above(Context const& ctx, Ino dir);

 private:
  struct State {
    Quota stored;
    Usage pending;
  };
  using Chain = std::vector<Ino>;

  Result<Chain> chain(Context const& ctx, Ino dir);
  void remember_parent(Ino dir, Ino parent);
  Result<std::optional<Ino>> parent_of(Context const& ctx, Ino dir);
  /// Directories with quotas in `chain`.
  Result<Chain> quota_dirs(Context const& ctx, Ino dir);
  Result<Chain> gained_by(Context const& ctx, Move const& move);
  Result<void> check_all(Chain const& dirs, Usage const& growth) const;
  [[nodiscard]] bool exceeds(QuotaKey const& key, Usage const& growth) const;
  void add_pending(QuotaKey const& key, Usage const& delta);
  void add_to_chain(Context const& ctx, Ino dir, Usage const& delta);
  void retry_unresolved(Context const& ctx);
  void refresh_flags();

  Engine& engine_;
  Logger& log_;
  std::atomic<bool> has_dirs_{false};
  std::atomic<bool> counts_owners_{false};
  FiberMutex flushing_;  ///< held while records are read or written
  mutable std::mutex mutex_;
  QuotaKinds kinds_;
  std::map<QuotaKey, State> quotas_;
  std::unordered_map<Ino, Ino> parents_;
  std::map<Ino, Usage> unresolved_;
};

}  // namespace zest::meta
