// A mounted volume as the kernel sees it: mounts, serves, unmounts.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/fuse/mount.h"
#include "zest/runtime/loop_group.h"
#include "zest/vfs/vfs.h"

namespace zest::fuse {

enum class TransportKind : std::uint8_t {
  automatic,  ///< io_uring where kernel, module parameter and loops allow it
  dev,        ///< plain /dev/fuse
  uring,      ///< io_uring, or an error that says what is missing
};

struct FuseConfig {
  std::string mount_point;
  /// Name of the volume, for the source "ZestFS:{name}".
  std::string fs_name;
  TransportKind transport = TransportKind::automatic;
  /// Largest read or write request, 4 KiB to 1 MiB.
  std::uint32_t max_io = 1u << 20;
  /// Entries of each CPU's queue with io_uring: requests of that CPU under way at once.
  std::uint32_t uring_depth = 32;
  /// Address space for io_uring payloads, all queues together; the depth shrinks to fit. Memory is
  /// used only as far as requests were large.
  std::size_t uring_memory_max = std::size_t{1} << 30;
  bool writeback_cache = false;
  std::string raw_options;  ///< of `-o`
  bool allow_other = true;  ///< needs root or user_allow_other in /etc/fuse.conf
  std::optional<std::uint16_t> umask;
  bool read_only = false;
  /// Mounts on top of a mount of the same volume instead of refusing it.
  bool over_same_volume = false;
};

/// The session of one mount. mount() and wait() are for foreign threads (main), as they block.
class FuseSession {
 public:
  /// Mounts and starts to serve on all loops; returns when the kernel may be used. A dead FUSE
  /// mount at the mount point is removed first. Errors: ENOENT, ENOTDIR, EBUSY (the volume is
  /// mounted there already), EPERM, EINVAL (options), ENOTSUP (transport), with messages. `vfs`,
  /// `loops`, `log` and `metrics` outlive the session.
  static Result<std::unique_ptr<FuseSession>> mount(FuseConfig config, vfs::Vfs& vfs,
                                                    LoopGroup& loops, Logger& log,
                                                    Registry& metrics);
  /// Detaches the mount if it's still there, ends the connection and waits for running requests.
  ~FuseSession();
  FuseSession(FuseSession const&) = delete;
  FuseSession& operator=(FuseSession const&) = delete;

  /// Blocks until the kernel let go (umount by anybody, abort) and every request was answered.
  void wait();
  /// Unmounts and waits as wait() does; with lazy it waits for the last user. EBUSY leaves
  /// everything as it was. Fine when somebody else has unmounted already.
  Result<void> unmount(UnmountMode mode = UnmountMode::normal);

  /// "dev" or "uring".
  [[nodiscard]] std::string_view transport() const noexcept;
  /// Normalised.
  [[nodiscard]] std::string const& mount_point() const noexcept;

 private:
  struct Impl;
  explicit FuseSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest::fuse
