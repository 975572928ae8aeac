// The byte stream below a protocol: a socket, or TLS over one. One TLS for the whole program.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "zest/base/bytes.h"
#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/runtime/socket.h"

namespace zest {

/// One fiber reads and one writes at a time, both on the loop that connected. May suspend.
class Stream {
 public:
  virtual ~Stream() = default;
  /// At least one byte; 0 = the peer closed.
  virtual Result<std::size_t> read_some(Context const& ctx, ByteSpan out) = 0;
  virtual Result<void> write_all(Context const& ctx, ByteView bytes) = 0;
  /// Ends both directions: whoever waits in a call is woken with an error or the end.
  virtual void shutdown() noexcept = 0;
  /// True when the peer is known to have closed; does not suspend.
  [[nodiscard]] virtual bool hung_up() const noexcept = 0;
};

std::unique_ptr<Stream> make_plain_stream(Socket socket);

struct TlsOptions {
  std::string ca_file;      ///< PEM; empty = the system's authorities (or $SSL_CERT_FILE)
  std::string cert_file;    ///< PEM, this client's own chain; empty = none
  std::string key_file;     ///< PEM, of cert_file
  std::string server_name;  ///< instead of the host's name
  std::string alpn;         ///< the only application protocol that is offered, e.g. "h2"
  bool verify = true;       ///< the chain and the name
  // What messages call the files: the caller's options.
  std::string_view ca_name = "TLS: the authorities' file";
  std::string_view cert_name = "TLS: the client certificate's file";
  std::string_view key_name = "TLS: the client key's file";
};

/// What the TLS connections of a client share: certificates, authorities, checks. Thread-safe.
class TlsContext {
 public:
  virtual ~TlsContext() = default;
  /// Shakes hands with `host` over a connected stream. EACCES: the server's certificate was
  /// refused; the message says why. Transient where the server went away.
  virtual Result<std::unique_ptr<Stream>> connect(Context const& ctx, std::unique_ptr<Stream> below,
                                                  std::string const& host) const = 0;
};

/// Reads the files that the options name, TLS 1.2 or later. Blocks. EINVAL names the option and the
/// file that cannot be used.
Result<std::shared_ptr<TlsContext const>> make_tls_context(TlsOptions const& options);

}  // namespace zest
