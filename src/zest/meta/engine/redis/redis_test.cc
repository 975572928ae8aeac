// The engine against servers of its own: ways to connect, faults, damage, and the layout of keys.
#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <set>

#include "zest/meta/engine/redis/redis_fixture.h"

namespace zest::meta::redis::testing {
namespace {

// ---- ways to connect

TEST_F(RedisTest, AUnixSocketServes) {
  TestServer const server({"unixsocket /tmp/zest-test-" + std::to_string(::getpid()) + ".sock"});
  run([&] {
    auto const engine = open("unix:///tmp/zest-test-" + std::to_string(::getpid()) + ".sock?db=2");
    expect_ok(put(*engine, SymlinkKey{kFile}, std::string("x")));
    EXPECT_EQ(server.cli("-n 2 GET s5"), "x\n");
  });
}

TEST_F(RedisTest, AUserOfAnAclServesAndAStrangerIsRefused) {
  TestServer const server({"user default off", "user zest on >s3cret ~* &* +@all"});
  run([&] {
    auto const base = "127.0.0.1:" + std::to_string(server.port()) + "/1";
    expect_ok(put(*open("redis://zest:s3cret@" + base), SymlinkKey{kFile}, std::string("x")));
    for (auto const* login : {"zest:wr0ng@", ":wr0ng@", ""}) {
      auto const refused =
          put(*open("redis://" + (login + base)), SymlinkKey{kFile}, std::string());
      ASSERT_FALSE(refused.ok()) << login;
      EXPECT_EQ(refused.error().code(), Errc::acces) << refused.error().text();
      EXPECT_EQ(refused.error().text().find("wr0ng"), std::string::npos);
    }
  });
}

TEST_F(RedisTest, APasswordServes) {
  TestServer const server({"requirepass pa:ss@/w"});
  run([&] {
    auto const engine =
        open("redis://:pa%3Ass%40%2Fw@127.0.0.1:" + std::to_string(server.port()) + "/1");
    expect_ok(put(*engine, SymlinkKey{kFile}, std::string("x")));
  });
}

/// A key, and a certificate for 127.0.0.1 that it signed itself.
void make_certificate(std::string const& folder) {
  run_command(
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
      " -subj /CN=zest-test -addext subjectAltName=IP:127.0.0.1,DNS:redis.test"
      " -keyout " +
      folder + "/key.pem -out " + folder + "/cert.pem 2>/dev/null");
}

TEST_F(RedisTest, TlsServesAndChecksTheCertificate) {
  auto pattern = std::string("/tmp/zest-tls-XXXXXX");
  std::string const folder = ::mkdtemp(pattern.data());
  make_certificate(folder);
  auto const tls_port = free_port();
  TestServer const server(
      {"tls-port " + std::to_string(tls_port), "tls-cert-file " + folder + "/cert.pem",
       "tls-key-file " + folder + "/key.pem", "tls-ca-cert-file " + folder + "/cert.pem"});
  run([&] {
    auto const base = "rediss://127.0.0.1:" + std::to_string(tls_port) + "/1";
    auto const files = "&tls-cert-file=" + folder + "/cert.pem&tls-key-file=" + folder + "/key.pem";
    auto const good = open(base + "?tls-ca-cert-file=" + folder + "/cert.pem" + files);
    // More than one TLS record each way.
    std::string const large(200'000, 'x');
    expect_ok(put(*good, SymlinkKey{kFile}, large));
    auto const back = get(*good, SymlinkKey{kFile});
    EXPECT_TRUE(back.ok() && *back == Value(large));
    auto const named =
        open(base + "?tls-server-name=redis.test&tls-ca-cert-file=" + folder + "/cert.pem" + files);
    EXPECT_TRUE(get(*named, SymlinkKey{kFile}).ok());
    EXPECT_TRUE(get(*open(base + "?insecure-skip-verify=1" + files), SymlinkKey{kFile}).ok());

    EXPECT_TRUE(failed_with(get(*open(base + "?x=1" + files), SymlinkKey{kFile}), Errc::acces))
        << "the authority is not known";
    auto const other =
        open(base + "?tls-server-name=other.test&tls-ca-cert-file=" + folder + "/cert.pem" + files);
    EXPECT_TRUE(failed_with(get(*other, SymlinkKey{kFile}), Errc::acces)) << "another name";
  });
  auto options = parse_redis_url("rediss://h/1?tls-ca-cert-file=/nowhere");
  EXPECT_TRUE(failed_with(open_redis(*options, log, metrics), Errc::inval));
  run_command("rm -r " + folder);
}

TEST_F(RedisTest, NobodyThereIsSaidAtOnce) {
  run([&] {
    auto const begin = Loop::current()->now();
    auto const result =
        get(*open("redis://127.0.0.1:" + std::to_string(free_port()) + "/1"), NodeKey{kFile});
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().fault(), Fault::transient);
    EXPECT_EQ(result.error().code(), Errc::io);
    EXPECT_LT(Loop::current()->now() - begin, std::chrono::seconds(2));
  });
}

// ---- faults

TEST_F(RedisTest, AServerThatForgetsItsScriptsIsTaughtAgain) {
  TestServer const server;
  run([&] {
    auto const engine = open(server.url());
    expect_ok(put(*engine, NodeKey{kFile}, file_attr()));
    server.cli("SCRIPT FLUSH");
    expect_ok(put(*engine, NodeKey{kFile}, file_attr()));
    server.cli("SCRIPT FLUSH");
    EXPECT_TRUE(get(*engine, ChildKey{kRootIno, "a"}).ok());
    expect_ok(put(*engine, NodeKey{kFile}, file_attr()));
    auto const before = engine->trips();
    expect_ok(put(*engine, NodeKey{kFile}, file_attr()));
    EXPECT_EQ(engine->trips(), before + 1) << "known from now on";
  });
}

TEST_F(RedisTest, ARestartedServerIsFoundAgainAndKeepsWhatWasAcknowledged) {
  TestServer server({"appendonly yes", "appendfsync always"});
  run([&] {
    auto const engine = open(server.url());
    for (int round = 0; round < 3; ++round) {
      expect_ok(
          put(*engine, SymlinkKey{Ino{static_cast<std::uint64_t>(10 + round)}}, std::string("x")));
      server.kill();
      server.start();
      auto const value = get(*engine, SymlinkKey{Ino{static_cast<std::uint64_t>(10 + round)}});
      EXPECT_TRUE(value.ok() && *value == Value(std::string("x"))) << round;
    }
  });
}

TEST_F(RedisTest, KilledUnderLoadEveryCommitIsDoneNotDoneOrUnknown) {
  TestServer server({"appendonly yes", "appendfsync always"});
  run([&] {
    auto const engine = open(server.url());
    expect_ok(put(*engine, NodeKey{kFile}, file_attr()));
    std::set<std::uint64_t> acknowledged;
    std::size_t unknown = 0;
    bool stop = false;
    Scope scope;
    for (std::uint64_t fiber = 0; fiber < 8; ++fiber) {
      scope.spawn([&, fiber] {
        for (std::uint64_t n = 0; !stop; ++n) {
          auto const id = 1000 + fiber * 1'000'000 + n;
          auto const result =
              put(*engine, SymlinkKey{Ino{id}}, std::string("x"), within(std::chrono::seconds(20)));
          if (result.ok()) {
            acknowledged.insert(id);
          } else {
            EXPECT_EQ(result.error().fault(), Fault::transient);
            EXPECT_EQ(result.error().code(), Errc::timedout) << result.error().text();
            ++unknown;
          }
        }
      });
    }
    for (int kills = 0; kills < 2; ++kills) {
      static_cast<void>(Loop::current()->sleep_for(ctx, std::chrono::milliseconds(150)));
      server.kill();
      server.start();
    }
    static_cast<void>(Loop::current()->sleep_for(ctx, std::chrono::milliseconds(150)));
    stop = true;
    scope.join();
    EXPECT_GT(acknowledged.size(), 50U);
    EXPECT_LE(unknown, 16U) << "at most what was under way at a kill";
    for (auto const id : acknowledged) {
      auto const value = get(*engine, SymlinkKey{Ino{id}});
      ASSERT_TRUE(value.ok() && *value == Value(std::string("x"))) << id;
    }
  });
}

TEST_F(RedisTest, ASilentServerDoesNotHoldRequestsBeyondTheirDeadline) {
  TestServer const server;
  run([&] {
    auto const engine = open(server.url());
    expect_ok(put(*engine, NodeKey{kFile}, file_attr()));
    server.pause();
    auto const begin = Loop::current()->now();
    auto const limited = within(std::chrono::milliseconds(300));
    Scope scope;
    for (int i = 0; i < 4; ++i) {
      scope.spawn(
          [&] { EXPECT_TRUE(failed_with(get(*engine, NodeKey{kFile}, limited), Errc::timedout)); });
      scope.spawn([&] {
        EXPECT_TRUE(
            failed_with(put(*engine, NodeKey{kFile}, file_attr(), limited), Errc::timedout));
      });
    }
    scope.join();
    EXPECT_LT(Loop::current()->now() - begin, std::chrono::seconds(2));
    server.resume();
    // The connection is still in step: late replies go to nobody.
    EXPECT_EQ(*get(*engine, NodeKey{kFile}), Value(file_attr()));
    EXPECT_EQ(*get(*engine, SymlinkKey{kFile}), Value());
  });
}

TEST_F(RedisTest, AConnectionThatOwesAReplyForTooLongIsReplaced) {
  TestServer const server;
  run([&] {
    auto const engine = open(server.url("/1?read-timeout=200ms&dial-timeout=200ms&max-retries=3"));
    expect_ok(put(*engine, NodeKey{kFile}, file_attr()));
    server.pause();
    EXPECT_TRUE(failed_with(put(*engine, NodeKey{kFile}, file_attr()), Errc::timedout))
        << "nobody knows what became of it";
    auto const read = get(*engine, NodeKey{kFile});
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().code(), Errc::io) << "and reads are tried again until they give up";
    server.resume();
    EXPECT_TRUE(get(*engine, NodeKey{kFile}).ok());
  });
}

TEST_F(RedisTest, StoppedReadsReturnAtOnce) {
  TestServer const server;
  run([&] {
    auto const engine = open(server.url());
    expect_ok(put(*engine, NodeKey{kFile}, file_attr()));
    server.pause();
    std::stop_source stop;
    Context stopped;
    stopped.stop = stop.get_token();
    Scope scope;
    scope.spawn(
        [&] { EXPECT_TRUE(failed_with(get(*engine, NodeKey{kFile}, stopped), Errc::intr)); });
    static_cast<void>(Loop::current()->sleep_for(ctx, std::chrono::milliseconds(20)));
    stop.request_stop();
    scope.join();
    server.resume();
    EXPECT_TRUE(get(*engine, NodeKey{kFile}).ok());
  });
}

TEST_F(RedisTest, AFullServerIsEnospcAndChangesNothing) {
  TestServer const server({"maxmemory 3mb", "maxmemory-policy noeviction"});
  run([&] {
    auto const engine = open(server.url());
    std::string const large(100'000, 'x');
    auto result = Result<void>();
    for (std::uint64_t ino = 10; ino < 100 && result.ok(); ++ino) {
      result = put(*engine, SymlinkKey{Ino{ino}}, large);
    }
    EXPECT_TRUE(failed_with(result, Errc::nospc));
  });
}

TEST_F(RedisTest, AServerThatWouldEvictIsToldNotTo) {
  TestServer const server({"maxmemory 100mb", "maxmemory-policy allkeys-lru"});
  run([&] {
    EXPECT_TRUE(get(*open(server.url()), NodeKey{kFile}).ok());
    EXPECT_EQ(server.cli("CONFIG GET maxmemory-policy"), "maxmemory-policy\nnoeviction\n");
  });
}

TEST_F(RedisTest, AReplicaIsReadOnly) {
  TestServer const master;
  TestServer const replica({"replicaof 127.0.0.1 " + std::to_string(master.port())});
  run([&] {
    auto const engine = open(replica.url("/1?max-retries=1"));
    EXPECT_TRUE(failed_with(put(*engine, NodeKey{kFile}, file_attr()), Errc::rofs));
  });
}

// ---- damage

struct Damage {
  std::string command;
  Key key;
  std::string named;
};

TEST_F(RedisTest, DamagedRecordsAreNamedAndNothingCrashes) {
  TestServer const server;
  std::vector<Damage> const damages{
      {"SET i5 short", NodeKey{kFile}, "i5"},
      {"HSET i6 a b", NodeKey{Ino{6}}, "i6"},
      {"HSET d1 broken 12345", EdgeKey{kRootIno, "broken"}, "d1"},
      {"HSET d1 child 12345", ChildKey{kRootIno, "child"}, "d1"},
      {"SET d2 x", ChildKey{Ino{2}, "a"}, "key"},
      {"RPUSH c5_0 short", ChunkKey{kFile, ChunkIndex{0}}, "c5_0"},
      {"SET c5_1 x", ChunkKey{kFile, ChunkIndex{1}}, "c5_1"},
      {"HSET p5 one two", ParentsKey{kFile}, "p5"},
      {"HSET lockf5 1_0000000000000001 X", FlocksKey{kFile}, "lockf5"},
      {"HSET lockp5 nobody x", PlocksKey{kFile}, "lockp5"},
      {"HSET sliceRef k1_1 many", SliceRefKey{SliceId{1}, 1}, "sliceRef"},
      {"HSET dirUsedSpace 7 many", DirStatKey{Ino{7}}, "dirUsedSpace"},
      {"HSET dirQuota 7 short", dir_quota(Ino{7}), "dirQuota"},
      {"HSET acl 1 short", AclKey{1}, "acl"},
      {"HSET delSlices 1_2 short", DelayedSlicesKey{SliceId{1}, 2}, "delSlices"},
      {"ZADD delfiles inf 5:1", DelfileKey{kFile, 1}, "delfiles"},
  };
  run([&] {
    auto const engine = open(server.url());
    for (auto const& damage : damages) {
      SCOPED_TRACE(damage.command);
      server.cli("-n 1 " + damage.command);
      auto const value = get(*engine, damage.key);
      ASSERT_FALSE(value.ok());
      EXPECT_EQ(value.error().fault(), Fault::corrupt);
      EXPECT_NE(value.error().text().find(damage.named), std::string::npos) << value.error().text();
    }
    // Decisions on damaged records are refused, not guessed.
    auto const commit = [&](Commit const& what) {
      auto const result = engine->commit(ctx, what);
      EXPECT_TRUE(!result.ok() && result.error().fault() == Fault::corrupt);
    };
    commit({.conditions = {ExpectNode{.ino = kFile, .fields = kMode, .seen = {}}}});
    commit({.changes = {UpdateNode{.ino = kFile, .add_nlink = 1}}});
    commit({.conditions = {ExpectNode{.ino = Ino{6}, .seen = {}}}});
    commit({.conditions = {ExpectAbsent{EdgeKey{Ino{2}, "a"}}}});
    EXPECT_FALSE(engine->list_dir(ctx, {.dir = kRootIno, .attrs = true}).ok());
    EXPECT_FALSE(engine->list_dir(ctx, {.dir = Ino{2}}).ok());
    EXPECT_FALSE(engine->list_garbage_slices(ctx, 10).ok());
    EXPECT_FALSE(engine->list_acls(ctx, 0).ok());
    EXPECT_FALSE(engine->list_quotas(ctx).ok());
    EXPECT_FALSE(engine->list_delayed_slices(ctx, 1000, 10).ok());
    EXPECT_FALSE(engine->list_all_chunks(ctx, std::nullopt, 100).ok());
  });
}

// ---- listings

TEST_F(RedisTest, ListingWhileTheDirectoryGrowsAndShrinksGivesEachNameThatStaysOnce) {
  TestServer const server;
  run([&] {
    auto const engine = open(server.url());
    Ino const dir{5};
    auto const change = [&](std::string const& prefix, int first, int last, bool add) {
      for (int at = first; at < last; at += 500) {
        Commit commit;
        for (int i = at; i < std::min(last, at + 500); ++i) {
          EdgeKey const key{dir, prefix + std::to_string(i)};
          if (add) {
            commit.changes.emplace_back(Put{key, Entry{FileType::regular, Ino{9}}});
          } else {
            commit.changes.emplace_back(Erase{key});
          }
        }
        expect_ok(engine->commit(ctx, commit));
      }
    };
    // From a listpack over a table that is enlarged many times, and back down.
    for (auto const& [begin, grown] :
         {std::pair(60, 20'000), std::pair(3000, 30'000), std::pair(30'000, 0)}) {
      change("stays-", 0, 50, true);
      change("more-", 0, begin, true);
      std::map<std::string, int> seen;
      std::string from;
      int pages = 0;
      do {
        auto page = engine->list_dir(ctx, {.dir = dir, .from = from, .limit = 40});
        ASSERT_TRUE(page.ok()) << page.error().text();
        ASSERT_LE(page->entries.size(), 40U);
        for (auto const& entry : page->entries) {
          ++seen[entry.name];
        }
        from = page->next;
        if (++pages == 1) {
          change("more-", begin, grown, true);
        } else if (pages == 20) {
          change("more-", 30, std::max(begin, grown), false);
        }
      } while (!from.empty());
      for (int i = 0; i < 50; ++i) {
        EXPECT_EQ(seen["stays-" + std::to_string(i)], 1) << i;
      }
      EXPECT_TRUE(std::ranges::all_of(seen, [](auto const& name) { return name.second == 1; }));
      server.cli("-n 1 DEL d5");
    }
  });
}

TEST_F(RedisTest, PagesOfALargeDirectoryAreFullAndOneTripEach) {
  TestServer const server;
  run([&] {
    auto const engine = open(server.url());
    constexpr std::size_t kEntries = 10'000;
    for (std::size_t at = 0; at < kEntries; at += 500) {
      Commit commit;
      for (std::size_t i = at; i < at + 500; ++i) {
        commit.changes.emplace_back(Put{NodeKey{Ino{100 + i}}, file_attr()});
        commit.changes.emplace_back(Put{EdgeKey{kRootIno, "n" + std::to_string(i)},
                                        Entry{FileType::regular, Ino{100 + i}}});
      }
      expect_ok(engine->commit(ctx, commit));
    }
    auto const before = engine->trips();
    std::set<std::string> seen;
    std::string from;
    do {
      auto const page =
          engine->list_dir(ctx, {.dir = kRootIno, .from = from, .limit = 1000, .attrs = true});
      ASSERT_TRUE(page.ok());
      for (auto const& entry : page->entries) {
        EXPECT_TRUE(entry.attr.has_value());
        EXPECT_TRUE(seen.insert(entry.name).second);
      }
      from = page->next;
    } while (!from.empty());
    EXPECT_EQ(seen.size(), kEntries);
    EXPECT_LE(engine->trips() - before, kEntries / 1000 + 1);
  });
}

TEST_F(RedisTest, ChunksOfAFileAreFoundByItsLength) {
  TestServer const server;
  run([&] {
    auto const engine = open(server.url());
    auto attr = file_attr();
    attr.length = 5000 * kChunkSize;
    Slices const slices{{.pos = 0, .id = SliceId{1}, .size = 1, .off = 0, .len = 1}};
    expect_ok(put(*engine, NodeKey{kFile}, attr));
    for (std::uint32_t const index : {0U, 2500U, 4999U, 5003U}) {
      expect_ok(put(*engine, ChunkKey{kFile, ChunkIndex{index}}, slices));
    }
    auto const indexes = [](Result<ChunkPage> const& page) {
      std::vector<std::uint32_t> found;
      for (auto const& [key, value] : page->chunks) {
        found.push_back(key.index.value);
      }
      return found;
    };
    auto const all = engine->list_chunks(ctx, {kFile, ChunkIndex{1}}, 10);
    ASSERT_TRUE(all.ok()) << all.error().text();
    EXPECT_EQ(indexes(all), (std::vector<std::uint32_t>{2500, 4999, 5003}))
        << "with what a truncation left behind the end";
    auto const first = engine->list_chunks(ctx, {kFile, ChunkIndex{0}}, 2);
    EXPECT_EQ(indexes(first), (std::vector<std::uint32_t>{0, 2500}));
    ASSERT_TRUE(first->next.has_value());
    expect_ok(engine->commit(ctx, {.changes = {Erase{NodeKey{kFile}}}}));
    auto const before = engine->trips();
    auto const below = engine->list_chunks_below(ctx, {kFile, ChunkIndex{0}}, 2501, 10);
    EXPECT_EQ(indexes(below), (std::vector<std::uint32_t>{0, 2500}));
    EXPECT_LE(engine->trips() - before, 2U) << "without a search of the whole database";
  });
}

// ---- layout

TEST_F(RedisTest, KeysAreThoseOfTheFormat) {
  TestServer const server;
  run([&] {
    auto const engine = open(server.url());
    SessionId const session{1};
    expect_ok(
        engine->commit(ctx, {.changes = {Put{FlockKey{kFile, session, 0xB36A}, FlockType::read},
                                         AddSliceRef{.id = SliceId{10}, .size = 5, .delta = 1},
                                         Put{SessionKey{session}, SessionRecord{100, "{}"}},
                                         Put{SustainedKey{session, kFile}, Present{}},
                                         Put{DelfileKey{kFile, 7}, DelfileRecord{123}},
                                         DelaySlices{SliceId{50}, 1000, {{SliceId{5}, 4096}}},
                                         AddParent{.ino = kFile, .parent = kRootIno, .delta = 1}},
                             .usage = {.space = 4096, .inodes = 1}}));
    EXPECT_EQ(server.cli("-n 1 HGETALL lockf5"), "1_000000000000B36A\nR\n");
    EXPECT_EQ(server.cli("-n 1 SMEMBERS locked1"), "lockf5\n") << "shared ones too";
    EXPECT_EQ(server.cli("-n 1 HGETALL sliceRef"), "k10_5\n1\n");
    EXPECT_EQ(server.cli("-n 1 ZRANGE allSessions 0 -1 WITHSCORES"), "1\n100\n");
    EXPECT_EQ(server.cli("-n 1 HGETALL sessionInfos"), "1\n{}\n");
    EXPECT_EQ(server.cli("-n 1 SMEMBERS session1"), "5\n");
    EXPECT_EQ(server.cli("-n 1 ZRANGE delfiles 0 -1 WITHSCORES"), "5:7\n123\n");
    EXPECT_EQ(server.cli("-n 1 HKEYS delSlices"), "50_1000\n");
    EXPECT_EQ(server.cli("-n 1 HGETALL p5"), "1\n1\n");
    EXPECT_EQ(server.cli("-n 1 MGET usedSpace totalInodes"), "4096\n1\n");
    expect_ok(
        engine->commit(ctx, {.changes = {Erase{FlockKey{kFile, session, 0xB36A}},
                                         AddSliceRef{.id = SliceId{10}, .size = 5, .delta = -1}}}));
    EXPECT_EQ(server.cli("-n 1 EXISTS locked1 lockf5 sliceRef"), "0\n");
    EXPECT_EQ(engine->allocate_ids(ctx, IdKind::slice, 4096)->first, 1U);
    EXPECT_EQ(server.cli("-n 1 GET nextchunk"), "4096\n");
  });
}

TEST_F(RedisTest, AnotherLockOfTheSessionKeepsTheKeyInItsSet) {
  TestServer const server;
  run([&] {
    auto const engine = open(server.url());
    expect_ok(put(*engine, FlockKey{kFile, SessionId{1}, 1}, FlockType::read));
    expect_ok(put(*engine, FlockKey{kFile, SessionId{1}, 2}, FlockType::read));
    expect_ok(put(*engine, FlockKey{kFile, SessionId{12}, 2}, FlockType::read));
    expect_ok(engine->commit(ctx, {.changes = {Erase{FlockKey{kFile, SessionId{1}, 1}}}}));
    EXPECT_EQ(server.cli("-n 1 SMEMBERS locked1"), "lockf5\n");
    expect_ok(engine->commit(ctx, {.changes = {Erase{FlockKey{kFile, SessionId{1}, 2}}}}));
    EXPECT_EQ(server.cli("-n 1 EXISTS locked1"), "0\n");
    EXPECT_EQ(*engine->list_locked(ctx, SessionId{12}), std::vector<Ino>{kFile});
  });
}

TEST_F(RedisTest, NodesOfTheTrashAreFoundThroughTheirEntries) {
  TestServer const server;
  run([&] {
    // Inodes beyond 2^53, which a double cannot hold.
    auto const engine = open(server.url());
    for (std::uint64_t const ino :
         {kTrashIno.value + 1, UINT64_MAX, (std::uint64_t{1} << 53U) + 1,
          (std::uint64_t{1} << 52U) - 1, std::uint64_t{10'000'000'000'000'000}}) {
      auto attr = file_attr();
      attr.rdev = static_cast<std::uint32_t>(ino);
      expect_ok(engine->commit(
          ctx, {.changes = {Put{EdgeKey{kRootIno, "a"}, Entry{FileType::regular, Ino{ino}}},
                            Put{NodeKey{Ino{ino}}, attr}}}));
      auto const child = get(*engine, ChildKey{kRootIno, "a"});
      EXPECT_EQ(*child, Value(Child{.entry = {FileType::regular, Ino{ino}}, .attr = attr})) << ino;
      auto const page = engine->list_dir(ctx, {.dir = kRootIno, .attrs = true});
      EXPECT_EQ(page->entries.at(0).attr, attr) << ino;
    }
  });
}

// ---- pushes

class Recorder final : public InvalidationListener {
 public:
  /// Waits for a commit that changes both.
  Recorder(Ino node, Ino dir) : node_(node), dir_(dir) {}
  void nodes_changed(std::span<Ino const> nodes) noexcept override {
    std::lock_guard const lock(mutex_);
    nodes_.insert(nodes.begin(), nodes.end());
    dir_first_ = dir_first_ && (!nodes_.contains(node_) || dirs_.contains(dir_));
  }
  void entries_changed(std::span<Ino const> dirs) noexcept override {
    std::lock_guard const lock(mutex_);
    dirs_.insert(dirs.begin(), dirs.end());
  }
  void everything_changed() noexcept override { ++everything; }
  bool heard(Ino node, Ino dir) {
    std::lock_guard const lock(mutex_);
    return dir_first_ && nodes_.contains(node) && dirs_.contains(dir);
  }
  std::atomic<int> everything{0};

 private:
  std::mutex mutex_;
  std::set<Ino> nodes_;
  std::set<Ino> dirs_;
  Ino node_;
  Ino dir_;
  bool dir_first_ = true;
};

/// Waits up to five seconds for `condition`.
bool eventually(std::function<bool()> const& condition) {
  Context const ctx;
  for (int tries = 0; tries < 500 && !condition(); ++tries) {
    static_cast<void>(Loop::current()->sleep_for(ctx, std::chrono::milliseconds(10)));
  }
  return condition();
}

TEST_F(RedisTest, ChangesByAnybodyArePushed) {
  TestServer server;
  run([&] {
    Recorder recorder(kFile, kRootIno);
    auto const engine = open(server.url());
    auto const other = open(server.url());
    ASSERT_TRUE(engine->capabilities().invalidation_pushes);
    engine->set_listener(&recorder);
    ASSERT_TRUE(eventually([&] { return recorder.everything > 0; }));
    expect_ok(other->commit(
        ctx, {.changes = {Put{NodeKey{kFile}, file_attr()},
                          Put{EdgeKey{kRootIno, "a"}, Entry{FileType::regular, kFile}},
                          Put{DirStatKey{kFile}, DirStat{}}}}));
    EXPECT_TRUE(eventually([&] { return recorder.heard(kFile, kRootIno); }));
    auto const before = recorder.everything.load();
    server.kill();
    EXPECT_TRUE(eventually([&] { return recorder.everything > before; })) << "lost: trust nothing";
    server.start();
    EXPECT_TRUE(eventually([&] {
      static_cast<void>(put(*other, NodeKey{Ino{78}}, file_attr()));
      return recorder.heard(Ino{78}, kRootIno);
    })) << "and it comes back";
    engine->set_listener(nullptr);
    auto const last = recorder.everything.load();
    server.cli("FLUSHALL");
    static_cast<void>(Loop::current()->sleep_for(ctx, std::chrono::milliseconds(50)));
    EXPECT_EQ(recorder.everything, last);
  });
}

}  // namespace
}  // namespace zest::meta::redis::testing
