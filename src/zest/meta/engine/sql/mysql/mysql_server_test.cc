// The driver and the engine on a real server: what happens when connections, locks and the server
// itself go wrong. Only where ZEST_TEST_MYSQL is its URL.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/meta/engine/sql/mysql/mysql.h"
#include "zest/meta/engine/sql/remote/remote_engine.h"
#include "zest/runtime/socket.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest::meta::sql {
namespace {

using Rows = std::vector<std::vector<Cell>>;

class MysqlServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto const* url = std::getenv("ZEST_TEST_MYSQL");
    if (url == nullptr) {
      GTEST_SKIP() << "ZEST_TEST_MYSQL names no server";
    }
    auto parsed = parse_mysql_url(url);
    ASSERT_TRUE(parsed.ok()) << parsed.error().text();
    server = *std::move(parsed);
  }

  /// Runs `body` on a fiber with a database of its own.
  void run(std::function<void()> const& body) {
    static std::atomic<int> number = 0;
    zest::testing::run_on_loop([&] {
      auto const admin = connect(server);
      ASSERT_NE(admin, nullptr);
      auto const database = fmt::format("zest_driver_{}_{}", ::getpid(), number++);
      ask(*admin, "CREATE DATABASE " + database);
      options = server;
      options.database = database;
      body();
      ask(*admin, "DROP DATABASE " + database);
    });
  }

  std::unique_ptr<Session> connect(MysqlOptions const& to) {
    auto session = make_mysql_connector(to)->connect(ctx);
    EXPECT_TRUE(session.ok()) << session.error().text();
    return session.ok() ? *std::move(session) : nullptr;
  }

  Rows ask(Session& session, std::string text) {
    Statement const statement{.text = std::move(text), .parameters = {}};
    auto const results = session.run(ctx, std::span(&statement, 1));
    EXPECT_TRUE(results.ok()) << statement.text << ": " << results.error().text();
    return results.ok() ? results->front().rows : Rows{};
  }

  /// A batch of statements without parameters.
  Result<std::vector<ResultSet>> batch(Session& session, std::vector<std::string> const& texts,
                                       Context const& context = {}) {
    std::vector<Statement> statements;
    for (auto const& text : texts) {
      statements.push_back({.text = text, .parameters = {}});
    }
    return session.run(context, statements);
  }

  std::unique_ptr<Engine> engine(MysqlOptions const& to) {
    return make_remote_sql_engine(make_mysql_connector(to), {}, log, metrics);
  }

  /// A volume with a file `ino` that has no length yet.
  void make_volume(Engine& volume) {
    Attr attr{.type = FileType::directory, .mode = 0777, .nlink = 2, .length = 4096};
    ASSERT_TRUE(volume.initialize(ctx, "{}", attr, std::nullopt).ok());
  }

  Context ctx;
  MysqlOptions server;
  MysqlOptions options;
  Logger log{LogConfig{.level = LogLevel::error, .file = {}, .json = false, .color = false}};
  Registry metrics;
};

TEST_F(MysqlServerTest, ABatchAnswersEachStatementWithItsTypes) {
  run([&] {
    auto const session = connect(options);
    std::string every;
    for (int i = 0; i < 256; ++i) {
      every.push_back(static_cast<char>(i));
    }
    std::vector<Statement> const statements{
        {.text = "CREATE TABLE t(a BIGINT PRIMARY KEY,b BLOB,c TEXT) CHARACTER SET latin1",
         .parameters = {}},
        {.text = "INSERT INTO t VALUES(?,?,?),(2,NULL,NULL)",
         .parameters = {std::int64_t{INT64_MIN}, Bytes{every}, Text{"ä"}}},
        {.text = "UPDATE t SET b=b WHERE a=2", .parameters = {}},
        {.text = "SELECT a,b,c,9223372036854775808 FROM t ORDER BY a", .parameters = {}}};
    auto const results = session->run(ctx, statements);
    ASSERT_TRUE(results.ok()) << results.error().text();
    ASSERT_EQ(results->size(), 4U);
    EXPECT_EQ((*results)[1].affected, 2U);
    EXPECT_EQ((*results)[2].affected, 1U) << "matched, although nothing changed";
    Rows const expected{
        {Cell(std::int64_t{INT64_MIN}), Cell(every), Cell("ä"), Cell("9223372036854775808")},
        {Cell(std::int64_t{2}), Cell(), Cell(), Cell("9223372036854775808")}};
    EXPECT_EQ((*results)[3].rows, expected);
  });
}

