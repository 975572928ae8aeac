// FUSE_INIT: what kernel and file system agree on for the life of a mount.
#pragma once

#include <cstdint>

#include "zest/base/result.h"
#include "zest/fuse/protocol.h"

namespace zest::fuse {

/// What we want; see FuseConfig for the meaning.
struct InitWish {
  std::uint32_t max_io = 1u << 20;  ///< bytes
  bool writeback_cache = false;
  bool posix_acl = false;
  bool over_io_uring = false;
  std::uint16_t max_background = 128;
};

/// What was agreed.
struct Negotiated {
  std::uint32_t minor = 0;
  std::uint32_t max_write = 0;  ///< bytes in one request
  std::uint64_t flags = 0;      ///< those that both sides have
  bool setxattr_ext = false;
  bool over_io_uring = false;
};

/// The oldest protocol that we speak: Linux 4.20, whose max_pages allows requests above 128 KiB.
constexpr std::uint32_t kMinorMin = 28;
/// The newest whose reply layouts we know.
constexpr std::uint32_t kMinorMax = 45;

struct InitReply {
  Negotiated agreed;
  fuse_init_out out{};
};

/// Answers `init`. Errors: EPROTO-like ENOTSUP with a message when the kernel is too old. When its
/// major version is newer, the reply names ours, `agreed.minor` is 0, and the kernel sends another
/// INIT.
Result<InitReply> negotiate(Init const& init, InitWish const& wish);

}  // namespace zest::fuse
