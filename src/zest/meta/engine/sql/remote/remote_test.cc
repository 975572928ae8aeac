// The engine above a driver that the test plays: what is sent, what is tried again, what waits.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/meta/engine/sql/remote/commit_batch.h"
#include "zest/meta/engine/sql/remote/remote_engine.h"
#include "zest/meta/engine/sql/remote/session_pool.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest::meta::sql {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Dialect kMysql{.product = Dialect::Product::mysql};
constexpr Dialect kPostgres{.product = Dialect::Product::postgres};

/// What the next batches answer, and what was asked.
struct Script {
  using Answer = std::function<Result<std::vector<ResultSet>>()>;
  std::deque<Answer> answers;  ///< afterwards every batch succeeds with empty results
  std::vector<std::vector<Statement>> batches;
  std::size_t connects = 0;
  std::size_t refused_connects = 0;
  std::size_t open = 0;
  Duration run_time{};
};

class ScriptedSession final : public Session {
 public:
  explicit ScriptedSession(Script& script) : script_(script) { ++script_.open; }
  ~ScriptedSession() override { --script_.open; }

  Result<std::vector<ResultSet>> run(Context const& /*ctx*/,
                                     std::span<Statement const> statements) override {
    script_.batches.emplace_back(statements.begin(), statements.end());
    if (script_.run_time > Duration::zero()) {
      EXPECT_TRUE(Loop::current()->sleep_for(Context(), script_.run_time).ok());
    }
    if (script_.answers.empty()) {
      return std::vector<ResultSet>(statements.size());
    }
    auto answer = std::move(script_.answers.front());
    script_.answers.pop_front();
    auto result = answer();
    usable_ = result.ok() || result.error().fault() != Fault::transient;
    return result;
  }
  [[nodiscard]] bool usable() const noexcept override { return usable_; }

 private:
  Script& script_;
  bool usable_ = true;
};

class ScriptedConnector final : public Connector {
 public:
  ScriptedConnector(Script& script, Dialect dialect) : script_(script), dialect_(dialect) {}
  [[nodiscard]] Dialect const& dialect() const noexcept override { return dialect_; }
  [[nodiscard]] std::string_view name() const noexcept override { return "scripted"; }
  Result<std::unique_ptr<Session>> connect(Context const& /*ctx*/) override {
    ++script_.connects;
    if (script_.refused_connects > 0) {
      --script_.refused_connects;
      return Error::transient(Errc::io, "nobody there");
    }
    return std::unique_ptr<Session>(std::make_unique<ScriptedSession>(script_));
  }

 private:
  Script& script_;
  Dialect dialect_;
};

class RemoteTest : public ::testing::Test {
 protected:
  std::unique_ptr<Engine> engine(RemoteSqlOptions const& options = {}) {
    return make_remote_sql_engine(std::make_unique<ScriptedConnector>(script, kMysql), options, log,
                                  metrics);
  }
  static Script::Answer fails(Errc code, Fault fault) {
    return [code, fault]() -> Result<std::vector<ResultSet>> {
      return Error(code, fault, "as the test says");
    };
  }
  static Commit some_commit() { return {.changes = {UpdateNode{.ino = kRootIno, .add_nlink = 1}}}; }

  Script script;
  Logger log{LogConfig{.level = LogLevel::error, .file = {}, .json = false, .color = false}};
  Registry metrics;
  Context ctx;
};

// ---- batches

std::vector<std::string> texts(Dialect const& dialect, Commit const& commit) {
  auto const batch = commit_batch(Sql(dialect, ""), commit);
  EXPECT_TRUE(batch.ok());
  std::vector<std::string> all;
  for (auto const& statement : *batch) {
    all.push_back(statement.text);
    EXPECT_EQ(static_cast<std::size_t>(std::ranges::count(statement.text, '?')),
              statement.parameters.size())
        << statement.text;
  }
  return all;
}

