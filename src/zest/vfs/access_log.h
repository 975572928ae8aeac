// The `.accesslog` virtual file: one line an operation, for whoever has it open (format/07 §5.1).
//
// Nothing is formatted while nobody listens. A subscriber that reads too slowly loses lines, never
// slows an operation down.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/format/types.h"

namespace zest::vfs {

/// The lines of one open `.accesslog`.
class AccessLogReader {
 public:
  /// Up to `size` bytes; waits up to a second for a line and gives "#\n" when there is none.
  /// Errors: EINTR.
  Result<std::string> read(Context const& ctx, std::size_t size);

 private:
  friend class AccessLog;
  std::mutex mutex_;
  std::deque<std::string> lines_;
};

class AccessLog {
 public:
  [[nodiscard]] bool active() const noexcept {
    return subscribers_.load(std::memory_order_relaxed) > 0;
  }
  std::shared_ptr<AccessLogReader> subscribe();
  void unsubscribe(std::shared_ptr<AccessLogReader> const& reader);

  struct Line {
    std::string_view op;
    std::string what;  ///< "(args)" or "(args): result"
    int error = 0;     ///< errno, 0 = OK
    WallTime end;
    Duration elapsed{};
  };
  void write(Caller const& caller, Line const& line);

 private:
  std::atomic<std::size_t> subscribers_{0};
  std::mutex mutex_;
  std::vector<std::shared_ptr<AccessLogReader>> readers_;  // shared with their open handles
};

/// `(ino,[mode string:octal mode,nlink,uid,gid,atime,mtime,ctime,length])`.
std::string describe(Ino ino, Attr const& attr);

}  // namespace zest::vfs
