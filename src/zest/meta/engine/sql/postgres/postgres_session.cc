#include "zest/meta/engine/sql/postgres/postgres_session.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zest/meta/engine/sql/postgres/postgres_error.h"
#include "zest/meta/engine/sql/postgres/postgres_pipe.h"
#include "zest/meta/engine/sql/postgres/postgres_statements.h"
#include "zest/meta/engine/sql/postgres/postgres_values.h"

namespace zest::meta::sql {
namespace {

// The protocol counts parameters with 16 bits.
constexpr std::size_t kParametersMax = 65'535;
// A prepared statement costs the server some 10 KiB. The engine has fewer texts; lists of varying
// length may make more of them in the long run.
constexpr std::size_t kPreparedMax = 1'000;

/// What was queued, in the order of the answers.
struct Asked {
  enum class Kind : std::uint8_t { prepare, statement, deallocate, sync } kind = Kind::sync;
  std::size_t index = 0;  ///< of the statement
  PreparedStatement* prepared = nullptr;
};

std::string_view field(PGresult const* result, int code) {
  char const* text = PQresultErrorField(result, code);
  return text == nullptr ? std::string_view() : std::string_view(text);
}

/// Rows changed; 0 for what only reads.
std::uint64_t affected_rows(PGresult* result) {
  if (std::string_view(PQcmdStatus(result)).starts_with("SELECT")) {
    return 0;
  }
  std::string_view const text = PQcmdTuples(result);
  std::uint64_t rows = 0;
  std::from_chars(text.data(), text.data() + text.size(), rows);  // no digits: nothing was changed
  return rows;
}

Result<ResultSet> decode_result(PGresult* result) {
  ResultSet set{.affected = affected_rows(result)};
  int const rows = PQntuples(result);
  int const columns = PQnfields(result);
  for (int column = 0; column < columns && rows > 0; ++column) {
    if (PQfformat(result, column) != 1) {
      return Error::corrupt("the server sent a text where a binary value was asked for");
    }
  }
  set.rows.reserve(static_cast<std::size_t>(rows));
  for (int row = 0; row < rows; ++row) {
    auto& cells = set.rows.emplace_back();
    cells.reserve(static_cast<std::size_t>(columns));
    for (int column = 0; column < columns; ++column) {
      if (PQgetisnull(result, row, column) != 0) {
        cells.emplace_back();
        continue;
      }
      std::string_view const bytes(PQgetvalue(result, row, column),
                                   static_cast<std::size_t>(PQgetlength(result, row, column)));
      auto cell = decode_cell(PQftype(result, column), bytes);
      if (!cell.ok()) {
        return std::move(cell).error().with(fmt::format("column {}", PQfname(result, column)));
      }
      cells.push_back(*std::move(cell));
    }
  }
  return set;
}

/// True for a whole transaction that needs nothing special: the server makes one of everything up
/// to a Sync. (SET LOCAL and the like want a block that was begun explicitly.)
bool is_plain_transaction(std::span<Statement const> statements) {
  return statements.size() >= 2 && statements.front().text == "BEGIN" &&
         statements.back().text == "COMMIT" &&
         std::ranges::none_of(statements,
                              [](Statement const& s) { return s.text.starts_with("SET "); });
}

class PostgresSession final : public Session {
 public:
  PostgresSession(PostgresHandle handle, PostgresOptions const& options)
      : pipe_(std::move(handle)), options_(options) {}

  Result<std::vector<ResultSet>> run(Context const& ctx,
                                     std::span<Statement const> statements) override;
  [[nodiscard]] bool usable() const noexcept override { return usable_; }

  Result<void> set_up(Context const& ctx);

 private:
  // The course of one batch: queue, send, read; then clean up after a failure.
  Result<void> check_ready(Context const& ctx, std::span<Statement const> statements);
  bool queue(std::span<Statement const> statements);
  bool queue_statement(Statement const& statement, std::size_t index);
  Result<void> read_all(Context const& ctx, std::span<Statement const> statements,
                        std::vector<ResultSet>& results);
  void take(Asked const& asked, PGresult* result, std::span<Statement const> statements,
            std::vector<ResultSet>& results);
  void take_failure(Asked const& asked, PGresult* result, std::span<Statement const> statements);
  void take_success(Asked const& asked, PGresult* result, std::span<Statement const> statements,
                    std::vector<ResultSet>& results);
  void fail(Error error);
  void roll_back(Context const& ctx);
  Error interrupted(Error cause);

