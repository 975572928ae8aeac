// What needs no server: addresses, values, verdicts on failures, prepared statements.
#include "zest/meta/engine/sql/postgres/postgres.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "zest/meta/engine/sql/postgres/postgres_error.h"
#include "zest/meta/engine/sql/postgres/postgres_statements.h"
#include "zest/meta/engine/sql/postgres/postgres_values.h"

namespace zest::meta::sql {
namespace {

using namespace std::literals;  // texts with NULs
using Pairs = std::vector<std::pair<std::string, std::string>>;

PostgresOptions parsed(std::string_view url) {
  auto options = parse_postgres_url(url);
  EXPECT_TRUE(options.ok()) << url << ": " << options.error().text();
  return options.ok() ? *std::move(options) : PostgresOptions{};
}

std::string refusal(std::string_view url) {
  auto const options = parse_postgres_url(url);
  EXPECT_TRUE(failed_with(options, Errc::inval)) << url;
  return options.ok() ? std::string() : options.error().text();
}

TEST(PostgresUrl, NamesUserServerAndDatabase) {
  for (std::string_view const scheme : {"postgres", "postgresql"}) {
    auto const options = parsed(std::string(scheme) + "://me:secret@db.example.com:5433/volume");
    EXPECT_EQ(options.user, "me");
    EXPECT_EQ(options.password, "secret");
    EXPECT_EQ(options.database, "volume");
    ASSERT_EQ(options.hosts.size(), 1U);
    EXPECT_EQ(options.hosts[0].name, "db.example.com");
    EXPECT_EQ(options.hosts[0].port, 5433);
    EXPECT_EQ(options.target(), "me@db.example.com:5433/volume");
  }
}

TEST(PostgresUrl, EverythingButTheSchemeMayBeLeftOut) {
  auto const options = parsed("postgres://");
  EXPECT_TRUE(options.hosts.empty());
  EXPECT_EQ(options.target(), "@/");
  EXPECT_EQ(parsed("postgres:///volume").database, "volume");
  EXPECT_EQ(parsed("postgres://db").hosts.at(0).port, 5432);
  EXPECT_EQ(parsed("postgres://:pw@db/v").password, "pw");
}

TEST(PostgresUrl, PartsArePercentDecoded) {
  auto const options = parsed("postgres://m%40e:p%2Fa%3As%25s+@db/my%20volume");
  EXPECT_EQ(options.user, "m@e");
  EXPECT_EQ(options.password, "p/a:s%s+");
  EXPECT_EQ(options.database, "my volume");
  // A password reaches from the first colon to the last @.
  EXPECT_EQ(parsed("postgres://me:a:b@c@db/v").password, "a:b@c");
}

TEST(PostgresUrl, HostsMayBeSeveralOrAddressesOrUnixSockets) {
  auto const options = parsed("postgres://me@one:1,two,[::1]:3,[fe80::1]/v");
  ASSERT_EQ(options.hosts.size(), 4U);
  EXPECT_EQ(options.target(), "me@one:1,two:5432,[::1]:3,[fe80::1]:5432/v");
  EXPECT_EQ(parsed("postgres://%2Fvar%2Frun:6000/v").hosts.at(0).name, "/var/run");
  auto const by_query = parsed("postgres://me@ignored:7/v?host=/tmp");
  ASSERT_EQ(by_query.hosts.size(), 1U);
  EXPECT_EQ(by_query.hosts[0].name, "/tmp");
  EXPECT_EQ(by_query.hosts[0].port, 7);
  EXPECT_EQ(parsed("postgres:///v?host=a,b&port=1,2").target(), "@a:1,b:2/v");
  EXPECT_EQ(parsed("postgres://a,b/v?port=9").target(), "@a:9,b:9/v");
}

TEST(PostgresUrl, OptionsGoWhereTheyBelong) {
  auto const options = parsed(
      "postgres://h/v?sslmode=verify-full&sslrootcert=/etc/ca+1.pem&target_session_attrs=read-write"
      "&connect_timeout=3&search_path=jfs&synchronous_commit=off&statement_cache_capacity=9"
      "&max_open_conns=20&max_idle_conns=4&max_idle_time=60&max_life_time=3600&table_prefix=a_1");
  EXPECT_EQ(options.keywords,
            (Pairs{{"sslmode", "verify-full"}, {"sslrootcert", "/etc/ca 1.pem"}}));
  EXPECT_EQ(options.settings, (Pairs{{"search_path", "jfs"}, {"synchronous_commit", "off"}}));
  EXPECT_EQ(options.ignored, std::vector<std::string>{"statement_cache_capacity"});
  EXPECT_EQ(options.session_attributes, "read-write");
  EXPECT_EQ(options.connect_timeout, std::chrono::seconds(3));
  EXPECT_EQ(options.engine.connections_max, 20U);
  EXPECT_EQ(options.engine.idle_max, 4U);
  EXPECT_EQ(options.engine.idle_time, std::chrono::seconds(60));
  EXPECT_EQ(options.engine.life_time, std::chrono::hours(1));
  EXPECT_EQ(options.engine.table_prefix, "a_1");
}

TEST(PostgresUrl, LazyCommitsAreRecognised) {
  EXPECT_FALSE(parsed("postgres://h/v").commits_lazily());
  EXPECT_TRUE(parsed("postgres://h/v?synchronous_commit=off").commits_lazily());
  EXPECT_FALSE(parsed("postgres://h/v?synchronous_commit=local").commits_lazily());
  EXPECT_TRUE(make_postgres_connector(parsed("postgres://h/v"))->sync_batch().empty());
}

TEST(PostgresUrl, QueryMayNameUserPasswordAndDatabase) {
  auto const options = parsed("postgres://x:y@h/z?user=me&password=p%26w&dbname=volume");
  EXPECT_EQ(options.user, "me");
  EXPECT_EQ(options.password, "p&w");
  EXPECT_EQ(options.database, "volume");
}

TEST(PostgresUrl, SearchPathIsOneSchemaInItsOwnCase) {
  EXPECT_EQ(parsed("postgres://h/v?search_path=My%22S").settings,
            (Pairs{{"search_path", "\"My\"\"S\""}}));
  EXPECT_EQ(parsed("postgres://h/v?search_path=%22My%22").settings,
            (Pairs{{"search_path", "\"My\""}}));
  EXPECT_NE(refusal("postgres://h/v?search_path=a,b").find("one is supported"), std::string::npos);
}

TEST(PostgresUrl, WhatIsWrongIsNamedButNeverThePassword) {
  EXPECT_NE(refusal("mysql://h/v").find("no PostgreSQL address"), std::string::npos);
  EXPECT_NE(refusal("postgres://h:0/v").find("no port"), std::string::npos);
  EXPECT_NE(refusal("postgres://h:70000/v").find("no port"), std::string::npos);
  EXPECT_NE(refusal("postgres://[::1/v").find("bracket"), std::string::npos);
  EXPECT_NE(refusal("postgres://[::1]x/v").find("no host and port"), std::string::npos);
  EXPECT_NE(refusal("postgres://a,b,c/v?port=1,2").find("2 ports for 3 hosts"), std::string::npos);
  EXPECT_NE(refusal("postgres:///v?port=1").find("needs a host"), std::string::npos);
  EXPECT_NE(refusal("postgres://h/v?target_session_attrs=any2").find("unknown"), std::string::npos);
  EXPECT_NE(refusal("postgres://h/v?connect_timeout=1s").find("no number"), std::string::npos);
  EXPECT_NE(refusal("postgres://h/v?max_open_conns=-1").find("no number"), std::string::npos);
  EXPECT_NE(refusal("postgres://h/v?table_prefix=a-b").find("letters"), std::string::npos);
  for (std::string_view const url :
       {"postgres://me:sec%ret@h/v", "postgres://me:secret%@h/v", "postgres://me:secret%4@h/v",
        "postgres://h/v?password=secret%x1"}) {
    auto const text = refusal(url);
    EXPECT_EQ(text.find("ret"), std::string::npos) << text;
    EXPECT_NE(text.find("%25"), std::string::npos) << text;
  }
}

TEST(PostgresValues, PlaceholdersAreNumbered) {
  EXPECT_EQ(number_placeholders("SELECT 1"), "SELECT 1");
  EXPECT_EQ(number_placeholders("a=? AND (b,c) IN ((?,?),(?,?))"),
            "a=$1 AND (b,c) IN (($2,$3),($4,$5))");
  std::string many;
  for (int i = 0; i < 12; ++i) {
    many += '?';
  }
  EXPECT_TRUE(number_placeholders(many).ends_with("$9$10$11$12"));
}

TEST(PostgresValues, ParametersAreBoundInBinary) {
  BoundParameters bound;
  bound.bind({std::monostate(), std::int64_t{-2}, Bytes{"a\0b"s}, Text{"x"}});
  ASSERT_EQ(bound.count(), 4);
  EXPECT_EQ(bound.types()[0], 0U);
  EXPECT_EQ(bound.values()[0], nullptr);
  EXPECT_EQ(std::string(bound.values()[1], 8), "\xff\xff\xff\xff\xff\xff\xff\xfe");
  EXPECT_EQ(bound.lengths()[1], 8);
  EXPECT_EQ(bound.types()[1], 20U);
  EXPECT_EQ(bound.lengths()[2], 3);
  EXPECT_EQ(bound.types()[2], 17U);
  EXPECT_EQ(bound.types()[3], 25U);
  EXPECT_EQ(bound.formats()[3], 1);
  bound.bind({});
  EXPECT_EQ(bound.count(), 0);
}

Cell cell(TypeId type, std::string_view bytes) {
  auto decoded = decode_cell(type, bytes);
  EXPECT_TRUE(decoded.ok()) << type;
  return decoded.ok() ? *std::move(decoded) : Cell{};
}

std::int64_t integer(TypeId type, std::string_view bytes) {
  auto const decoded = cell(type, bytes);
  EXPECT_TRUE(std::holds_alternative<std::int64_t>(decoded)) << type;
  return std::holds_alternative<std::int64_t>(decoded) ? std::get<std::int64_t>(decoded) : 0;
}

bool is_corrupt(TypeId type, std::string_view bytes) {
  auto const decoded = decode_cell(type, bytes);
  return !decoded.ok() && decoded.error().fault() == Fault::corrupt;
}

TEST(PostgresValues, CellsAreDecoded) {
  EXPECT_EQ(integer(20, "\x80\0\0\0\0\0\0\0"s), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(integer(20, "\x7f\xff\xff\xff\xff\xff\xff\xff"s),
            std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(integer(23, "\xff\xff\xff\xff"s), -1);
  EXPECT_EQ(integer(21, "\x01\x02"s), 258);
  EXPECT_EQ(integer(26, "\xff\xff\xff\xff"s), 4294967295);
  EXPECT_EQ(integer(16, "\x01"s), 1);
  EXPECT_EQ(integer(16, "\0"s), 0);
  for (TypeId const type : {17U, 19U, 25U, 705U, 1042U, 1043U}) {
    EXPECT_EQ(cell(type, "a\0b"s), Cell("a\0b"s)) << type;
  }
}

/// A numeric of the sign and digits to the base 10,000.
std::string numeric(int weight, int sign, std::vector<int> const& digits) {
  std::string bytes;
  auto put = [&bytes](int number) {
    bytes += static_cast<char>(number >> 8);
    bytes += static_cast<char>(number & 255);
  };
  put(static_cast<int>(digits.size()));
  put(weight);
  put(sign);
  put(0);
  for (int const digit : digits) {
    put(digit);
  }
  return bytes;
}

TEST(PostgresValues, WholeNumericsAreIntegers) {
  EXPECT_EQ(integer(1700, numeric(0, 0, {})), 0);
  EXPECT_EQ(integer(1700, numeric(0, 0, {42})), 42);
  EXPECT_EQ(integer(1700, numeric(1, 0x4000, {1, 2})), -10002);
  EXPECT_EQ(integer(1700, numeric(2, 0, {7})), 700'000'000);  // trailing zeros are not sent
  EXPECT_EQ(integer(1700, numeric(0, 0, {5, 0})), 5);         // 5.0000
  EXPECT_EQ(integer(1700, numeric(4, 0, {922, 3372, 368, 5477, 5807})),
            std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(integer(1700, numeric(4, 0x4000, {922, 3372, 368, 5477, 5808})),
            std::numeric_limits<std::int64_t>::min());
  EXPECT_TRUE(is_corrupt(1700, numeric(4, 0, {922, 3372, 368, 5477, 5808})));
  EXPECT_TRUE(is_corrupt(1700, numeric(5, 0, {1, 0, 0, 0, 0, 0})));
  EXPECT_TRUE(is_corrupt(1700, numeric(32767, 0, {1})));
  EXPECT_TRUE(is_corrupt(1700, numeric(0, 0, {1, 5})));   // 1.0005
  EXPECT_TRUE(is_corrupt(1700, numeric(-1, 0, {5000})));  // 0.5
  EXPECT_TRUE(is_corrupt(1700, numeric(0, 0, {10000})));  // no such digit
  EXPECT_TRUE(is_corrupt(1700, numeric(0, 0xC000, {})));  // not a number
  EXPECT_TRUE(is_corrupt(1700, numeric(0, 0, {1}).substr(0, 9)));
  EXPECT_TRUE(is_corrupt(1700, "1"));
}

TEST(PostgresValues, ImpossibleCellsAreCorrupt) {
  EXPECT_TRUE(is_corrupt(20, "1234"));
  EXPECT_TRUE(is_corrupt(23, ""));
  EXPECT_TRUE(is_corrupt(21, "123"));
  EXPECT_TRUE(is_corrupt(26, "123"));
  EXPECT_TRUE(is_corrupt(16, ""));
  EXPECT_TRUE(is_corrupt(1184, "12345678"));  // a time stamp
}

TEST(PostgresErrors, ConflictsAreWhatARepetitionCures) {
  for (std::string_view const state :
       {"40001", "40P01", "40000", "23505", "55P03", "22012", "26000", "25P02"}) {
    auto const verdict = judge_failure({.sqlstate = state, .message = "m"});
    EXPECT_EQ(verdict.error.fault(), Fault::conflict) << state;
  }
  EXPECT_FALSE(judge_failure({.sqlstate = "22012"}).session_lost);
  EXPECT_TRUE(judge_failure({.sqlstate = "26000"}).session_lost);
  EXPECT_EQ(judge_failure({.sqlstate = "0A000", .function = "RevalidateCachedQuery"}).error.fault(),
            Fault::conflict);
  EXPECT_EQ(judge_failure({.sqlstate = "0A000"}).error.fault(), Fault::semantic);
}

TEST(PostgresErrors, ALostSessionLeavesOnlyACommitInDoubt) {
  for (std::string_view const state : {"57P01", "57P03", "57P05", "08006", "25P03", ""}) {
    auto const before = judge_failure({.sqlstate = state, .message = "m"});
    EXPECT_EQ(before.error.fault(), Fault::transient) << state;
    EXPECT_EQ(before.error.code(), Errc::io) << state;
    EXPECT_TRUE(before.session_lost) << state;
    auto const at_commit = judge_failure({.sqlstate = state, .message = "m", .committing = true});
    EXPECT_EQ(at_commit.error.fault(), Fault::transient) << state;
    EXPECT_EQ(at_commit.error.code(), Errc::timedout) << state;
  }
  // The crash of another session strikes anywhere, in the middle of a commit too.
  EXPECT_EQ(judge_failure({.sqlstate = "57P02"}).error.code(), Errc::timedout);
  EXPECT_EQ(judge_failure({.sqlstate = "40003"}).error.code(), Errc::timedout);
}

TEST(PostgresErrors, OthersHaveTheErrnoOfTheirKind) {
  struct Case {
    std::string_view state;
    Errc code;
    Fault fault;
  };
  for (auto const& [state, code, fault] :
       {Case{"53300", Errc::io, Fault::transient}, Case{"53200", Errc::io, Fault::transient},
        Case{"57014", Errc::io, Fault::transient}, Case{"53100", Errc::nospc, Fault::semantic},
        Case{"28P01", Errc::acces, Fault::semantic}, Case{"28000", Errc::acces, Fault::semantic},
        Case{"42501", Errc::acces, Fault::semantic}, Case{"3D000", Errc::noent, Fault::semantic},
        Case{"42P01", Errc::noent, Fault::semantic}, Case{"25006", Errc::rofs, Fault::semantic},
        Case{"22003", Errc::io, Fault::semantic}, Case{"42601", Errc::io, Fault::semantic},
        Case{"XX001", Errc::io, Fault::corrupt}}) {
    auto const verdict = judge_failure({.sqlstate = state, .message = "m", .statement = "S"});
    EXPECT_EQ(verdict.error.code(), code) << state;
    EXPECT_EQ(verdict.error.fault(), fault) << state;
    EXPECT_NE(verdict.error.text().find(state), std::string::npos);
  }
  auto const standby = judge_failure({.sqlstate = "25006", .several_hosts = true});
  EXPECT_EQ(standby.error.fault(), Fault::transient);
  EXPECT_TRUE(standby.session_lost);
}

TEST(PostgresErrors, MessagesAreOneLineWithoutInternals) {
  auto const text =
      "connection to server at \"127.0.0.1\", port 1 failed: FATAL:  28P01: password "
      "authentication failed for user \"me\"\nLOCATION:  auth_failed, auth.c:329\n"sv;
  EXPECT_EQ(sqlstate_in(text), "28P01");
  EXPECT_EQ(tidy_message(text),
            "connection to server at \"127.0.0.1\", port 1 failed: FATAL:  password authentication "
            "failed for user \"me\"");
  EXPECT_EQ(sqlstate_in("failed: FATAL:  no state:  here: "), "");
  EXPECT_EQ(sqlstate_in(":  1234"), "");
  EXPECT_EQ(tidy_message("a\nb\n"), "a b");
  std::string const statement(1000, 's');
  auto const verdict = judge_failure({.sqlstate = "42601", .message = "m", .statement = statement});
  EXPECT_LT(verdict.error.text().size(), 300U);
}

TEST(PostgresStatements, AreKeptByTextAndKinds) {
  PreparedStatements statements;
  Statement const one{.text = "a=? b=?", .parameters = {std::int64_t{1}, Bytes{"x"}}};
  auto& first = statements.find(one);
  EXPECT_EQ(first.kinds, "ib");
  EXPECT_EQ(statements.numbered_text(one), "a=$1 b=$2");
  EXPECT_EQ(&statements.find(one), &first);
  // NULL has no type of its own.
  EXPECT_EQ(&statements.find({.text = one.text, .parameters = {std::monostate(), Bytes{}}}),
            &first);
  auto& other = statements.find({.text = one.text, .parameters = {std::int64_t{1}, Text{"x"}}});
  EXPECT_NE(&other, &first);
  EXPECT_NE(other.name, first.name);
  auto& shorter = statements.find({.text = one.text, .parameters = {std::int64_t{1}}});
  EXPECT_EQ(shorter.kinds, "i");
  EXPECT_EQ(&statements.find(one), &first);
  EXPECT_EQ(statements.count(), 3U);
  auto const name = shorter.name;
  statements.clear();
  EXPECT_EQ(statements.count(), 0U);
  EXPECT_NE(statements.find(one).name, name);  // an old name could still mean the old text
}

TEST(PostgresStatements, WhatWasPreparedForNullServesOnlyNull) {
  PreparedStatements statements;
  auto& null = statements.find({.text = "a=?", .parameters = {std::monostate()}});
  EXPECT_EQ(null.kinds, "n");
  EXPECT_NE(&statements.find({.text = "a=?", .parameters = {std::int64_t{1}}}), &null);
  EXPECT_EQ(&statements.find({.text = "a=?", .parameters = {std::monostate()}}), &null);
}

}  // namespace
}  // namespace zest::meta::sql