Commit create_commit() {
  return {.conditions = {ExpectNode{.ino = Ino{9}, .fields = kType | kMode, .seen = {}},
                         ExpectAbsent{EdgeKey{Ino{9}, "a"}}},
          .changes = {Put{NodeKey{Ino{20}}, Attr{.nlink = 1}},
                      Put{EdgeKey{Ino{9}, "a"}, Entry{FileType::regular, Ino{20}}},
                      UpdateNode{.ino = Ino{9}, .raise_mtime = WallTime{5, 0}}},
          .fence = SessionId{3}};
}

TEST(CommitBatch, ACreateIsOneTransactionOfSevenStatements) {
  for (auto const& dialect : {kMysql, kPostgres}) {
    auto const batch = texts(dialect, create_commit());
    ASSERT_EQ(batch.size(), 7U);
    EXPECT_EQ(batch.front(),
              dialect.product == Dialect::Product::mysql ? "START TRANSACTION" : "BEGIN");
    EXPECT_NE(batch[1].find("jfs_session2"), std::string::npos) << "the fence first";
    EXPECT_NE(batch[2].find("FOR UPDATE"), std::string::npos) << "it will be changed";
    EXPECT_TRUE(batch[4].starts_with("INSERT INTO")) << batch[4];
    EXPECT_EQ(batch[4].find("UPDATE"), std::string::npos) << "a duplicate has to fail";
    EXPECT_EQ(batch.back(), "COMMIT");
  }
}

TEST(CommitBatch, NodesAreLockedInAscendingOrderAndOnlyAsFarAsNeeded) {
  Commit const commit{.conditions = {ExpectNode{.ino = Ino{30}, .fields = kMode, .seen = {}},
                                     ExpectNode{.ino = Ino{4}, .fields = kMode, .seen = {}},
                                     ExpectEqual{FlocksKey{Ino{7}}, Flocks{}}},
                      .changes = {UpdateNode{.ino = Ino{12}, .add_nlink = 1},
                                  UpdateNode{.ino = Ino{30}, .add_nlink = 1}}};
  auto const batch = commit_batch(Sql(kPostgres, ""), commit);
  ASSERT_TRUE(batch.ok());
  std::vector<std::pair<std::int64_t, bool>> locked;
  for (auto const& statement : *batch) {
    if (statement.text.starts_with("SELECT") &&
        statement.text.find("\"jfs_node\"") != std::string::npos) {
      locked.emplace_back(std::get<std::int64_t>(statement.parameters.front()),
                          statement.text.find("FOR UPDATE") != std::string::npos);
    }
  }
  std::vector<std::pair<std::int64_t, bool>> const expected{
      {4, false}, {7, true}, {12, true}, {30, true}};
  EXPECT_EQ(locked, expected);
}

TEST(CommitBatch, OneChangeNeedsNoTransaction) {
  EXPECT_EQ(texts(kMysql, {.changes = {NewSlice{.id = SliceId{1}, .size = 1}}}).size(), 1U);
  EXPECT_TRUE(texts(kMysql, {}).empty());
}

TEST(CommitBatch, UpdatingANodeThatTheSameCommitErasesIsAConflict) {
  auto const batch = commit_batch(Sql(kMysql, ""),
                                  {.changes = {Erase{NodeKey{Ino{5}}}, UpdateNode{.ino = Ino{5}}}});
  ASSERT_FALSE(batch.ok());
  EXPECT_EQ(batch.error().fault(), Fault::conflict);
}

TEST(CommitBatch, PrefixesAndWordsOfTheLanguageAreQuoted) {
  EXPECT_EQ(Sql(kMysql, "Vol").table("node"), "`jfs_Vol_node`");
  EXPECT_EQ(Sql(kPostgres, "Vol").table("node"), "\"jfs_Vol_node\"");
  EXPECT_EQ(Sql(kPostgres, "").quoted("group"), "\"group\"");
}

// ---- what is tried again