TEST_F(MysqlServerTest, AFailureEndsTheBatchAndUndoesItsTransaction) {
  run([&] {
    auto const session = connect(options);
    ask(*session, "CREATE TABLE t(a BIGINT PRIMARY KEY) ENGINE=InnoDB");
    auto const failed = batch(*session, {"START TRANSACTION", "INSERT INTO t VALUES(1)",
                                         "SELECT IF(COUNT(*)=9,1,(SELECT 1 UNION SELECT 2)) FROM t",
                                         "INSERT INTO t VALUES(2)", "COMMIT"});
    ASSERT_FALSE(failed.ok());
    EXPECT_EQ(failed.error().fault(), Fault::conflict);
    EXPECT_TRUE(session->usable());
    EXPECT_TRUE(ask(*session, "SELECT a FROM t").empty());
    // Not held open: another session may lock the table.
    auto const other = connect(options);
    EXPECT_TRUE(ask(*other, "SELECT a FROM t FOR UPDATE").empty());
  });
}

TEST_F(MysqlServerTest, ATransactionWithoutResultsIsUndoneByItself) {
  run([&] {
    auto const session = connect(options);
    ask(*session, "CREATE TABLE t(a BIGINT PRIMARY KEY) ENGINE=InnoDB");
    auto const execute = [&](std::vector<std::string> const& texts) {
      std::vector<Statement> statements{{.text = "START TRANSACTION", .parameters = {}}};
      for (auto const& text : texts) {
        statements.push_back({.text = text, .parameters = {}});
      }
      statements.push_back({.text = "COMMIT", .parameters = {}});
      return session->execute(ctx, statements);
    };
    EXPECT_TRUE(execute({"INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(2)"}).ok());
    auto const expectation =
        "SELECT IF(COUNT(*)=9,1,(SELECT 1 UNION SELECT 2)) INTO @zest FROM t FOR UPDATE";
    for (auto const* failing : {expectation, "INSERT INTO t VALUES(1)"}) {
      auto const failed = execute({"INSERT INTO t VALUES(3)", failing});
      ASSERT_FALSE(failed.ok());
      EXPECT_EQ(failed.error().fault(), Fault::conflict) << failed.error().text();
    }
    EXPECT_FALSE(execute({"INSERT INTO t VALUES(3)", "no statement"}).ok());
    EXPECT_TRUE(session->usable());
    auto const other = connect(options);
    EXPECT_EQ(ask(*other, "SELECT a FROM t FOR UPDATE").size(), 2U);
  });
}

TEST_F(MysqlServerTest, AKilledQueryLeavesNoTransactionOpen) {
  run([&] {
    auto const session = connect(options);
    ask(*session, "CREATE TABLE t(a BIGINT PRIMARY KEY) ENGINE=InnoDB");
    ask(*session, "INSERT INTO t VALUES(1)");
    auto const id = std::get<std::int64_t>(ask(*session, "SELECT CONNECTION_ID()")[0][0]);
    auto const killer = connect(options);
    // The query waits for this lock when it is killed.
    ask(*killer, "START TRANSACTION");
    ask(*killer, "SELECT a FROM t WHERE a=1 FOR UPDATE");
    Scope scope;
    scope.spawn([&] {
      EXPECT_TRUE(Loop::current()->sleep_for(ctx, std::chrono::milliseconds(300)).ok());
      ask(*killer, fmt::format("KILL QUERY {}", id));
    });
    std::vector<Statement> const statements{{.text = "START TRANSACTION", .parameters = {}},
                                            {.text = "INSERT INTO t VALUES(2)", .parameters = {}},
                                            {.text = "DELETE FROM t WHERE a=1", .parameters = {}},
                                            {.text = "COMMIT", .parameters = {}}};
    auto const killed = session->execute(ctx, statements);
    scope.join();
    ASSERT_FALSE(killed.ok());
    EXPECT_EQ(killed.error().fault(), Fault::transient) << killed.error().text();
    EXPECT_EQ(ask(*killer, "SELECT a FROM t FOR UPDATE").size(), 1U);
  });
}

