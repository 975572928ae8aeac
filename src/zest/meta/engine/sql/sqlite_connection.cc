#include "zest/meta/engine/sql/sqlite_connection.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cstring>
#include <utility>

namespace zest::meta::sqlite {

// ---- statements

Statement::Statement(Statement&& other) noexcept
    : connection_(other.connection_),
      handle_(std::exchange(other.handle_, nullptr)),
      bind_error_(other.bind_error_) {}

Statement::~Statement() {
  reset();
}

void Statement::reset() noexcept {
  if (handle_ != nullptr) {
    sqlite3_reset(handle_);
  }
}

Result<bool> Statement::step() {
  if (bind_error_ != SQLITE_OK) {
    return connection_->error(bind_error_);
  }
  int const code = sqlite3_step(handle_);
  if (code == SQLITE_ROW) {
    return true;
  }
  if (code == SQLITE_DONE) {
    return false;
  }
  return connection_->error(code);
}

Result<void> Statement::run() {
  while (true) {
    ZEST_TRY(bool const row, step());
    if (!row) {
      return {};
    }
  }
}

bool Statement::is_integer(int column) const {
  return sqlite3_column_type(handle_, column) == SQLITE_INTEGER;
}
bool Statement::is_null(int column) const {
  return sqlite3_column_type(handle_, column) == SQLITE_NULL;
}
std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(handle_, column);
}
std::string_view Statement::bytes(int column) const {
  auto const* data = static_cast<char const*>(sqlite3_column_blob(handle_, column));
  auto const size = sqlite3_column_bytes(handle_, column);
  return data == nullptr ? std::string_view()
                         : std::string_view(data, static_cast<std::size_t>(size));
}

void Statement::bind_at(int index, std::int64_t value) {
  if (int const code = sqlite3_bind_int64(handle_, index, value); code != SQLITE_OK) {
    bind_error_ = code;
  }
}
void Statement::bind_at(int index, Blob value) {
  // An empty view may have no pointer, which SQLite would take for NULL.
  char const* data = value.bytes.empty() ? "" : value.bytes.data();
  if (int const code = sqlite3_bind_blob64(handle_, index, data, value.bytes.size(), SQLITE_STATIC);
      code != SQLITE_OK) {
    bind_error_ = code;
  }
}
void Statement::bind_at(int index, Text value) {
  char const* data = value.text.empty() ? "" : value.text.data();
  if (int const code =
          sqlite3_bind_text64(handle_, index, data, value.text.size(), SQLITE_STATIC, SQLITE_UTF8);
      code != SQLITE_OK) {
    bind_error_ = code;
  }
}

// ---- connections

Result<std::unique_ptr<Connection>> Connection::open(ConnectionOptions const& options) {
  auto connection = std::make_unique<Connection>(options);
  int flags = SQLITE_OPEN_NOMUTEX;
  flags |= options.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
  if (options.create && !options.read_only) {
    flags |= SQLITE_OPEN_CREATE;
  }
  int const code = sqlite3_open_v2(options.path.c_str(), &connection->handle_, flags, nullptr);
  if (code != SQLITE_OK) {
    return connection->error(code);
  }
  ZEST_CHECK(connection->configure());
  return connection;
}

