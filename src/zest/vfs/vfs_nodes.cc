// Directories, extended attributes, inode flags and locks.
#include <utility>

#include <fmt/format.h>

#include "zest/vfs/impl.h"

namespace zest::vfs {

// ---- directories

Result<OpenReply> Vfs::opendir(Context const& ctx, Ino ino) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "opendir",
      [&]() -> Result<OpenReply> {
        if (InternalFiles::owns(ino)) {
          return Errc::notdir;
        }
        if (ctx.caller.check_permissions) {
          constexpr std::uint32_t kRead = 4;
          ZEST_CHECK(impl.meta().access(ctx, ino, kRead));
        }
        auto stream = std::make_shared<DirStream>(impl.env, impl.files, impl.internal, ino);
        return OpenReply{.handle = impl.handles.add(std::move(stream))};
      },
      [&](auto const&) { return describe_args(fmt::to_string(ino.value)); });
}

Result<void> Vfs::readdir(Context const& ctx, Handle handle, std::uint64_t offset, bool plus,
                          DirSink const& sink) {
  auto& impl = *impl_;
  auto const stream = impl.handles.find<DirStream>(handle);
  if (!stream) {
    return Errc::badf;
  }
  return impl.traced(
      ctx, plus ? "readdirplus" : "readdir", [&] { return stream->read(ctx, offset, plus, sink); },
      [&](auto const&) {
        return describe_args(fmt::format("{},{}", stream->ino().value, offset));
      });
}

void Vfs::releasedir(Context const& ctx, Handle handle) {
  auto const stream = impl_->handles.remove<DirStream>(handle);
  (void)impl_->traced(
      ctx, "releasedir", [&]() -> Result<void> { return {}; },
      [&](auto const&) {
        return describe_args(stream ? fmt::to_string(stream->ino().value) : "");
      });
}

Result<void> Vfs::fsyncdir(Context const& ctx, Handle handle) {
  auto& impl = *impl_;
  if (!impl.handles.find<DirStream>(handle)) {
    return Errc::badf;
  }
  return impl.traced(
      ctx, "fsyncdir",
      [&]() -> Result<void> {
        if (impl.env.config.sync == SyncPolicy::never) {
          return {};
        }
        return impl.meta().sync(ctx);
      },
      [&](auto const&) { return describe_args(fmt::to_string(handle.value)); });
}

// ---- extended attributes

namespace {

/// What is answered here without a trip to the engine, which every write(2) of a file would cost
/// otherwise: the kernel asks for security.capability each time.
enum class XattrKind : std::uint8_t { stored, unsupported, invalid };

bool is_acl_name(std::string_view name) noexcept {
  return name == meta::kAccessAclXattr || name == meta::kDefaultAclXattr;
}

XattrKind xattr_kind(VfsConfig const& config, Ino ino, std::string_view name) {
  if (name.empty()) {
    return XattrKind::invalid;
  }
  if (is_acl_name(name)) {
    return config.enable_acl && !InternalFiles::owns(ino) ? XattrKind::stored
                                                          : XattrKind::unsupported;
  }
  if (!config.enable_xattr || name.starts_with("security.") || InternalFiles::owns(ino)) {
    return XattrKind::unsupported;
  }
  return XattrKind::stored;
}

}  // namespace

Result<std::string> Vfs::getxattr(Context const& ctx, Ino ino, std::string_view name) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "getxattr",
      [&]() -> Result<std::string> {
        switch (xattr_kind(impl.env.config, ino, name)) {
          case XattrKind::invalid: return Errc::inval;
          case XattrKind::unsupported: return Errc::nodata;
          case XattrKind::stored: break;
        }
        if (name.size() > kXattrNameMax) {
          return Errc::range;
        }
        return impl.meta().getxattr(ctx, ino, name);
      },
      [&](auto const&) { return describe_args(fmt::format("{},{}", ino.value, name)); });
}

