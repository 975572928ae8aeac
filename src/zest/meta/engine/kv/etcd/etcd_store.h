// etcd (v3 API) as a kv::Store: gRPC over HTTP/2 on the runtime's own sockets, one connection a
// loop.
//
// A server that is away or unable is left for the next of the URL. Reads are repeated until they
// are answered or the patience ends; a transaction only when it surely has not been begun: else the
// caller hears ETIMEDOUT and looks for itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "zest/base/clock.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/kv/etcd/etcd_url.h"
#include "zest/meta/engine/kv/kv_store.h"

namespace zest::meta {

struct EtcdOptions {
  EtcdUrl url;
  /// For a connection to one server, with its TLS handshake and authentication.
  Duration connect_timeout = std::chrono::seconds(3);
  /// For the answer to one request; etcd itself gives up after 7 s by default.
  Duration request_timeout = std::chrono::seconds(10);
  /// How long a call looks for a server that answers. An election takes a second or two.
  Duration patience = std::chrono::seconds(20);
  /// Of the pauses between attempts at a commit; clients should differ.
  std::uint64_t seed = 1;
};

/// Opens nothing yet: the first call connects. EINVAL: a TLS file that is none. `log` outlives the
/// store. Its calls are made on fibers.
Result<std::unique_ptr<kv::Store>> open_etcd(EtcdOptions options, Logger& log);

/// The engine for `etcd://…`: what open_etcd and make_kv_engine make together.
Result<std::unique_ptr<Engine>> open_etcd_engine(EtcdOptions options, Logger& log,
                                                 Registry& metrics);

}  // namespace zest::meta
