// A connection to one server: TCP, or TLS over it.
#pragma once

#include <memory>
#include <string>

#include "zest/base/bytes.h"
#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine/kv/etcd/etcd_url.h"

namespace zest::meta::kv::etcd {

/// One fiber reads and one writes at a time, both on the loop that connected. May suspend.
class Stream {
 public:
  virtual ~Stream() = default;
  /// At least one byte; 0 = the server closed.
  virtual Result<std::size_t> read_some(Context const& ctx, ByteSpan out) = 0;
  virtual Result<void> write_all(Context const& ctx, ByteView bytes) = 0;
  /// True when the server is known to have closed; does not suspend.
  [[nodiscard]] virtual bool hung_up() const noexcept = 0;
  /// Ends reads and writes under way.
  virtual void shutdown() noexcept = 0;
};

/// What TLS needs to know, read from its files once. Thread-safe afterwards.
class TlsSettings;
/// EINVAL, ENOENT…: names the file. Blocks for a moment: call at start.
Result<std::shared_ptr<TlsSettings const>> load_tls(EtcdTls const& tls);

/// Connects, with a TLS handshake where `tls` is set (then HTTP/2 is agreed upon). Errors:
/// transient for a server that is away; EACCES for a certificate that does not convince.
Result<std::unique_ptr<Stream>> connect_stream(Context const& ctx, EtcdEndpoint const& endpoint,
                                               TlsSettings const* tls);

}  // namespace zest::meta::kv::etcd
