// What all parts of a mounted volume share: its configuration, the modules below, the scope of its
// background fibers and the counter that orders own changes against attributes under way.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <stop_token>
#include <unordered_map>
#include <utility>
#include <vector>

#include "zest/vfs/kernel_attrs.h"
#include "zest/vfs/vfs.h"

namespace zest::vfs {

class Jobs;
class DirtyFiles;

struct Env {
  Env(VfsConfig configuration, Services modules);
  Env(Env const&) = delete;
  Env& operator=(Env const&) = delete;

  VfsConfig const config;
  Services const services;
  /// Counts changes that this client made to attributes and names. Whoever asks meta for an
  /// attribute notes the count before; if the inode changed since, the answer may be older than
  /// what we know.
  std::atomic<std::uint64_t> epoch{1};
  /// Call after an own change succeeded; returns the new count.
  std::uint64_t note_change(Ino ino);
  /// True when the inode may have changed since the count was `before`.
  [[nodiscard]] bool changed_since(Ino ino, std::uint64_t before) const;
  /// Owns every background fiber; joined by Vfs::stop().
  Scope scope;
  /// Ends the periodic fibers, not the commits under way.
  std::stop_source stop;
  Jobs* jobs = nullptr;               ///< set once by Vfs, outlives all fibers
  std::shared_ptr<DirtyFiles> dirty;  ///< likewise; the block store's notification shares it

  /// The context of work that nobody may give up: commits of data that a caller was told is
  /// written.
  [[nodiscard]] static Context background() { return {}; }
  /// The context of periodic work, which ends at stop().
  [[nodiscard]] Context periodic() const;
  /// EIO while this client has no session, and where `written_in` is one that ended; logs the
  /// former once.
  Result<void> check_alive(SessionId written_in = {});
  /// Tells the door, on a fiber of its own, that the kernel's pages of a file are stale. On the
  /// caller's fiber it could wait for a kernel lock that the caller's own request holds.
  void invalidate_pages(Ino ino, std::uint64_t offset, std::uint64_t length);
  /// The same for all pages of many files.
  void invalidate_files(std::vector<Ino> inodes);
  /// Attributes of an inode, and with `pages` its pages, are stale in the kernel: returns when it
  /// has dropped them. Not in requests during which the kernel holds a page's lock (read, write).
  void invalidate_now(Ino ino, bool pages);
  /// All names are stale in the kernel.
  void invalidate_names();
  void set_invalidator(Vfs::Invalidator invalidator);
  KernelAttrs kernel_attrs;

 private:
  std::atomic<bool> fenced_{false};
  mutable std::mutex mutex_;
  Vfs::Invalidator invalidator_;
  // The latest changes by inode, bounded; what is older than the oldest counts as changed.
  std::unordered_map<Ino, std::uint64_t> changes_;
  std::deque<std::pair<std::uint64_t, Ino>> change_order_;
  std::uint64_t forgotten_ = 0;  ///< count of the newest change that was dropped
};

/// Errno of a failed commit as the writer gets to see it (format/05 §10.2).
Errc write_errc(Error const& error) noexcept;

}  // namespace zest::vfs
