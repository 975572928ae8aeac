#include "zest/vfs/impl.h"

#include <fcntl.h>

#include <algorithm>

#include "zest/vfs/file_writer.h"

namespace zest::vfs {

namespace {

// Closed files whose slice lists and page cache stamps are remembered: about a kilobyte each.
constexpr std::size_t kClosedFilesMax = 8192;
constexpr std::uint16_t kSetuid = 04000;
constexpr std::uint16_t kSetgid = 02000;
constexpr std::uint16_t kGroupExecute = 00010;

}  // namespace

Vfs::Impl::Impl(VfsConfig configuration, Services modules)
    : env(std::move(configuration), modules),
      internal(env, access_log),
      files(kClosedFilesMax),
      jobs(env, files) {
  env.jobs = &jobs;
  env.dirty = std::make_shared<DirtyFiles>();
  env.services.blocks.on_memory_pressure([dirty = env.dirty] { dirty->report_pressure(); });
}

Attr Vfs::Impl::merge(Ino ino, Attr const& fetched, std::uint64_t before, bool& foreign) {
  if (fetched.type != FileType::regular) {
    return fetched;
  }
  auto const file = files.find(ino);
  if (!file) {
    return fetched;
  }
  std::lock_guard const lock(file->mutex);
  foreign = file->apply_fetched(fetched, before);
  return file->effective();
}

EntryReply Vfs::Impl::entry(Ino ino, Attr const& fetched, std::uint64_t before) {
  bool const directory = fetched.type == FileType::directory;
  bool foreign = false;
  EntryReply reply{
      .ino = ino,
      .attr = merge(ino, fetched, before, foreign),
      .entry_timeout = directory ? env.config.dir_entry_timeout : env.config.entry_timeout,
      .attr_timeout = env.config.attr_timeout};
  if (foreign) {
    // Without waiting: during a lookup the kernel holds the directory's lock.
    env.invalidate_pages(ino, 0, 0);
  }
  env.kernel_attrs.hand_out(ino, reply.attr, Loop::current()->now(), reply.attr_timeout);
  return reply;
}

AttrReply Vfs::Impl::attr_reply(Ino ino, Attr const& fetched, std::uint64_t before) {
  bool foreign = false;
  AttrReply reply{.attr = merge(ino, fetched, before, foreign),
                  .attr_timeout = env.config.attr_timeout};
  if (foreign) {
    env.invalidate_now(ino, /*pages=*/true);
  }
  env.kernel_attrs.hand_out(ino, reply.attr, Loop::current()->now(), reply.attr_timeout);
  return reply;
}

void Vfs::Impl::changed(Ino ino, Attr const& attr, std::uint64_t before, bool sets_mtime) {
  auto const now = env.note_change(ino);
  auto const file = attr.type == FileType::regular ? files.find(ino) : nullptr;
  if (!file) {
    return;
  }
  std::lock_guard const lock(file->mutex);
  if (!file->attr_known) {
    return;
  }
  if (!sets_mtime && file->stamp && file->stamp->mtime != attr.mtime) {
    file->stamp.reset();
  }
  auto updated = attr;
  if (file->epoch > before) {
    // A commit or truncation was answered meanwhile; this change has not touched the length.
    updated.length = file->attr.length;
  }
  file->apply_own(updated, file->epoch, now);
}

Result<void> Vfs::Impl::check_new_name(Ino parent, std::string_view name) const {
  if (name.size() > kNameMax) {
    return Errc::nametoolong;
  }
  if (internal.reserved(parent, name)) {
    return Errc::exist;
  }
  return {};
}

Result<void> Vfs::Impl::check_old_name(Ino parent, std::string_view name) const {
  if (name.size() > kNameMax) {
    return Errc::nametoolong;
  }
  if (internal.reserved(parent, name)) {
    return Errc::perm;
  }
  return {};
}

Result<void> Vfs::Impl::check_writable() const {
  if (env.config.read_only) {
    return Errc::rofs;
  }
  return {};
}

Result<void> Vfs::Impl::check_locks(FileHandle const& handle) {
  auto const flocked_in = handle.flock_session.load();
  auto const owner = handle.plock_owner.load();
  if (flocked_in == 0 && owner == 0) [[likely]] {
    return {};
  }
  auto const now = meta().session();
  bool lost = flocked_in != 0 && flocked_in != now.value;
  if (owner != 0) {
    std::lock_guard const lock(handle.file->mutex);
    auto const found = handle.file->lock_owners.find(owner);
    lost = lost || (found != handle.file->lock_owners.end() && found->second.value != 0 &&
                    found->second != now);
  }
  if (lost) {
    return Error(Errc::io, Fault::semantic, "a lock of this open file was lost with its session");
  }
  return {};
}

OpenReply Vfs::Impl::opened(FilePtr const& file, Attr const& attr, std::uint64_t before,
                            std::uint32_t flags) {
  OpenReply reply;
  {
    std::lock_guard const lock(file->mutex);
    // What our own writes left counts as known only until here: another client's write may hide
    // behind their time stamp.
    if (file->attr_known && attr.mtime != file->validated_mtime) {
      file->drop_views();
      file->validated_mtime = attr.mtime;
    }
    bool const raced = file->attr_known && file->epoch > before;
    KernelStamp const now{.mtime = attr.mtime, .ctime = attr.ctime, .length = attr.length};
    reply.keep_cache = !raced && file->stamp == now;
    file->apply_fetched(attr, before);
    if (!raced) {
      file->stamp = now;
    } else {
      file->stamp.reset();
    }
  }
  reply.handle = handles.add(std::make_shared<FileHandle>(file, flags));
  return reply;
}

Result<OpenReply> Vfs::Impl::open_file(Context const& ctx, Ino ino, std::uint32_t flags) {
  auto const file = files.open(ino);
  auto const before = env.epoch.load();
  auto attr = meta().open(ctx, ino, flags);
  if (!attr.ok()) {
    files.close(ino);
    return std::move(attr).error();
  }
  auto reply = opened(file, *attr, before, flags);
  if ((flags & O_TRUNC) != 0 && attr->length > 0) {
    if (auto cut = truncate(ctx, ino, 0, true); !cut.ok()) {
      handles.remove<FileHandle>(reply.handle);
      close_file(ino);
      return std::move(cut).error();
    }
  }
  return reply;
}

void Vfs::Impl::close_file(Ino ino) {
  files.close(ino);
  auto const ctx = Env::background();
  auto closed = meta().close(ctx, ino);
  if (!closed.ok()) {
    env.services.log.warn("close of an unlinked file failed; its data stay until this client ends",
                          {{"inode", ino.value}, {"error", closed.error().text()}});
  } else if (*closed) {
    deleted(**closed);
  }
}

void Vfs::Impl::deleted(meta::UnlinkReply const& reply) {
  if (reply.data_unused) {
    files.forget(reply.ino);
    jobs.delete_file(reply);
  }
}

Result<Attr> Vfs::Impl::truncate(Context const& ctx, Ino ino, std::uint64_t length,
                                 bool by_handle) {
  ZEST_CHECK(check_writable());
  if (length >= kFileSizeMax) {
    return Errc::fbig;
  }
  auto const file = files.find(ino);
  if (!file) {
    ZEST_TRY(auto const attr, meta().truncate(ctx, ino, length, by_handle));
    env.note_change(ino);
    return attr;
  }
  ZEST_CHECK(file->writing.lock(ctx));
  std::lock_guard const writing(file->writing, std::adopt_lock);
  ZEST_CHECK(drain_while_writing(env, file, ctx));
  auto const before = env.epoch.load();
  auto cut = meta().truncate(ctx, ino, length, by_handle);
  std::lock_guard const lock(file->mutex);
  file->drop_views();
  if (!cut.ok()) {
    return std::move(cut).error();
  }
  bool const known = file->attr_known;
  if (length > 0) {
    file->stamp.reset();  // Somebody else's write may hide behind this change of mtime.
  }
  file->apply_own(*cut, before, env.note_change(ino));
  file->attr.length = cut->length;  // May be shorter than what was known before.
  file->attr_known = known;
  file->meta_dirty = true;
  return *cut;
}

Result<void> Vfs::Impl::mode_changed(Context const& ctx, Ino ino, std::uint64_t before) {
  ZEST_TRY(auto const attr, meta().getattr(ctx, ino));
  changed(ino, attr, before);
  return {};
}

Result<void> Vfs::Impl::kill_suidgid(FileState& file) {
  std::uint16_t mode = 0;
  {
    std::lock_guard const lock(file.mutex);
    mode = file.attr.mode;
  }
  auto kept = static_cast<std::uint16_t>(mode & ~kSetuid);
  if ((mode & kGroupExecute) != 0) {
    kept = static_cast<std::uint16_t>(kept & ~kSetgid);
  }
  if (kept == mode) {
    return {};
  }
  auto const before = env.epoch.load();
  auto const ctx = Env::background();
  ZEST_TRY(auto const attr, meta().setattr(ctx, {.ino = file.ino, .mode = kept}));
  changed(file.ino, attr, before);
  return {};
}

std::string describe_args(std::string_view args) {
  return "(" + std::string(args) + ")";
}

std::string describe_entry(std::string_view args, Result<EntryReply> const& result) {
  auto out = describe_args(args);
  if (result.ok()) {
    out += ": " + describe(result->ino, result->attr);
  }
  return out;
}

std::string describe_attr(std::string_view args, Ino ino, Result<AttrReply> const& result) {
  auto out = describe_args(args);
  if (result.ok()) {
    out += ": " + describe(ino, result->attr);
  }
  return out;
}

}  // namespace zest::vfs
