// A server that breaks the protocol, falls silent or dies: every answer ends in an error of the
// right kind, in time, and nothing crashes.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "zest/meta/engine/sql/postgres/fake_postgres.h"
#include "zest/meta/engine/sql/postgres/postgres.h"
#include "zest/runtime/testing.h"

namespace zest::meta::sql {
namespace {

using std::chrono::milliseconds;
using testing::FakePostgres;
namespace wire = testing::wire;

/// Options that make a session without a set-up of its own, so that the first batch is the test's.
PostgresOptions options_for(FakePostgres const& server) {
  PostgresOptions options;
  options.hosts = {{.name = "127.0.0.1", .port = server.port()}};
  options.user = "me";
  options.password = "secret";
  options.keywords = {{"sslmode", "disable"}};
  for (char const* name :
       {"plan_cache_mode", "enable_seqscan", "jit", "client_connection_check_interval",
        "idle_in_transaction_session_timeout", "lock_timeout", "default_transaction_isolation",
        "max_parallel_workers_per_gather"}) {
    options.settings.emplace_back(name, "x");
  }
  return options;
}

Context within(milliseconds duration) {
  Context ctx;
  ctx.deadline = Loop::current()->now() + duration;
  return ctx;
}

std::vector<Statement> const kSelect{
    {.text = "SELECT c FROM t WHERE a=?", .parameters = {std::int64_t{1}}}};
std::string const kAsked = wire::parse_complete() + wire::bind_complete();
std::string const kColumn = wire::row_description(20, 1);
std::string const kRow = wire::data_row({std::string(8, '\1')});
std::string const kEnd = wire::command_complete("SELECT 1") + wire::ready('I');

struct Outcome {
  Result<std::vector<ResultSet>> result = Errc::io;
  bool usable = false;
};

/// Runs kSelect against a server that answers with these bytes, and then hangs up if asked to.
Outcome run_against(std::string const& answer, bool hang_up = false) {
  Outcome outcome;
  zest::testing::run_on_loop([&] {
    FakePostgres server([&](std::size_t, std::string const&) { return answer; });
    server.hang_up_after(hang_up ? 0 : 1000);
    auto const connector = make_postgres_connector(options_for(server));
    auto session = connector->connect(within(milliseconds(5000)));
    ASSERT_TRUE(session.ok()) << session.error().text();
    outcome.result = (*session)->run(within(milliseconds(300)), kSelect);
    outcome.usable = (*session)->usable();
  });
  return outcome;
}

void expect_error(Outcome const& outcome, Fault fault, Errc code) {
  ASSERT_FALSE(outcome.result.ok());
  EXPECT_EQ(outcome.result.error().fault(), fault) << outcome.result.error().text();
  EXPECT_EQ(outcome.result.error().code(), code) << outcome.result.error().text();
}

TEST(PostgresHostile, AnHonestAnswerIsUnderstood) {
  auto const outcome = run_against(kAsked + kColumn + kRow + kEnd);
  ASSERT_TRUE(outcome.result.ok()) << outcome.result.error().text();
  EXPECT_TRUE(outcome.usable);
  EXPECT_EQ((*outcome.result)[0].rows[0][0], Cell(std::int64_t{0x0101010101010101}));
}

TEST(PostgresHostile, ValuesThatCannotBeAreCorrupt) {
  for (auto const& answer :
       {kAsked + kColumn + wire::data_row({"123"}) + kEnd,       // int8 of three bytes
        kAsked + wire::row_description(9999, 1) + kRow + kEnd,   // an unknown type
        kAsked + wire::row_description(20, 0) + kRow + kEnd}) {  // text format
    auto const outcome = run_against(answer);
    expect_error(outcome, Fault::corrupt, Errc::io);
    EXPECT_TRUE(outcome.usable);  // the exchange itself was complete
  }
}

TEST(PostgresHostile, AnswersThatFitToNoStatementEndTheSession) {
  auto const copy = [](char type) { return wire::message(type, '\0' + wire::int16(0)); };
  for (auto const& answer :
       {wire::ready('I'),                                              // too few
        wire::parse_complete() + wire::ready('I'),                     // too few
        kAsked + kColumn + kRow + wire::ready('I'),                    // no end of the rows
        kAsked + copy('G') + wire::ready('I'),                         // COPY
        kAsked + copy('H') + wire::ready('I'),                         //
        kAsked + copy('W') + wire::ready('I'),                         //
        kAsked + wire::message('I', "") + wire::ready('I'),            // "empty query"
        kAsked + kColumn + wire::data_row({"1", "2"}) + kEnd,          // more cells than columns
        kAsked + kColumn + wire::message('D', wire::int16(1)) + kEnd,  // a row cut off
        kAsked + kColumn + wire::message('D', wire::int16(1) + wire::int32(0x7fffffff)) + kEnd,
        kAsked + wire::message('T', wire::int16(0x7fff)) + kEnd,  // columns cut off
        std::string("\xff\xff\xff\xff\xff\xff\xff\xff"),          // noise
        std::string("D\x7f\xff\xff\xff", 5),                      // two gigabytes to come
        std::string("Z\0\0\0\3", 5)}) {                           // shorter than its own head
    auto const outcome = run_against(answer);
    EXPECT_FALSE(outcome.result.ok());
    EXPECT_FALSE(outcome.usable) << outcome.result.error().text();
  }
}

TEST(PostgresHostile, SilenceEndsAtTheDeadlineWithAnUnknownOutcome) {
  for (auto const& answer : {std::string(), kAsked, kAsked + kColumn + kRow}) {
    auto const outcome = run_against(answer);
    expect_error(outcome, Fault::transient, Errc::timedout);
    EXPECT_FALSE(outcome.usable);
  }
}

TEST(PostgresHostile, ALostConnectionLeavesTheOutcomeUnknown) {
  for (auto const& answer : {std::string(), kAsked, kAsked + kColumn + kRow,
                             kAsked + kColumn + kRow + wire::command_complete("SELECT 1")}) {
    auto const outcome = run_against(answer, true);
    expect_error(outcome, Fault::transient, Errc::timedout);
    EXPECT_FALSE(outcome.usable);
  }
}

TEST(PostgresHostile, AFarewellBeforeTheCommitSaysThatNothingHappened) {
  auto const outcome = run_against(wire::parse_complete() + wire::error("FATAL", "57P01"), true);
  expect_error(outcome, Fault::transient, Errc::io);
  EXPECT_FALSE(outcome.usable);
  // At the Sync, which commits, it says nothing of the kind.
  auto const late = run_against(
      kAsked + kColumn + kRow + wire::command_complete("SELECT 1") + wire::error("FATAL", "57P01"),
      true);
  expect_error(late, Fault::transient, Errc::timedout);
  EXPECT_FALSE(late.usable);
}

TEST(PostgresHostile, ACommitThatFailsAtTheSyncIsAConflict) {
  auto const outcome = run_against(kAsked + kColumn + kRow + wire::command_complete("SELECT 1") +
                                   wire::error("ERROR", "40001") + wire::ready('I'));
  expect_error(outcome, Fault::conflict, Errc::deadlk);
  EXPECT_TRUE(outcome.usable);
}

TEST(PostgresHostile, AConnectionClosedWhileIdleIsNoticedBeforeSending) {
  zest::testing::run_on_loop([&] {
    FakePostgres server([&](std::size_t, std::string const&) {
      return kAsked + kColumn + kRow + kEnd + wire::error("FATAL", "57P01");
    });
    server.hang_up_after(0);
    auto const connector = make_postgres_connector(options_for(server));
    auto session = connector->connect(within(milliseconds(5000)));
    ASSERT_TRUE(session.ok()) << session.error().text();
    ASSERT_TRUE((*session)->run(within(milliseconds(300)), kSelect).ok());
    ASSERT_TRUE(Loop::current()->sleep_for({}, milliseconds(20)).ok());
    auto const again = (*session)->run(within(milliseconds(300)), kSelect);
    ASSERT_FALSE(again.ok());
    EXPECT_EQ(again.error().fault(), Fault::transient);
    EXPECT_EQ(again.error().code(), Errc::io);
    EXPECT_FALSE((*session)->usable());
  });
}

TEST(PostgresHostile, ABatchIsOneTripEvenWhenItsTextsAreNew) {
  // The server answers when it has read the whole batch: a driver that waited for an answer in the
  // middle would wait forever. BEGIN and COMMIT of a whole transaction are the Sync's business.
  std::vector<std::string> asked;
  zest::testing::run_on_loop([&] {
    FakePostgres server([&](std::size_t, std::string const& types) {
      asked.push_back(types);
      std::string answer;
      for (char const type : types) {
        answer += type == 'P'   ? wire::parse_complete()
                  : type == 'B' ? wire::bind_complete()
                  : type == 'D' ? wire::no_data()
                  : type == 'E' ? wire::command_complete("UPDATE 3")
                                : wire::ready('I');
      }
      return answer;
    });
    auto const connector = make_postgres_connector(options_for(server));
    auto session = connector->connect(within(milliseconds(5000)));
    ASSERT_TRUE(session.ok()) << session.error().text();
    std::vector<Statement> const commit{{.text = "BEGIN"},
                                        {.text = "UPDATE a SET b=?", .parameters = {Bytes{"x"}}},
                                        {.text = "UPDATE a SET c=?", .parameters = {Text{"x"}}},
                                        {.text = "UPDATE a SET b=?", .parameters = {Bytes{"y"}}},
                                        {.text = "COMMIT"}};
    for (int i = 0; i < 2; ++i) {
      auto const done = (*session)->run(within(milliseconds(300)), commit);
      ASSERT_TRUE(done.ok()) << done.error().text();
      ASSERT_EQ(done->size(), 5U);
      EXPECT_EQ((*done)[0].affected, 0U);
      EXPECT_EQ((*done)[3].affected, 3U);
    }
  });
  EXPECT_EQ(asked, (std::vector<std::string>{"PBDEPBDEBDES", "BDEBDEBDES"}));
}

/// What connecting to a server that answers the first message with `answer` fails with.
Error refusal(std::string const& answer, std::string const& query) {
  Error error(Errc::nodata);
  zest::testing::run_on_loop([&] {
    auto listener = Listener::listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener.ok());
    Scope scope;
    scope.spawn([&] {
      auto socket = listener->accept({});
      ASSERT_TRUE(socket.ok());
      EXPECT_TRUE(socket->write_all({}, as_bytes(answer)).ok());
    });
    auto url = parse_postgres_url("postgres://me:hush@127.0.0.1/volume?" + query);
    ASSERT_TRUE(url.ok());
    url->hosts[0].port = listener->port();
    auto session = make_postgres_connector(*url)->connect(within(milliseconds(5000)));
    ASSERT_FALSE(session.ok());
    error = std::move(session).error();
    scope.join();
  });
  EXPECT_NE(error.text().find("me@127.0.0.1"), std::string::npos) << error.text();
  EXPECT_EQ(error.text().find("hush"), std::string::npos) << error.text();
  return error;
}

TEST(PostgresHostile, RefusalsAreToldApartAndWithoutThePassword) {
  auto error = refusal(wire::error("FATAL", "28P01"), "sslmode=disable");
  EXPECT_EQ(error.code(), Errc::acces);
  EXPECT_EQ(error.fault(), Fault::semantic);
  error = refusal("N", "sslmode=require");  // no TLS here
  EXPECT_EQ(error.code(), Errc::acces);
  EXPECT_EQ(error.fault(), Fault::semantic);
  for (std::string const state : {"53300", "57P03"}) {
    error = refusal(wire::error("FATAL", state), "sslmode=disable");
    EXPECT_EQ(error.fault(), Fault::transient) << state;
    EXPECT_EQ(error.code(), Errc::io) << state;
  }
  EXPECT_EQ(refusal(wire::error("FATAL", "3D000"), "sslmode=disable").code(), Errc::noent);
  EXPECT_EQ(refusal("noise", "sslmode=disable").fault(), Fault::transient);
}

TEST(PostgresHostile, AServerThatAcceptsAndSaysNothingIsPassedOver) {
  zest::testing::run_on_loop([&] {
    auto mute = Listener::listen_tcp("127.0.0.1", 0);  // the kernel accepts, nobody reads
    ASSERT_TRUE(mute.ok());
    FakePostgres server([&](std::size_t, std::string const&) { return std::string(); });
    auto options = options_for(server);
    options.hosts.insert(options.hosts.begin(), {.name = "127.0.0.1", .port = mute->port()});
    options.connect_timeout = milliseconds(50);
    auto const session = make_postgres_connector(options)->connect(within(milliseconds(5000)));
    EXPECT_TRUE(session.ok()) << session.error().text();
  });
}

}  // namespace
}  // namespace zest::meta::sql