Result<void> Connection::configure() {
  sqlite3_extended_result_codes(handle_, 1);
  auto const milliseconds = [](Duration duration) {
    return static_cast<int>(
        std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
  };
  // Changing the journal mode takes the file's locks, so even the writer waits here.
  sqlite3_busy_timeout(handle_, 5000);
  if (!options_.read_only) {
    ZEST_CHECK(execute(fmt::format("PRAGMA journal_mode={}", options_.journal)));
  }
  // What the file really uses: some file systems cannot do WAL, and a reader takes what there is.
  {
    ZEST_TRY(auto mode, prepare("PRAGMA journal_mode"));
    ZEST_TRY(bool const known, mode.step());
    wal_ = known && mode.bytes(0) == "wal";
  }
  ZEST_CHECK(
      execute(options_.durable || !wal_ ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL"));
  ZEST_CHECK(execute("PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16384"));
  if (wal_ && !options_.automatic_checkpoints) {
    // Replaces the automatic checkpoint, which is such a hook itself.
    sqlite3_wal_hook(
        handle_,
        [](void* self, sqlite3* /*handle*/, char const* /*database*/, int pages) {
          static_cast<Connection*>(self)->log_pages_ = pages;
          return SQLITE_OK;
        },
        this);
  }
  // Fails here, with a clear message, when the file is no database.
  ZEST_CHECK(execute("SELECT count(*) FROM sqlite_master"));
  sqlite3_busy_timeout(handle_, milliseconds(options_.busy_timeout));
  return {};
}

Connection::~Connection() {
  for (auto const& [sql, statement] : statements_) {
    sqlite3_finalize(statement);
  }
  sqlite3_close_v2(handle_);
}

std::string Connection::with_prefix(std::string_view sql) const {
  std::string text(sql);
  if (options_.table_prefix.empty()) {
    return text;
  }
  auto const prefix = fmt::format("jfs_{}_", options_.table_prefix);
  for (auto at = text.find("jfs_"); at != std::string::npos;
       at = text.find("jfs_", at + prefix.size())) {
    text.replace(at, std::strlen("jfs_"), prefix);
  }
  return text;
}

Result<Statement> Connection::prepare(char const* sql) {
  if (auto const it = statements_.find(sql); it != statements_.end()) {
    return Statement(*this, it->second);
  }
  auto const text = with_prefix(sql);
  sqlite3_stmt* handle = nullptr;
  int const code = sqlite3_prepare_v3(handle_, text.data(), static_cast<int>(text.size()),
                                      SQLITE_PREPARE_PERSISTENT, &handle, nullptr);
  if (code != SQLITE_OK) {
    return error(code);
  }
  statements_.emplace(sql, handle);
  return Statement(*this, handle);
}

Result<void> Connection::execute(std::string const& sql) {
  int const code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) {
    return error(code);
  }
  return {};
}

std::int64_t Connection::changes() const noexcept {
  return sqlite3_changes64(handle_);
}
bool Connection::autocommit() const noexcept {
  return sqlite3_get_autocommit(handle_) != 0;
}

void Connection::rollback() noexcept {
  if (!autocommit()) {
    // A failing ROLLBACK has rolled back all the same (SQLite's documentation of the statement).
    sqlite3_exec(handle_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

Result<void> Connection::checkpoint() {
  int const code =
      sqlite3_wal_checkpoint_v2(handle_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  return code == SQLITE_OK ? Result<void>() : error(code);
}

Result<bool> Connection::has_table(std::string_view name) {
  ZEST_TRY(auto statement, prepare("SELECT 1 FROM sqlite_master WHERE type='table' AND name=?"));
  auto const full = with_prefix(name);
  return statement.bind(Text{full}).step();
}

Error Connection::error(int code) const {
  std::string_view const text = handle_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle_);
  int const system = handle_ == nullptr ? 0 : sqlite3_system_errno(handle_);
  auto const message = [&](std::string_view advice) {
    return fmt::format("sqlite3 {}: {}{}{}{}", options_.path, text,
                       system == 0 ? "" : fmt::format(" ({})", std::strerror(system)),
                       advice.empty() ? "" : "; ", advice);
  };
  switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Error::transient(Errc::busy, message("another process keeps it locked"));
    case SQLITE_FULL:
      return Error::transient(Errc::nospc, message("make room on the disk of the file"));
    case SQLITE_CORRUPT:
      return Error::corrupt(message("the file is damaged; restore a backup or try `.recover`"));
    case SQLITE_NOTADB: return Error::corrupt(message("is the path right?"));
    case SQLITE_READONLY:
      return {Errc::rofs, Fault::semantic, message("the file or its folder is not writable")};
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return {Errc::acces, Fault::semantic, message("check the permissions of file and folder")};
    case SQLITE_CANTOPEN:
      return {system == 0 ? Errc::noent : static_cast<Errc>(system), Fault::semantic,
              message("check path and permissions, also of the folder")};
    case SQLITE_IOERR:
      return Error::transient(system == ENOSPC ? Errc::nospc : Errc::io,
                              message("check the disk of the file"));
    case SQLITE_NOMEM: return Error::transient(Errc::nomem, message(""));
    case SQLITE_TOOBIG: return Error::transient(Errc::fbig, message(""));
    default: return {Errc::io, Fault::bug, message("")};
  }
}

bool is_busy(Error const& error) noexcept {
  return error.code() == Errc::busy && error.fault() == Fault::transient;
}

}  // namespace zest::meta::sqlite
