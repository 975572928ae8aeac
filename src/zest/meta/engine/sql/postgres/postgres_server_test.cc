// The driver against a real server: ZEST_TEST_POSTGRES is its URL, with a user who may create roles
// and end sessions; each case works in a schema of its own. With ZEST_TEST_POSTGRES_RESTART, a
// command that restarts the server, that is tested, too.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "zest/meta/engine/sql/postgres/postgres.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest::meta::sql {
namespace {

using namespace std::literals;  // texts with NULs
using std::chrono::milliseconds;

Context within(milliseconds duration) {
  Context ctx;
  ctx.deadline = Loop::current()->now() + duration;
  return ctx;
}

std::int64_t number(Cell const& cell) {
  EXPECT_TRUE(std::holds_alternative<std::int64_t>(cell));
  return std::holds_alternative<std::int64_t>(cell) ? std::get<std::int64_t>(cell) : -1;
}

class PostgresServer : public ::testing::Test {
 protected:
  void SetUp() override {
    char const* url = std::getenv("ZEST_TEST_POSTGRES");
    if (url == nullptr || *url == '\0') {
      GTEST_SKIP() << "ZEST_TEST_POSTGRES names no server";
    }
    auto options = parse_postgres_url(url);
    ASSERT_TRUE(options.ok()) << options.error().text();
    options_ = *std::move(options);
    options_.settings.emplace_back("search_path", "zest_driver_test");
  }

  /// Runs `body` on a fiber, with session() in an empty schema that has the table
  /// t(a BIGINT PRIMARY KEY, b BYTEA, c VARCHAR(10), d INTEGER).
  void run(std::function<void()> const& body) {
    zest::testing::run_on_loop([&] {
      session_ = connect(options_);
      ASSERT_NE(session_, nullptr);
      must({{.text = "DROP SCHEMA IF EXISTS zest_driver_test CASCADE"},
            {.text = "CREATE SCHEMA zest_driver_test"},
            {.text = "CREATE TABLE t(a BIGINT PRIMARY KEY, b BYTEA, c VARCHAR(10), d INTEGER)"}});
      body();
      session_.reset();
      other_.reset();
    });
  }

  std::unique_ptr<Session> connect(PostgresOptions const& options) {
    connectors_.push_back(make_postgres_connector(options));
    auto session = connectors_.back()->connect(within(10s));
    EXPECT_TRUE(session.ok()) << session.error().text();
    return session.ok() ? *std::move(session) : nullptr;
  }
  Session& session() { return *session_; }
  /// A second one.
  Session& other() {
    if (other_ == nullptr) {
      other_ = connect(options_);
    }
    return *other_;
  }
  static std::vector<ResultSet> must_on(Session& session,
                                        std::vector<Statement> const& statements) {
    auto results = session.run(within(20s), statements);
    EXPECT_TRUE(results.ok()) << results.error().text();
    return results.ok() ? *std::move(results) : std::vector<ResultSet>(statements.size());
  }
  std::vector<ResultSet> must(std::vector<Statement> const& statements) {
    return must_on(session(), statements);
  }
  static Error failure_on(Session& session, std::vector<Statement> const& statements) {
    auto results = session.run(within(20s), statements);
    EXPECT_FALSE(results.ok());
    return results.ok() ? Error(Errc::nodata) : std::move(results).error();
  }
  Error failure(std::vector<Statement> const& statements) {
    return failure_on(session(), statements);
  }
  std::int64_t rows_of_t() {
    return number(must({{.text = "SELECT COUNT(*) FROM t"}})[0].rows[0][0]);
  }

