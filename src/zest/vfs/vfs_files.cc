// Open files: create, open, read, write, flush, and what works on ranges of them.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "zest/vfs/file_reader.h"
#include "zest/vfs/file_writer.h"
#include "zest/vfs/impl.h"

namespace zest::vfs {

namespace {

bool readable(FileHandle const& handle) {
  return (handle.flags & O_ACCMODE) != O_WRONLY;
}
bool writable(FileHandle const& handle) {
  return (handle.flags & O_ACCMODE) != O_RDONLY;
}

Durability close_durability(VfsConfig const& config) {
  return config.sync == SyncPolicy::close ? Durability::close : Durability::client_death;
}

}  // namespace

Result<OpenReply> Vfs::open(Context const& ctx, Ino ino, std::uint32_t flags) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "open",
      [&]() -> Result<OpenReply> {
        if (InternalFiles::owns(ino)) {
          ZEST_TRY(auto opened, impl.internal.open(ino, flags));
          bool const stream = opened->lines != nullptr;
          return OpenReply{.handle = impl.handles.add(std::move(opened)),
                           .direct_io = true,
                           .nonseekable = stream};
        }
        ZEST_TRY(auto const reply, impl.open_file(ctx, ino, flags));
        if (auto const file = impl.files.find(ino)) {
          auto const attr = [&] {
            std::lock_guard const lock(file->mutex);
            return file->effective();
          }();
          impl.refresh_kernel(ino, attr);
        }
        return reply;
      },
      [&](Result<OpenReply> const& result) {
        auto line = describe_args(fmt::format("{},{:#x}", ino.value, flags));
        return result.ok() ? line + fmt::format(": [fh:{}]", result->handle.value) : line;
      });
}

Result<CreateReply> Vfs::create(Context const& ctx, meta::MknodRequest const& request,
                                std::uint32_t flags) {
  auto& impl = *impl_;
  auto const run = [&]() -> Result<CreateReply> {
    ZEST_CHECK(impl.check_writable());
    ZEST_CHECK(impl.check_new_name(request.parent, request.name));
    auto const before = impl.env.epoch.load();
    auto wanted = request;
    wanted.type = FileType::regular;
    auto made = impl.meta().create(ctx, wanted);
    bool const created = made.ok();
    if (failed_with(made, Errc::exist) && (flags & O_EXCL) == 0) {
      made = impl.meta().lookup(ctx, request.parent, request.name);
      if (made.ok() && made->attr.type != FileType::regular) {
        return made->attr.type == FileType::directory ? Errc::isdir : Errc::exist;
      }
    }
    if (!made.ok()) {
      return std::move(made).error();
    }
    CreateReply reply;
    if (created) {
      reply.open = impl.opened(impl.files.open(made->ino), made->attr, before, flags);
    } else {
      ZEST_TRY(reply.open, impl.open_file(ctx, made->ino, flags));
    }
    reply.entry = impl.entry(made->ino, made->attr, before);
    return reply;
  };
  return impl.traced(ctx, "create", run, [&](Result<CreateReply> const& result) {
    auto line =
        describe_args(fmt::format("{},{},{:#o}", request.parent.value, request.name, request.mode));
    return result.ok() ? line + ": " + describe(result->entry.ino, result->entry.attr) +
                             fmt::format(" [fh:{}]", result->open.handle.value)
                       : line;
  });
}

Result<CreateReply> Vfs::tmpfile(Context const& ctx, meta::MknodRequest const& request,
                                 std::uint32_t flags) {
  auto& impl = *impl_;
  auto const run = [&]() -> Result<CreateReply> {
    ZEST_CHECK(impl.check_writable());
    auto const before = impl.env.epoch.load();
    ZEST_TRY(auto const made, impl.meta().tmpfile(ctx, request));
    auto const file = impl.files.open(made.ino);
    auto const open = impl.opened(file, made.attr, before, flags);
    return CreateReply{.entry = impl.entry(made.ino, made.attr, before), .open = open};
  };
  return impl.traced(ctx, "tmpfile", run, [&](Result<CreateReply> const& result) {
    auto line = describe_args(fmt::format("{},{:#o}", request.parent.value, request.mode));
    return result.ok() ? line + ": " + describe(result->entry.ino, result->entry.attr) : line;
  });
}

Result<DataView> Vfs::read(Context const& ctx, Handle handle, std::uint64_t offset,
                           std::size_t size) {
  auto& impl = *impl_;
  auto const opened = impl.handles.find<FileHandle>(handle);
  if (!opened) {
    auto const internal = impl.handles.find<InternalHandle>(handle);
    return internal ? InternalFiles::read(ctx, *internal, offset, size) : Errc::badf;
  }
  if (!readable(*opened)) {
    return Errc::badf;
  }
  ZEST_CHECK(impl.check_locks(*opened));
  return impl.traced(
      ctx, "read",
      [&]() -> Result<DataView> {
        if (offset >= kFileSizeMax || size >= kFileSizeMax - offset) {
          return Errc::fbig;
        }
        return read_file(impl.env, opened->file, opened->ahead, ctx, offset, size);
      },
      [&](Result<DataView> const& result) {
        return describe_args(fmt::format("{},{},{},{}", opened->file->ino.value, size, offset,
                                         handle.value)) +
               (result.ok() ? fmt::format(": {}", result->size()) : "");
      });
}

