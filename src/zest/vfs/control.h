// The virtual file `.control`, through which tools ask a mounted volume for work (format/07 §5.4).
//
// A tool opens it, writes a request and reads the answer: progress every 300 ms, then a status
// byte. What it reads is one stream of bytes that begins with the request, so a file position that
// moves with both writes and reads finds the answer; nothing to read yet is an end of file, and the
// tool asks again. Closing the file stops what runs.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>

#include "zest/vfs/env.h"

namespace zest::vfs {

/// One open `.control`. Any loop, thread-safe. Shared by the handle and the running command.
class ControlSession : public std::enable_shared_from_this<ControlSession> {
 public:
  explicit ControlSession(Env& env) : env_(env) {}
  ControlSession(ControlSession const&) = delete;
  ControlSession& operator=(ControlSession const&) = delete;

  /// Takes bytes of a request; a whole one starts its command with the rights of `ctx.caller`.
  /// EBUSY while a command runs, EFBIG for a request that no command needs.
  Result<std::size_t> write(Context const& ctx, ByteView bytes);
  /// Bytes of the stream from `offset` on; none when there are none yet.
  Result<DataView> read(std::uint64_t offset, std::size_t size);
  /// Stops the running command.
  void stop() noexcept;

 private:
  void start(Context const& ctx);
  void answer(std::string_view bytes);

  Env& env_;
  std::mutex mutex_;
  std::string request_;  ///< bytes of the request under way
  bool running_ = false;
  std::string stream_;
  std::uint64_t dropped_ = 0;  ///< bytes of the stream that were read and forgotten
  std::stop_source stop_;
};

}  // namespace zest::vfs