TEST_F(RemoteTest, ADeadlockIsRepeatedAtOnceButNotForEver) {
  zest::testing::run_simulated([&] {
    auto const volume = engine();
    script.answers = {fails(Errc::deadlk, Fault::conflict), fails(Errc::deadlk, Fault::conflict)};
    EXPECT_TRUE(volume->commit(ctx, some_commit()).ok());
    EXPECT_EQ(script.batches.size(), 3U);
    script.answers.assign(100, fails(Errc::deadlk, Fault::conflict));
    auto const given_up = volume->commit(ctx, some_commit());
    ASSERT_FALSE(given_up.ok());
    EXPECT_EQ(given_up.error().fault(), Fault::conflict);
    EXPECT_LT(script.batches.size(), 20U);
  });
}

TEST_F(RemoteTest, AFailedConditionIsTheRunnersBusiness) {
  zest::testing::run_simulated([&] {
    auto const volume = engine();
    script.answers = {fails(Errc::again, Fault::conflict)};
    EXPECT_FALSE(volume->commit(ctx, some_commit()).ok());
    EXPECT_EQ(script.batches.size(), 1U);
  });
}

TEST_F(RemoteTest, ACommitWhoseReplyIsLostIsNotRepeated) {
  zest::testing::run_simulated([&] {
    auto const volume = engine();
    script.answers = {fails(Errc::timedout, Fault::transient)};
    auto const lost = volume->commit(ctx, some_commit());
    ASSERT_FALSE(lost.ok());
    EXPECT_EQ(lost.error().code(), Errc::timedout);
    EXPECT_EQ(script.batches.size(), 1U);
    EXPECT_EQ(script.open, 0U) << "the session is dropped";
  });
}

TEST_F(RemoteTest, AReadWhoseReplyIsLostIsRepeated) {
  zest::testing::run_simulated([&] {
    auto const volume = engine();
    script.answers = {fails(Errc::timedout, Fault::transient), fails(Errc::io, Fault::transient)};
    Key const key = NodeKey{kRootIno};
    EXPECT_TRUE(volume->fetch(ctx, std::span(&key, 1)).ok());
    EXPECT_EQ(script.batches.size(), 3U);
  });
}

TEST_F(RemoteTest, AnAbsentServerIsWaitedForUntilThePatienceEnds) {
  zest::testing::run_simulated([&] {
    auto const volume = engine({.patience = seconds(10)});
    script.refused_connects = 5;
    EXPECT_TRUE(volume->commit(ctx, some_commit()).ok());
    EXPECT_EQ(script.batches.size(), 1U);

    auto const fresh = engine({.patience = seconds(10)});
    script.refused_connects = 1'000'000;
    auto const before = Loop::current()->now();
    auto const away = fresh->commit(ctx, some_commit());
    ASSERT_FALSE(away.ok());
    EXPECT_EQ(away.error().fault(), Fault::transient);
    EXPECT_EQ(away.error().code(), Errc::io) << "nothing was sent, so the outcome is known";
    EXPECT_LE(Loop::current()->now() - before, seconds(10));
    EXPECT_LT(script.connects, 100U) << "with pauses";
  });
}

TEST_F(RemoteTest, TheDeadlineOfTheRequestIsShorter) {
  zest::testing::run_simulated([&] {
    auto const volume = engine();
    script.refused_connects = 1'000'000;
    Context bounded;
    bounded.deadline = Loop::current()->now() + seconds(1);
    EXPECT_FALSE(volume->commit(bounded, some_commit()).ok());
    EXPECT_LE(Loop::current()->now(), bounded.deadline);
  });
}

