#include "zest/meta/engine/sql/mysql/mysql_session.h"

#include <errmsg.h>
#include <fmt/format.h>
#include <mysql.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "zest/meta/engine/sql/mysql/mysql_text.h"
#include "zest/runtime/loop.h"

namespace zest::meta::sql {

void CloseMysql::operator()(st_mysql* handle) const noexcept {
  ::mysql_close(handle);
}

namespace {

struct FreeResult {
  void operator()(MYSQL_RES* result) const noexcept { ::mysql_free_result(result); }
};
using MysqlResult = std::unique_ptr<MYSQL_RES, FreeResult>;

bool is_integer(enum_field_types type) {
  switch (type) {  // NOLINT(clang-diagnostic-switch-enum): all others are bytes
    case MYSQL_TYPE_TINY:
    case MYSQL_TYPE_SHORT:
    case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_INT24:
    case MYSQL_TYPE_LONGLONG:
    case MYSQL_TYPE_YEAR: return true;
    default: return false;
  }
}

/// A number too large for the type stays text, which no reader takes for a number.
Cell cell_of(char const* data, std::size_t length, enum_field_types type) {
  if (data == nullptr) {
    return {};
  }
  if (is_integer(type)) {
    std::int64_t number = 0;
    auto const [end, error] = std::from_chars(data, data + length, number);
    if (error == std::errc() && end == data + length) {
      return number;
    }
  }
  return std::string(data, length);
}

std::vector<std::vector<Cell>> rows_of(MYSQL_RES& result) {
  auto const columns = ::mysql_num_fields(&result);
  auto const* fields = ::mysql_fetch_fields(&result);
  std::vector<std::vector<Cell>> rows;
  rows.reserve(::mysql_num_rows(&result));
  while (auto* const row = ::mysql_fetch_row(&result)) {
    auto const* lengths = ::mysql_fetch_lengths(&result);
    auto& cells = rows.emplace_back();
    cells.reserve(columns);
    for (unsigned i = 0; i < columns; ++i) {
      cells.push_back(cell_of(row[i], lengths[i], fields[i].type));
    }
  }
  return rows;
}

class MysqlSession final : public Session {
 public:
  MysqlSession(MysqlHandle handle, MysqlOptions const& options)
      : handle_(std::move(handle)),
        several_hosts_(options.hosts.size() > 1),
        compound_(::mariadb_connection(handle_.get()) != 0 &&
                  ::mysql_get_server_version(handle_.get()) >= kCompoundSince) {}
  ~MysqlSession() override {
    if (broken_) {
      // Without a word to the server, which could block.
      ::shutdown(::mysql_get_socket(handle_.get()), SHUT_RDWR);
    }
  }

  Result<std::vector<ResultSet>> run(Context const& ctx,
                                     std::span<Statement const> statements) override {
    ZEST_CHECK(check_ready(ctx));
    std::vector<ResultSet> results;
    results.reserve(statements.size());
    auto done = exchange(ctx, batch_text(statements), statements.size(), results);
    if (done.ok()) {
      return results;
    }
    auto const last = results.size() + 1 >= statements.size();
    return failed(ctx, statements, results.size(), last, std::move(done).error());
  }

  /// MariaDB runs a whole transaction as one compound statement: one answer instead of one for each
  /// statement, and a failed one is rolled back in the same trip.
  Result<void> execute(Context const& ctx, std::span<Statement const> statements) override {
    if (!compound_ || statements.size() < 3 || statements.front().text != "START TRANSACTION") {
      return Session::execute(ctx, statements);
    }
    ZEST_CHECK(check_ready(ctx));
    std::vector<ResultSet> results;
    auto const text = fmt::format("{};{};END", kCompoundBegin, batch_text(statements));
    auto done = exchange(ctx, text, 1, results);
    if (done.ok()) {
      return {};
    }
    // Which statement failed is not known: perhaps the COMMIT.
    return failed(ctx, {}, 0, /*last=*/true, std::move(done).error());
  }

