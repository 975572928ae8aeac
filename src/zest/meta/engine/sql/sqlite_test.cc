// What is SQLite's alone: the schema, addresses, damaged files and rows, locks of other processes,
// killed processes. What every engine promises is in tests/conformance/engine.
#include "zest/meta/engine/sql/sqlite.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): kill
#include <sqlite3.h>
#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "zest/base/clock.h"

namespace zest::meta {

namespace {

/// The schema of a volume that the peer (1.4.1) made, one statement a line, by `.schema`.
constexpr std::string_view kPeerSchema =
#include "zest/meta/engine/sql/peer_schema.inc"
    ;

struct Fixture : ::testing::Test {
  Fixture() {
    auto pattern = (std::filesystem::temp_directory_path() / "zest-sqlite-XXXXXX").string();
    folder = mkdtemp(pattern.data());
    path = folder / "volume.db";
  }
  ~Fixture() override { std::filesystem::remove_all(folder); }

  Result<std::unique_ptr<Engine>> open(SqliteOptions options = {}) {
    options.path = path;
    return open_sqlite(options, log, metrics);
  }
  std::unique_ptr<Engine> volume() {
    auto engine = open();
    EXPECT_TRUE(engine.ok()) << engine.error().text();
    auto const made = (*engine)->initialize(ctx, "{}", root(), std::nullopt);
    EXPECT_TRUE(made.ok()) << made.error().text();
    return *std::move(engine);
  }
  static Attr root() {
    return {
        .type = FileType::directory, .mode = 0777, .nlink = 2, .length = 4096, .parent = kRootIno};
  }
  /// Rows of `sql` on a connection of its own, columns joined by '|'.
  std::vector<std::string> query(std::string const& sql) const {
    std::vector<std::string> rows;
    sqlite3* db = nullptr;
    EXPECT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    char* error = nullptr;
    sqlite3_exec(
        db, sql.c_str(),
        [](void* out, int count, char** values, char**) {
          std::string row;
          for (int i = 0; i < count; ++i) {
            row += std::string(i == 0 ? "" : "|") + (values[i] == nullptr ? "NULL" : values[i]);
          }
          static_cast<std::vector<std::string>*>(out)->push_back(row);
          return 0;
        },
        &rows, &error);
    EXPECT_EQ(error, nullptr) << error;
    sqlite3_free(error);
    sqlite3_close(db);
    return rows;
  }

