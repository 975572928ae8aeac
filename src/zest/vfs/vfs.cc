// Life of a mounted volume, names and nodes.
#include "zest/vfs/vfs.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "zest/vfs/file_writer.h"
#include "zest/vfs/impl.h"

namespace zest::vfs {

namespace {

// How long stop() waits for deletions; the hourly job of some client does the rest.
constexpr Duration kStopDeletionsMax = std::chrono::seconds(10);

}  // namespace

Vfs::Vfs(VfsConfig config, Services services)
    : impl_(std::make_unique<Impl>(std::move(config), services)) {}

Vfs::~Vfs() = default;

VfsConfig const& Vfs::config() const noexcept {
  return impl_->env.config;
}

void Vfs::set_invalidator(Invalidator invalidator) {
  impl_->env.set_invalidator(std::move(invalidator));
}

Result<void> Vfs::start(Context const&) {
  impl_->started = true;
  impl_->env.services.meta.set_session_listener(
      [impl = impl_.get()](SessionId ended) { impl->session_ended(ended); });
  impl_->periodic.spawn([impl = impl_.get()] { run_flusher(impl->env); });
  if (impl_->env.config.background_jobs && !impl_->env.config.read_only) {
    impl_->periodic.spawn([impl = impl_.get()] { impl->jobs.run_cleaning(); });
  }
  return {};
}

Result<void> Vfs::stop(Context const& ctx) {
  auto& env = impl_->env;
  env.services.meta.set_session_listener({});
  env.stop.request_stop();
  Result<void> result;
  auto const durability =
      env.config.sync == SyncPolicy::close ? Durability::close : Durability::client_death;
  for (auto const& file : impl_->files.all()) {
    if (auto flushed = flush_file(env, file, ctx, durability); !flushed.ok() && result.ok()) {
      result = std::move(flushed);
    }
  }
  impl_->periodic.join();
  Context bounded = ctx;
  bounded.deadline = std::min(ctx.deadline, Loop::current()->now() + kStopDeletionsMax);
  if (!impl_->jobs.wait_for_deletions(bounded).ok()) {
    impl_->jobs.drop_deletions();
  }
  env.scope.join();
  return result;
}

// ---- names

Result<EntryReply> Vfs::lookup(Context const& ctx, Ino parent, std::string_view name) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "lookup",
      [&]() -> Result<EntryReply> {
        if (name.size() > kNameMax) {
          return Errc::nametoolong;
        }
        auto const before = impl.env.epoch.load();
        if (auto const ino = impl.internal.find(parent, name)) {
          if (InternalFiles::owns(*ino)) {
            return impl.entry(*ino, impl.internal.attr(*ino), before);
          }
          ZEST_TRY(auto const attr, impl.meta().getattr(ctx, *ino));
          return impl.entry(*ino, attr, before);
        }
        auto found = impl.meta().lookup(ctx, parent, name);
        if (auto const ino = impl.internal.find_anywhere(name);
            ino && failed_with(found, Errc::noent)) {
          return impl.entry(*ino, impl.internal.attr(*ino), before);
        }
        if (failed_with(found, Errc::noent) &&
            impl.env.config.negative_timeout > Duration::zero()) {
          return EntryReply{.entry_timeout = impl.env.config.negative_timeout};
        }
        if (!found.ok()) {
          return std::move(found).error();
        }
        return impl.entry(found->ino, found->attr, before);
      },
      [&](auto const& result) {
        return describe_entry(fmt::format("{},{}", parent.value, name), result);
      });
}

Result<EntryReply> Vfs::mknod(Context const& ctx, meta::MknodRequest const& request) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "mknod",
      [&]() -> Result<EntryReply> {
        ZEST_CHECK(impl.check_writable());
        ZEST_CHECK(impl.check_new_name(request.parent, request.name));
        auto const before = impl.env.epoch.load();
        ZEST_TRY(auto const made, impl.meta().mknod(ctx, request));
        return impl.entry(made.ino, made.attr, before);
      },
      [&](auto const& result) {
        return describe_entry(fmt::format("{},{},{:#o},{:#x}", request.parent.value, request.name,
                                          request.mode, request.rdev),
                              result);
      });
}

