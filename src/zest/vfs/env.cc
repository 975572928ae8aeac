#include "zest/vfs/env.h"

#include <utility>

namespace zest::vfs {

namespace {

// Enough for the changes that a client makes while a page of a directory is delivered.
constexpr std::size_t kChangesKept = 8192;

}  // namespace

Env::Env(VfsConfig configuration, Services modules)
    : config(std::move(configuration)), services(modules) {}

Context Env::periodic() const {
  Context ctx;
  ctx.stop = stop.get_token();
  return ctx;
}

Result<void> Env::check_alive(SessionId written_in) {
  if (services.meta.alive()) [[likely]] {
    fenced_.store(false, std::memory_order_relaxed);
    if (written_in.value == 0 || written_in == services.meta.session()) [[likely]] {
      return {};
    }
    return Error(Errc::io, Fault::transient, "written under a session that has ended");
  }
  if (!fenced_.exchange(true)) {
    services.log.error(
        "this client has no session in the volume, so other clients may be taking over its locks "
        "and files; writing is refused until it has one again",
        {{"mount_point", config.mount_point}});
  }
  return Error(Errc::io);
}

std::uint64_t Env::note_change(Ino ino) {
  std::lock_guard const lock(mutex_);
  auto const now = epoch.fetch_add(1) + 1;
  changes_[ino] = now;
  change_order_.emplace_back(now, ino);
  if (change_order_.size() > kChangesKept) {
    auto const [when, oldest] = change_order_.front();
    change_order_.pop_front();
    if (auto const it = changes_.find(oldest); it != changes_.end() && it->second == when) {
      changes_.erase(it);
    }
    forgotten_ = when;
  }
  return now;
}

bool Env::changed_since(Ino ino, std::uint64_t before) const {
  std::lock_guard const lock(mutex_);
  if (forgotten_ > before) {
    return true;
  }
  auto const it = changes_.find(ino);
  return it != changes_.end() && it->second > before;
}

void Env::invalidate_pages(Ino ino, std::uint64_t offset, std::uint64_t length) {
  std::function<void(Ino, std::uint64_t, std::uint64_t)> tell;
  {
    std::lock_guard const lock(mutex_);
    tell = invalidator_.inode;
  }
  if (tell) {
    scope.spawn([tell = std::move(tell), ino, offset, length] { tell(ino, offset, length); });
  }
}

void Env::invalidate_files(std::vector<Ino> inodes) {
  std::function<void(Ino, std::uint64_t, std::uint64_t)> tell;
  {
    std::lock_guard const lock(mutex_);
    tell = invalidator_.inode;
  }
  if (tell) {
    scope.spawn([tell = std::move(tell), inodes = std::move(inodes)] {
      for (auto const ino : inodes) {
        tell(ino, 0, 0);
      }
    });
  }
}

void Env::invalidate_now(Ino ino, bool pages) {
  std::function<void(Ino, bool)> tell;
  {
    std::lock_guard const lock(mutex_);
    tell = invalidator_.inode_now;
  }
  if (tell) {
    tell(ino, pages);
  }
}

void Env::invalidate_names() {
  std::function<void()> tell;
  {
    std::lock_guard const lock(mutex_);
    tell = invalidator_.names;
  }
  if (tell) {
    tell();
  }
}

void Env::set_invalidator(Vfs::Invalidator invalidator) {
  std::lock_guard const lock(mutex_);
  invalidator_ = std::move(invalidator);
}

Errc write_errc(Error const& error) noexcept {
  switch (error.code()) {  // NOLINT(clang-diagnostic-switch-enum): all others are EIO
    case Errc::nospc:
    case Errc::dquot:
    case Errc::fbig:
    case Errc::rofs: return error.code();
    case Errc::noent:
    case Errc::perm:
    case Errc::inval: return Errc::badf;
    default: return Errc::io;
  }
}

}  // namespace zest::vfs
