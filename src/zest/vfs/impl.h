// The state of a mounted volume and the small steps that its operations share.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "zest/runtime/loop.h"
#include "zest/vfs/access_log.h"
#include "zest/vfs/env.h"
#include "zest/vfs/file_state.h"
#include "zest/vfs/handles.h"
#include "zest/vfs/internal_files.h"
#include "zest/vfs/jobs.h"

namespace zest::vfs {

struct Vfs::Impl {
  Impl(VfsConfig configuration, Services modules);

  Env env;
  AccessLog access_log;
  InternalFiles internal;
  FileTable files;
  Jobs jobs;
  HandleTable handles;
  Scope periodic;  ///< the flusher and the cleaning
  bool started = false;

  [[nodiscard]] meta::Meta& meta() noexcept { return env.services.meta; }

  // ---- replies
  /// Attributes as this client sees them: with its pending writes. `before` is Env::epoch before
  /// meta was asked. `foreign` becomes true when another client changed the data: the page that
  /// held the end of the file has zeros behind it in the kernel, and those are data now, so its
  /// pages have to go before it hears of the new length.
  Attr merge(Ino ino, Attr const& fetched, std::uint64_t before, bool& foreign);
  EntryReply entry(Ino ino, Attr const& fetched, std::uint64_t before);
  AttrReply attr_reply(Ino ino, Attr const& fetched, std::uint64_t before);
  /// An own change of attributes succeeded. Without `sets_mtime`, an mtime that is new to us is
  /// somebody else's write.
  void changed(Ino ino, Attr const& attr, std::uint64_t before, bool sets_mtime = false);

  // ---- checks
  /// EEXIST for a name that belongs to the file system, ENAMETOOLONG.
  Result<void> check_new_name(Ino parent, std::string_view name) const;
  /// EPERM for a name that belongs to the file system, ENAMETOOLONG.
  Result<void> check_old_name(Ino parent, std::string_view name) const;
  Result<void> check_writable() const;
  /// EIO when a lock that was taken through this handle is lost.
  Result<void> check_locks(FileHandle const& handle);

  // ---- locks and sessions (coherence.cc)
  /// Before a lock is given up: everything written is committed. Errors stay with the file, for
  /// fsync and close.
  void store_before_unlock(FilePtr const& file);
  /// After a lock was granted, with the node as it was then: nothing older is served from now on,
  /// not by the kernel either.
  void refresh_after_lock(FilePtr const& file, Attr const& attr, std::uint64_t before);
  /// The session `ended` was taken away and a new one opened.
  void session_ended(SessionId ended);

  // ---- steps
  /// Opens what meta has counted as open (`attr` is its answer) or fails and closes it.
  OpenReply opened(FilePtr const& file, Attr const& attr, std::uint64_t before,
                   std::uint32_t flags);
  /// What the kernel may answer with from its memory is not older than `attr`.
  void refresh_kernel(Ino ino, Attr const& attr);
  Result<OpenReply> open_file(Context const& ctx, Ino ino, std::uint32_t flags);
  /// meta.close and what follows from it.
  void close_file(Ino ino);
  void deleted(meta::UnlinkReply const& reply);
  Result<Attr> truncate(Context const& ctx, Ino ino, std::uint64_t length, bool by_handle);
  /// An ACL was set, which changes the mode: what is kept of the file learns it.
  Result<void> mode_changed(Context const& ctx, Ino ino, std::uint64_t before);
  /// Drops setuid and setgid bits on behalf of the kernel, when the file has any.
  Result<void> kill_suidgid(FileState& file);

  /// Runs an operation; when somebody reads `.accesslog`, writes a line about it.
  /// `describe(result)` makes its text and is called only then.
  template <class Fn, class Describe>
  auto traced(Context const& ctx, std::string_view op, Fn&& fn, Describe&& describe_line)
      -> decltype(fn()) {
    if (!access_log.active()) [[likely]] {
      return fn();
    }
    auto& loop = *Loop::current();
    auto const start = loop.now();
    auto result = fn();
    access_log.write(ctx.caller, {.op = op,
                                  .what = describe_line(result),
                                  .error = result.ok() ? 0 : result.error().number(),
                                  .end = loop.wall(),
                                  .elapsed = loop.now() - start});
    return result;
  }
};

// Texts of access log lines.
std::string describe_args(std::string_view args);
std::string describe_entry(std::string_view args, Result<EntryReply> const& result);
std::string describe_attr(std::string_view args, Ino ino, Result<AttrReply> const& result);

}  // namespace zest::vfs