TEST_F(MysqlServerTest, ValuesThatDoNotFitAreErrorsNotCut) {
  run([&] {
    auto const session = connect(options);
    ask(*session, "CREATE TABLE t(a INT, b VARBINARY(3))");
    auto const too_long = batch(*session, {"INSERT INTO t VALUES(1,x'01020304')"});
    ASSERT_FALSE(too_long.ok());
    EXPECT_EQ(too_long.error().code(), Errc::nospc);
    auto const too_large = batch(*session, {"INSERT INTO t VALUES(3000000000,x'')"});
    ASSERT_FALSE(too_large.ok());
    EXPECT_EQ(too_large.error().code(), Errc::overflow);
    EXPECT_TRUE(ask(*session, "SELECT * FROM t").empty());
  });
}

TEST_F(MysqlServerTest, TheDeadlineEndsAWaitAndTheSession) {
  run([&] {
    auto const session = connect(options);
    Context bounded;
    bounded.deadline = Loop::current()->now() + std::chrono::milliseconds(200);
    auto const before = Loop::current()->now();
    auto const late = batch(*session, {"SELECT SLEEP(30)"}, bounded);
    ASSERT_FALSE(late.ok());
    EXPECT_EQ(late.error().code(), Errc::timedout);
    EXPECT_EQ(late.error().fault(), Fault::transient);
    EXPECT_LT(Loop::current()->now() - before, std::chrono::seconds(5));
    EXPECT_FALSE(session->usable());
    auto const after = batch(*session, {"SELECT 1"});
    ASSERT_FALSE(after.ok());
    EXPECT_EQ(after.error().code(), Errc::io) << "nothing was sent";
  });
}

TEST_F(MysqlServerTest, AnIdleSessionThatTheServerClosedIsNotUsable) {
  run([&] {
    auto const session = connect(options);
    auto const id = std::get<std::int64_t>(ask(*session, "SELECT CONNECTION_ID()")[0][0]);
    auto const killer = connect(options);
    ask(*killer, fmt::format("KILL CONNECTION {}", id));
    for (int i = 0; i < 100 && session->usable(); ++i) {
      ASSERT_TRUE(Loop::current()->sleep_for(ctx, std::chrono::milliseconds(10)).ok());
    }
    EXPECT_FALSE(session->usable());
  });
}

TEST_F(MysqlServerTest, AKilledStatementLeavesNothingBehind) {
  run([&] {
    auto const session = connect(options);
    ask(*session, "CREATE TABLE t(a BIGINT PRIMARY KEY) ENGINE=InnoDB");
    auto const id = std::get<std::int64_t>(ask(*session, "SELECT CONNECTION_ID()")[0][0]);
    auto const killer = connect(options);
    Scope scope;
    scope.spawn([&] {
      EXPECT_TRUE(Loop::current()->sleep_for(ctx, std::chrono::milliseconds(200)).ok());
      ask(*killer, fmt::format("KILL CONNECTION {}", id));
    });
    auto const killed = batch(
        *session, {"START TRANSACTION", "INSERT INTO t VALUES(1)", "SELECT SLEEP(20)", "COMMIT"});
    scope.join();
    ASSERT_FALSE(killed.ok());
    EXPECT_EQ(killed.error().fault(), Fault::transient);
    EXPECT_FALSE(session->usable());
    EXPECT_TRUE(ask(*killer, "SELECT a FROM t FOR UPDATE").empty());
  });
}

TEST_F(MysqlServerTest, RefusedAndAbsentServersAreToldApart) {
  run([&] {
    auto wrong = options;
    wrong.password = "not-the-password";
    auto const refused = make_mysql_connector(wrong)->connect(ctx);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Errc::acces);
    EXPECT_EQ(refused.error().text().find("not-the-password"), std::string::npos);

    auto away = options;
    away.hosts = {{.name = "127.0.0.1", .port = 1}};
    auto const absent = make_mysql_connector(away)->connect(ctx);
    ASSERT_FALSE(absent.ok());
    EXPECT_EQ(absent.error().fault(), Fault::transient);

    // The next host serves instead.
    away.hosts.push_back(options.hosts.front());
    EXPECT_NE(connect(away), nullptr);
  });
}

