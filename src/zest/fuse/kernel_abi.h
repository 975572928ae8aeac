// The kernel's FUSE interface: <linux/fuse.h> plus what is newer than the header of the oldest
// distribution that we build on (minor 38). Layouts and numbers are those of the kernel's uapi
// (protocol 7.45, Linux 6.18).
#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>

namespace zest::fuse::abi {

// ---- INIT flags (bits 32 and up travel in flags2)
constexpr std::uint64_t kInitDirectIoAllowMmap = std::uint64_t{1} << 36;
constexpr std::uint64_t kInitOverIoUring = std::uint64_t{1} << 41;

// ---- operations
constexpr std::uint32_t kOpStatx = 52;            // 7.39
constexpr std::uint32_t kOpCopyFileRange64 = 53;  // 7.45
constexpr std::uint32_t kOpcodeEnd = 54;          // one past the last that we know

/// INTERRUPT and its reply carry the request's unique with this bit set.
constexpr std::uint64_t kInterruptBit = 1;

/// Notification without a body: all cached names are stale (7.44).
constexpr int kNotifyIncEpoch = 8;

/// Reply to FUSE_COPY_FILE_RANGE_64.
struct CopyFileRangeOut {
  std::uint64_t bytes_copied = 0;
};

// ---- FUSE over io_uring (7.42)
constexpr std::uint32_t kUringCmdRegister = 1;
constexpr std::uint32_t kUringCmdCommitAndFetch = 2;

/// What kernel and server tell each other about the payload of an entry.
struct UringEntInOut {
  std::uint64_t flags = 0;
  std::uint64_t commit_id = 0;
  std::uint32_t payload_size = 0;
  std::uint32_t padding = 0;
  std::uint64_t reserved = 0;
};

/// Headers of one ring entry. `in_out` holds fuse_in_header (request) or fuse_out_header (reply),
/// `op_in` the operation's first argument; everything else is in the payload buffer.
struct UringRequestHeader {
  std::byte in_out[128];
  std::byte op_in[128];
  UringEntInOut ent;
};
static_assert(sizeof(UringRequestHeader) == 288);

/// The command area of the 128-byte submission entry.
struct UringCommand {
  std::uint64_t flags = 0;
  std::uint64_t commit_id = 0;
  std::uint16_t queue = 0;
  std::uint8_t padding[6] = {};
};
static_assert(sizeof(UringCommand) == 24);

}  // namespace zest::fuse::abi
