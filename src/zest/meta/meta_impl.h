// The inside of the facade, shared by its source files.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "zest/meta/id_allocator.h"
#include "zest/meta/lock_waiters.h"
#include "zest/meta/meta.h"
#include "zest/meta/open_files.h"
#include "zest/meta/ops/ops.h"
#include "zest/meta/quotas.h"
#include "zest/meta/runner.h"
#include "zest/meta/session.h"
#include "zest/meta/statistics.h"

namespace zest::meta {

struct Meta::Impl {
  Impl(Engine& engine_in, Setting setting_in, MetaConfig config_in, Clock const& clock_in,
       Rng& rng_in, Logger& log_in, Registry& metrics);
  ~Impl();
  Impl(Impl const&) = delete;
  Impl& operator=(Impl const&) = delete;

  /// Inode 1 as callers see it is the mount's root; 0 stands for it, too (format/05 §1.1).
  [[nodiscard]] Ino inside(Ino ino) const noexcept { return ino.value <= 1 ? config.root : ino; }
  /// The other way round.
  [[nodiscard]] Ino outside(Ino ino) const noexcept { return ino == config.root ? kRootIno : ino; }
  [[nodiscard]] bool alive() const noexcept {
    return !dead.load(std::memory_order_acquire) && session.alive();
  }
  /// EROFS on a read-only mount, EIO when this client is fenced out.
  Result<void> check_writable() const;
  [[nodiscard]] std::shared_ptr<Setting const> current_setting() const;
  /// What bodies decide with; without the trash.
  [[nodiscard]] VolumeView view();
  /// What a rename moves, where quotas notice it.
  Result<void> measure_move(Context const& ctx, RenameRequest const& request, VolumeView& view);
  /// What lies below a directory entry; nothing for other entries.
  Result<Usage> usage_below(Context const& ctx, EdgeKey const& entry);
  /// Which kinds of quotas the Setting wants.
  void configure_quotas();
  /// The same with the hourly trash directory, made if need be, unless `skip_trash`.
  Result<VolumeView> view_with_trash(Context const& ctx, bool skip_trash);
  Result<Ino> trash_dir_now(Context const& ctx);

  /// mknod with an inode number that nobody else has; given back when nothing was made.
  Result<EntryReply> make_node(Context const& ctx, MknodRequest const& request,
                               std::uint64_t fresh);
  /// What follows a commit that took a name away: hints go, a file whose last close came meanwhile
  /// is deleted.
  Result<UnlinkReply> after_drop(Context const& ctx, OpenFiles::Deletion& deletion,
                                 UnlinkReply reply);
  /// Brings an open file back that another client deleted: true when it is there (again).
  Result<bool> adopt(Context const& ctx, Ino ino);
  /// The same for all open files, at each heartbeat.
  Result<void> adopt_deleted(Context const& ctx);
  /// Runs `call() -> Result`; when its file is gone although it is open here, brings it back and
  /// runs it again.
  template <class Call>
  auto by_handle(Context const& ctx, Ino ino, Call const& call) -> decltype(call()) {
    auto result = call();
    if (failed_with(result, Errc::noent)) {
      ZEST_TRY(bool const back, adopt(ctx, ino));
      if (back) {
        return call();
      }
    }
    return result;
  }
  /// A name as it was given, or as the directory has it.
  struct RealName {
    std::string_view text;
    std::string storage;
  };
  /// Replaces the name by that of the entry which it means on a case-insensitive mount.
  Result<void> resolve_case(Context const& ctx, Ino dir, RealName& name);
  class TreeCopy;  ///< meta_clone.cc
  /// Removes a copy without a name.
  Result<void> remove_detached(Context const& ctx, Ino ino);
  /// atime by the mount's mode; failures are no error of the reader.
  void touch_atime(Context const& ctx, Ino ino, Attr const& node);

  /// The node as its access ACL shows it to the caller, where permissions are ours to check.
  Result<Attr> judged(Context const& ctx, Attr const& node, std::uint32_t mask);
  Result<void> check_open(Context const& ctx, Attr const& node, std::uint32_t flags);
  Result<void> set_acl(Context const& ctx, ops::AclRequest const& request);

  Result<void> start(Context const& ctx);
  Result<void> stop(Context const& ctx);
  void heartbeat_loop();
  void heartbeat(Context const& ctx);
  /// The session's part of it.
  Result<void> beat(Context const& ctx);
  void flush_loop();
  Result<void> flush_counts(Context const& ctx);
  Result<void> reload_setting(Context const& ctx);
  Result<bool> take_lease(Context const& ctx, Lease lease, Duration interval);
  [[nodiscard]] Duration jittered(Duration duration);

  Engine& engine;
  MetaConfig const config;
  Clock const& clock;
  Rng& rng;
  Logger& log;

  Statistics statistics;
  Quotas quotas;
  Runner runner;
  IdAllocator inodes;
  IdAllocator slices;
  OpenFiles open_files;
  LockWaiters lock_waiters;
  Session session;
  FiberMutex listening;  ///< held while the listener runs
  std::function<void(SessionId)> session_listener;
  /// The volume was re-formatted under us: for ever.
  std::atomic<bool> dead{false};
  Scope jobs;
  bool started = false;
  bool knows_quotas = false;  ///< set before the heartbeat starts

  mutable std::mutex mutex;
  std::shared_ptr<Setting const> setting;  ///< shared with readers while it is replaced
  std::string trash_name;                  ///< the hour that trash_ino is of
  Ino trash_ino;
  FiberMutex making_trash;
};

}  // namespace zest::meta
