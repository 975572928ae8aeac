// Sentinel and Cluster: the master is killed under a load of commits. Everything acknowledged is
// there afterwards, and nothing hangs.
#include <algorithm>
#include <set>

#include "zest/meta/engine/redis/redis_fixture.h"

namespace zest::meta::redis::testing {
namespace {

class FailoverTest : public RedisTest {
 protected:
  struct Outcome {
    std::set<std::uint64_t> acknowledged;
    std::size_t unknown = 0;
    std::size_t after = 0;  ///< acknowledged after the master was killed
    Duration longest{};
  };

  /// Eight writers; `kill` in the middle; goes on until commits pass again.
  static Outcome load(Engine& engine, std::function<void()> const& kill) {
    Outcome outcome;
    bool killed = false;
    bool stop = false;
    Context const ctx;
    Scope scope;
    for (std::uint64_t fiber = 0; fiber < 8; ++fiber) {
      scope.spawn([&, fiber] {
        for (std::uint64_t n = 0; !stop; ++n) {
          auto const id = 1000 + fiber * 1'000'000 + n;
          auto const begin = Loop::current()->now();
          auto const result =
              put(engine, SymlinkKey{Ino{id}}, std::string("x"), within(std::chrono::seconds(25)));
          outcome.longest = std::max(outcome.longest, Loop::current()->now() - begin);
          if (result.ok()) {
            outcome.acknowledged.insert(id);
            outcome.after += killed ? 1U : 0U;
          } else {
            EXPECT_EQ(result.error().code(), Errc::timedout) << result.error().text();
            ++outcome.unknown;
          }
        }
      });
    }
    static_cast<void>(Loop::current()->sleep_for(ctx, std::chrono::milliseconds(500)));
    kill();
    killed = true;
    for (int tries = 0; tries < 200 && outcome.after < 500; ++tries) {
      static_cast<void>(Loop::current()->sleep_for(ctx, std::chrono::milliseconds(100)));
    }
    stop = true;
    scope.join();
    return outcome;
  }

  static void check(Engine& engine, Outcome const& outcome) {
    EXPECT_GT(outcome.after, 0U) << "nothing passed after the failover";
    EXPECT_LE(outcome.unknown, 16U);
    EXPECT_LT(outcome.longest, std::chrono::seconds(25));
    std::size_t lost = 0;
    for (auto const id : outcome.acknowledged) {
      auto const value = get(engine, SymlinkKey{Ino{id}});
      ASSERT_TRUE(value.ok()) << value.error().text();
      lost += *value == Value(std::string("x")) ? 0U : 1U;
    }
    EXPECT_EQ(lost, 0U) << "of " << outcome.acknowledged.size();
    RecordProperty("acknowledged", static_cast<int>(outcome.acknowledged.size()));
    RecordProperty(
        "longest_ms",
        static_cast<int>(
            std::chrono::duration_cast<std::chrono::milliseconds>(outcome.longest).count()));
  }

