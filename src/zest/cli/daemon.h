// Going to the background only when the work has begun: the caller of `zest mount -d` gets the exit
// code, and the message, of a mount that failed.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/runtime/socket.h"

namespace zest::cli {

/// The background process's line to its caller.
class Readiness {
 public:
  Readiness() = default;
  explicit Readiness(UniqueFd pipe) : pipe_(std::move(pipe)) {}
  /// Lets the caller return with exit code 0, after `message` on its standard error, and detaches
  /// from its terminal. Without a caller (foreground) prints the message only.
  void succeed(std::string_view message);
  /// Lets the caller return with exit code 1 and `message`. Without a caller prints it.
  void fail(std::string_view message);

 private:
  void tell(char code, std::string_view message);
  UniqueFd pipe_;
  bool background_ = false;

  friend struct Fork;
};

/// Which process this is after go_background().
struct Fork {
  /// In the calling process: what to exit with. Empty in the background process.
  std::optional<int> exit_code;
  Readiness readiness;

  /// Starts the background process (a session of its own, standard input closed) and, in the
  /// caller, waits for its word; a background process that dies without one is a failure. Call
  /// before the first thread starts.
  static Result<Fork> go_background();
};

}  // namespace zest::cli
