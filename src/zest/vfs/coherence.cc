// Locks, and what this client and its kernel may remember across them and across sessions.
//
// A lock is a promise about data: whoever gets it sees what was written under it before. So what
// was written is committed before a lock goes, and what is remembered of the file is checked when
// one comes; the lock's own transaction brings the attributes for that, without another trip. The
// kernel is told to drop its pages before the lock call returns.
#include <fmt/format.h>

#include <utility>
#include <vector>

#include "zest/vfs/file_writer.h"
#include "zest/vfs/impl.h"

namespace zest::vfs {

namespace {

bool is_unlock(LockArgs const& args) {
  return args.range.type == LockRange::Type::unlock;
}

}  // namespace

void Vfs::Impl::refresh_kernel(Ino ino, Attr const& attr) {
  if (env.kernel_attrs.differs(ino, attr, Loop::current()->now())) {
    env.invalidate_now(ino, /*pages=*/true);
    env.kernel_attrs.drop(ino);
  }
}

void Vfs::Impl::store_before_unlock(FilePtr const& file) {
  if (env.config.writeback_cache) {
    env.invalidate_now(file->ino, /*pages=*/true);  // The kernel writes back what it holds.
  }
  auto const ctx = Env::background();
  if (!file->writing.lock(ctx).ok()) {
    return;
  }
  std::lock_guard const writing(file->writing, std::adopt_lock);
  (void)drain_while_writing(env, file, ctx);  // Errors stick to the file.
}

void Vfs::Impl::refresh_after_lock(FilePtr const& file, Attr const& attr, std::uint64_t before) {
  bool fresh = false;
  {
    std::lock_guard const lock(file->mutex);
    // Own commits were answered while this call waited for the lock. They came before the grant
    // and are part of its node, unless their time stamp is later: stamps only rise. A node that is
    // not taken over here would be found by the kernel's next GETATTR, whose reply it would drop,
    // because it was told meanwhile, and then read with the old size.
    bool const raced = file->attr_known && file->epoch > before && attr.mtime < file->attr.mtime;
    KernelStamp const now{.mtime = attr.mtime, .ctime = attr.ctime, .length = attr.length};
    // Another client's write may hide behind the time stamp of our own last commit.
    if (attr.mtime != file->validated_mtime) {
      file->drop_views();
      file->validated_mtime = attr.mtime;
    }
    fresh = !raced && file->stamp == now;
    file->apply_fetched(attr, raced ? before : file->epoch);
    if (raced) {
      file->stamp.reset();
    } else {
      file->stamp = now;
    }
  }
  if (!fresh) {
    env.invalidate_now(file->ino, /*pages=*/true);
    env.kernel_attrs.drop(file->ino);
  } else {
    refresh_kernel(file->ino, attr);
  }
}

void Vfs::Impl::session_ended(SessionId ended) {
  env.services.log.warn(
      "a new session is open; what was known of the volume is looked up again, and files with "
      "locks or unstored data of the old session give EIO",
      {{"ended", ended.value}, {"session", meta().session().value}});
  env.invalidate_names();
  std::vector<Ino> known;
  for (auto const& file : files.all()) {
    {
      std::lock_guard const lock(file->mutex);
      file->drop_views();
      file->stamp.reset();
    }
    // Slices of the ended session fail now, not when somebody flushes.
    flush_old_writes(env, file, /*memory_short=*/true);
    known.push_back(file->ino);
  }
  env.invalidate_files(std::move(known));
}

// ---- locks

Result<void> Vfs::flock(Context const& ctx, LockArgs const& args) {
  auto& impl = *impl_;
  auto const opened = impl.handles.find<FileHandle>(args.handle);
  if (!opened) {
    return Errc::badf;
  }
  auto const& file = opened->file;
  auto const run = [&]() -> Result<void> {
    ZEST_CHECK(impl.check_locks(*opened));
    auto op = meta::FlockOp::unlock;
    if (!is_unlock(args)) {
      op = args.range.type == LockRange::Type::read ? meta::FlockOp::shared
                                                    : meta::FlockOp::exclusive;
      // Noted before it is held, so that a release in between cannot miss it.
      opened->flock_owner.store(args.owner);
      opened->flocked.store(true);
    }
    if (opened->flock_session.load() != 0 || !is_unlock(args)) {
      impl.store_before_unlock(file);  // Also when a lock is weakened, and before one is taken.
    }
    auto const before = impl.env.epoch.load();
    ZEST_TRY(auto const reply,
             impl.meta().flock(ctx, file->ino, args.owner ^ args.handle.value, op, args.wait));
    opened->flock_session.store(is_unlock(args) ? 0 : reply.session.value);
    if (reply.attr) {
      impl.refresh_after_lock(file, *reply.attr, before);
    }
    return {};
  };
  return impl.traced(ctx, "flock", run, [&](auto const&) {
    return describe_args(fmt::format("{},{},{:016X},{}", args.ino.value, args.handle.value,
                                     args.owner, static_cast<std::uint32_t>(args.range.type)));
  });
}

Result<void> Vfs::setlk(Context const& ctx, LockArgs const& args) {
  auto& impl = *impl_;
  auto const opened = impl.handles.find<FileHandle>(args.handle);
  if (!opened) {
    return Errc::badf;
  }
  auto const& file = opened->file;
  auto const run = [&]() -> Result<void> {
    ZEST_CHECK(impl.check_locks(*opened));
    if (!is_unlock(args)) {
      std::lock_guard const lock(file->mutex);
      file->lock_owners.try_emplace(args.owner);
    }
    impl.store_before_unlock(file);
    auto const note = [&](SessionId session) {
      std::lock_guard const lock(file->mutex);
      file->lock_owners[args.owner] = session;
    };
    auto const before = impl.env.epoch.load();
    ZEST_TRY(
        auto const reply,
        impl.meta().setlk(
            ctx, {.ino = file->ino, .owner = args.owner, .range = args.range, .wait = args.wait}));
    if (reply.attr) {
      opened->plock_owner.store(args.owner);
      note(reply.session);
      impl.refresh_after_lock(file, *reply.attr, before);
    } else if (args.range.start == 0 && args.range.end >= ~std::uint64_t{0} >> 1) {
      note(SessionId{});
    }
    return {};
  };
  return impl.traced(ctx, "setlk", run, [&](auto const&) {
    return describe_args(fmt::format("{},{},{:016X},{},{},{},{}", args.ino.value, args.handle.value,
                                     args.owner, args.range.start, args.range.end,
                                     static_cast<std::uint32_t>(args.range.type), args.range.pid));
  });
}

Result<LockRange> Vfs::getlk(Context const& ctx, LockArgs const& args) {
  auto& impl = *impl_;
  auto const opened = impl.handles.find<FileHandle>(args.handle);
  if (!opened) {
    return Errc::badf;
  }
  return impl.traced(
      ctx, "getlk",
      [&] {
        return impl.meta().getlk(
            ctx, {.ino = opened->file->ino, .owner = args.owner, .range = args.range});
      },
      [&](auto const&) {
        return describe_args(
            fmt::format("{},{},{:016X}", args.ino.value, args.handle.value, args.owner));
      });
}

}  // namespace zest::vfs
