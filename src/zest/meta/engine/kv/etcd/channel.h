// gRPC over one HTTP/2 connection: unary calls of many fibers of one loop, multiplexed.
//
// While calls are under way, a fiber of its own reads; whoever submits a request sends what is to
// be sent, together with what others submitted meanwhile. HTTP/2 itself (frames, header
// compression, flow control) is libnghttp2.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine/kv/etcd/stream.h"

namespace zest::meta::kv::etcd {

/// The server's answer to a call: its status (0 = OK), the message of the status, the reply.
struct CallReply {
  int status = 0;
  std::string status_text;
  std::string message;
};

struct CallRequest {
  std::string_view path;
  std::string_view token;  ///< of an authenticated user; empty: none
  std::string_view message;
};

/// Used by the fibers of one loop; destroyed when no call is under way.
class Channel {
 public:
  /// `authority` names the server to itself.
  Channel(std::unique_ptr<Stream> stream, std::string authority);
  ~Channel();
  Channel(Channel const&) = delete;
  Channel& operator=(Channel const&) = delete;

  /// Calls, and waits until `ctx.deadline`; a stop is not heeded, because a call that was sent
  /// cannot be taken back. Errors: transient EIO when the server has not begun with the request
  /// (another try is safe); ETIMEDOUT when it may have.
  Result<CallReply> call(Context const& ctx, CallRequest const& request);
  /// False after a failure, and when the server has closed the idle connection: connect anew.
  [[nodiscard]] bool usable() noexcept;
  /// Makes it unusable; calls under way fail.
  void close() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest::meta::kv::etcd