TEST_F(MysqlServerTest, ADeadlockIsResolvedWithoutTheCallersNoticing) {
  run([&] {
    auto const volume = engine(options);
    make_volume(*volume);
    for (std::uint64_t id = 1; id <= 2; ++id) {
      ASSERT_TRUE(volume->commit(ctx, {.changes = {NewSlice{SliceId{id}, 1}}}).ok());
    }
    // Slices are no nodes, so nothing orders their locks.
    constexpr int kRounds = 60;
    Scope scope;
    for (bool const forward : {true, false}) {
      scope.spawn([&, forward] {
        for (int i = 0; i < kRounds; ++i) {
          SliceId const first{forward ? 1U : 2U};
          SliceId const second{forward ? 2U : 1U};
          auto const done = volume->commit(
              ctx, {.changes = {AddSliceRef{first, 1, 1}, AddSliceRef{second, 1, 1}}});
          EXPECT_TRUE(done.ok()) << done.error().text();
        }
      });
    }
    scope.join();
    for (std::uint64_t id = 1; id <= 2; ++id) {
      Key const key = SliceRefKey{SliceId{id}, 1};
      auto const refs = volume->fetch(ctx, std::span(&key, 1));
      ASSERT_TRUE(refs.ok());
      EXPECT_EQ((*refs)[0], Value(std::int64_t{1 + 2 * kRounds})) << "each commit exactly once";
    }
  });
}

TEST_F(MysqlServerTest, TwoNodesOfAClusterLoseNoUpdate) {
  if (server.hosts.size() < 2) {
    GTEST_SKIP() << "ZEST_TEST_MYSQL names one host only";
  }
  run([&] {
    auto other = options;
    std::ranges::rotate(other.hosts, other.hosts.begin() + 1);
    std::vector<std::unique_ptr<Engine>> nodes;
    nodes.push_back(engine(options));
    nodes.push_back(engine(other));
    make_volume(*nodes.front());
    constexpr int kRounds = 40;
    Key const key = NodeKey{kRootIno};
    Scope scope;
    for (auto const& node : nodes) {
      scope.spawn([&] {
        for (int done = 0; done < kRounds;) {
          auto const seen = node->fetch(ctx, std::span(&key, 1));
          ASSERT_TRUE(seen.ok()) << seen.error().text();
          auto const attr = std::get<Attr>((*seen)[0]);
          auto changed = attr;
          changed.length += 1;
          auto const result = node->commit(
              ctx, {.conditions = {ExpectNode{.ino = kRootIno, .fields = kLength, .seen = attr}},
                    .changes = {UpdateNode{.ino = kRootIno, .set = kLength, .values = changed}}});
          ASSERT_TRUE(result.ok() || result.error().fault() == Fault::conflict)
              << result.error().text();
          done += result.ok() ? 1 : 0;
        }
      });
    }
    scope.join();
    for (auto const& node : nodes) {
      auto const values = node->fetch(ctx, std::span(&key, 1));
      ASSERT_TRUE(values.ok());
      EXPECT_EQ(std::get<Attr>((*values)[0]).length, 4096U + 2 * kRounds)
          << "each node shows every commit that returned";
    }
  });
}

TEST_F(MysqlServerTest, ReadsAndCommitsSurviveTheLossOfAllIdleConnections) {
  run([&] {
    auto const volume = engine(options);
    make_volume(*volume);
    auto const killer = connect(options);
    for (auto const& row : ask(*killer,
                               "SELECT ID FROM information_schema.PROCESSLIST WHERE"
                               " DB=DATABASE() AND ID<>CONNECTION_ID()")) {
      ask(*killer, fmt::format("KILL CONNECTION {}", std::get<std::int64_t>(row[0])));
    }
    Key const key = NodeKey{kRootIno};
    EXPECT_TRUE(volume->fetch(ctx, std::span(&key, 1)).ok());
    auto const done =
        volume->commit(ctx, {.changes = {UpdateNode{.ino = kRootIno, .add_nlink = 1}}});
    EXPECT_TRUE(done.ok()) << done.error().text();
  });
}

TEST_F(MysqlServerTest, AFullChunkIsAnErrorAndKeepsItsRecords) {
  run([&] {
    auto const volume = engine(options);
    make_volume(*volume);
    ChunkKey const chunk{Ino{5}, ChunkIndex{0}};
    constexpr std::size_t kRecordsMax = 65535 / 24;
    Slices const many(kRecordsMax, {.pos = 0, .id = SliceId{1}, .size = 1, .off = 0, .len = 1});
    ASSERT_TRUE(volume->commit(ctx, {.changes = {Put{chunk, many}}}).ok());
    auto const more = volume->commit(ctx, {.changes = {AppendSlices{chunk, {many.front()}}}});
    ASSERT_FALSE(more.ok());
    EXPECT_EQ(more.error().code(), Errc::nospc);
    Key const key = chunk;
    auto const stored = volume->fetch(ctx, std::span(&key, 1));
    ASSERT_TRUE(stored.ok()) << stored.error().text();
    EXPECT_EQ((*stored)[0], Value(many));
  });
}

