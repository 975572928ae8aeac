// The facade: extended attributes, POSIX ACLs, and what ACLs say outside of transactions.
#include <optional>
#include <utility>

#include "zest/format/acl.h"
#include "zest/meta/meta_impl.h"
#include "zest/meta/rules.h"

namespace zest::meta {
namespace {

std::optional<ops::AclKind> acl_kind(std::string_view name) noexcept {
  if (name == kAccessAclXattr) {
    return ops::AclKind::access;
  }
  if (name == kDefaultAclXattr) {
    return ops::AclKind::default_for_children;
  }
  return std::nullopt;
}

}  // namespace

Result<Attr> Meta::Impl::judged(Context const& ctx, Attr const& node, std::uint32_t mask) {
  return ctx.caller.check_permissions ? runner.acls().judge(ctx, node, mask) : Result<Attr>(node);
}

Result<void> Meta::Impl::check_open(Context const& ctx, Attr const& node, std::uint32_t flags) {
  ZEST_TRY(auto const seen, judged(ctx, node, access_of_open_flags(flags)));
  return meta::check_open(ctx.caller, seen, flags);
}

Result<void> Meta::Impl::set_acl(Context const& ctx, ops::AclRequest const& request) {
  ZEST_TRY(auto const node, runner.run(ctx, [&](Txn& txn) { return ops::set_acl(txn, request); }));
  open_files.remember(request.ino, node);
  return {};
}

Result<std::string> Meta::getxattr(Context const& ctx, Ino ino, std::string_view name) {
  if (auto const kind = acl_kind(name)) {
    auto const mapped = impl_->inside(ino);
    return impl_->runner.run(ctx, [&](Txn& txn) { return ops::get_acl(txn, mapped, *kind); });
  }
  ops::XattrRequest const request{.ino = impl_->inside(ino), .name = name, .value = {}};
  return impl_->runner.run(ctx, [&](Txn& txn) { return ops::getxattr(txn, request); });
}

Result<void> Meta::setxattr(Context const& ctx, Ino ino, std::string_view name,
                            std::string_view value, std::uint32_t flags) {
  ZEST_CHECK(impl_->check_writable());
  auto const mapped = impl_->inside(ino);
  if (auto const kind = acl_kind(name)) {
    ZEST_TRY(auto const rule, parse_acl_xattr(value));
    return impl_->set_acl(ctx, {.ino = mapped,
                                .kind = *kind,
                                .rule = rule,
                                .kill_setgid = (flags & kXattrKillSetgid) != 0});
  }
  ops::XattrRequest const request{
      .ino = mapped, .name = name, .value = value, .flags = flags & ~kXattrKillSetgid};
  ZEST_CHECK(impl_->runner.run(ctx, [&](Txn& txn) { return ops::setxattr(txn, request); }));
  impl_->open_files.forget(mapped);
  return {};
}

Result<std::vector<std::string>> Meta::listxattr(Context const& ctx, Ino ino) {
  ZEST_TRY(auto names, impl_->engine.list_xattrs(ctx, impl_->inside(ino)));
  auto const acls = impl_->current_setting()->enable_acl;
  if (!names.empty() && !acls) {
    return names;
  }
  ZEST_TRY(auto const node, getattr(ctx, ino));  // Nothing there may mean that the inode is not.
  if (acls && node.access_acl != 0) {
    names.emplace_back(kAccessAclXattr);
  }
  if (acls && node.default_acl != 0) {
    names.emplace_back(kDefaultAclXattr);
  }
  return names;
}

Result<void> Meta::removexattr(Context const& ctx, Ino ino, std::string_view name) {
  ZEST_CHECK(impl_->check_writable());
  auto const mapped = impl_->inside(ino);
  if (auto const kind = acl_kind(name)) {
    return impl_->set_acl(ctx, {.ino = mapped, .kind = *kind, .rule = AclRule{}});
  }
  ops::XattrRequest const request{.ino = mapped, .name = name, .value = {}};
  ZEST_CHECK(impl_->runner.run(ctx, [&](Txn& txn) { return ops::removexattr(txn, request); }));
  impl_->open_files.forget(mapped);
  return {};
}

}  // namespace zest::meta