  PostgresPipe pipe_;
  PostgresOptions const& options_;
  PreparedStatements prepared_;
  BoundParameters bound_;
  std::vector<Asked> asked_;
  std::optional<Error> failure_;  ///< of the batch under way: the first one counts
  bool usable_ = true;
};

Result<std::vector<ResultSet>> PostgresSession::run(Context const& ctx,
                                                    std::span<Statement const> statements) {
  ZEST_CHECK(check_ready(ctx, statements));
  failure_.reset();
  std::vector<ResultSet> results(statements.size());
  if (statements.empty()) {
    return results;
  }
  if (!queue(statements)) {
    usable_ = false;  // some of it may have been sent: libpq sends what grows large
    return Error::transient(Errc::timedout, pipe_.message());
  }
  auto exchanged = pipe_.flush(ctx);
  if (exchanged.ok()) {
    exchanged = read_all(ctx, statements, results);
  }
  if (!exchanged.ok()) {
    usable_ = false;
    return interrupted(std::move(exchanged).error());
  }
  if (failure_) {
    roll_back(ctx);
    return *std::move(failure_);
  }
  return results;
}

Result<void> PostgresSession::check_ready(Context const& ctx,
                                          std::span<Statement const> statements) {
  if (ctx.stop.stop_requested()) {
    return Errc::intr;
  }
  for (auto const& statement : statements) {
    if (statement.parameters.size() > kParametersMax) {
      return Error(Errc::inval, Fault::bug,
                   fmt::format("a statement of {} parameters: {}", statement.parameters.size(),
                               statement.text.substr(0, 100)));
    }
  }
  // Costs a system call; saves the doubt whether a batch was lost in a connection that the server
  // had closed long before.
  if (!usable_ || !pipe_.alive()) {
    usable_ = false;
    return Error::transient(Errc::io, "the server closed the connection");
  }
  return {};
}

bool PostgresSession::queue(std::span<Statement const> statements) {
  asked_.clear();
  if (prepared_.count() > kPreparedMax) {
    if (!pipe_.execute_once("DEALLOCATE ALL") || !pipe_.sync()) {
      return false;
    }
    asked_.push_back({.kind = Asked::Kind::deallocate});
    asked_.push_back({.kind = Asked::Kind::sync, .index = statements.size()});
    prepared_.clear();
  }
  bool const plain = is_plain_transaction(statements) && !pipe_.in_transaction();
  for (std::size_t i = plain ? 1 : 0; i < statements.size() - (plain ? 1 : 0); ++i) {
    if (!queue_statement(statements[i], i)) {
      return false;
    }
  }
  asked_.push_back({.kind = Asked::Kind::sync, .index = statements.size()});
  return pipe_.sync();
}

bool PostgresSession::queue_statement(Statement const& statement, std::size_t index) {
  auto& prepared = prepared_.find(statement);
  bound_.bind(statement.parameters);
  if (prepared.state == PreparedStatement::State::absent) {
    if (!pipe_.prepare(prepared.name, prepared_.numbered_text(statement), bound_)) {
      return false;
    }
    prepared.state = PreparedStatement::State::queued;
    asked_.push_back({.kind = Asked::Kind::prepare, .index = index, .prepared = &prepared});
  }
  asked_.push_back({.kind = Asked::Kind::statement, .index = index});
  return pipe_.execute(prepared.name, bound_);
}

Result<void> PostgresSession::read_all(Context const& ctx, std::span<Statement const> statements,
                                       std::vector<ResultSet>& results) {
  for (auto const& asked : asked_) {
    ZEST_TRY(auto result, pipe_.next(ctx));
    if (result != nullptr && asked.kind == Asked::Kind::sync &&
        PQresultStatus(result.get()) == PGRES_FATAL_ERROR && pipe_.connected()) {
      // The transaction that the Sync ends could not commit.
      take(asked, result.get(), statements, results);
      ZEST_TRY(result, pipe_.next(ctx));
    }
    if (result == nullptr) {
      return Error::corrupt("the server's answer does not fit to the statements");
    }
    take(asked, result.get(), statements, results);
    if (!usable_) {
      return {};
    }
  }
  return {};
}

void PostgresSession::take(Asked const& asked, PGresult* result,
                           std::span<Statement const> statements, std::vector<ResultSet>& results) {
  auto const status = PQresultStatus(result);
  bool const is_sync = asked.kind == Asked::Kind::sync;
  if (asked.prepared != nullptr) {
    asked.prepared->state = status == PGRES_COMMAND_OK ? PreparedStatement::State::ready
                                                       : PreparedStatement::State::absent;
  }
  switch (status) {
    case PGRES_FATAL_ERROR: take_failure(asked, result, statements); return;
    case PGRES_PIPELINE_ABORTED:
      if (failure_ && !is_sync) {
        return;
      }
      break;
    case PGRES_PIPELINE_SYNC:
      if (is_sync) {
        return;
      }
      break;
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
      if (!is_sync) {
        take_success(asked, result, statements, results);
        return;
      }
      break;
    case PGRES_EMPTY_QUERY:
    case PGRES_COPY_OUT:
    case PGRES_COPY_IN:
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_COPY_BOTH:
    case PGRES_SINGLE_TUPLE: break;
  }
  // Nobody knows any more which answer belongs to which statement.
  usable_ = false;
  fail(Error::corrupt(
      fmt::format("the server gave an unexpected answer ({})", PQresStatus(status))));
}

void PostgresSession::take_failure(Asked const& asked, PGresult* result,
                                   std::span<Statement const> statements) {
  bool const is_statement = asked.index < statements.size();
  std::string_view const text = is_statement ? std::string_view(statements[asked.index].text) : "";
  auto const state = field(result, PG_DIAG_SQLSTATE);
  auto const message = field(result, PG_DIAG_MESSAGE_PRIMARY);
  auto verdict =
      judge_failure({.sqlstate = state,
                     .message = message.empty() ? PQresultErrorMessage(result) : message,
                     .statement = text,
                     .function = field(result, PG_DIAG_SOURCE_FUNCTION),
                     // Without a code it was the connection that failed, at whatever point.
                     .committing = !is_statement || text == "COMMIT" || state.empty(),
                     .several_hosts = options_.hosts.size() > 1});
  if (verdict.session_lost || !pipe_.connected()) {
    usable_ = false;
  }
  fail(std::move(verdict.error));
}

void PostgresSession::take_success(Asked const& asked, PGresult* result,
                                   std::span<Statement const> statements,
                                   std::vector<ResultSet>& results) {
  if (asked.kind != Asked::Kind::statement) {
    return;
  }
  auto const& text = statements[asked.index].text;
  if (text == "COMMIT" && std::string_view(PQcmdStatus(result)) == "ROLLBACK") {
    fail({Errc::again, Fault::conflict, "the server rolled back what was to be committed"});
    return;
  }
  auto set = decode_result(result);
  if (!set.ok()) {
    fail(std::move(set).error().with(fmt::format("the answer to: {}", text)));
    return;
  }
  results[asked.index] = *std::move(set);
}

void PostgresSession::fail(Error error) {
  if (!failure_) {
    failure_.emplace(std::move(error));
  }
}

/// The exchange ended in the middle.
Error PostgresSession::interrupted(Error cause) {
  if (failure_) {
    return *std::move(failure_);  // the server had said why
  }
  if (cause.fault() == Fault::corrupt) {
    return cause;
  }
  return Error::transient(Errc::timedout, "waiting for the server's answer: " + cause.text());
}

void PostgresSession::roll_back(Context const& ctx) {
  if (!usable_ || !pipe_.in_transaction()) {
    return;
  }
  usable_ = false;  // until it is known that the transaction has ended
  if (!pipe_.execute_once("ROLLBACK") || !pipe_.sync() || !pipe_.flush(ctx).ok()) {
    return;
  }
  auto const rolled_back = pipe_.next(ctx);
  auto const synced = pipe_.next(ctx);
  usable_ = rolled_back.ok() && *rolled_back != nullptr && synced.ok() && *synced != nullptr &&
            PQresultStatus(synced->get()) == PGRES_PIPELINE_SYNC && !pipe_.in_transaction();
}

/// Parameters of the session, each in a transaction of its own, because servers (and those that
/// speak the same protocol) do not all know all of them, and none is necessary.
Result<void> PostgresSession::set_up(Context const& ctx) {
  struct Setting {
    std::string_view name;
    std::string_view text;
  };
  constexpr Setting kSettings[] = {
      // Plans are made once a session. They must not depend on how small a table was at that time:
      // each statement has an index that serves it.
      {"plan_cache_mode", "force_generic_plan"},
      {"enable_seqscan", "off"},
      // Compiling, or starting processes to help, would cost more than any statement here.
      {"jit", "off"},
      {"max_parallel_workers_per_gather", "0"},
      // A client that died holds no locks for long, neither when it waited for one nor between two
      // statements of a transaction.
      {"client_connection_check_interval", "5s"},
      {"idle_in_transaction_session_timeout", "60s"},
      // Then the transaction is tried again.
      {"lock_timeout", "20s"},
      // The engine's conditions look at what is committed, under the locks that it takes.
      {"default_transaction_isolation", "read committed"},
  };
  int asked = 0;
  for (auto const& setting : kSettings) {
    bool const chosen = std::ranges::any_of(
        options_.settings, [&](auto const& option) { return option.first == setting.name; });
    if (chosen) {
      continue;
    }
    ++asked;
    if (!pipe_.execute_once(
            fmt::format("SELECT set_config('{}','{}',false)", setting.name, setting.text)) ||
        !pipe_.sync()) {
      return Error::transient(Errc::io, pipe_.message());
    }
  }
  ZEST_CHECK(pipe_.flush(ctx));
  for (; asked > 0; --asked) {
    ZEST_TRY(auto const set, pipe_.next(ctx));
    ZEST_TRY(auto const synced, pipe_.next(ctx));
    if (set == nullptr || synced == nullptr || !pipe_.connected()) {
      return Error::transient(Errc::io, pipe_.message());
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Session>> make_postgres_session(Context const& ctx, PostgresHandle handle,
                                                       PostgresOptions const& options) {
  auto session = std::make_unique<PostgresSession>(std::move(handle), options);
  if (auto ready = session->set_up(ctx); !ready.ok()) {
    if (failed_with(ready, Errc::intr)) {
      return std::move(ready).error();
    }
    return Error::transient(Errc::io, "setting the session up: " + ready.error().text());
  }
  return std::unique_ptr<Session>(std::move(session));
}

}  // namespace zest::meta::sql