TEST_F(MysqlServerTest, NumbersBeyondTheColumnsAreRefused) {
  run([&] {
    auto const volume = engine(options);
    make_volume(*volume);
    auto const refused = volume->commit(
        ctx, {.changes = {Put{NodeKey{Ino{5}}, Attr{.uid = 3'000'000'000, .nlink = 1}}}});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Errc::inval);
  });
}

TEST_F(MysqlServerTest, RowsThatCannotBeAreCorruptAndNamed) {
  run([&] {
    auto const volume = engine(options);
    make_volume(*volume);
    auto const session = connect(options);
    ask(*session, "INSERT INTO jfs_chunk(inode,indx,slices) VALUES(7,3,x'0102')");
    ask(*session, "UPDATE jfs_node SET type=99 WHERE inode=1");
    for (Key const& key : {Key(ChunkKey{Ino{7}, ChunkIndex{3}}), Key(NodeKey{kRootIno})}) {
      auto const read = volume->fetch(ctx, std::span(&key, 1));
      ASSERT_FALSE(read.ok());
      EXPECT_EQ(read.error().fault(), Fault::corrupt);
      EXPECT_NE(read.error().text().find("node"), std::string::npos) << read.error().text();
    }
  });
}

TEST_F(MysqlServerTest, XattrNamesThatDifferInCaseAreTwo) {
  run([&] {
    auto const volume = engine(options);
    make_volume(*volume);
    ASSERT_TRUE(volume
                    ->commit(ctx, {.changes = {Put{XattrKey{Ino{5}, "user.a"}, std::string("1")},
                                               Put{XattrKey{Ino{5}, "user.A"}, std::string("2")}}})
                    .ok());
    // As the peer creates the table they collide; then nothing is overwritten.
    auto const session = connect(options);
    ask(*session, "DELETE FROM jfs_xattr");
    ask(*session, "ALTER TABLE jfs_xattr MODIFY name VARCHAR(255) COLLATE utf8mb4_general_ci");
    Key const lower = XattrKey{Ino{5}, "user.a"};
    ASSERT_TRUE(volume->commit(ctx, {.changes = {Put{lower, std::string("1")}}}).ok());
    auto const upper = XattrKey{Ino{5}, "user.A"};
    EXPECT_EQ((*volume->fetch(ctx, std::vector<Key>{upper}))[0], Value());
    auto const collision = volume->commit(ctx, {.changes = {Put{upper, std::string("2")}}});
    ASSERT_FALSE(collision.ok());
    EXPECT_EQ(collision.error().code(), Errc::overflow);
    EXPECT_EQ((*volume->fetch(ctx, std::span(&lower, 1)))[0], Value(std::string("1")));
    EXPECT_TRUE(volume->commit(ctx, {.changes = {Put{lower, std::string("3")}}}).ok());
  });
}

TEST_F(MysqlServerTest, AnOlderVolumeGetsWhatItLacks) {
  run([&] {
    make_volume(*engine(options));
    auto const session = connect(options);
    ask(*session, "ALTER TABLE jfs_node DROP COLUMN tier_id, DROP COLUMN atimensec");
    ask(*session, "DROP TABLE jfs_acl");
    ask(*session, "DROP INDEX UQE_jfs_edge_edge ON jfs_edge");
    auto const volume = engine(options);
    ASSERT_TRUE(volume->load_setting(ctx).ok());
    Key const key = NodeKey{kRootIno};
    EXPECT_TRUE(volume->fetch(ctx, std::span(&key, 1)).ok());
    EXPECT_TRUE(volume->list_acls(ctx, 0).ok());
    EXPECT_EQ(ask(*session, "SHOW INDEX FROM jfs_edge WHERE Key_name='UQE_jfs_edge_edge'").size(),
              2U);
  });
}

TEST_F(MysqlServerTest, AReadOnlyEngineChangesNothing) {
  run([&] {
    make_volume(*engine(options));
    auto const reader =
        make_remote_sql_engine(make_mysql_connector(options), {.read_only = true}, log, metrics);
    EXPECT_TRUE(reader->load_setting(ctx).ok());
    auto const refused =
        reader->commit(ctx, {.changes = {UpdateNode{.ino = kRootIno, .add_nlink = 1}}});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Errc::rofs);
  });
}

}  // namespace
}  // namespace zest::meta::sql
