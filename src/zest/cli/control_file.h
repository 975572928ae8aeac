// Asking the process that serves a mount for work, through the volume's `.control` (format/07
// §5.4). Works on mounts of either client.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "zest/base/result.h"

namespace zest::cli {

/// A path below a mounted volume.
struct MountedPath {
  std::string mount_root;
  std::uint64_t ino = 0;         ///< 0 when nothing has this name
  std::uint64_t parent_ino = 0;  ///< of the directory that holds the name
  std::string name;
};

/// Finds the volume's root above `path` (which is made absolute). EINVAL when there is none, errors
/// of stat(2). Blocks.
Result<MountedPath> find_mounted(std::string const& path);

/// Builds a request: numbers big-endian.
class ControlRequest {
 public:
  explicit ControlRequest(std::uint32_t command) : command_(command) {}
  ControlRequest& number(std::uint64_t value, unsigned bytes);
  ControlRequest& text(std::string_view bytes);
  [[nodiscard]] std::string encode() const;

 private:
  std::uint32_t command_;
  std::string payload_;
};

/// Called with the two numbers of the command's progress.
using ControlProgress = std::function<void(std::uint64_t, std::uint64_t)>;

/// Sends the request and waits for its end; the errno that it ended with is the error. Blocks for
/// as long as the work takes; the death of this process stops it.
Result<void> control(std::string const& mount_root, ControlRequest const& request,
                     ControlProgress const& progress);

}  // namespace zest::cli
