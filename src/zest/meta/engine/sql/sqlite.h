// A volume in a SQLite file, in the peer's schema (format/03); both programs may have it open at
// once.
//
// One writer thread commits everything that waits in one transaction (group commit); reader threads
// beside it read from WAL snapshots. A commit that returned survives the death of the process;
// sync() makes it survive a power cut (docs/decisions/0002-sqlite-durability.md).
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/clock.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"

namespace zest::meta {

struct SqliteOptions {
  std::string path;
  /// Tables are named jfs_{table_prefix}_… so that several volumes share a file; empty: jfs_….
  std::string table_prefix;
  /// WAL unless the URL asks for another journal mode (then every commit is durable by itself).
  std::string journal = "WAL";
  bool read_only = false;
  /// Creates the file when it is missing (`format`); off: ENOENT.
  bool create = true;
  /// Every commit survives a power cut, not only those before a sync(). About as slow as the disk.
  bool durable = false;
  /// How long a write waits for other processes' locks; a request's deadline ends it earlier.
  Duration busy_timeout = std::chrono::seconds(50);
  std::size_t readers = 2;
  /// Requests that may wait for the writer, and for the readers; further ones suspend before that.
  std::size_t queue_max = 4096;
  /// Options of the URL that have no meaning here, for a warning.
  std::vector<std::string> ignored;
};

/// Splits `sqlite3://PATH[?option=value&…]`. Options: table_prefix, _journal (_journal_mode),
/// _timeout (_busy_timeout, ms), mode=ro; those of the peer's driver that concern only it are
/// listed in `ignored`. EINVAL with a message for people.
Result<SqliteOptions> parse_sqlite_url(std::string_view url);

/// Opens (or creates) the file and starts the engine's threads; tables, columns and indexes that a
/// volume of an older client lacks are added unless read_only. Blocks for some milliseconds: call
/// at start. Errors name the file: ENOENT, EACCES, EROFS, a file that is no database (corrupt), a
/// lock that another process does not give up (EBUSY). `log` and `metrics` outlive the engine; no
/// call may be under way when it is destroyed.
Result<std::unique_ptr<Engine>> open_sqlite(SqliteOptions const& options, Logger& log,
                                            Registry& metrics);

}  // namespace zest::meta