Result<EntryReply> Vfs::mkdir(Context const& ctx, meta::MknodRequest const& request) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "mkdir",
      [&]() -> Result<EntryReply> {
        ZEST_CHECK(impl.check_writable());
        ZEST_CHECK(impl.check_new_name(request.parent, request.name));
        auto const before = impl.env.epoch.load();
        auto directory = request;
        directory.type = FileType::directory;
        ZEST_TRY(auto const made, impl.meta().mknod(ctx, directory));
        return impl.entry(made.ino, made.attr, before);
      },
      [&](auto const& result) {
        return describe_entry(
            fmt::format("{},{},{:#o}", request.parent.value, request.name, request.mode), result);
      });
}

Result<EntryReply> Vfs::symlink(Context const& ctx, Ino parent, std::string_view name,
                                std::string_view target) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "symlink",
      [&]() -> Result<EntryReply> {
        ZEST_CHECK(impl.check_writable());
        ZEST_CHECK(impl.check_new_name(parent, name));
        if (target.size() > kSymlinkMax) {
          return Errc::nametoolong;
        }
        auto const before = impl.env.epoch.load();
        ZEST_TRY(auto const made, impl.meta().mknod(ctx, {.parent = parent,
                                                          .name = name,
                                                          .type = FileType::symlink,
                                                          .mode = 0777,
                                                          .target = target}));
        return impl.entry(made.ino, made.attr, before);
      },
      [&](auto const& result) {
        return describe_entry(fmt::format("{},{},{}", parent.value, name, target), result);
      });
}

Result<EntryReply> Vfs::link(Context const& ctx, Ino ino, Ino new_parent,
                             std::string_view new_name) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "link",
      [&]() -> Result<EntryReply> {
        ZEST_CHECK(impl.check_writable());
        if (InternalFiles::owns(ino)) {
          return Errc::perm;
        }
        ZEST_CHECK(impl.check_old_name(new_parent, new_name));
        auto const before = impl.env.epoch.load();
        ZEST_TRY(auto const made, impl.meta().link(ctx, ino, new_parent, new_name));
        impl.changed(ino, made.attr, before);
        return impl.entry(made.ino, made.attr, before);
      },
      [&](auto const& result) {
        return describe_entry(fmt::format("{},{},{}", ino.value, new_parent.value, new_name),
                              result);
      });
}

Result<void> Vfs::unlink(Context const& ctx, Ino parent, std::string_view name) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "unlink",
      [&]() -> Result<void> {
        ZEST_CHECK(impl.check_writable());
        ZEST_CHECK(impl.check_old_name(parent, name));
        ZEST_TRY(auto const gone, impl.meta().unlink(ctx, parent, name));
        impl.env.note_change(gone.ino);
        impl.deleted(gone);
        return {};
      },
      [&](auto const&) { return describe_args(fmt::format("{},{}", parent.value, name)); });
}

Result<void> Vfs::rmdir(Context const& ctx, Ino parent, std::string_view name) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "rmdir",
      [&]() -> Result<void> {
        ZEST_CHECK(impl.check_writable());
        ZEST_CHECK(impl.check_old_name(parent, name));
        ZEST_TRY(auto const gone, impl.meta().rmdir(ctx, parent, name));
        impl.env.note_change(gone);
        return {};
      },
      [&](auto const&) { return describe_args(fmt::format("{},{}", parent.value, name)); });
}

Result<void> Vfs::rename(Context const& ctx, meta::RenameRequest const& request) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "rename",
      [&]() -> Result<void> {
        ZEST_CHECK(impl.check_writable());
        ZEST_CHECK(impl.check_old_name(request.parent, request.name));
        ZEST_CHECK(impl.check_old_name(request.new_parent, request.new_name));
        auto const before = impl.env.epoch.load();
        ZEST_TRY(auto const moved, impl.meta().rename(ctx, request));
        impl.changed(moved.ino, moved.attr, before);
        if (moved.replaced) {
          impl.env.note_change(moved.replaced->ino);
          impl.deleted(*moved.replaced);
        }
        return {};
      },
      [&](auto const&) {
        return describe_args(fmt::format("{},{},{},{},{}", request.parent.value, request.name,
                                         request.new_parent.value, request.new_name,
                                         request.flags));
      });
}

