#include "zest/fuse/negotiate.h"

#include <fmt/format.h>

#include <algorithm>

namespace zest::fuse {
namespace {

constexpr std::uint32_t kPageSize = 4096;
constexpr std::uint32_t kMajor = 7;

/// Why each: see the kernel's documentation of FUSE_INIT; what isn't listed stays off.
constexpr std::uint64_t wanted_flags(InitWish const& wish) noexcept {
  std::uint64_t flags =
      FUSE_ASYNC_READ            // several read-ahead requests of a file at once
      | FUSE_POSIX_LOCKS         // fcntl locks are the volume's, not the host's
      | FUSE_FLOCK_LOCKS         // so are flock's
      | FUSE_EXPORT_SUPPORT      // NFS export: LOOKUP of "." and ".."
      | FUSE_BIG_WRITES          //
      | FUSE_DONT_MASK           // meta applies the umask, as default ACLs replace it
      | FUSE_AUTO_INVAL_DATA     // a changed mtime or size drops cached pages (other clients write)
      | FUSE_DO_READDIRPLUS      //
      | FUSE_READDIRPLUS_AUTO    // attributes only where somebody looked at them
      | FUSE_ASYNC_DIO           //
      | FUSE_PARALLEL_DIROPS     //
      | FUSE_ABORT_ERROR         // tells an aborted connection from an unmount
      | FUSE_MAX_PAGES           //
      | FUSE_CACHE_SYMLINKS      // a symlink's target never changes
      | FUSE_HANDLE_KILLPRIV_V2  // setuid bits are dropped by us: no GETXATTR before each write
      | FUSE_SETXATTR_EXT        //
      | FUSE_INIT_EXT            //
      | abi::kInitDirectIoAllowMmap;
  if (wish.writeback_cache) {
    flags |= FUSE_WRITEBACK_CACHE;
  }
  if (wish.posix_acl) {
    flags |= FUSE_POSIX_ACL;  // the kernel asks for ACLs and enforces them
  }
  if (wish.over_io_uring) {
    flags |= abi::kInitOverIoUring;
  }
  return flags;
}

}  // namespace

Result<InitReply> negotiate(Init const& init, InitWish const& wish) {
  InitReply reply;
  reply.out.major = kMajor;
  reply.out.minor = std::min(init.minor, kMinorMax);
  if (init.major > kMajor) {
    reply.out.minor = kMinorMax;
    return reply;
  }
  if (init.major < kMajor || init.minor < kMinorMin) {
    return Error(Errc::notsup, Fault::semantic,
                 fmt::format("the kernel speaks FUSE {}.{}, but {}.{} is needed (Linux 4.20 or "
                             "newer)",
                             init.major, init.minor, kMajor, kMinorMin));
  }
  auto const flags = wanted_flags(wish) & init.flags;
  auto const max_io = std::max(wish.max_io, kPageSize) / kPageSize * kPageSize;
  reply.out.max_readahead = init.max_readahead;
  reply.out.flags = static_cast<std::uint32_t>(flags);
  reply.out.flags2 = static_cast<std::uint32_t>(flags >> 32);
  reply.out.max_background = wish.max_background;
  reply.out.congestion_threshold = static_cast<std::uint16_t>(wish.max_background / 4 * 3);
  reply.out.max_write = max_io;
  reply.out.max_pages = static_cast<std::uint16_t>(max_io / kPageSize);
  reply.out.time_gran = 1;
  reply.agreed = {.minor = reply.out.minor,
                  .max_write = max_io,
                  .flags = flags,
                  .setxattr_ext = (flags & FUSE_SETXATTR_EXT) != 0,
                  .over_io_uring = (flags & abi::kInitOverIoUring) != 0};
  return reply;
}

}  // namespace zest::fuse