TEST_F(RemoteTest, ABrokenFenceIsToldFromAnotherConflict) {
  zest::testing::run_simulated([&] {
    auto const volume = engine();
    auto commit = some_commit();
    commit.fence = SessionId{3};
    auto const session_row = [](std::int64_t expire) -> Script::Answer {
      return [expire]() -> Result<std::vector<ResultSet>> {
        return std::vector<ResultSet>{{.rows = {{Cell(expire), Cell("{}")}}}};
      };
    };
    script.answers = {fails(Errc::again, Fault::conflict), session_row(100)};
    EXPECT_EQ(volume->commit(ctx, commit).error().fault(), Fault::conflict);
    script.answers = {fails(Errc::again, Fault::conflict), session_row(0)};
    EXPECT_EQ(volume->commit(ctx, commit).error().code(), Errc::stale);
    script.answers = {fails(Errc::again, Fault::conflict)};
    EXPECT_EQ(volume->commit(ctx, commit).error().code(), Errc::stale) << "no row at all";
  });
}

// ---- the pool

TEST_F(RemoteTest, SessionsAreSharedUpToTheLimit) {
  zest::testing::run_simulated([&] {
    auto const volume = engine({.url = {.connections_max = 2}});
    script.run_time = milliseconds(100);
    auto const before = Loop::current()->now();
    Scope scope;
    for (int i = 0; i < 6; ++i) {
      scope.spawn([&] { EXPECT_TRUE(volume->commit(ctx, some_commit()).ok()); });
    }
    scope.join();
    EXPECT_EQ(script.connects, 2U);
    EXPECT_EQ(Loop::current()->now() - before, milliseconds(300));
  });
}

TEST_F(RemoteTest, WaitingForASessionEndsAtTheDeadlineWithNothingSent) {
  zest::testing::run_simulated([&] {
    auto const volume = engine({.url = {.connections_max = 1}});
    script.run_time = seconds(5);
    Scope scope;
    scope.spawn([&] { EXPECT_TRUE(volume->commit(ctx, some_commit()).ok()); });
    Loop::current()->yield();
    Context bounded;
    bounded.deadline = Loop::current()->now() + seconds(1);
    auto const late = volume->commit(bounded, some_commit());
    ASSERT_FALSE(late.ok());
    EXPECT_EQ(late.error().code(), Errc::io);
    EXPECT_EQ(script.batches.size(), 1U);
    scope.join();
  });
}

TEST_F(RemoteTest, SessionsGrowOldAndAreClosed) {
  zest::testing::run_simulated([&] {
    auto const volume = engine({.url = {.idle_time = seconds(60), .life_time = seconds(100)}});
    EXPECT_TRUE(volume->commit(ctx, some_commit()).ok());
    EXPECT_TRUE(volume->commit(ctx, some_commit()).ok());
    EXPECT_EQ(script.connects, 1U);
    EXPECT_TRUE(Loop::current()->sleep_for(ctx, seconds(61)).ok());
    EXPECT_TRUE(volume->commit(ctx, some_commit()).ok());
    EXPECT_EQ(script.connects, 2U) << "idle for too long";
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(Loop::current()->sleep_for(ctx, seconds(50)).ok());
      EXPECT_TRUE(volume->commit(ctx, some_commit()).ok());
    }
    EXPECT_EQ(script.connects, 3U) << "too old, although in use";
    EXPECT_EQ(script.open, 1U);
  });
}

TEST_F(RemoteTest, AnswersThatAreNoRecordsAreCorrupt) {
  zest::testing::run_simulated([&] {
    auto const volume = engine();
    for (std::vector<Cell> const& row : std::vector<std::vector<Cell>>{
             {}, {Cell("text")}, {Cell()}, {Cell(std::int64_t{-1})}, {Cell(std::int64_t{99})}}) {
      script.answers = {[row]() -> Result<std::vector<ResultSet>> {
        return std::vector<ResultSet>{{.rows = {row}}};
      }};
      Key const key = NodeKey{Ino{5}};
      auto const read = volume->fetch(ctx, std::span(&key, 1));
      ASSERT_FALSE(read.ok());
      EXPECT_EQ(read.error().fault(), Fault::corrupt);
      EXPECT_NE(read.error().text().find("node 5"), std::string::npos);
    }
  });
}

}  // namespace
}  // namespace zest::meta::sql
