// Many fibers, several loops, several clients at once: nothing is lost, nothing happens twice.
#include <atomic>
#include <set>

#include "tests/conformance/engine/engine_suite.h"
#include "zest/runtime/loop_group.h"
#include "zest/runtime/sync.h"

namespace zest::meta::testing {

namespace {

constexpr Ino kCounterNode{5};

/// Adds one to the length of a node by reading it and committing on condition that it is unchanged;
/// tries again after conflicts. Returns how many conflicts there were.
std::size_t increment(Engine& engine, Context const& ctx) {
  for (std::size_t conflicts = 0;; ++conflicts) {
    Key const key = NodeKey{kCounterNode};
    auto const values = must(engine.fetch(ctx, std::span(&key, 1)));
    auto const* seen = values.empty() ? nullptr : std::get_if<Attr>(&values[0]);
    if (seen == nullptr) {
      ADD_FAILURE() << "the counter is gone";
      return conflicts;
    }
    auto changed = *seen;
    changed.length += 1;
    auto const result = engine.commit(
        ctx, {.conditions = {ExpectNode{.ino = kCounterNode, .fields = kLength, .seen = *seen}},
              .changes = {UpdateNode{.ino = kCounterNode, .set = kLength, .values = changed}}});
    if (result.ok()) {
      return conflicts;
    }
    EXPECT_EQ(result.error().fault(), Fault::conflict) << result.error().text();
  }
}

TEST_P(EngineTest, ConcurrentCompareAndSetLosesNoIncrement) {
  run([this] {
    auto attr = some_attr(5);
    attr.length = 0;
    put(NodeKey{kCounterNode}, attr);
    constexpr int kFibers = 16;
    constexpr int kRounds = 25;
    Scope scope;
    for (int i = 0; i < kFibers; ++i) {
      scope.spawn([this] {
        for (int round = 0; round < kRounds; ++round) {
          increment(engine(), ctx);
        }
      });
    }
    scope.join();
    auto const value = get(NodeKey{kCounterNode});
    EXPECT_EQ(std::get<Attr>(value).length, std::uint64_t{kFibers} * kRounds);
  });
}

TEST_P(EngineTest, CreatorsInOneDirectoryDoNotConflict) {
  run([this] {
    constexpr std::uint64_t kFibers = 32;
    constexpr std::uint64_t kRounds = 20;
    std::atomic<int> conflicts = 0;
    Scope scope;
    for (std::uint64_t i = 0; i < kFibers; ++i) {
      scope.spawn([this, i, &conflicts] {
        for (std::uint64_t round = 0; round < kRounds; ++round) {
          auto const ino = 1000 + i * kRounds + round;
          auto const name = std::to_string(ino);
          conflicts +=
              try_commit(
                  {.conditions = {ExpectNode{.ino = kRootIno,
                                             .fields = kType | kMode | kOwner | kFlags,
                                             .seen = root_attr()},
                                  ExpectAbsent{EdgeKey{kRootIno, name}}},
                   .changes = {Put{NodeKey{Ino{ino}}, some_attr(1)},
                               Put{EdgeKey{kRootIno, name}, Entry{FileType::directory, Ino{ino}}},
                               UpdateNode{.ino = kRootIno,
                                          .add_nlink = 1,
                                          .raise_mtime = WallTime{2'000'000'000, 0}}}})
                  ? 0
                  : 1;
        }
      });
    }
    scope.join();
    EXPECT_EQ(conflicts, 0);
    auto const root = std::get<Attr>(get(NodeKey{kRootIno}));
    EXPECT_EQ(root.nlink, root_attr().nlink + kFibers * kRounds);
    EXPECT_EQ(root.mtime, (WallTime{2'000'000'000, kFibers * kRounds - 1})) << "raised each time";
    EXPECT_EQ(must(engine().list_dir(ctx, {.dir = kRootIno, .limit = 10'000})).entries.size(),
              kFibers * kRounds);
  });
}

TEST_P(EngineTest, OneOfManyCreatorsOfOneNameWins) {
  run([this] {
    std::atomic<int> winners = 0;
    Scope scope;
    for (std::uint64_t i = 0; i < 16; ++i) {
      scope.spawn([this, i, &winners] {
        winners +=
            try_commit(
                {.conditions = {ExpectAbsent{EdgeKey{kRootIno, "name"}}},
                 .changes = {Put{NodeKey{Ino{100 + i}}, some_attr(1)},
                             Put{EdgeKey{kRootIno, "name"}, Entry{FileType::regular, Ino{100 + i}}},
                             UpdateNode{.ino = kRootIno, .add_nlink = 1}}})
                ? 1
                : 0;
      });
    }
    scope.join();
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(std::get<Attr>(get(NodeKey{kRootIno})).nlink, root_attr().nlink + 1);
    auto const winner = std::get<Entry>(get(EdgeKey{kRootIno, "name"})).ino;
    for (std::uint64_t i = 0; i < 16; ++i) {
      EXPECT_EQ(get(NodeKey{Ino{100 + i}}) != Value(), Ino{100 + i} == winner);
    }
  });
}

TEST_P(EngineTest, AFailingCommitInAGroupDoesNotHarmItsNeighbours) {
  run([this] {
    // Half of the commits fail in the middle of their changes (missing node), at the same time as
    // others that must pass.
    std::atomic<int> passed = 0;
    Scope scope;
    for (std::uint64_t i = 0; i < 64; ++i) {
      scope.spawn([this, i, &passed] {
        Commit commit{.changes = {Put{SymlinkKey{Ino{1000 + i}}, std::string("x")},
                                  UpdateNode{.ino = kRootIno, .add_nlink = 1}}};
        if (i % 2 == 1) {
          commit.changes.emplace_back(UpdateNode{.ino = Ino{404}, .add_nlink = 1});
        }
        passed += try_commit(commit) ? 1 : 0;
      });
    }
    scope.join();
    EXPECT_EQ(passed, 32);
    EXPECT_EQ(std::get<Attr>(get(NodeKey{kRootIno})).nlink, root_attr().nlink + 32);
    for (std::uint64_t i = 0; i < 64; ++i) {
      EXPECT_EQ(get(SymlinkKey{Ino{1000 + i}}) != Value(), i % 2 == 0) << i;
    }
  });
}

TEST_P(EngineTest, AReturnedCommitIsVisibleToEveryLaterFetch) {
  run([this] {
    Scope scope;
    for (std::uint64_t i = 0; i < 8; ++i) {
      scope.spawn([this, i] {
        for (std::uint32_t round = 0; round < 40; ++round) {
          auto attr = some_attr(round);
          put(NodeKey{Ino{100 + i}}, attr);
          EXPECT_EQ(get(NodeKey{Ino{100 + i}}), Value(attr));
        }
      });
    }
    scope.join();
  });
}

TEST_P(EngineTest, AFetchSeesOneState) {
  run([this] {
    // The two links counts change together, so no fetch may see them differ.
    put(NodeKey{Ino{10}}, some_attr(1));
    put(NodeKey{Ino{11}}, some_attr(1));
    bool done = false;
    Scope scope;
    scope.spawn([&] {
      for (int i = 0; i < 200; ++i) {
        must_commit({.changes = {UpdateNode{.ino = Ino{10}, .add_nlink = 1},
                                 UpdateNode{.ino = Ino{11}, .add_nlink = 1}}});
      }
      done = true;
    });
    std::size_t fetches = 0;
    while (!done) {
      std::vector<Key> const keys{NodeKey{Ino{10}}, NodeKey{Ino{11}}};
      auto const values = must(engine().fetch(ctx, keys));
      ASSERT_EQ(values.size(), 2U);
      ASSERT_EQ(values[0], values[1]);
      ++fetches;
    }
    EXPECT_GT(fetches, 0U);
    scope.join();
  });
}

TEST_P(EngineTest, SeveralLoopsShareOneEngine) {
  run([this] {
    auto attr = some_attr(5);
    attr.length = 0;
    put(NodeKey{kCounterNode}, attr);
    LoopGroupOptions options;
    options.kind = LoopKind::epoll;
    options.loops = 3;
    options.loop.stall_limit = Duration::zero();
    auto const group = must(LoopGroup::create(options, fixture().log));
    constexpr std::uint64_t kFibers = 6;
    constexpr std::uint64_t kRounds = 30;
    Scope scope;
    for (std::uint64_t i = 0; i < kFibers; ++i) {
      scope.spawn_on(group->loop(i % group->size()), [this] {
        for (std::uint64_t round = 0; round < kRounds; ++round) {
          increment(engine(), ctx);
          must_commit({.changes = {UpdateNode{.ino = kRootIno, .add_nlink = 1}}});
        }
      });
    }
    scope.join();
    EXPECT_EQ(std::get<Attr>(get(NodeKey{kCounterNode})).length, kFibers * kRounds);
    EXPECT_EQ(std::get<Attr>(get(NodeKey{kRootIno})).nlink, root_attr().nlink + kFibers * kRounds);
  });
}

TEST_P(EngineTest, SeveralClientsWriteAtTheSameTime) {
  if (!GetParam().many_clients) {
    GTEST_SKIP() << "the data live in the client";
  }
  run([this] {
    auto attr = some_attr(5);
    attr.length = 0;
    put(NodeKey{kCounterNode}, attr);
    auto const other = fixture().connect();
    ASSERT_NE(other, nullptr);
    constexpr std::uint64_t kRounds = 100;
    std::set<std::uint64_t> ids;
    Scope scope;
    for (auto* client : {&engine(), other.get()}) {
      scope.spawn([this, client, &ids] {
        for (std::uint64_t round = 0; round < kRounds; ++round) {
          increment(*client, ctx);
          EXPECT_TRUE(ids.insert(must(client->allocate_ids(ctx, IdKind::slice, 1)).first).second);
        }
      });
    }
    scope.join();
    EXPECT_EQ(std::get<Attr>(get_from(*other, NodeKey{kCounterNode})).length, 2 * kRounds);
    EXPECT_EQ(ids.size(), 2 * kRounds);
  });
}

}  // namespace

}  // namespace zest::meta::testing
