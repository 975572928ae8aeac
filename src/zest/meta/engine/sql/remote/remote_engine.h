// A volume in a networked SQL server, in the peer's schema (format/03); both programs may have it
// open at once. The driver below it is a Connector (session.h).
//
// Every call is one batch of statements and one round trip (docs/decisions/0007-sql-one-trip.md).
// A commit that returned is as durable as the server's configuration makes its commits. Calls are
// made on fibers.
#pragma once

#include <chrono>
#include <memory>

#include "zest/base/clock.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/sql/remote/session.h"
#include "zest/meta/engine/sql/remote/url_options.h"

namespace zest::meta {

struct RemoteSqlOptions {
  sql::UrlOptions url;
  /// Commits are refused with EROFS, and the schema is left as it is.
  bool read_only = false;
  /// Loops that will use the engine: they share url.connections_max.
  std::size_t loops = 1;
  /// How long a call tries to reach a server that is away, as long as it has sent nothing that
  /// changes anything; a request's deadline ends it earlier.
  Duration patience = std::chrono::seconds(30);
  /// How long one batch may take before its session is given up.
  Duration batch_timeout = std::chrono::seconds(60);
};

/// Connects at the first call, and adds tables, columns and indexes that a volume of an older
/// client lacks, unless read_only. `log` and `metrics` outlive the engine; no call may be under way
/// when it is destroyed.
std::unique_ptr<Engine> make_remote_sql_engine(std::unique_ptr<sql::Connector> connector,
                                               RemoteSqlOptions const& options, Logger& log,
                                               Registry& metrics);

}  // namespace zest::meta