  std::filesystem::path folder;
  std::filesystem::path path;
  Logger log{LogConfig{.level = LogLevel::error, .file = {}, .json = false, .color = false}};
  Registry metrics;
  Context ctx;
};

using SqliteTest = Fixture;

std::vector<std::string> lines(std::string_view text) {
  std::vector<std::string> result;
  while (!text.empty()) {
    auto const end = std::min(text.find('\n'), text.size());
    if (end != 0) {
      result.emplace_back(text.substr(0, end));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

TEST_F(SqliteTest, SchemaIsThePeersByteForByte) {
  auto const engine = volume();
  EXPECT_EQ(query("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"),
            lines(kPeerSchema));
  EXPECT_EQ(query("SELECT name,value FROM jfs_counter ORDER BY rowid"),
            (std::vector<std::string>{"nextInode|2", "nextChunk|1", "nextSession|0", "usedSpace|0",
                                      "totalInodes|0", "nextCleanupSlices|0"}));
  EXPECT_EQ(query("PRAGMA journal_mode"), std::vector<std::string>{"wal"});
}

TEST_F(SqliteTest, RowsFollowTheColumnConventions) {
  auto const engine = volume();
  Attr attr = root();
  attr.type = FileType::regular;
  attr.mtime = {.sec = 1'795'415'341, .nsec = 26'558'243};
  attr.parent = kTrashIno;
  std::uint64_t const owner = 0x8d7d2f905e80bac9;
  Commit const commit{
      .changes = {
          Put{NodeKey{Ino{15}}, attr},
          Put{EdgeKey{kRootIno, "a"}, Entry{FileType::regular, Ino{15}}},
          Put{FlockKey{Ino{15}, SessionId{1}, owner}, FlockType::write},
          AppendSlices{.key = {Ino{15}, ChunkIndex{0}},
                       .slices = {{.pos = 0, .id = SliceId{1}, .size = 6, .off = 0, .len = 6}}},
          AppendSlices{.key = {Ino{15}, ChunkIndex{0}},
                       .slices = {{.pos = 6, .id = SliceId{0}, .size = 0, .off = 0, .len = 194}}},
          NewSlice{.id = SliceId{1}, .size = 6},
          DelaySlices{.compacted_into = SliceId{10},
                      .now_sec = 1'795'415'515,
                      .slices = {{.id = SliceId{2}, .size = 0x00a00000}}}}};
  ASSERT_TRUE(engine->commit(ctx, commit).ok());
  EXPECT_EQ(query("SELECT mtime,mtimensec,parent,rdev,tier_id FROM jfs_node WHERE inode=15"),
            std::vector<std::string>{"1795415341026558|243|9223372032828243968|0|0"});
  EXPECT_EQ(query("SELECT owner,ltype FROM jfs_flock"),
            std::vector<std::string>{"-8251386645165589815|87"});
  EXPECT_EQ(query("SELECT typeof(name),hex(name),type FROM jfs_edge"),
            std::vector<std::string>{"blob|61|1"});
  EXPECT_EQ(query("SELECT hex(slices) FROM jfs_chunk"),
            std::vector<std::string>{"000000000000000000000001000000060000000000000006"
                                     "0000000600000000000000000000000000000000000000C2"});
  EXPECT_EQ(query("SELECT chunkid,size,refs FROM jfs_chunk_ref"),
            std::vector<std::string>{"1|6|1"});
  EXPECT_EQ(query("SELECT chunkid,deleted,hex(slices) FROM jfs_delslices"),
            std::vector<std::string>{"10|1795415515|000000000000000200A00000"});
}

TEST_F(SqliteTest, AddsWhatAnOlderClientsVolumeLacks) {
  volume();
  query(
      "DROP TABLE jfs_change_log; DROP TABLE jfs_delegation_token; DROP INDEX IDX_jfs_edge_inode;"
      "ALTER TABLE jfs_node DROP COLUMN tier_id; ALTER TABLE jfs_node DROP COLUMN atimensec");
  auto const engine = open();
  ASSERT_TRUE(engine.ok()) << engine.error().text();
  Key const key = NodeKey{kRootIno};
  auto const values = (*engine)->fetch(ctx, std::span(&key, 1));
  ASSERT_TRUE(values.ok()) << values.error().text();
  EXPECT_EQ((*values)[0], Value(root()));
  auto expected = lines(kPeerSchema);
  auto found = query("SELECT name FROM sqlite_master WHERE sql IS NOT NULL");
  EXPECT_EQ(found.size(), expected.size());
}

TEST_F(SqliteTest, RowsThatCannotBeAreReportedWithTheirKey) {
  auto const engine = volume();
  struct {
    std::string sql;
    Key key;
    std::string name;
  } const cases[]{
      {"UPDATE jfs_node SET type=99 WHERE inode=1", NodeKey{kRootIno}, "node 1"},
      {"UPDATE jfs_node SET type=2,mode='garbage' WHERE inode=1", NodeKey{kRootIno}, "node 1"},
      {"UPDATE jfs_node SET mode=511,length=-1 WHERE inode=1", NodeKey{kRootIno}, "node 1"},
      {"UPDATE jfs_node SET length=4096,uid=99999999999 WHERE inode=1", NodeKey{kRootIno},
       "node 1"},
      {"INSERT INTO jfs_edge(parent,name,inode,type) VALUES(1,x'61',0,1)", EdgeKey{kRootIno, "a"},
       "entry \"a\" of directory 1"},
      {"INSERT INTO jfs_chunk(inode,indx,slices) VALUES(5,0,x'00')",
       ChunkKey{Ino{5}, ChunkIndex{0}}, "chunk 0 of node 5"},
      {"INSERT INTO jfs_flock(inode,sid,owner,ltype) VALUES(5,1,1,83)",
       FlockKey{Ino{5}, SessionId{1}, 1}, "flock of session 1 on node 5"},
      {"INSERT INTO jfs_plock(inode,sid,owner,records) VALUES(5,1,1,x'0000')", PlocksKey{Ino{5}},
       "POSIX locks of node 5"},
      {"INSERT INTO jfs_session2(sid,expire) VALUES(5,'soon')", SessionKey{SessionId{5}},
       "session 5"},
  };
  for (auto const& c : cases) {
    query(c.sql);
    auto const read = engine->fetch(ctx, std::span(&c.key, 1));
    ASSERT_FALSE(read.ok()) << c.sql;
    EXPECT_EQ(read.error().fault(), Fault::corrupt) << c.sql;
    EXPECT_EQ(read.error().code(), Errc::io);
    EXPECT_NE(read.error().text().find(c.name), std::string::npos) << read.error().text();
    auto const written = engine->commit(ctx, {.conditions = {ExpectAbsent{c.key}}});
    ASSERT_FALSE(written.ok());
    EXPECT_EQ(written.error().fault(), Fault::corrupt) << written.error().text();
  }
  EXPECT_FALSE(engine->list_dir(ctx, {.dir = kRootIno}).ok());
  EXPECT_FALSE(engine->list_chunks(ctx, {Ino{5}, ChunkIndex{0}}, 10).ok());
}

TEST_F(SqliteTest, NullsReadAsZero) {
  auto const engine = volume();
  query(
      "UPDATE jfs_node SET "
      "rdev=NULL,parent=NULL,access_acl_id=NULL,default_acl_id=NULL,tier_id=NULL");
  Key const key = NodeKey{kRootIno};
  auto const values = engine->fetch(ctx, std::span(&key, 1));
  ASSERT_TRUE(values.ok()) << values.error().text();
  auto expected = root();
  expected.parent = Ino{0};
  EXPECT_EQ((*values)[0], Value(expected));
}

TEST_F(SqliteTest, FilesThatCannotBeOpenedAreNamed) {
  auto const expect_failure = [&](SqliteOptions const& options, Errc code) {
    auto const engine = open(options);
    ASSERT_FALSE(engine.ok());
    EXPECT_EQ(engine.error().code(), code) << engine.error().text();
    EXPECT_NE(engine.error().text().find(path), std::string::npos) << engine.error().text();
  };
  expect_failure({.create = false}, Errc::noent);
  expect_failure({.read_only = true}, Errc::noent);
  std::ofstream(path) << std::string(4096, 'x');
  expect_failure({}, Errc::io);
  path = folder / "missing" / "volume.db";
  expect_failure({}, Errc::noent);
}

TEST_F(SqliteTest, AReadOnlyEngineReadsAndRefusesToWrite) {
  auto const writer = volume();
  auto const engine = open({.read_only = true});
  ASSERT_TRUE(engine.ok()) << engine.error().text();
  EXPECT_TRUE((*engine)->load_setting(ctx).ok());
  auto const result = (*engine)->commit(ctx, {});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), Errc::rofs);
  EXPECT_TRUE((*engine)->sync(ctx).ok());
}

/// Holds the file's write lock from a connection of its own.
class WriteLock {
 public:
  explicit WriteLock(std::string const& path) {
    EXPECT_EQ(sqlite3_open(path.c_str(), &db_), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db_, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  }
  ~WriteLock() { sqlite3_close(db_); }
  WriteLock(WriteLock const&) = delete;
  WriteLock& operator=(WriteLock const&) = delete;

 private:
  sqlite3* db_ = nullptr;
};

TEST_F(SqliteTest, WaitsForLocksOfOthersUntilTheDeadline) {
  auto const engine = volume();
  Commit const commit{.changes = {Put{SymlinkKey{Ino{5}}, std::string("x")}}};
  {
    WriteLock const lock(path);
    Context hurried;
    hurried.deadline = SystemClock().now() + std::chrono::milliseconds(50);
    auto const late = engine->commit(hurried, commit);
    ASSERT_FALSE(late.ok());
    EXPECT_EQ(late.error().code(), Errc::timedout);
    EXPECT_EQ(late.error().fault(), Fault::transient);
    Key const key = NodeKey{kRootIno};
    EXPECT_TRUE(engine->fetch(ctx, std::span(&key, 1)).ok()) << "readers go on";
  }
  EXPECT_TRUE(engine->commit(ctx, commit).ok());
}

TEST_F(SqliteTest, ALockThatIsNeverGivenUpIsReported) {
  volume();
  auto const engine = open({.busy_timeout = std::chrono::milliseconds(50)});
  ASSERT_TRUE(engine.ok());
  WriteLock const lock(path);
  auto const result = (*engine)->commit(ctx, {.changes = {EraseXattrs{Ino{5}}}});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), Errc::busy);
  EXPECT_EQ(result.error().fault(), Fault::transient);
  EXPECT_NE(result.error().text().find(path), std::string::npos);
}

TEST_F(SqliteTest, AFullDatabaseIsNoSpaceAndLosesNothing) {
  auto const engine = volume();
  query("PRAGMA user_version=1");  // The file exists with all its tables.
  // A limit of the file's size stands for a full disk; it belongs to this process.
  struct rlimit_guard {
    rlimit old{};
    rlimit_guard() {
      signal(SIGXFSZ, SIG_IGN);
      getrlimit(RLIMIT_FSIZE, &old);
    }
    ~rlimit_guard() { setrlimit(RLIMIT_FSIZE, &old); }
  } const guard;
  rlimit const tight{.rlim_cur = 2 << 20, .rlim_max = guard.old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  std::uint64_t written = 0;
  Result<void> result;
  for (; written < 100 && result.ok(); ++written) {
    result = engine->commit(
        ctx, {.changes = {Put{SymlinkKey{Ino{100 + written}}, std::string(100'000, 'x')}}});
  }
  ASSERT_FALSE(result.ok()) << "the limit had no effect";
  EXPECT_EQ(result.error().fault(), Fault::transient) << result.error().text();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &guard.old), 0);
  ASSERT_TRUE(engine->commit(ctx, {.changes = {Put{SymlinkKey{Ino{5}}, std::string("y")}}}).ok());
  EXPECT_EQ(query("SELECT count(*) FROM jfs_symlink"),
            std::vector<std::string>{std::to_string(written - 1 + 1)});
  EXPECT_EQ(query("PRAGMA integrity_check"), std::vector<std::string>{"ok"});
}

TEST_F(SqliteTest, WhatWasCommittedSurvivesAKilledProcess) {
  // A child commits numbers and reports each through a pipe; it is killed in the middle of the
  // work.
  volume();
  for (int round = 0; round < 5; ++round) {
    int pipe_fds[2];
    ASSERT_EQ(pipe(pipe_fds), 0);
    pid_t const child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto engine = open();
      for (std::uint64_t i = 0; engine.ok(); ++i) {
        Ino const ino{1000 + static_cast<std::uint64_t>(round) * 1'000'000 + i};
        Commit const commit{.changes = {Put{SymlinkKey{ino}, std::string("x")},
                                        Put{EdgeKey{kRootIno, std::to_string(ino.value)},
                                            Entry{FileType::symlink, ino}}}};
        if (!(*engine)->commit(ctx, commit).ok() ||
            write(pipe_fds[1], &ino.value, sizeof(ino.value)) != sizeof(ino.value)) {
          _exit(1);
        }
      }
      _exit(1);
    }
    close(pipe_fds[1]);
    std::vector<Ino> reported;
    for (std::uint64_t number = 0; read(pipe_fds[0], &number, sizeof(number)) == sizeof(number);) {
      reported.push_back(Ino{number});
      if (reported.size() == 200 + static_cast<std::size_t>(round) * 37) {
        kill(child, SIGKILL);
      }
    }
    close(pipe_fds[0]);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself";
    auto const engine = open();
    ASSERT_TRUE(engine.ok()) << engine.error().text();
    for (auto const ino : reported) {
      std::vector<Key> const keys{SymlinkKey{ino}, EdgeKey{kRootIno, std::to_string(ino.value)}};
      auto const values = (*engine)->fetch(ctx, keys);
      ASSERT_TRUE(values.ok()) << values.error().text();
      EXPECT_EQ((*values)[0], Value(std::string("x"))) << ino.value;
      EXPECT_EQ((*values)[1], Value(Entry{FileType::symlink, ino})) << ino.value;
    }
  }
  // All or nothing: no symlink without its entry and the other way round.
  EXPECT_EQ(query("SELECT count(*) FROM jfs_symlink"), query("SELECT count(*) FROM jfs_edge"));
}

TEST_F(SqliteTest, AnotherProcessMayWriteAtTheSameTime) {
  auto const engine = volume();
  constexpr std::uint64_t kRounds = 200;
  pid_t const child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // Not this process's engine: its threads did not survive the fork.
    execl("/proc/self/exe", "zest_sqlite_test", "--gtest_also_run_disabled_tests",
          "--gtest_filter=SqliteTest.DISABLED_Writer", path.c_str(), nullptr);
    _exit(127);
  }
  for (std::uint64_t i = 0; i < kRounds; ++i) {
    auto const result =
        engine->commit(ctx, {.changes = {UpdateNode{.ino = kRootIno, .add_nlink = 1}}});
    ASSERT_TRUE(result.ok()) << result.error().text();
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(query("SELECT nlink FROM jfs_node WHERE inode=1"),
            std::vector<std::string>{std::to_string(2 + 2 * kRounds)});
}

/// The other process of the test above.
TEST_F(SqliteTest, DISABLED_Writer) {
  auto const arguments = ::testing::internal::GetArgvs();
  path = arguments.back();
  auto const engine = open({.create = false});
  ASSERT_TRUE(engine.ok()) << engine.error().text();
  for (int i = 0; i < 200; ++i) {
    auto const result =
        (*engine)->commit(ctx, {.changes = {UpdateNode{.ino = kRootIno, .add_nlink = 1}}});
    ASSERT_TRUE(result.ok()) << result.error().text();
  }
}

TEST(SqliteUrl, IsParsed) {
  auto const plain = parse_sqlite_url("sqlite3://relative/volume.db");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->path, "relative/volume.db");
  EXPECT_EQ(plain->table_prefix, "");
  EXPECT_EQ(plain->journal, "WAL");
  auto const full = parse_sqlite_url(
      "sqlite3:///abs/v.db?table_prefix=two&_journal=delete&_timeout=1500&cache=shared&"
      "max_open_conns=3&mode=ro");
  ASSERT_TRUE(full.ok()) << full.error().text();
  EXPECT_EQ(full->path, "/abs/v.db");
  EXPECT_EQ(full->table_prefix, "two");
  EXPECT_EQ(full->journal, "DELETE");
  EXPECT_EQ(full->busy_timeout, std::chrono::milliseconds(1500));
  EXPECT_TRUE(full->read_only);
  EXPECT_EQ(full->ignored, (std::vector<std::string>{"cache", "max_open_conns"}));
}

TEST(SqliteUrl, NonsenseIsRefused) {
  for (auto const* url :
       {"redis://host/1", "sqlite3://", "sqlite3://?table_prefix=a", "sqlite3://a?table_prefix=a;b",
        "sqlite3://a?_timeout=soon", "sqlite3://a?_journal=off", "sqlite3:/a"}) {
    auto const options = parse_sqlite_url(url);
    ASSERT_FALSE(options.ok()) << url;
    EXPECT_EQ(options.error().code(), Errc::inval);
  }
}

}  // namespace

}  // namespace zest::meta