  PostgresOptions options_;
  std::vector<std::unique_ptr<Connector>> connectors_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Session> other_;
};

Statement insert(std::int64_t a) {
  return {.text = "INSERT INTO t(a) VALUES(?)", .parameters = {a}};
}

TEST_F(PostgresServer, ABatchGivesOneResultEach) {
  run([&] {
    auto const results = must(
        {{.text = "INSERT INTO t(a,b,c,d) VALUES(?,?,?,?),(?,?,?,?)",
          .parameters = {std::int64_t{1}, Bytes{"\0\xff?"s}, Text{"ü"}, std::int64_t{-7},
                         std::int64_t{1} << 62, std::monostate(), std::monostate(),
                         std::monostate()}},
         {.text = "SELECT a,b,c,d FROM t ORDER BY a"},
         {.text = "UPDATE t SET d=? WHERE a>?", .parameters = {std::int64_t{5}, std::int64_t{0}}},
         {.text = "SELECT SUM(a-1), MAX(d), COUNT(*), a=1 FROM t WHERE a=1 GROUP BY a"},
         {.text = "DELETE FROM t WHERE a=?", .parameters = {std::int64_t{99}}},
         {.text = "SELECT a FROM t WHERE b=?", .parameters = {Bytes{"none"}}}});
    ASSERT_EQ(results.size(), 6U);
    EXPECT_EQ(results[0].affected, 2U);
    EXPECT_TRUE(results[0].rows.empty());
    EXPECT_EQ(results[1].affected, 0U);
    EXPECT_EQ(results[1].rows,
              (std::vector<std::vector<Cell>>{
                  {std::int64_t{1}, "\0\xff?"s, "ü"s, std::int64_t{-7}},
                  {std::int64_t{1} << 62, std::monostate(), std::monostate(), std::monostate()}}));
    EXPECT_EQ(results[2].affected, 2U);
    EXPECT_EQ(results[3].rows,
              (std::vector<std::vector<Cell>>{
                  {std::int64_t{0}, std::int64_t{5}, std::int64_t{1}, std::int64_t{1}}}));
    EXPECT_EQ(results[4].affected, 0U);
    EXPECT_TRUE(results[5].rows.empty());
    EXPECT_TRUE(must({}).empty());
  });
}

TEST_F(PostgresServer, AFailedAssertionUndoesTheTransactionAndTheSessionGoesOn) {
  run([&] {
    Statement const assertion{.text = "SELECT 1/COUNT(*) FROM t WHERE a=?",
                              .parameters = {std::int64_t{99}}};
    for (int i = 0; i < 3; ++i) {
      auto const error =
          failure({{.text = "BEGIN"}, insert(1), assertion, insert(2), {.text = "COMMIT"}});
      EXPECT_EQ(error.fault(), Fault::conflict) << error.text();
      EXPECT_TRUE(session().usable());
      EXPECT_EQ(rows_of_t(), 0);
    }
    must({{.text = "BEGIN"}, insert(1), {.text = "COMMIT"}});
    EXPECT_EQ(rows_of_t(), 1);
  });
}

TEST_F(PostgresServer, ATransactionMaySpanBatches) {
  run([&] {
    must({{.text = "BEGIN"}, insert(1), {.text = "SELECT a FROM t FOR UPDATE"}});
    EXPECT_EQ(number(must_on(other(), {{.text = "SELECT COUNT(*) FROM t"}})[0].rows[0][0]), 0);
    must({insert(2), {.text = "COMMIT"}});
    EXPECT_EQ(number(must_on(other(), {{.text = "SELECT COUNT(*) FROM t"}})[0].rows[0][0]), 2);
    // A failure rolls all of it back, at once: the other session finds no lock.
    must({{.text = "BEGIN"}, {.text = "UPDATE t SET d=1"}});
    EXPECT_EQ(failure({insert(1)}).fault(), Fault::conflict);
    must_on(other(), {{.text = "BEGIN"}, {.text = "UPDATE t SET d=2"}, {.text = "COMMIT"}});
    EXPECT_TRUE(session().usable());
    must({{.text = "BEGIN"}, insert(3), {.text = "ROLLBACK"}});
    EXPECT_EQ(rows_of_t(), 2);
    must({{.text = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"},
          {.text = "SELECT a FROM t"},
          {.text = "COMMIT"}});
  });
}

TEST_F(PostgresServer, LostRacesAreConflicts) {
  run([&] {
    must({insert(1), insert(2)});
    EXPECT_EQ(failure({insert(1)}).fault(), Fault::conflict);
    // A deadlock: two sessions take two rows crosswise.
    Statement const one{.text = "UPDATE t SET d=1 WHERE a=1"};
    Statement const two{.text = "UPDATE t SET d=1 WHERE a=2"};
    must({{.text = "BEGIN"}, one});
    must_on(other(), {{.text = "BEGIN"}, two});
    int conflicts = 0;
    auto cross = [&](Session& mine, Statement const& statement) {
      auto const done = mine.run(within(20s), std::vector{statement, {.text = "COMMIT"}});
      conflicts += !done.ok() && done.error().fault() == Fault::conflict ? 1 : 0;
      EXPECT_TRUE(mine.usable());
    };
    Scope scope;
    scope.spawn([&] { cross(session(), two); });
    scope.spawn([&] { cross(other(), one); });
    scope.join();
    EXPECT_EQ(conflicts, 1);
  });
}

TEST_F(PostgresServer, ALockThatTakesTooLongIsAConflict) {
  options_.settings.emplace_back("lock_timeout", "100ms");
  run([&] {
    must({insert(1)});
    must_on(other(), {{.text = "BEGIN"}, {.text = "UPDATE t SET d=1"}});
    EXPECT_EQ(failure({{.text = "UPDATE t SET d=2"}}).fault(), Fault::conflict);
    EXPECT_EQ(failure({{.text = "SELECT a FROM t FOR UPDATE NOWAIT"}}).fault(), Fault::conflict);
    must_on(other(), {{.text = "ROLLBACK"}});
    must({{.text = "UPDATE t SET d=2"}});
  });
}

TEST_F(PostgresServer, ASerializationFailureAtTheCommitIsAConflict) {
  options_.settings.emplace_back("default_transaction_isolation", "serializable");
  run([&] {
    // Write skew: each reads what the other writes; the second commit fails, at the Sync.
    must({insert(1), insert(2)});
    Statement const sum{.text = "SELECT SUM(d) FROM t"};
    must({{.text = "BEGIN"}, sum, {.text = "UPDATE t SET d=1 WHERE a=1"}});
    must_on(other(), {{.text = "BEGIN"}, sum, {.text = "UPDATE t SET d=1 WHERE a=2"}});
    must({{.text = "COMMIT"}});
    EXPECT_EQ(failure_on(other(), {{.text = "COMMIT"}}).fault(), Fault::conflict);
    EXPECT_TRUE(other().usable());
    // The same with transactions that the Sync ends: pg_sleep holds the first one open.
    int conflicts = 0;
    auto skew = [&](Session& mine, char const* update) {
      auto const done =
          mine.run(within(20s), std::vector<Statement>{{.text = "BEGIN"},
                                                       sum,
                                                       {.text = "SELECT pg_sleep(0.2)"},
                                                       {.text = update},
                                                       {.text = "COMMIT"}});
      conflicts += !done.ok() && done.error().fault() == Fault::conflict ? 1 : 0;
      EXPECT_TRUE(mine.usable());
    };
    Scope scope;
    scope.spawn([&] { skew(session(), "UPDATE t SET d=5 WHERE a=1"); });
    scope.spawn([&] { skew(other(), "UPDATE t SET d=5 WHERE a=2"); });
    scope.join();
    EXPECT_EQ(conflicts, 1);
  });
}

TEST_F(PostgresServer, ACheckThatWaitsForTheCommitFailsAtTheSync) {
  run([&] {
    must({{.text = "CREATE TABLE u(x BIGINT UNIQUE DEFERRABLE INITIALLY DEFERRED)"}});
    Statement const twice{.text = "INSERT INTO u(x) VALUES(?)", .parameters = {std::int64_t{1}}};
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(failure({{.text = "BEGIN"}, twice, twice, {.text = "COMMIT"}}).fault(),
                Fault::conflict);
      EXPECT_TRUE(session().usable());
      EXPECT_EQ(failure({{.text = "BEGIN"},
                         twice,
                         twice,
                         {.text = "SET LOCAL jit='off'"},
                         {.text = "COMMIT"}})
                    .fault(),
                Fault::conflict);
      EXPECT_TRUE(session().usable());
    }
    EXPECT_EQ(number(must({{.text = "SELECT COUNT(*) FROM u"}})[0].rows[0][0]), 0);
    must({{.text = "BEGIN"}, twice, {.text = "COMMIT"}});
  });
}

TEST_F(PostgresServer, FailuresHaveTheErrnoOfTheirKind) {
  run([&] {
    auto error = failure(
        {{.text = "INSERT INTO t(a,d) VALUES(1,?)", .parameters = {std::int64_t{3'000'000'000}}}});
    EXPECT_EQ(error.code(), Errc::io);
    EXPECT_EQ(error.fault(), Fault::semantic);
    error = failure({{.text = "INSERT INTO t(a,c) VALUES(1,?)", .parameters = {Text{"a\0b"s}}}});
    EXPECT_EQ(error.code(), Errc::io) << error.text();
    error = failure({{.text = "SELECT a FROM absent"}});
    EXPECT_EQ(error.code(), Errc::noent);
    EXPECT_NE(error.text().find("SELECT a FROM absent"), std::string::npos) << error.text();
    error = failure({insert(1), {.text = "SELEKT ?", .parameters = {std::int64_t{1}}}, insert(2)});
    EXPECT_EQ(error.fault(), Fault::semantic);
    EXPECT_EQ(rows_of_t(), 0);  // one transaction up to the Sync
    error = failure({{.text = "SELECT now()"}});
    EXPECT_EQ(error.fault(), Fault::corrupt);
    std::vector<Parameter> const many(65'536, std::int64_t{1});
    EXPECT_EQ(failure({{.text = "SELECT 1", .parameters = many}}).fault(), Fault::bug);
    EXPECT_TRUE(session().usable());
    must({insert(1)});
  });
}

TEST_F(PostgresServer, PrivilegesAndReadOnlyServersAreToldApart) {
  run([&] {
    must({{.text = "DROP ROLE IF EXISTS zest_driver_guest"},
          {.text = "CREATE ROLE zest_driver_guest LOGIN PASSWORD 'guest' CONNECTION LIMIT 1"},
          {.text = "GRANT USAGE ON SCHEMA zest_driver_test TO zest_driver_guest"}});
    auto guest = options_;
    guest.user = "zest_driver_guest";
    guest.password = "guest";
    auto const visitor = connect(guest);
    ASSERT_NE(visitor, nullptr);
    EXPECT_EQ(failure_on(*visitor, {insert(1)}).code(), Errc::acces);
    EXPECT_TRUE(visitor->usable());
    // "Too many connections for role" is the same SQLSTATE as too many for the server.
    auto const full = make_postgres_connector(guest)->connect(within(5s));
    ASSERT_FALSE(full.ok());
    EXPECT_EQ(full.error().fault(), Fault::transient) << full.error().text();
    auto read_only = options_;
    read_only.settings.emplace_back("default_transaction_read_only", "on");
    auto const reader = connect(read_only);
    ASSERT_NE(reader, nullptr);
    EXPECT_EQ(failure_on(*reader, {insert(1)}).code(), Errc::rofs);
    read_only.hosts.push_back(read_only.hosts.front());
    auto const failed_over = connect(read_only);
    ASSERT_NE(failed_over, nullptr);
    EXPECT_EQ(failure_on(*failed_over, {insert(1)}).fault(), Fault::transient);
    EXPECT_FALSE(failed_over->usable());
    read_only.session_attributes = "read-write";
    EXPECT_FALSE(make_postgres_connector(read_only)->connect(within(5s)).ok());
    read_only.session_attributes = "prefer-standby";
    EXPECT_TRUE(make_postgres_connector(read_only)->connect(within(5s)).ok());
    must_on(session(), {{.text = "DROP OWNED BY zest_driver_guest"}});
  });
}

TEST_F(PostgresServer, ConnectingSaysWhatIsWrong) {
  run([&] {
    auto error_of = [&](PostgresOptions const& options) {
      auto session = make_postgres_connector(options)->connect(within(5s));
      EXPECT_FALSE(session.ok());
      return session.ok() ? Error(Errc::nodata) : std::move(session).error();
    };
    auto options = options_;
    options.password = "hush";
    auto error = error_of(options);
    EXPECT_EQ(error.code(), Errc::acces) << error.text();
    EXPECT_EQ(error.text().find("hush"), std::string::npos);
    EXPECT_NE(error.text().find(options.user), std::string::npos);
    options = options_;
    options.database = "zest_absent";
    EXPECT_EQ(error_of(options).code(), Errc::noent);
    options = options_;
    options.hosts = {{.name = "127.0.0.1", .port = 1}};
    error = error_of(options);
    EXPECT_EQ(error.fault(), Fault::transient) << error.text();
    EXPECT_EQ(error.code(), Errc::io);
    options.hosts.push_back({.name = "no-such-host.invalid"});
    EXPECT_EQ(error_of(options).fault(), Fault::transient);
    options.hosts.push_back({.name = "localhost", .port = options_.hosts.front().port});
    EXPECT_NE(connect(options), nullptr);  // the first two are passed over
  });
}

TEST_F(PostgresServer, AnEndedSessionIsTransientAndNothingHappened) {
  run([&] {
    auto const pid = number(must({{.text = "SELECT pg_backend_pid()"}})[0].rows[0][0]);
    Statement const kill{.text = "SELECT pg_terminate_backend(CAST(? AS INTEGER))",
                         .parameters = {pid}};
    must_on(other(), {kill});
    ASSERT_TRUE(Loop::current()->sleep_for({}, milliseconds(100)).ok());
    auto const idle = failure({insert(1)});
    EXPECT_EQ(idle.fault(), Fault::transient);
    EXPECT_EQ(idle.code(), Errc::io);
    EXPECT_FALSE(session().usable());
    EXPECT_EQ(failure({insert(1)}).code(), Errc::io);

    auto victim = connect(options_);
    ASSERT_NE(victim, nullptr);
    auto const victim_pid = must_on(*victim, {{.text = "SELECT pg_backend_pid()"}})[0].rows[0][0];
    Scope scope;
    scope.spawn([&] {
      auto const busy = failure_on(*victim, {insert(1), {.text = "SELECT pg_sleep(30)"}});
      EXPECT_EQ(busy.fault(), Fault::transient) << busy.text();
      EXPECT_EQ(busy.code(), Errc::io);  // it was told before the commit
      EXPECT_FALSE(victim->usable());
    });
    ASSERT_TRUE(Loop::current()->sleep_for({}, milliseconds(200)).ok());
    must_on(other(), {{.text = kill.text, .parameters = {number(victim_pid)}}});
    scope.join();
    EXPECT_EQ(number(must_on(other(), {{.text = "SELECT COUNT(*) FROM t"}})[0].rows[0][0]), 0);
  });
}

TEST_F(PostgresServer, ACancelledStatementIsTransientAndTheSessionGoesOn) {
  options_.settings.emplace_back("statement_timeout", "100ms");
  run([&] {
    auto const error = failure({{.text = "SELECT pg_sleep(30)"}});
    EXPECT_EQ(error.fault(), Fault::transient);
    EXPECT_EQ(error.code(), Errc::io);
    EXPECT_TRUE(session().usable());
    must({insert(1)});
  });
}

TEST_F(PostgresServer, DeadlineAndStopEndABatchInTheMiddle) {
  run([&] {
    std::vector<Statement> const slow{{.text = "SELECT pg_sleep(30)"}};
    auto const begin = Loop::current()->now();
    auto const late = session().run(within(milliseconds(100)), slow);
    ASSERT_TRUE(failed_with(late, Errc::timedout));
    EXPECT_EQ(late.error().fault(), Fault::transient);
    EXPECT_LT(Loop::current()->now() - begin, 5s);
    EXPECT_FALSE(session().usable());
    Scope scope;
    scope.spawn([&] {
      Context ctx;
      ctx.stop = scope.token();
      EXPECT_TRUE(failed_with(other().run(ctx, slow), Errc::timedout));
      EXPECT_FALSE(other().usable());
      // Nothing is sent any more.
      EXPECT_TRUE(failed_with(other().run(ctx, slow), Errc::intr));
    });
    ASSERT_TRUE(Loop::current()->sleep_for({}, milliseconds(100)).ok());
    scope.request_stop();
    scope.join();
  });
}

TEST_F(PostgresServer, BatchesLargerThanAnySocketBufferGoThrough) {
  // The server answers the first statements while the last ones are still being sent: with a driver
  // that only writes, both would wait for each other.
  run([&] {
    std::string const large(4U << 20U, 'x');
    std::vector<Statement> batch;
    for (int i = 0; i < 12; ++i) {
      batch.push_back({.text = "SELECT CAST(? AS BYTEA)", .parameters = {Bytes{large}}});
    }
    auto const results = must(batch);
    for (auto const& result : results) {
      EXPECT_EQ(result.rows.at(0).at(0), Cell(large));
    }
    std::vector<Statement> inserts{{.text = "BEGIN"}};
    for (std::int64_t i = 0; i < 5000; ++i) {
      inserts.push_back(insert(i));
    }
    inserts.push_back({.text = "COMMIT"});
    must(inserts);
    EXPECT_EQ(must({{.text = "SELECT a FROM t"}})[0].rows.size(), 5000U);
  });
}

TEST_F(PostgresServer, PreparedTextsSurviveFailuresEvictionAndAlteredTables) {
  run([&] {
    // One that could not be prepared is prepared anew.
    Statement const late{.text = "SELECT x FROM late WHERE x=?", .parameters = {std::int64_t{1}}};
    EXPECT_EQ(failure({late}).code(), Errc::noent);
    EXPECT_EQ(failure({{.text = "SELECT 1/0"}, late}).fault(), Fault::conflict);
    must({{.text = "CREATE TABLE late(x BIGINT)"}});
    must({late, late});
    // Another result than the one that was planned: the session starts anew.
    Statement const all{.text = "SELECT * FROM t"};
    must({all});
    must_on(other(), {{.text = "ALTER TABLE t ADD COLUMN e BIGINT"}});
    EXPECT_EQ(failure({all}).fault(), Fault::conflict);
    EXPECT_FALSE(session().usable());
    session_ = connect(options_);
    EXPECT_EQ(must({all, {.text = "SELECT 1"}}).size(), 2U);
    // More texts than are kept.
    for (int i = 0; i < 1100; i += 100) {
      std::vector<Statement> batch;
      for (int j = 0; j < 100; ++j) {
        batch.push_back({.text = fmt::format("SELECT {}", i + j)});
      }
      auto const results = must(batch);
      EXPECT_EQ(number(results[99].rows[0][0]), i + 99);
    }
    must({late, all});
    auto const kept = must({{.text = "SELECT COUNT(*) FROM pg_prepared_statements"}});
    EXPECT_LT(number(kept[0].rows[0][0]), 110);
    // Dropped behind the session's back.
    must({{.text = "DEALLOCATE ALL"}});
    EXPECT_EQ(failure({late}).fault(), Fault::conflict);
    EXPECT_FALSE(session().usable());
  });
}

TEST_F(PostgresServer, TheSessionIsSetUp) {
  run([&] {
    auto const results = must({{.text = "SELECT current_setting('plan_cache_mode')"},
                               {.text = "SELECT current_setting('enable_seqscan')"},
                               {.text = "SELECT current_setting('jit')"},
                               {.text = "SELECT current_setting('lock_timeout')"},
                               {.text = "SELECT current_setting('client_encoding')"},
                               {.text = "SELECT current_setting('search_path')"}});
    EXPECT_EQ(results[0].rows[0][0], Cell("force_generic_plan"s));
    EXPECT_EQ(results[1].rows[0][0], Cell("off"s));
    EXPECT_EQ(results[2].rows[0][0], Cell("off"s));
    EXPECT_EQ(results[3].rows[0][0], Cell("20s"s));
    EXPECT_EQ(results[4].rows[0][0], Cell("UTF8"s));
    EXPECT_EQ(results[5].rows[0][0], Cell("zest_driver_test"s));
  });
}

TEST_F(PostgresServer, ASyncFlushesWhatWasCommittedLazily) {
  options_.settings.emplace_back("synchronous_commit", "off");
  run([&] {
    auto const batch = connectors_.front()->sync_batch();
    ASSERT_FALSE(batch.empty());
    for (std::int64_t i = 0; i < 20; ++i) {
      auto const end =
          must({insert(i), {.text = "SELECT CAST(pg_current_wal_insert_lsn() AS text)"}})
              .at(1)
              .rows[0][0];
      must(batch);
      auto const flushed = must({{.text = "SELECT pg_current_wal_flush_lsn()>=CAST(? AS pg_lsn)",
                                  .parameters = {Text{std::get<std::string>(end)}}}});
      EXPECT_EQ(number(flushed[0].rows[0][0]), 1);
    }
  });
}

TEST_F(PostgresServer, ManyFibersHaveASessionEach) {
  run([&] {
    Scope scope;
    for (std::int64_t client = 0; client < 20; ++client) {
      scope.spawn([&, client] {
        auto const mine = connect(options_);
        ASSERT_NE(mine, nullptr);
        for (std::int64_t i = 0; i < 20; ++i) {
          must_on(*mine, {{.text = "BEGIN"}, insert(client * 100 + i), {.text = "COMMIT"}});
        }
      });
    }
    scope.join();
    EXPECT_EQ(rows_of_t(), 400);
  });
}

TEST_F(PostgresServer, ARestartIsSurvivedByConnectingAnew) {
  char const* command = std::getenv("ZEST_TEST_POSTGRES_RESTART");
  if (command == nullptr) {
    GTEST_SKIP() << "ZEST_TEST_POSTGRES_RESTART names no command";
  }
  run([&] {
    must({insert(1)});
    Scope scope;
    scope.spawn([&] {
      auto const busy = failure({{.text = "SELECT pg_sleep(30)"}});
      EXPECT_EQ(busy.fault(), Fault::transient) << busy.text();
      EXPECT_FALSE(session().usable());
    });
    ASSERT_TRUE(Loop::current()->sleep_for({}, milliseconds(100)).ok());
    int restarted = -1;
    Event done;
    std::thread helper([&] {
      restarted = std::system(command);
      done.set();
    });
    // Away, shutting down or starting up: never anything but transient.
    while (!done.wait(within(milliseconds(20))).ok()) {
      auto const tried = make_postgres_connector(options_)->connect(within(2s));
      EXPECT_TRUE(tried.ok() || tried.error().fault() == Fault::transient) << tried.error().text();
    }
    helper.join();
    scope.join();
    EXPECT_EQ(restarted, 0);
    session_ = connect(options_);
    ASSERT_NE(session_, nullptr);
    EXPECT_EQ(rows_of_t(), 1);
  });
}

}  // namespace
}  // namespace zest::meta::sql
