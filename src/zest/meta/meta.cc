// The facade: names and nodes. Data, locks and the life of the mount are in the files beside it.
#include "zest/meta/meta.h"

#include <utility>

#include "zest/format/trash.h"
#include "zest/meta/meta_impl.h"
#include "zest/meta/rules.h"

namespace zest::meta {
namespace {

// Batches of the peer (format/00 §3).
constexpr std::uint64_t kInodeBatch = 1024;
constexpr std::uint64_t kSliceBatch = 4096;

Session::Config session_config(MetaConfig const& config) {
  return {.heartbeat = config.heartbeat, .info = config.session};
}

// The file of an unlink or rename that may have happened may be a sustained inode now.
Error after_failure(OpenFiles::Deletion& deletion, Error error) {
  if (error.fault() == Fault::transient && error.code() == Errc::timedout) {
    deletion.maybe_sustained();
  }
  return error;
}

}  // namespace

Meta::Impl::Impl(Engine& engine_in, Setting setting_in, MetaConfig config_in, Clock const& clock_in,
                 Rng& rng_in, Logger& log_in, Registry& metrics)
    : engine(engine_in),
      config(std::move(config_in)),
      clock(clock_in),
      rng(rng_in),
      log(log_in),
      statistics(engine_in),
      quotas(engine_in, log_in),
      runner(engine_in, clock_in, rng_in, metrics, statistics),
      inodes(engine_in, IdKind::inode, kInodeBatch),
      slices(engine_in, IdKind::slice, kSliceBatch),
      session(engine_in, runner, clock_in, log_in, session_config(config)),
      setting(std::make_shared<Setting const>(std::move(setting_in))) {
  configure_quotas();
  runner.count_in(quotas);
  runner.set_fence(&session);
  if (engine.capabilities().invalidation_pushes) {
    runner.hints().expect_pushes();
    engine.set_listener(&runner.hints());
  }
}

Meta::Impl::~Impl() {
  if (engine.capabilities().invalidation_pushes) {
    engine.set_listener(nullptr);
  }
}

Result<void> Meta::Impl::check_writable() const {
  if (config.read_only) {
    return Errc::rofs;
  }
  if (!alive()) {
    return Error::transient(Errc::io,
                            "this client has no session in the volume at the moment; nothing is "
                            "written until the metadata engine answers again");
  }
  return {};
}

std::shared_ptr<Setting const> Meta::Impl::current_setting() const {
  std::lock_guard const lock(mutex);
  return setting;
}

VolumeView Meta::Impl::view() {
  auto const current = current_setting();
  VolumeView view{.session = session.id(), .dir_stats = current->dir_stats, .trash = Ino{}};
  if (quotas.active()) {
    view.quotas = &quotas;
  }
  if (current->capacity_bytes > 0 || current->inodes > 0) {
    auto const usage = statistics.known();
    if (current->capacity_bytes > 0) {
      view.space_left = static_cast<std::int64_t>(current->capacity_bytes) - usage.space;
    }
    if (current->inodes > 0) {
      view.inodes_left = static_cast<std::int64_t>(current->inodes) - usage.inodes;
    }
  }
  return view;
}

Result<VolumeView> Meta::Impl::view_with_trash(Context const& ctx, bool skip_trash) {
  auto with_trash = view();
  if (!skip_trash && current_setting()->trash_days > 0) {
    ZEST_TRY(with_trash.trash, trash_dir_now(ctx));
  }
  return with_trash;
}

Result<Ino> Meta::Impl::trash_dir_now(Context const& ctx) {
  auto const name = trash_dir_name(clock.wall());
  auto const known = [&] {
    std::lock_guard const lock(mutex);
    return name == trash_name ? trash_ino : Ino{};
  };
  if (auto const ino = known()) {
    return ino;
  }
  ZEST_CHECK(making_trash.lock(ctx));
  std::unique_lock const owner(making_trash, std::adopt_lock);
  if (auto const ino = known()) {
    return ino;
  }
  auto found = runner.run(ctx, [&](Txn& txn) { return ops::trash_dir(txn, name, Ino{}); });
  if (failed_with(found, Errc::noent)) {
    ZEST_TRY(auto const range, engine.allocate_ids(ctx, IdKind::trash, 1));
    Ino const fresh{kTrashIno.value + range.first};
    found = runner.run(ctx, [&](Txn& txn) { return ops::trash_dir(txn, name, fresh); });
  }
  ZEST_TRY(auto const ino, std::move(found));
  std::lock_guard const lock(mutex);
  trash_name = name;
  trash_ino = ino;
  return ino;
}

Result<UnlinkReply> Meta::Impl::after_drop(Context const& ctx, OpenFiles::Deletion& deletion,
                                           UnlinkReply reply) {
  open_files.forget(reply.ino);
  if (reply.sustained && deletion.sustained()) {
    auto const sid = session.id();
    auto deleted =
        runner.run(ctx, [&](Txn& txn) { return ops::delete_sustained(txn, sid, reply.ino); });
    if (deleted.ok()) {
      return deleted;
    }
    // The name is gone, which is what the caller wanted; the file goes with the session.
  }
  return reply;
}

void Meta::Impl::touch_atime(Context const& ctx, Ino ino, Attr const& node) {
  if (!config.read_only && ops::wants_atime(config.atime, node, clock.wall())) {
    static_cast<void>(runner.run(ctx, [&](Txn& txn) { return ops::touch_atime(txn, ino); }).ok());
  }
}

Meta::Meta(Engine& engine, Setting setting, MetaConfig config, Clock const& clock, Rng& rng,
           Logger& log, Registry& metrics)
    : impl_(std::make_unique<Impl>(engine, std::move(setting), std::move(config), clock, rng, log,
                                   metrics)) {}
Meta::~Meta() = default;

SessionId Meta::session() const noexcept {
  return impl_->session.id();
}
Setting Meta::setting() const {
  return *impl_->current_setting();
}
bool Meta::alive() const noexcept {
  return impl_->alive();
}
Engine& Meta::engine() noexcept {
  return impl_->engine;
}

Result<EntryReply> Meta::lookup(Context const& ctx, Ino parent, std::string_view name) {
  auto const dir = impl_->inside(parent);
  if (name == ".." && dir == impl_->config.root) {
    name = ".";
  }
  Impl::RealName real{name, {}};
  ZEST_CHECK(impl_->resolve_case(ctx, dir, real));
  ZEST_TRY(auto reply, impl_->runner.read(ctx, [&](Txn& txn) {
    return ops::lookup(txn, {.parent = dir, .name = real.text});
  }));
  impl_->open_files.remember(reply.ino, reply.attr);
  reply.ino = impl_->outside(reply.ino);
  return reply;
}

Result<EntryReply> Meta::mknod(Context const& ctx, MknodRequest const& request) {
  ZEST_CHECK(impl_->check_writable());
  ZEST_TRY(auto const fresh, impl_->inodes.next(ctx));
  return impl_->make_node(ctx, request, fresh);
}

Result<EntryReply> Meta::create(Context const& ctx, MknodRequest const& request) {
  ZEST_CHECK(impl_->check_writable());
  ZEST_TRY(auto const fresh, impl_->inodes.next(ctx));
  ZEST_CHECK(impl_->open_files.open(ctx, Ino{fresh}));
  auto reply = impl_->make_node(ctx, request, fresh);
  if (reply.ok()) {
    impl_->open_files.remember(reply->ino, reply->attr);
  } else {
    static_cast<void>(close(ctx, Ino{fresh}).ok());
  }
  return reply;
}

Result<EntryReply> Meta::Impl::make_node(Context const& ctx, MknodRequest const& request,
                                         std::uint64_t fresh) {
  auto mapped = request;
  mapped.parent = inside(request.parent);
  RealName real{request.name, {}};
  ZEST_CHECK(resolve_case(ctx, mapped.parent, real));
  mapped.name = real.text;
  auto const current = view();
  auto reply = runner.run_hinted(
      ctx, [&](Txn& txn) { return ops::mknod(txn, current, mapped, Ino{fresh}); });
  if (!reply.ok() && reply.error().fault() == Fault::semantic) {
    inodes.give_back(fresh);
  }
  return reply;
}

Result<EntryReply> Meta::link(Context const& ctx, Ino ino, Ino new_parent,
                              std::string_view new_name) {
  ZEST_CHECK(impl_->check_writable());
  auto const view = impl_->view();
  Impl::RealName real{new_name, {}};
  ZEST_CHECK(impl_->resolve_case(ctx, impl_->inside(new_parent), real));
  ops::LinkRequest const request{.ino = impl_->inside(ino),
                                 .parent = impl_->inside(new_parent),
                                 .name = real.text,
                                 .unnamed = impl_->open_files.unnamed(impl_->inside(ino))};
  ZEST_TRY(auto reply,
           impl_->runner.run_hinted(ctx, [&](Txn& txn) { return ops::link(txn, view, request); }));
  impl_->open_files.named(reply.ino);
  impl_->open_files.remember(reply.ino, reply.attr);
  return reply;
}

Result<UnlinkReply> Meta::unlink(Context const& ctx, Ino parent, std::string_view name,
                                 bool skip_trash) {
  ZEST_CHECK(impl_->check_writable());
  ZEST_TRY(auto const view, impl_->view_with_trash(ctx, skip_trash));
  Impl::RealName real{name, {}};
  ZEST_CHECK(impl_->resolve_case(ctx, impl_->inside(parent), real));
  ops::NameRequest const request{.parent = impl_->inside(parent), .name = real.text};
  OpenFiles::Deletion deletion(impl_->open_files);
  auto reply = impl_->runner.run_hinted(
      ctx, [&](Txn& txn) { return ops::unlink(txn, view, request, deletion); });
  if (!reply.ok()) {
    return after_failure(deletion, std::move(reply).error());
  }
  return impl_->after_drop(ctx, deletion, *reply);
}

Result<Ino> Meta::rmdir(Context const& ctx, Ino parent, std::string_view name) {
  ZEST_CHECK(impl_->check_writable());
  ZEST_TRY(auto const view, impl_->view_with_trash(ctx, false));
  Impl::RealName real{name, {}};
  ZEST_CHECK(impl_->resolve_case(ctx, impl_->inside(parent), real));
  ops::NameRequest const request{.parent = impl_->inside(parent), .name = real.text};
  return impl_->runner.run_hinted(ctx, [&](Txn& txn) { return ops::rmdir(txn, view, request); });
}

Result<RenameReply> Meta::rename(Context const& ctx, RenameRequest const& request) {
  ZEST_CHECK(impl_->check_writable());
  auto mapped = request;
  mapped.parent = impl_->inside(request.parent);
  mapped.new_parent = impl_->inside(request.new_parent);
  Impl::RealName from{request.name, {}};
  Impl::RealName to{request.new_name, {}};
  ZEST_CHECK(impl_->resolve_case(ctx, mapped.parent, from));
  ZEST_CHECK(impl_->resolve_case(ctx, mapped.new_parent, to));
  mapped.name = from.text;
  // The source itself under its new name: only the case changes.
  auto const same = mapped.parent == mapped.new_parent && from.text == to.text;
  mapped.new_name = same ? request.new_name : to.text;
  ZEST_TRY(auto view, impl_->view_with_trash(ctx, false));
  ZEST_CHECK(impl_->measure_move(ctx, mapped, view));
  OpenFiles::Deletion deletion(impl_->open_files);
  auto reply = impl_->runner.run_hinted(
      ctx, [&](Txn& txn) { return ops::rename(txn, view, mapped, deletion); });
  if (!reply.ok()) {
    return after_failure(deletion, std::move(reply).error());
  }
  impl_->open_files.forget(reply->ino);
  if (reply->attr.type == FileType::directory || (request.flags & kRenameExchange) != 0) {
    impl_->quotas.forget_parents();
  }
  if (reply->replaced.has_value()) {
    ZEST_TRY(reply->replaced, impl_->after_drop(ctx, deletion, *reply->replaced));
  }
  return reply;
}

Result<std::string> Meta::readlink(Context const& ctx, Ino ino) {
  Attr node;
  ZEST_TRY(auto target, impl_->runner.run(ctx, [&](Txn& txn) -> Result<std::string> {
    ZEST_TRY(auto text, ops::readlink(txn, ino));
    ZEST_TRY(node, txn.node(ino));
    return text;
  }));
  impl_->touch_atime(ctx, ino, node);
  return target;
}

Result<DirPage> Meta::readdir(Context const& ctx, ListDir const& request) {
  auto mapped = request;
  mapped.dir = impl_->inside(request.dir);
  auto const check = ctx.caller.check_permissions || impl_->config.atime != AtimeMode::noatime;
  if (check && request.from.empty()) {
    ZEST_TRY(auto const dir, getattr(ctx, request.dir));
    if (dir.type != FileType::directory) {
      return Errc::notdir;
    }
    auto const mask = request.attrs ? kRead | kExecute : 0U | kRead;
    ZEST_TRY(auto const seen, impl_->judged(ctx, dir, mask));
    ZEST_CHECK(check_access(ctx.caller, seen, mask));
    impl_->touch_atime(ctx, mapped.dir, dir);
  }
  auto& hints = impl_->runner.hints();
  auto const sent = hints.now();
  ZEST_TRY(auto page, impl_->engine.list_dir(ctx, mapped));
  for (auto const& entry : page.entries) {
    if (entry.attr.has_value()) {
      hints.remember(ChildKey{mapped.dir, entry.name},
                     Child{.entry = entry.entry, .attr = entry.attr}, sent);
    }
  }
  if (page.entries.empty() && request.from.empty() && !check) {
    // Nothing there may also mean that the directory itself is not.
    ZEST_TRY(auto const dir, getattr(ctx, request.dir));
    if (dir.type != FileType::directory) {
      return Errc::notdir;
    }
  }
  return page;
}

Result<Ino> Meta::parent_of(Context const& ctx, Ino dir) {
  auto const ino = impl_->inside(dir);
  if (ino == impl_->config.root) {
    return kRootIno;
  }
  if (ino == kTrashIno) {
    return kRootIno;
  }
  ZEST_TRY(auto const node, getattr(ctx, ino));
  return impl_->outside(node.parent);
}

Result<Attr> Meta::getattr(Context const& ctx, Ino ino) {
  auto const mapped = impl_->inside(ino);
  ZEST_TRY(auto const node, impl_->by_handle(ctx, mapped, [&] {
    return impl_->runner.read(ctx, [&](Txn& txn) { return txn.node(mapped); });
  }));
  impl_->open_files.remember(mapped, node);
  return node;
}

Result<RecentAttr> Meta::getattr_within(Context const& ctx, Ino ino, Duration age) {
  auto const now = impl_->clock.now();
  if (auto const recent = impl_->runner.hints().recent_dir(impl_->inside(ino), now - age)) {
    return RecentAttr{.attr = recent->attr, .age = now - recent->read_at};
  }
  ZEST_TRY(auto const attr, getattr(ctx, ino));
  return RecentAttr{.attr = attr, .age = {}};
}

Result<Attr> Meta::setattr(Context const& ctx, SetattrRequest const& request) {
  ZEST_CHECK(impl_->check_writable());
  auto mapped = request;
  mapped.ino = impl_->inside(request.ino);
  ZEST_TRY(auto const node, impl_->by_handle(ctx, mapped.ino, [&] {
    return impl_->runner.run_hinted(ctx, [&](Txn& txn) { return ops::setattr(txn, mapped); });
  }));
  impl_->open_files.remember(mapped.ino, node);
  return node;
}

Result<Attr> Meta::truncate(Context const& ctx, Ino ino, std::uint64_t length, bool by_handle) {
  ZEST_CHECK(impl_->check_writable());
  auto const view = impl_->view();
  ops::TruncateRequest const request{
      .ino = impl_->inside(ino), .length = length, .by_handle = by_handle};
  ZEST_TRY(auto const node, impl_->by_handle(ctx, request.ino, [&] {
    return impl_->runner.run_hinted(ctx,
                                    [&](Txn& txn) { return ops::truncate(txn, view, request); });
  }));
  impl_->open_files.remember(request.ino, node);
  return node;
}

Result<Attr> Meta::fallocate(Context const& ctx, FallocateRequest const& request) {
  ZEST_CHECK(impl_->check_writable());
  auto const view = impl_->view();
  ZEST_TRY(auto const node, impl_->by_handle(ctx, request.ino, [&] {
    return impl_->runner.run_hinted(ctx,
                                    [&](Txn& txn) { return ops::fallocate(txn, view, request); });
  }));
  impl_->open_files.remember(request.ino, node);
  return node;
}

Result<void> Meta::access(Context const& ctx, Ino ino, std::uint32_t mask) {
  ZEST_TRY(auto const node, getattr(ctx, ino));
  auto const on_volume = node.type == FileType::regular || node.type == FileType::directory ||
                         node.type == FileType::symlink;
  if ((mask & kWrite) != 0 && impl_->config.read_only && on_volume) {
    return Errc::rofs;
  }
  if ((mask & kWrite) != 0 && (node.flags & kFlagImmutable) != 0) {
    return Errc::perm;
  }
  ZEST_TRY(auto const seen, impl_->runner.acls().judge(ctx, node, mask));
  return check_mode(ctx.caller, seen, mask);
}

}  // namespace zest::meta
