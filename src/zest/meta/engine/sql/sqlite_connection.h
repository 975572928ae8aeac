// One connection to a SQLite file: prepared statements, typed binding, errors as Result.
//
// SQL texts are literals that name tables with the prefix `jfs_`; prepare() replaces it by the
// volume's. Not thread-safe: a connection belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "zest/base/clock.h"
#include "zest/base/result.h"
#include "zest/base/types.h"

struct sqlite3;
struct sqlite3_stmt;

namespace zest::meta::sqlite {

/// A bound value that is stored as BLOB (names, slices) or as TEXT; must outlive the statement's
/// use.
struct Blob {
  std::string_view bytes;
};
struct Text {
  std::string_view text;
};

class Connection;

/// A prepared statement in use; given back to its connection's cache on destruction.
class Statement {
 public:
  Statement(Connection& connection, sqlite3_stmt* handle)
      : connection_(&connection), handle_(handle) {}
  ~Statement();
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  Statement(Statement const&) = delete;
  Statement& operator=(Statement const&) = delete;

  /// Binds all parameters in order; errors show at step().
  template <class... Values>
  Statement& bind(Values const&... values) {
    int index = 0;
    (bind_at(++index, values), ...);
    return *this;
  }
  /// True: there is a row. False: finished.
  Result<bool> step();
  /// Steps to the end, ignoring rows.
  Result<void> run();
  /// Makes it ready for another bind() and step().
  void reset() noexcept;

  [[nodiscard]] bool is_integer(int column) const;
  [[nodiscard]] bool is_null(int column) const;
  [[nodiscard]] std::int64_t integer(int column) const;
  /// Text or blob, valid until the next step() or reset().
  [[nodiscard]] std::string_view bytes(int column) const;

 private:
  void bind_at(int index, std::int64_t value);
  void bind_at(int index, std::uint64_t value) { bind_at(index, static_cast<std::int64_t>(value)); }
  void bind_at(int index, std::uint32_t value) { bind_at(index, std::int64_t{value}); }
  void bind_at(int index, int value) { bind_at(index, std::int64_t{value}); }
  void bind_at(int index, Ino ino) { bind_at(index, ino.value); }
  void bind_at(int index, SessionId session) { bind_at(index, session.value); }
  void bind_at(int index, SliceId slice) { bind_at(index, slice.value); }
  void bind_at(int index, ChunkIndex chunk) { bind_at(index, chunk.value); }
  void bind_at(int index, Blob value);
  void bind_at(int index, Text value);

  Connection* connection_;
  sqlite3_stmt* handle_;
  int bind_error_ = 0;
};

struct ConnectionOptions {
  std::string path;
  std::string table_prefix;
  std::string journal = "WAL";
  bool read_only = false;
  bool create = false;
  bool durable = false;
  /// SQLite checkpoints inside of COMMIT; off: the caller does (checkpoint()).
  bool automatic_checkpoints = true;
  /// Waiting for locks inside of SQLite; zero for the writer, which waits outside.
  Duration busy_timeout{};
};

class Connection {
 public:
  /// Opens the file and sets it up; errors name it.
  static Result<std::unique_ptr<Connection>> open(ConnectionOptions const& options);
  /// A connection that is not open yet: use open().
  explicit Connection(ConnectionOptions options) : options_(std::move(options)) {}
  ~Connection();
  Connection(Connection const&) = delete;
  Connection& operator=(Connection const&) = delete;

  /// A statement from the cache; `sql` is a literal, its address is the key.
  Result<Statement> prepare(char const* sql);
  /// prepare, bind, run.
  template <class... Values>
  Result<void> run(char const* sql, Values const&... values) {
    ZEST_TRY(auto statement, prepare(sql));
    return statement.bind(values...).run();
  }
  /// Runs statements that are built at run time (schema); no parameters.
  Result<void> execute(std::string const& sql);
  /// Rows changed by the last statement.
  [[nodiscard]] std::int64_t changes() const noexcept;
  /// False when a transaction is open.
  [[nodiscard]] bool autocommit() const noexcept;
  /// Rolls back; does nothing without a transaction.
  void rollback() noexcept;

  /// True when the file is in WAL mode; otherwise every commit is synced by SQLite.
  [[nodiscard]] bool wal() const noexcept { return wal_; }
  /// Pages in the write-ahead log after this connection's last commit.
  [[nodiscard]] int log_pages() const noexcept { return log_pages_; }
  /// Moves what it can of the log into the database without waiting for anybody; syncs both.
  Result<void> checkpoint();

  /// A table's or index's full name.
  [[nodiscard]] std::string with_prefix(std::string_view sql) const;
  [[nodiscard]] Result<bool> has_table(std::string_view name);
  /// The last failure as an Error that names the file.
  [[nodiscard]] Error error(int code) const;
  [[nodiscard]] std::string const& path() const noexcept { return options_.path; }

 private:
  friend class Statement;
  Result<void> configure();

  ConnectionOptions options_;
  sqlite3* handle_ = nullptr;
  int log_pages_ = 0;
  bool wal_ = false;
  std::unordered_map<char const*, sqlite3_stmt*> statements_;
};

/// True for the error of a lock that another connection holds.
bool is_busy(Error const& error) noexcept;

}  // namespace zest::meta::sqlite
