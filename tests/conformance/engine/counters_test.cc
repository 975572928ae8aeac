// Ids, leases, usage, statistics, and the life of a volume.
#include <set>

#include "tests/conformance/engine/engine_suite.h"

namespace zest::meta::testing {

namespace {

TEST_P(EngineTest, IdsStartWhereTheFormatSaysAndNeverRepeat) {
  run([this] {
    struct {
      IdKind kind;
      std::uint64_t first;
    } const cases[]{
        {IdKind::inode, 2}, {IdKind::slice, 1}, {IdKind::session, 1}, {IdKind::trash, 1}};
    for (auto const& c : cases) {
      std::set<std::uint64_t> ids;
      std::uint64_t lowest = UINT64_MAX;
      for (std::uint64_t const count : {1U, 1024U, 1U, 7U}) {
        auto const range = must(engine().allocate_ids(ctx, c.kind, count));
        EXPECT_GE(range.count, 1U);
        EXPECT_LE(range.count, count);
        lowest = std::min(lowest, range.first);
        for (std::uint64_t i = 0; i < range.count; ++i) {
          EXPECT_TRUE(ids.insert(range.first + i).second) << range.first + i;
        }
      }
      EXPECT_EQ(lowest, c.first);
    }
  });
}

TEST_P(EngineTest, IdsContinueAfterReconnecting) {
  if (!GetParam().many_clients) {
    GTEST_SKIP() << "the data live in the client";
  }
  run([this] {
    auto const before = must(engine().allocate_ids(ctx, IdKind::inode, 1024));
    reconnect();
    auto const after = must(engine().allocate_ids(ctx, IdKind::inode, 1024));
    EXPECT_EQ(after.first, before.first + before.count);
  });
}

TEST_P(EngineTest, ALeaseIsGivenOncePerInterval) {
  run([this] {
    for (auto const lease : {Lease::cleanup_sessions, Lease::cleanup_files, Lease::cleanup_trash,
                             Lease::cleanup_changelog, Lease::cleanup_slices}) {
      EXPECT_TRUE(must(engine().take_lease(ctx, lease, 10'000, 100)));
      EXPECT_FALSE(must(engine().take_lease(ctx, lease, 10'000, 100)));
      EXPECT_FALSE(must(engine().take_lease(ctx, lease, 10'099, 100)));
      EXPECT_TRUE(must(engine().take_lease(ctx, lease, 10'100, 100)));
      EXPECT_FALSE(must(engine().take_lease(ctx, lease, 10'101, 100)));
    }
  });
}

TEST_P(EngineTest, UsageAddsUp) {
  run([this] {
    auto usage = must(engine().read_usage(ctx));
    EXPECT_EQ(usage.space, 0);
    EXPECT_EQ(usage.inodes, 0);
    must(engine().add_usage(ctx, {.space = 8192, .inodes = 2}));
    must(engine().add_usage(ctx, {.space = -4096, .inodes = -1}));
    must_commit({.changes = {Put{SymlinkKey{Ino{5}}, std::string("x")}},
                 .usage = {.space = 1 << 20, .inodes = 100}});
    usage = must(engine().read_usage(ctx));
    auto const in_commit = engine().capabilities().usage_in_commit;
    EXPECT_EQ(usage.space, 4096 + (in_commit ? 1 << 20 : 0));
    EXPECT_EQ(usage.inodes, 1 + (in_commit ? 100 : 0));
  });
}

TEST_P(EngineTest, UsageOfAFailedCommitIsNotCounted) {
  run([this] {
    EXPECT_FALSE(try_commit(
        {.conditions = {ExpectAbsent{NodeKey{kRootIno}}}, .usage = {.space = 4096, .inodes = 1}}));
    EXPECT_EQ(must(engine().read_usage(ctx)).space, 0);
  });
}

TEST_P(EngineTest, DirStatsAddUpAndMissingOnesAreReported) {
  run([this] {
    put(DirStatKey{Ino{5}}, DirStat{.length = 10, .space = 4096, .inodes = 1});
    std::vector<std::pair<Ino, DirStat>> const deltas{
        {Ino{5}, {.length = -5, .space = 8192, .inodes = 2}},
        {Ino{6}, {.length = 1, .space = 4096, .inodes = 1}}};
    EXPECT_EQ(must(engine().add_dir_stats(ctx, deltas)), std::vector<Ino>{Ino{6}});
    EXPECT_EQ(get(DirStatKey{Ino{5}}),
              Value(DirStat{.length = 5, .space = 4096 + 8192, .inodes = 3}));
    EXPECT_EQ(get(DirStatKey{Ino{6}}), Value());
  });
}

TEST_P(EngineTest, AnEmptyDatabaseHoldsNoVolume) {
  run_empty([this] {
    EXPECT_FALSE(must(engine().load_setting(ctx)));
    must(engine().initialize(ctx, "{}", root_attr(), std::nullopt));
    EXPECT_EQ(must(engine().load_setting(ctx)), "{}");
    EXPECT_EQ(get(NodeKey{kRootIno}), Value(root_attr()));
    EXPECT_EQ(get(NodeKey{kTrashIno}), Value());
    must(engine().reset(ctx));
    EXPECT_FALSE(must(engine().load_setting(ctx)));
    must(engine().reset(ctx));  // Nothing to delete is fine.
    must(engine().initialize(ctx, "{}", root_attr(), std::nullopt));
    EXPECT_EQ(get(NodeKey{kRootIno}), Value(root_attr()));
    EXPECT_EQ(must(engine().allocate_ids(ctx, IdKind::inode, 1)).first, 2U);
  });
}

TEST_P(EngineTest, InitializingAgainReplacesTheSettingAndKeepsTheRest) {
  run_empty([this] {
    must(engine().initialize(ctx, "one", root_attr(), std::nullopt));
    must_commit({.changes = {UpdateNode{.ino = kRootIno, .add_nlink = 5}}});
    must(engine().allocate_ids(ctx, IdKind::inode, 100));
    auto const root = get(NodeKey{kRootIno});
    must(engine().initialize(ctx, "two", some_attr(1), trash_attr()));
    EXPECT_EQ(must(engine().load_setting(ctx)), "two");
    EXPECT_EQ(get(NodeKey{kRootIno}), root);
    EXPECT_EQ(get(NodeKey{kTrashIno}), Value(trash_attr()));
    EXPECT_GT(must(engine().allocate_ids(ctx, IdKind::inode, 1)).first, 100U);
    // An existing trash directory is kept too.
    must(engine().initialize(ctx, "three", some_attr(1), some_attr(2)));
    EXPECT_EQ(get(NodeKey{kTrashIno}), Value(trash_attr()));
  });
}

}  // namespace

}  // namespace zest::meta::testing