  /// The replica's own word is not enough: until its first acknowledgement the master keeps its
  /// stream back and does not count it.
  static bool replicates(TestServer const& master) {
    return wait_for([&] { return master.cli("INFO replication").contains("state=online"); });
  }
  static bool wait_for(std::function<bool()> const& condition) {
    Context const ctx;
    for (int tries = 0; tries < 300 && !condition(); ++tries) {
      static_cast<void>(Loop::current()->sleep_for(ctx, std::chrono::milliseconds(100)));
    }
    return condition();
  }
};

TEST_F(FailoverTest, SentinelLosesNothingThatWasAcknowledged) {
  TestServer master;
  auto const port = std::to_string(master.port());
  TestServer const replica({"replicaof 127.0.0.1 " + port, "repl-diskless-sync-delay 0"});
  run([&] {
    ASSERT_TRUE(replicates(master));
    TestServer const sentinel(
        {"sentinel monitor main 127.0.0.1 " + port + " 1",
         "sentinel down-after-milliseconds main 700", "sentinel failover-timeout main 5000"},
        /*sentinel=*/true);
    // It has to know the replica before the master goes.
    ASSERT_TRUE(wait_for([&] {
      return sentinel.cli("SENTINEL replicas main").contains(std::to_string(replica.port()));
    }));
    auto const engine = open("redis://main,127.0.0.1:" + std::to_string(sentinel.port()) + "/1");
    auto const outcome = load(*engine, [&] { master.kill(); });
    check(*engine, outcome);
    EXPECT_TRUE(replica.cli("ROLE").starts_with("master"));
  });
}

TEST_F(FailoverTest, AMasterWithoutReplicasGoesOnAlone) {
  TestServer const master;
  auto const port = std::to_string(master.port());
  auto replica = std::make_unique<TestServer>(
      std::vector<std::string>{"replicaof 127.0.0.1 " + port, "repl-diskless-sync-delay 0"});
  run([&] {
    ASSERT_TRUE(replicates(master));
    TestServer const sentinel({"sentinel monitor main 127.0.0.1 " + port + " 1"}, true);
    auto const engine = open("redis://main,127.0.0.1:" + std::to_string(sentinel.port()) + "/1");
    expect_ok(put(*engine, SymlinkKey{Ino{1}}, std::string("x")));
    replica.reset();
    auto const begin = Loop::current()->now();
    expect_ok(put(*engine, SymlinkKey{Ino{2}}, std::string("x"), within(std::chrono::seconds(10))));
    EXPECT_LT(Loop::current()->now() - begin, std::chrono::seconds(10));
    expect_ok(put(*engine, SymlinkKey{Ino{3}}, std::string("x")));
  });
}

/// Three masters and a replica of the one that serves database 1.
class TestCluster {
 public:
  TestCluster() {
    for (int i = 0; i < 4; ++i) {
      nodes.push_back(std::make_unique<TestServer>(std::vector<std::string>{
          "cluster-enabled yes", "cluster-node-timeout 1000", "cluster-config-file nodes.conf",
          "cluster-replica-validity-factor 0", "repl-diskless-sync-delay 0"}));
    }
    for (int i = 1; i < 4; ++i) {
      nodes[0]->cli("CLUSTER MEET 127.0.0.1 " +
                    std::to_string(nodes[static_cast<std::size_t>(i)]->port()));
    }
    nodes[0]->cli("CLUSTER ADDSLOTSRANGE 0 5460");
    nodes[1]->cli("CLUSTER ADDSLOTSRANGE 5461 10922");  // slot of {1} is 9842
    nodes[2]->cli("CLUSTER ADDSLOTSRANGE 10923 16383");
  }
  [[nodiscard]] bool knows_all() const {
    return std::ranges::all_of(nodes, [](auto const& node) {
      return node->cli("CLUSTER INFO").contains("cluster_known_nodes:4") &&
             node->cli("CLUSTER INFO").contains("cluster_state:ok");
    });
  }
  std::vector<std::unique_ptr<TestServer>> nodes;
};

TEST_F(FailoverTest, ClusterLosesNothingThatWasAcknowledged) {
  TestCluster cluster;
  auto& nodes = cluster.nodes;
  run([&] {
    ASSERT_TRUE(wait_for([&] { return cluster.knows_all(); }));
    auto id = nodes[1]->cli("CLUSTER MYID");
    nodes[3]->cli("CLUSTER REPLICATE " + id.substr(0, 40));
    ASSERT_TRUE(replicates(*nodes[1]));
    // One node of it is enough: the server is asked what it is.
    auto const engine = open(nodes[0]->url());
    expect_ok(put(*engine, SymlinkKey{Ino{1}}, std::string("x")));
    EXPECT_EQ(nodes[1]->cli("GET {1}s1"), "x\n");
    auto const outcome = load(*engine, [&] { nodes[1]->kill(); });
    check(*engine, outcome);
    EXPECT_TRUE(nodes[3]->cli("ROLE").starts_with("master"));
  });
}

TEST_F(FailoverTest, AMovedSlotIsFollowed) {
  TestCluster const cluster;
  auto const& nodes = cluster.nodes;
  run([&] {
    ASSERT_TRUE(wait_for([&] { return cluster.knows_all(); }));
    auto const engine = open(nodes[0]->url() + "?max-retries=5");
    expect_ok(put(*engine, SymlinkKey{Ino{1}}, std::string("x")));
    auto const from = nodes[1]->cli("CLUSTER MYID").substr(0, 40);
    auto const to = nodes[2]->cli("CLUSTER MYID").substr(0, 40);
    nodes[2]->cli("CLUSTER SETSLOT 9842 IMPORTING " + from);
    nodes[1]->cli("CLUSTER SETSLOT 9842 MIGRATING " + to);
    // What is not there any more is asked for at the new place.
    nodes[1]->cli("MIGRATE 127.0.0.1 " + std::to_string(nodes[2]->port()) + " {1}s1 0 1000");
    auto const value = get(*engine, SymlinkKey{Ino{1}});
    ASSERT_TRUE(value.ok()) << value.error().text();
    EXPECT_EQ(*value, Value(std::string("x")));
    auto const half = engine->list_all_chunks(ctx, std::nullopt, 10);
    EXPECT_TRUE(failed_with(half, Errc::busy)) << "neither node has all of them";
    for (auto const& node : nodes) {
      node->cli("CLUSTER SETSLOT 9842 NODE " + to + " || true");
    }
    expect_ok(put(*engine, SymlinkKey{Ino{2}}, std::string("y")));
    EXPECT_EQ(nodes[2]->cli("GET {1}s2"), "y\n");
    Slices const slices{{.pos = 0, .id = SliceId{1}, .size = 1, .off = 0, .len = 1}};
    expect_ok(put(*engine, ChunkKey{kFile, ChunkIndex{0}}, slices));
    auto const chunks = engine->list_all_chunks(ctx, std::nullopt, 10);
    ASSERT_TRUE(chunks.ok()) << chunks.error().text();
    EXPECT_EQ(chunks->chunks.size(), 1U) << "no walk over a node that has none of the keys";
    expect_ok(engine->reset(ctx));
    EXPECT_EQ(nodes[2]->cli("EXISTS {1}s1 {1}s2"), "0\n");
  });
}

}  // namespace
}  // namespace zest::meta::redis::testing
