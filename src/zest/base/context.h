// What travels with every request: who asks, until when, and whether it was given up.
#pragma once

#include <cstdint>
#include <stop_token>
#include <vector>

#include "zest/base/clock.h"

namespace zest {

/// The process on whose behalf an operation runs.
struct Caller {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t pid = 0;
  /// Supplementary groups; empty where the kernel did the permission checks (see
  /// check_permissions).
  std::vector<std::uint32_t> groups;
  /// False on a mount with default_permissions: the kernel has checked mode bits already. Sticky
  /// bits, ownership and inode flags are always checked.
  bool check_permissions = false;

  [[nodiscard]] bool in_group(std::uint32_t group) const noexcept {
    if (gid == group) {
      return true;
    }
    for (auto g : groups) {
      if (g == group) {
        return true;
      }
    }
    return false;
  }
};

/// Passed by reference through every layer; outlives the call. Every wait honours deadline
/// (ETIMEDOUT) and stop (EINTR).
struct Context {
  Caller caller;
  TimePoint deadline = kNever;
  std::stop_token stop;
};

}  // namespace zest