Result<std::size_t> Vfs::write(Context const& ctx, Handle handle, std::uint64_t offset,
                               ByteView bytes, bool kill_suidgid) {
  auto& impl = *impl_;
  auto const opened = impl.handles.find<FileHandle>(handle);
  if (!opened) {
    auto const internal = impl.handles.find<InternalHandle>(handle);
    return internal && internal->control ? internal->control->write(ctx, bytes) : Errc::badf;
  }
  if (!writable(*opened)) {
    return Errc::badf;
  }
  return impl.traced(
      ctx, "write",
      [&]() -> Result<std::size_t> {
        ZEST_CHECK(impl.check_writable());
        if (offset >= kFileSizeMax || bytes.size() >= kFileSizeMax - offset) {
          return Errc::fbig;
        }
        ZEST_CHECK(impl.env.check_alive());
        ZEST_CHECK(impl.check_locks(*opened));
        if (kill_suidgid) {
          ZEST_CHECK(impl.kill_suidgid(*opened->file));
        }
        // The offset is taken as it was given, also with O_APPEND: the kernel computes it, and
        // with its write-back cache a lower one than our length is legitimate. Appends of several
        // clients to one file are therefore not atomic, as on the peer and on NFS.
        return write_file(impl.env, opened->file, ctx, offset, bytes);
      },
      [&](Result<std::size_t> const&) {
        return describe_args(fmt::format("{},{},{},{}", opened->file->ino.value, bytes.size(),
                                         offset, handle.value));
      });
}

Result<void> Vfs::flush(Context const& ctx, Handle handle, std::uint64_t lock_owner) {
  auto& impl = *impl_;
  auto const opened = impl.handles.find<FileHandle>(handle);
  if (!opened) {
    // Virtual files have nothing to flush; a tool that closes `.control` has given up.
    auto const internal = impl.handles.find<InternalHandle>(handle);
    if (internal && internal->control) {
      internal->control->stop();
    }
    return internal ? Result<void>() : Errc::badf;
  }
  auto const& file = opened->file;
  auto const run = [&]() -> Result<void> {
    bool locked = false;
    {
      std::lock_guard const lock(file->mutex);
      locked = file->lock_owners.erase(lock_owner) > 0;
    }
    // What was written under a lock is stored before the lock goes, whoever is in a hurry.
    auto const background = Env::background();
    auto flushed =
        flush_file(impl.env, file, locked ? background : ctx, close_durability(impl.env.config));
    if (locked) {
      auto unlocked = impl.meta().setlk(
          background,
          {.ino = file->ino,
           .owner = lock_owner,
           .range = {.type = LockRange::Type::unlock, .start = 0, .end = ~std::uint64_t{0} >> 1}});
      if (flushed.ok() && !unlocked.ok()) {
        return std::move(unlocked).error();
      }
    }
    return flushed;
  };
  return impl.traced(ctx, "flush", run, [&](auto const&) {
    return describe_args(fmt::format("{},{},{:016X}", file->ino.value, handle.value, lock_owner));
  });
}

Result<void> Vfs::fsync(Context const& ctx, Handle handle, bool data_only) {
  auto& impl = *impl_;
  auto const opened = impl.handles.find<FileHandle>(handle);
  if (!opened) {
    return impl.handles.find<InternalHandle>(handle) ? Result<void>() : Errc::badf;
  }
  return impl.traced(
      ctx, "fsync",
      [&] {
        return flush_file(impl.env, opened->file, ctx,
                          impl.env.config.sync == SyncPolicy::never ? Durability::client_death
                                                                    : Durability::fsync);
      },
      [&](auto const&) {
        return describe_args(
            fmt::format("{},{},{}", opened->file->ino.value, data_only ? 1 : 0, handle.value));
      });
}

void Vfs::release(Context const& ctx, Handle handle, std::optional<std::uint64_t> flock_owner) {
  auto& impl = *impl_;
  if (auto const internal = impl.handles.remove<InternalHandle>(handle)) {
    impl.internal.close(*internal);
    return;
  }
  auto const opened = impl.handles.remove<FileHandle>(handle);
  if (!opened) {
    return;
  }
  auto const ino = opened->file->ino;
  auto const run = [&]() -> Result<void> {
    // Nobody may give this up: after it the handle is gone.
    auto const background = Env::background();
    // Pages of a mapping can be written after the last close(2).
    auto flushed =
        flush_file(impl.env, opened->file, background, close_durability(impl.env.config));
    if (opened->flocked.load()) {
      auto const owner = flock_owner.value_or(opened->flock_owner.load());
      auto unlocked = impl.meta().flock(background, ino, owner ^ handle.value,
                                        meta::FlockOp::unlock, /*wait=*/false);
      if (!unlocked.ok()) {
        impl.env.services.log.warn("flock of a closed file could not be released",
                                   {{"inode", ino.value}, {"error", unlocked.error().text()}});
      }
    }
    impl.close_file(ino);
    if (!flushed.ok()) {
      impl.env.services.log.error("data written after the last flush of a file are lost",
                                  {{"inode", ino.value}, {"error", flushed.error().text()}});
    }
    return flushed;
  };
  (void)impl.traced(ctx, "release", run, [&](auto const&) {
    return describe_args(fmt::format("{},{}", ino.value, handle.value));
  });
}

}  // namespace zest::vfs
