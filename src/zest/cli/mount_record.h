// What a running `zest mount` leaves in the runtime directory, so that other commands find it: its
// process, its META-URL (without password) and where it is mounted.
//
// One file a mount point, in /run/zest (root) or $XDG_RUNTIME_DIR/zest. The mounting process holds
// a lock on it until it has ended, however it ends; that is how `umount` waits for the last flush.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "zest/base/clock.h"
#include "zest/base/result.h"
#include "zest/runtime/socket.h"

namespace zest::cli {

struct MountFacts {
  std::string mount_point;  ///< normalised
  std::string meta_url;     ///< absolute, redacted
  std::string volume;
  std::uint64_t root_ino = 1;  ///< inode of the volume that is the mount's root
  std::int64_t pid = 0;
};

/// Owned by the mounting process.
class MountRecord {
 public:
  /// Writes the file and locks it. EBUSY when a living process holds it for the same mount point
  /// and `over` is false; with `over` the older mount loses its record.
  static Result<MountRecord> create(MountFacts const& facts, bool over);
  MountRecord(MountRecord&& other) noexcept = default;
  MountRecord& operator=(MountRecord&&) = delete;
  /// Removes the file. The lock is left to the end of the process, so call it last.
  ~MountRecord();

 private:
  MountRecord(std::string path, UniqueFd file) : path_(std::move(path)), file_(std::move(file)) {}
  std::string path_;
  UniqueFd file_;
};

/// Another process's mount, found by its mount point.
class MountedBy {
 public:
  /// Empty when no process that lives has a record for `mount_point`.
  static Result<std::optional<MountedBy>> find(std::string const& mount_point);
  [[nodiscard]] MountFacts const& facts() const noexcept { return facts_; }
  /// Blocks until the process has ended, at most `timeout`; false when it still runs.
  [[nodiscard]] bool wait_ended(Duration timeout) const;

 private:
  MountedBy(MountFacts facts, UniqueFd process)
      : facts_(std::move(facts)), process_(std::move(process)) {}
  MountFacts facts_;
  UniqueFd process_;  ///< a pidfd, so that a reused process id is no danger
};

}  // namespace zest::cli
