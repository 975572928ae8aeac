// The driver without a server: addresses, the text of a batch, what error numbers mean.
#include <errmsg.h>
#include <gtest/gtest.h>
#include <mysqld_error.h>

#include <string>
#include <vector>

#include "zest/meta/engine/sql/mysql/mysql.h"
#include "zest/meta/engine/sql/mysql/mysql_error.h"
#include "zest/meta/engine/sql/mysql/mysql_text.h"

namespace zest::meta::sql {
namespace {

MysqlOptions parsed(std::string_view url) {
  auto options = parse_mysql_url(url);
  EXPECT_TRUE(options.ok()) << url << ": " << options.error().text();
  return options.ok() ? *std::move(options) : MysqlOptions{};
}

TEST(MysqlUrl, AddressesOfThePeersDriverAreUnderstood) {
  struct {
    std::string_view url;
    std::string_view target;
  } const cases[]{
      {"mysql://u:p@(db.example:3307)/vol", "u@db.example:3307/vol"},
      {"mysql://u:p@tcp(db.example)/vol", "u@db.example:3306/vol"},
      {"mysql://u:p@db.example:3307/vol", "u@db.example:3307/vol"},
      {"mysql://u@(a:1,b,[::1]:3)/vol?table_prefix=x", "u@a:1,b:3306,::1:3/vol"},
      {"mysql://u:p@unix(/run/my.sock)/vol", "u@/run/my.sock/vol"},
      {"mysql://u:p@()/vol", "u@127.0.0.1:3306/vol"},
  };
  for (auto const& c : cases) {
    EXPECT_EQ(parsed(c.url).target(), c.target) << c.url;
  }
}

TEST(MysqlUrl, PasswordsMayBeEncodedAndMayContainSeparators) {
  EXPECT_EQ(parsed("mysql://u:a%40b%2F@(h)/d").password, "a@b/");
  EXPECT_EQ(parsed("mysql://u:a@b/c:d@(h)/d").password, "a@b/c:d");
  EXPECT_EQ(parsed("mysql://u:100%@(h)/d").password, "100%") << "no encoding";
  EXPECT_EQ(parsed("mysql://u@(h)/d").password, "");
}

TEST(MysqlUrl, OptionsAreSortedOut) {
  auto const options = parsed(
      "mysql://u@(h)/d?max_open_conns=8&table_prefix=a_b&tls=skip-verify&timeout=1m30s"
      "&parseTime=true&sql_safe_updates=0&time_zone='%2B00:00'");
  EXPECT_EQ(options.engine.connections_max, 8U);
  EXPECT_EQ(options.engine.table_prefix, "a_b");
  EXPECT_EQ(options.tls, MysqlTls::unverified);
  EXPECT_EQ(options.connect_timeout, std::chrono::seconds(90));
  EXPECT_EQ(options.ignored, std::vector<std::string>{"parseTime"});
  std::vector<std::pair<std::string, std::string>> const settings{{"sql_safe_updates", "0"},
                                                                  {"time_zone", "'+00:00'"}};
  EXPECT_EQ(options.settings, settings);
}

TEST(MysqlUrl, NonsenseIsRefusedWithoutShowingThePassword) {
  for (std::string_view const url :
       {"mysql://u:secret@(h:99999)/d", "mysql://u:secret@(h)", "mysql://u:secret@(h)/",
        "mysql://u:secret@(h/d", "mysql://u:secret@pipe(h)/d", "mysql://u:secret@unix()/d",
        "mysql://u:secret@([::1)/d", "mysql://u:secret@(h)/d?tls=maybe",
        "mysql://u:secret@(h)/d?timeout=soon", "mysql://u:secret@(h)/d?x=1;DROP TABLE y",
        "mysql://u:secret@(h)/d?table_prefix=a-b", "postgres://u:secret@h/d"}) {
    auto const options = parse_mysql_url(url);
    ASSERT_FALSE(options.ok()) << url;
    EXPECT_EQ(options.error().code(), Errc::inval) << url;
    EXPECT_EQ(options.error().text().find("secret"), std::string::npos) << options.error().text();
  }
}

TEST(MysqlText, EveryContentStaysInsideItsLiteral) {
  std::vector<Statement> const batch{
      {.text = "BEGIN", .parameters = {}},
      {.text = "INSERT INTO t VALUES(?,?,?,?,?)",
       .parameters = {
           std::int64_t{INT64_MIN}, Bytes{std::string("'\0?", 3)}, Text{"a';--"}, {}, Bytes{}}}};
  EXPECT_EQ(batch_text(batch),
            "BEGIN;INSERT INTO t VALUES(-9223372036854775808,x'27003F',_utf8mb4 x'61273B2D2D',NULL,"
            "x'')");
}

TEST(MysqlError, NumbersMeanWhatTheEngineExpects) {
  struct {
    unsigned number;
    bool sent;
    bool committing;
    Fault fault;
    Errc code;
    bool lost;
  } const cases[]{
      {ER_SUBQUERY_NO_1_ROW, true, false, Fault::conflict, Errc::again, false},
      {ER_DUP_ENTRY, true, false, Fault::conflict, Errc::again, false},
      {ER_LOCK_WAIT_TIMEOUT, true, false, Fault::conflict, Errc::again, false},
      {ER_LOCK_DEADLOCK, true, true, Fault::conflict, Errc::deadlk, false},
      {CR_SERVER_LOST, true, false, Fault::transient, Errc::timedout, true},
      {CR_SERVER_GONE_ERROR, false, false, Fault::transient, Errc::io, true},
      {ER_CONNECTION_KILLED, true, false, Fault::transient, Errc::io, true},
      {ER_CONNECTION_KILLED, true, true, Fault::transient, Errc::timedout, true},
      {ER_SERVER_SHUTDOWN, true, false, Fault::transient, Errc::io, true},
      {ER_QUERY_INTERRUPTED, true, true, Fault::transient, Errc::timedout, false},
      {ER_ERROR_DURING_COMMIT, true, true, Fault::transient, Errc::timedout, true},
      {ER_UNKNOWN_COM_ERROR, true, false, Fault::transient, Errc::io, true},
      {ER_CON_COUNT_ERROR, false, false, Fault::transient, Errc::io, false},
      {ER_ACCESS_DENIED_ERROR, false, false, Fault::semantic, Errc::acces, false},
      {ER_NO_SUCH_TABLE, true, false, Fault::semantic, Errc::noent, false},
      {ER_DATA_TOO_LONG, true, false, Fault::semantic, Errc::nospc, false},
      {ER_WARN_DATA_OUT_OF_RANGE, true, false, Fault::semantic, Errc::overflow, false},
      {ER_OPTION_PREVENTS_STATEMENT, true, false, Fault::semantic, Errc::rofs, false},
      {ER_CRASHED_ON_USAGE, true, false, Fault::corrupt, Errc::io, false},
      {ER_PARSE_ERROR, true, false, Fault::semantic, Errc::io, false},
  };
  for (auto const& c : cases) {
    auto const verdict = judge_mysql({.number = c.number,
                                      .message = "message",
                                      .statement = "SELECT 1",
                                      .sent = c.sent,
                                      .committing = c.committing});
    EXPECT_EQ(verdict.error.fault(), c.fault) << c.number;
    EXPECT_EQ(verdict.error.code(), c.code) << c.number;
    EXPECT_EQ(verdict.session_lost, c.lost) << c.number;
  }
}

TEST(MysqlError, AReadOnlyServerOfSeveralIsLeftForTheNext) {
  auto const verdict = judge_mysql({.number = ER_OPTION_PREVENTS_STATEMENT,
                                    .message = "read-only",
                                    .statement = "UPDATE",
                                    .several_hosts = true});
  EXPECT_EQ(verdict.error.fault(), Fault::transient);
  EXPECT_TRUE(verdict.session_lost);
}

}  // namespace
}  // namespace zest::meta::sql