  [[nodiscard]] bool usable() const noexcept override {
    if (broken_) {
      return false;
    }
    // The server may have closed the connection while it was idle. Over TLS something may be there
    // that is no answer (session tickets).
    char byte = 0;
    auto const got = ::recv(::mysql_get_socket(handle_.get()), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    auto const quiet = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    return quiet || (got > 0 && ::mysql_get_ssl_cipher(handle_.get()) != nullptr);
  }

 private:
  /// Why a batch ended early. `interrupted`: not by the server's answer, but because we stopped
  /// waiting for it.
  struct Stop {
    bool interrupted = false;
    bool sent = true;
  };

  static constexpr unsigned long kCompoundSince = 100'101;
  static constexpr std::string_view kCompoundBegin =
      "BEGIN NOT ATOMIC DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK;RESIGNAL;END";

  Result<void> check_ready(Context const& ctx) const {
    if (broken_) {
      return Error::transient(Errc::io, "the session is broken; nothing was sent");
    }
    if (ctx.deadline <= Loop::current()->now()) {
      return Error::transient(Errc::io, "the deadline passed before anything was sent");
    }
    return {};
  }

  /// Sends and reads until the end or the first failure, about which stop_ then tells.
  Result<void> exchange(Context const& ctx, std::string const& text, std::size_t count,
                        std::vector<ResultSet>& results) {
    stop_ = {.interrupted = false, .sent = false};
    int failure = 0;
    ZEST_CHECK(drive(
        ctx,
        [&] { return ::mysql_real_query_start(&failure, handle_.get(), text.data(), text.size()); },
        [&](int ready) { return ::mysql_real_query_cont(&failure, handle_.get(), ready); }));
    // A failed write left an unfinished packet behind, which no server runs.
    stop_.sent = ::mysql_errno(handle_.get()) != CR_SERVER_GONE_ERROR;
    while (true) {
      if (failure > 0) {
        return Errc::io;
      }
      stop_.sent = true;
      ZEST_CHECK(take_result(ctx, results));
      if (::mysql_more_results(handle_.get()) == 0) {
        break;
      }
      ZEST_CHECK(drive(
          ctx, [&] { return ::mysql_next_result_start(&failure, handle_.get()); },
          [&](int ready) { return ::mysql_next_result_cont(&failure, handle_.get(), ready); }));
    }
    if (results.size() != count) {
      broken_ = true;
      return Error(Errc::io, Fault::bug, "the server answered another number of statements");
    }
    return {};
  }

  Result<void> take_result(Context const& ctx, std::vector<ResultSet>& results) {
    ResultSet set;
    if (::mysql_field_count(handle_.get()) != 0) {
      MYSQL_RES* stored = nullptr;
      ZEST_CHECK(drive(
          ctx, [&] { return ::mysql_store_result_start(&stored, handle_.get()); },
          [&](int ready) { return ::mysql_store_result_cont(&stored, handle_.get(), ready); }));
      MysqlResult const owned(stored);
      if (owned == nullptr) {
        return Errc::io;
      }
      set.rows = rows_of(*owned);
    } else {
      set.affected = ::mysql_affected_rows(handle_.get());
    }
    results.push_back(std::move(set));
    return {};
  }

  /// Runs one non-blocking call of the library to its end. When a wait fails, the call is ended by
  /// closing the stream under it: it holds references to our variables.
  template <class Start, class Continue>
  Result<void> drive(Context const& ctx, Start const& start, Continue const& cont) {
    auto& loop = *Loop::current();
    int const fd = ::mysql_get_socket(handle_.get());
    int status = start();
    while (status != 0) {
      auto ready = loop.wait_fd(ctx, fd,
                                {.readable = (status & MYSQL_WAIT_READ) != 0,
                                 .writable = (status & MYSQL_WAIT_WRITE) != 0});
      if (!ready.ok()) {
        stop_.interrupted = true;
        broken_ = true;
        ::shutdown(fd, SHUT_RDWR);
        while (status != 0) {
          status = cont(status);
        }
        return std::move(ready).error();
      }
      status =
          cont((ready->readable ? MYSQL_WAIT_READ : 0) | (ready->writable ? MYSQL_WAIT_WRITE : 0));
    }
    return {};
  }

  Error failed(Context const& ctx, std::span<Statement const> statements, std::size_t index,
               bool last, Error error) {
    if (stop_.interrupted) {
      return Error::transient(Errc::timedout,
                              "the database did not answer in time; the outcome is unknown");
    }
    if (error.fault() == Fault::bug) {
      return error;
    }
    std::string const message = ::mysql_error(handle_.get());
    auto verdict =
        judge_mysql({.number = ::mysql_errno(handle_.get()),
                     .message = message,
                     .statement = index < statements.size() ? statements[index].text : "",
                     .sent = stop_.sent,
                     .committing = last,
                     .several_hosts = several_hosts_});
    broken_ = broken_ || verdict.session_lost;
    // A compound statement has rolled back by itself, unless it was interrupted.
    auto const open = statements.empty() ? verdict.error.fault() != Fault::conflict
                                         : statements.size() > 1 && !verdict.rolled_back;
    if (!broken_ && open) {
      roll_back(ctx);
    }
    return std::move(verdict.error);
  }

  /// So that the locks are free before the caller tries again. What fails here ends the session,
  /// and with it the transaction.
  void roll_back(Context const& ctx) {
    Statement const statement{.text = "ROLLBACK", .parameters = {}};
    std::vector<ResultSet> results;
    auto const done = exchange(ctx, statement.text, 1, results);
    broken_ = broken_ || !done.ok();
  }

  MysqlHandle handle_;
  bool several_hosts_;
  bool compound_;
  bool broken_ = false;
  Stop stop_;
};

}  // namespace

std::unique_ptr<Session> make_mysql_session(MysqlHandle handle, MysqlOptions const& options) {
  return std::make_unique<MysqlSession>(std::move(handle), options);
}

}  // namespace zest::meta::sql