Result<void> Vfs::setxattr(Context const& ctx, Ino ino, std::string_view name,
                           std::string_view value, std::uint32_t flags) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "setxattr",
      [&]() -> Result<void> {
        switch (xattr_kind(impl.env.config, ino, name)) {
          case XattrKind::invalid: return Errc::inval;
          case XattrKind::unsupported: return Errc::notsup;
          case XattrKind::stored: break;
        }
        ZEST_CHECK(impl.check_writable());
        if (name.size() > kXattrNameMax || value.size() > kXattrValueMax) {
          return Errc::range;
        }
        auto const before = impl.env.epoch.load();
        ZEST_CHECK(impl.meta().setxattr(ctx, ino, name, value, flags));
        return is_acl_name(name) ? impl.mode_changed(ctx, ino, before) : Result<void>();
      },
      [&](auto const&) {
        return describe_args(fmt::format("{},{},{},{}", ino.value, name, value.size(), flags));
      });
}

Result<std::string> Vfs::listxattr(Context const& ctx, Ino ino) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "listxattr",
      [&]() -> Result<std::string> {
        std::string out;
        auto const& config = impl.env.config;
        if ((!config.enable_xattr && !config.enable_acl) || InternalFiles::owns(ino)) {
          return out;
        }
        ZEST_TRY(auto const names, impl.meta().listxattr(ctx, ino));
        for (auto const& name : names) {
          if (is_acl_name(name) ? config.enable_acl : config.enable_xattr) {
            out.append(name).push_back('\0');
          }
        }
        return out;
      },
      [&](auto const&) { return describe_args(fmt::to_string(ino.value)); });
}

Result<void> Vfs::removexattr(Context const& ctx, Ino ino, std::string_view name) {
  auto& impl = *impl_;
  return impl.traced(
      ctx, "removexattr",
      [&]() -> Result<void> {
        switch (xattr_kind(impl.env.config, ino, name)) {
          case XattrKind::invalid: return Errc::inval;
          case XattrKind::unsupported: return Errc::notsup;
          case XattrKind::stored: break;
        }
        ZEST_CHECK(impl.check_writable());
        if (name.size() > kXattrNameMax) {
          return Errc::range;
        }
        return impl.meta().removexattr(ctx, ino, name);
      },
      [&](auto const&) { return describe_args(fmt::format("{},{}", ino.value, name)); });
}

// ---- flags (format/05 §8)

namespace {

// FS_*_FL of linux/fs.h: secure removal stands for "skip trash", as on the peer.
constexpr std::uint32_t kFsSecureRemoval = 0x01;
constexpr std::uint32_t kFsImmutable = 0x10;
constexpr std::uint32_t kFsAppend = 0x20;

}  // namespace

Result<std::uint32_t> Vfs::get_flags(Context const& ctx, Ino ino) {
  if (!impl_->env.config.enable_ioctl || InternalFiles::owns(ino)) {
    return Errc::notty;
  }
  ZEST_TRY(auto const attr, impl_->meta().getattr(ctx, ino));
  std::uint32_t flags = 0;
  flags |= (attr.flags & kFlagSkipTrash) != 0 ? kFsSecureRemoval : 0;
  flags |= (attr.flags & kFlagImmutable) != 0 ? kFsImmutable : 0;
  flags |= (attr.flags & kFlagAppend) != 0 ? kFsAppend : 0;
  return flags;
}

Result<void> Vfs::set_flags(Context const& ctx, Ino ino, std::uint32_t flags) {
  auto& impl = *impl_;
  if (!impl.env.config.enable_ioctl || InternalFiles::owns(ino)) {
    return Errc::notty;
  }
  ZEST_CHECK(impl.check_writable());
  if ((flags & ~(kFsSecureRemoval | kFsImmutable | kFsAppend)) != 0) {
    return Errc::notsup;
  }
  if (ctx.caller.uid != 0) {
    return Errc::perm;
  }
  auto const before = impl.env.epoch.load();
  ZEST_TRY(auto const old, impl.meta().getattr(ctx, ino));
  // The Windows bits have no letter here and stay.
  unsigned stored = old.flags & ~unsigned{kFlagSkipTrash | kFlagImmutable | kFlagAppend};
  stored |= (flags & kFsSecureRemoval) != 0 ? unsigned{kFlagSkipTrash} : 0U;
  stored |= (flags & kFsImmutable) != 0 ? unsigned{kFlagImmutable} : 0U;
  stored |= (flags & kFsAppend) != 0 ? unsigned{kFlagAppend} : 0U;
  ZEST_TRY(auto const attr,
           impl.meta().setattr(ctx, {.ino = ino, .flags = static_cast<std::uint8_t>(stored)}));
  impl.changed(ino, attr, before);
  return {};
}

}  // namespace zest::vfs
