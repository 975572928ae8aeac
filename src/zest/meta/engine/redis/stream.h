// The byte stream below a connection: a socket, or TLS over one.
#pragma once

#include <memory>
#include <string>

#include "zest/base/bytes.h"
#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine/redis/redis.h"
#include "zest/runtime/socket.h"

namespace zest::meta::redis {

/// One fiber reads and one writes at a time, both on one loop.
class Stream {
 public:
  virtual ~Stream() = default;
  /// At least one byte; 0 = the server closed.
  virtual Result<std::size_t> read_some(Context const& ctx, ByteSpan out) = 0;
  virtual Result<void> write_all(Context const& ctx, ByteView bytes) = 0;
  /// Ends both directions: whoever waits in a call is woken with an error or the end.
  virtual void shutdown() noexcept = 0;
  /// True when the server has closed while nothing was expected from it. Does not wait.
  [[nodiscard]] virtual bool ended() const noexcept = 0;
};

/// What TLS connections share: certificates, authorities, checks. Thread-safe.
class TlsContext {
 public:
  virtual ~TlsContext() = default;
  /// Takes over a connected socket to `host` and shakes hands. EACCES: the server's certificate was
  /// refused; the message says why.
  virtual Result<std::unique_ptr<Stream>> wrap(Context const& ctx, Socket socket,
                                               std::string const& host) = 0;
};

/// Reads the files that the options name. Blocks.
Result<std::unique_ptr<TlsContext>> make_tls_context(RedisOptions const& options);

std::unique_ptr<Stream> make_plain_stream(Socket socket);

}  // namespace zest::meta::redis