Result<std::string> Vfs::readlink(Context const& ctx, Ino ino) {
  return impl_->traced(
      ctx, "readlink", [&] { return impl_->meta().readlink(ctx, ino); },
      [&](auto const&) { return describe_args(fmt::to_string(ino.value)); });
}

// ---- nodes

Result<AttrReply> Vfs::getattr(Context const& ctx, Ino ino, std::optional<Handle>) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "getattr",
      [&]() -> Result<AttrReply> {
        auto const before = impl.env.epoch.load();
        if (InternalFiles::owns(ino)) {
          return AttrReply{.attr = impl.internal.attr(ino),
                           .attr_timeout = impl.env.config.attr_timeout};
        }
        auto const timeout = impl.env.config.attr_timeout;
        ZEST_TRY(auto const node, impl.meta().getattr_within(ctx, ino, timeout));
        auto reply = impl.attr_reply(ino, node.attr, before);
        reply.attr_timeout = timeout - node.age;
        return reply;
      },
      [&](auto const& result) { return describe_attr(fmt::to_string(ino.value), ino, result); });
}

namespace {

bool changes_attributes(meta::SetattrRequest const& attrs) {
  return attrs.mode || attrs.uid || attrs.gid || attrs.atime || attrs.mtime || attrs.atime_now ||
         attrs.mtime_now || attrs.flags;
}

}  // namespace

Result<AttrReply> Vfs::setattr(Context const& ctx, SetattrRequest const& request) {
  auto& impl = *impl_;
  auto const ino = request.attrs.ino;
  auto const run = [&]() -> Result<AttrReply> {
    if (InternalFiles::owns(ino)) {
      return AttrReply{.attr = impl.internal.attr(ino),
                       .attr_timeout = impl.env.config.attr_timeout};
    }
    ZEST_CHECK(impl.check_writable());
    auto const file = impl.files.find(ino);
    auto const start = impl.env.epoch.load();
    std::optional<Attr> attr;
    if (request.size) {
      ZEST_TRY(attr, impl.truncate(ctx, ino, *request.size, request.handle.has_value()));
    }
    bool const sets_mtime = request.attrs.mtime || request.attrs.mtime_now;
    if (file && sets_mtime) {
      // The commit of pending writes would set the time again, after the caller was told.
      ZEST_CHECK(file->writing.lock(ctx));
      std::lock_guard const writing(file->writing, std::adopt_lock);
      ZEST_CHECK(drain_while_writing(impl.env, file, ctx));
    }
    if (changes_attributes(request.attrs)) {
      auto const before = impl.env.epoch.load();
      ZEST_TRY(attr, impl.meta().setattr(ctx, request.attrs));
      impl.changed(ino, *attr, before, sets_mtime);
    }
    if (!attr) {
      ZEST_TRY(attr, impl.meta().getattr(ctx, ino));
    }
    if (request.kill_suidgid && !request.attrs.mode) {
      FileState bare(ino);
      bare.attr = *attr;
      ZEST_CHECK(impl.kill_suidgid(bare));
      ZEST_TRY(attr, impl.meta().getattr(ctx, ino));
    }
    return impl.attr_reply(ino, *attr, start);
  };
  return impl.traced(ctx, "setattr", run, [&](auto const& result) {
    return describe_attr(fmt::to_string(ino.value), ino, result);
  });
}

Result<void> Vfs::access(Context const& ctx, Ino ino, std::uint32_t mask) {
  return impl_->traced(
      ctx, "access",
      [&]() -> Result<void> {
        if (InternalFiles::owns(ino)) {
          return {};
        }
        return impl_->meta().access(ctx, ino, mask);
      },
      [&](auto const&) { return describe_args(fmt::format("{},{:#o}", ino.value, mask)); });
}

Result<meta::StatfsReply> Vfs::statfs(Context const& ctx, Ino ino) {
  return impl_->traced(
      ctx, "statfs",
      [&] { return impl_->meta().statfs(ctx, InternalFiles::owns(ino) ? kRootIno : ino); },
      [&](auto const&) { return describe_args(fmt::to_string(ino.value)); });
}

}  // namespace zest::vfs
