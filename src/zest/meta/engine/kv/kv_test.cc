// The KV engine beside its conformance suite: trips, conflicts with other clients, phantoms,
// faults, limits, and records that cannot be.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "zest/base/metrics.h"
#include "zest/format/attr.h"
#include "zest/format/kv_key.h"
#include "zest/meta/engine/kv/kv_cache.h"
#include "zest/meta/engine/kv/kv_engine.h"
#include "zest/meta/engine/kv/kv_split.h"
#include "zest/meta/engine/kv/kv_view.h"
#include "zest/meta/engine/kv/memory_kv.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest::meta {
namespace {

constexpr Ino kFile{5};

Attr directory() {
  return {
      .type = FileType::directory, .mode = 0755, .nlink = 2, .length = 4096, .parent = kRootIno};
}

SliceRecord slice(std::uint64_t id) {
  return {.pos = 0, .id = SliceId{id}, .size = 100, .off = 0, .len = 100};
}

class KvEngineTest : public ::testing::Test {
 protected:
  /// Runs `body` on a fiber with two clients of one volume, `ours` and `theirs`.
  void run(std::function<void()> const& body, kv::MemoryKvOptions options = {}) {
    zest::testing::run_on_loop([&] {
      theirs = connect({});
      ASSERT_TRUE(theirs->initialize(ctx, "{}", directory(), std::nullopt).ok());
      ours = connect(std::move(options));
      body();
      ours.reset();
      theirs.reset();
    });
  }
  std::unique_ptr<Engine> connect(kv::MemoryKvOptions options) {
    return make_kv_engine(kv::make_memory_kv(data, std::move(options)), {.prefix = "v\xFD"},
                          metrics);
  }
  static void expect_done(Result<void> const& result) {
    EXPECT_TRUE(result.ok()) << result.error().text();
  }
  void must(Engine& engine, Commit const& commit) { expect_done(engine.commit(ctx, commit)); }
  Value get(Engine& engine, Key const& key) {
    auto values = engine.fetch(ctx, std::span(&key, 1));
    EXPECT_TRUE(values.ok()) << values.error().text();
    return values.ok() ? std::move(values->front()) : Value();
  }
  /// Trips of our client during `call`.
  std::uint64_t trips(std::function<void()> const& call) {
    auto const before = ours->trips();
    call();
    return ours->trips() - before;
  }
  Result<kv::ReadReply> raw(std::string const& key) {
    return kv::make_memory_kv(data)->read(ctx, {.keys = {"v\xFD" + key}});
  }
  void put_raw(std::string const& key, std::string const& value) {
    auto const done = kv::make_memory_kv(data)->commit(
        ctx, {.writes = {kv::PutPair{.key = "v\xFD" + key, .value = value}}});
    ASSERT_TRUE(done.ok());
  }

  /// Creates a file in the root directory, as mknod does.
  static Commit creation(std::string const& name, std::uint64_t ino) {
    return {
        .conditions = {ExpectAbsent{EdgeKey{kRootIno, name}},
                       ExpectNode{.ino = kRootIno, .fields = kType | kMode, .seen = directory()}},
        .changes = {Put{EdgeKey{kRootIno, name}, Entry{FileType::regular, Ino{ino}}},
                    Put{NodeKey{Ino{ino}}, Attr{.nlink = 1, .parent = kRootIno}},
                    UpdateNode{.ino = kRootIno, .add_nlink = 1}}};
  }

  Context ctx;
  Registry metrics;
  std::shared_ptr<kv::MemoryKvData> data = kv::make_memory_kv_data();
  std::unique_ptr<Engine> ours;
  std::unique_ptr<Engine> theirs;
};

// ---- trips

TEST_F(KvEngineTest, ACommitTakesTwoTripsColdAndOneWarm) {
  run([this] {
    EXPECT_EQ(trips([&] { must(*ours, creation("a", 10)); }), 2U);
    EXPECT_EQ(trips([&] { must(*ours, creation("b", 11)); }), 1U);
    EXPECT_EQ(trips([&] { get(*ours, ChildKey{kRootIno, "b"}); }), 1U) << "the node is foreseen";
  });
}

TEST_F(KvEngineTest, AnotherClientsWriteCostsOneTripMore) {
  run([this] {
    must(*ours, creation("a", 10));
    must(*theirs, creation("b", 11));
    EXPECT_EQ(trips([&] { must(*ours, creation("c", 12)); }), 2U);
    EXPECT_EQ(std::get<Attr>(get(*ours, NodeKey{kRootIno})).nlink, 5U) << "both counted";
  });
}

TEST_F(KvEngineTest, AVerdictFromAStaleRecordIsNotReported) {
  run([this] {
    must(*ours, creation("a", 10));
    must(*theirs,
         {.changes = {UpdateNode{.ino = kRootIno, .set = kMode, .values = Attr{.mode = 0700}}}});
    Attr seen = directory();
    seen.mode = 0700;
    // What we remember says 0755: the condition must be judged on what is there.
    must(*ours, {.conditions = {ExpectNode{.ino = kRootIno, .fields = kMode, .seen = seen}},
                 .changes = {UpdateNode{.ino = kRootIno, .add_nlink = 1}}});
    auto const refused = ours->commit(ctx, creation("b", 11));
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().fault(), Fault::conflict);
  });
}

// ---- phantoms

TEST_F(KvEngineTest, AnEntryAddedMeanwhileIsSeen) {
  std::function<void()> meanwhile;
  kv::MemoryKvOptions options;
  options.before_call = [&](std::string_view call) -> Result<void> {
    if (call == "commit" && meanwhile) {
      std::exchange(meanwhile, {})();
    }
    return {};
  };
  run(
      [&] {
        must(*ours, {.changes = {Put{NodeKey{kFile}, directory()}}});
        meanwhile = [&] {
          must(*theirs, {.changes = {Put{EdgeKey{kFile, "x"}, Entry{FileType::regular, Ino{9}}}}});
        };
        auto const result = ours->commit(
            ctx, {.conditions = {ExpectEmptyDir{kFile}}, .changes = {Erase{NodeKey{kFile}}}});
        ASSERT_FALSE(result.ok());
        EXPECT_EQ(result.error().fault(), Fault::conflict);
        EXPECT_EQ(get(*ours, NodeKey{kFile}), Value(directory()));
      },
      options);
}

TEST_F(KvEngineTest, AParentAddedMeanwhileIsSeen) {
  std::function<void()> meanwhile;
  kv::MemoryKvOptions options;
  options.before_call = [&](std::string_view call) -> Result<void> {
    if (call == "commit" && meanwhile) {
      std::exchange(meanwhile, {})();
    }
    return {};
  };
  run(
      [&] {
        must(*ours, {.changes = {AddParent{.ino = kFile, .parent = Ino{1}, .delta = 1}}});
        meanwhile = [&] {
          must(*theirs, {.changes = {AddParent{.ino = kFile, .parent = Ino{2}, .delta = 1}}});
        };
        auto const result =
            ours->commit(ctx, {.conditions = {ExpectEqual{ParentsKey{kFile}, Parents{{Ino{1}, 1}}}},
                               .changes = {Erase{ParentsKey{kFile}}}});
        ASSERT_FALSE(result.ok());
        EXPECT_EQ(result.error().fault(), Fault::conflict);
        EXPECT_EQ(get(*ours, ParentsKey{kFile}), Value(Parents{{Ino{1}, 1}, {Ino{2}, 1}}));
        must(*ours,
             {.conditions = {ExpectEqual{ParentsKey{kFile}, Parents{{Ino{1}, 1}, {Ino{2}, 1}}}},
              .changes = {Erase{ParentsKey{kFile}}}});
        EXPECT_EQ(get(*ours, ParentsKey{kFile}), Value());
      },
      options);
}

// ---- faults

TEST_F(KvEngineTest, ALostReplyIsReportedAsUnknown) {
  auto lose = false;
  kv::MemoryKvOptions options;
  options.after_call = [&](std::string_view call) -> Result<void> {
    return call == "commit" && lose ? Error::transient(Errc::timedout, "lost") : Result<void>();
  };
  run(
      [&] {
        lose = true;
        auto const result = ours->commit(ctx, creation("a", 10));
        lose = false;
        EXPECT_TRUE(failed_with(result, Errc::timedout));
        EXPECT_EQ(get(*ours, EdgeKey{kRootIno, "a"}), Value(Entry{FileType::regular, Ino{10}}));
        must(*ours, creation("b", 11));
      },
      options);
}

TEST_F(KvEngineTest, IdsWhoseReplyWasLostAreNotGivenTwice) {
  auto lose = false;
  kv::MemoryKvOptions options;
  options.after_call = [&](std::string_view call) -> Result<void> {
    return call == "commit" && std::exchange(lose, false) ? Error::transient(Errc::timedout, "lost")
                                                          : Result<void>();
  };
  run(
      [&] {
        auto const first = ours->allocate_ids(ctx, IdKind::slice, 10);
        lose = true;
        auto const second = ours->allocate_ids(ctx, IdKind::slice, 10);
        ASSERT_TRUE(first.ok() && second.ok());
        EXPECT_EQ(second->first, first->first + 20) << "the lost ones stay lost";
      },
      options);
}

TEST_F(KvEngineTest, AnAbsentServerIsAnErrorOfEveryWaiter) {
  auto away = false;
  kv::MemoryKvOptions options;
  options.before_call = [&](std::string_view) -> Result<void> {
    return away ? Error::transient(Errc::io, "away") : Result<void>();
  };
  run(
      [&] {
        away = true;
        Scope scope;
        std::size_t failures = 0;
        for (std::uint64_t i = 0; i < 8; ++i) {
          scope.spawn([&, i] {
            if (failed_with(ours->commit(ctx, creation(std::to_string(i), 10 + i)), Errc::io)) {
              ++failures;
            }
          });
        }
        scope.join();
        EXPECT_EQ(failures, 8U);
        away = false;
        must(*ours, creation("a", 30));
        EXPECT_EQ(std::get<Attr>(get(*ours, NodeKey{kRootIno})).nlink, 3U);
      },
      options);
}

TEST_F(KvEngineTest, AStoppedWaiterLeavesItsLane) {
  run([this] {
    std::stop_source stop;
    Context stoppable;
    stoppable.stop = stop.get_token();
    Scope scope;
    bool first = false;
    Errc second{};
    scope.spawn([&] { first = ours->commit(ctx, creation("a", 10)).ok(); });
    scope.spawn([&] {
      auto const result = ours->commit(stoppable, creation("b", 11));
      second = result.ok() ? Errc{} : result.error().code();
    });
    scope.spawn([&] { stop.request_stop(); });
    scope.join();
    EXPECT_TRUE(first);
    EXPECT_EQ(second, Errc::intr);
    EXPECT_EQ(get(*ours, EdgeKey{kRootIno, "b"}), Value());
  });
}

// ---- limits

Commit truncation(std::uint32_t chunks) {
  Commit commit{.conditions = {ExpectNode{.ino = kFile, .fields = kExists, .seen = {}}},
                .changes = {UpdateNode{.ino = kFile, .set = kLength}}};
  for (std::uint32_t index = 0; index < chunks; ++index) {
    SliceRecord const zeros{.pos = 0, .id = {}, .size = 0, .off = 0, .len = 1U << 26U};
    commit.changes.emplace_back(
        AppendSlices{.key = {kFile, ChunkIndex{index}}, .slices = {zeros}, .only_existing = true});
  }
  return commit;
}

TEST_F(KvEngineTest, ATruncationOfManyChunksGoesInSteps) {
  run([this] {
    constexpr std::uint32_t kChunks = 300;
    must(*ours, {.changes = {Put{NodeKey{kFile}, Attr{.length = std::uint64_t{kChunks} << 26U}}}});
    for (std::uint32_t index = 0; index < kChunks; ++index) {
      must(*ours, {.changes = {Put{ChunkKey{kFile, ChunkIndex{index}}, Slices{slice(index + 1)}}}});
    }
    must(*ours, truncation(kChunks));
    EXPECT_EQ(std::get<Attr>(get(*ours, NodeKey{kFile})).length, 0U);
    for (std::uint32_t const index : {0U, 150U, kChunks - 1}) {
      EXPECT_EQ(std::get<Slices>(get(*ours, ChunkKey{kFile, ChunkIndex{index}})).size(), 2U);
    }
  });
}

TEST_F(KvEngineTest, ACommitThatCannotBeSplitSaysWhatIsTooLarge) {
  run([this] {
    Commit commit;
    for (std::uint32_t index = 0; index < 300; ++index) {
      commit.changes.emplace_back(
          AppendSlices{.key = {kFile, ChunkIndex{index}}, .slices = {slice(1)}});
    }
    auto const result = ours->commit(ctx, commit);
    EXPECT_TRUE(failed_with(result, Errc::fbig));
    EXPECT_EQ(get(*ours, ChunkKey{kFile, ChunkIndex{0}}), Value());
  });
}

TEST_F(KvEngineTest, ReferencesThatWentAheadComeBackWhenTheRestIsRefused) {
  int commits = 0;
  kv::MemoryKvOptions options;
  options.before_call = [&](std::string_view call) -> Result<void> {
    // Four steps of references; then somebody changes what the rest is on condition of.
    if (call == "commit" && ++commits == 5) {
      must(*theirs,
           {.changes = {UpdateNode{.ino = kRootIno, .set = kMode, .values = Attr{.mode = 0700}}}});
    }
    return {};
  };
  run(
      [&] {
        Commit commit{
            .conditions = {ExpectNode{.ino = kRootIno, .fields = kMode, .seen = directory()}},
            .changes = {Put{SymlinkKey{kFile}, std::string("x")}}};
        for (std::uint64_t id = 1; id <= 200; ++id) {
          commit.changes.emplace_back(AddSliceRef{.id = SliceId{id}, .size = 100, .delta = 1});
        }
        auto const refused = ours->commit(ctx, commit);
        ASSERT_FALSE(refused.ok());
        EXPECT_EQ(refused.error().fault(), Fault::conflict);
        EXPECT_GT(commits, 5);
        EXPECT_EQ(get(*ours, SliceRefKey{SliceId{7}, 100}), Value());
        commit.conditions.clear();
        must(*ours, commit);
        EXPECT_EQ(get(*ours, SliceRefKey{SliceId{7}, 100}), Value(std::int64_t{2}));
        EXPECT_EQ(get(*ours, SymlinkKey{kFile}), Value(std::string("x")));
      },
      options);
}

TEST(KvSplit, ConditionsOnReferencesKeepThemTogether) {
  Commit const commit{.conditions = {ExpectEqual{SliceRefKey{SliceId{1}, 100}, std::int64_t{2}}},
                      .changes = {AddSliceRef{.id = SliceId{1}, .size = 100, .delta = 1}}};
  EXPECT_FALSE(kv::split_commit(commit, 10));
}

// ---- bytes

TEST_F(KvEngineTest, CountersAreLittleEndianAndLeasesBigEndian) {
  run([this] {
    EXPECT_EQ(raw("CnextInode")->values[0].value, std::string("\x02\0\0\0\0\0\0\0", 8));
    EXPECT_EQ(raw("CnextChunk")->values[0].value, std::string("\x01\0\0\0\0\0\0\0", 8));
    expect_done(ours->add_usage(ctx, {.space = 4096, .inodes = 1}));
    EXPECT_EQ(raw("CusedSpace")->values[0].value, std::string("\0\x10\0\0\0\0\0\0", 8));
    EXPECT_TRUE(*ours->take_lease(ctx, Lease::cleanup_slices, 0x6B03E1C2, 1));
    EXPECT_EQ(raw("CnextCleanupSlices")->values[0].value,
              std::string("\0\0\0\0\x6B\x03\xE1\xC2", 8));
    must(*ours, {.changes = {AddSliceRef{.id = SliceId{1}, .size = 2, .delta = 1}}});
    EXPECT_EQ(raw(std::string("K\0\0\0\0\0\0\0\x01\0\0\0\x02", 13))->values[0].value,
              std::string("\x01\0\0\0\0\0\0\0", 8))
        << "one reference besides the first";
    must(*ours, {.changes = {AddSliceRef{.id = SliceId{1}, .size = 2, .delta = -1}}});
    EXPECT_FALSE(raw(std::string("K\0\0\0\0\0\0\0\x01\0\0\0\x02", 13))->values[0].value)
        << "one reference is what no record means";
  });
}

TEST_F(KvEngineTest, RecordsThatCannotBeAreNamed) {
  run([this] {
    struct Case {
      Key key;
      KvKey stored;
      char const* named;
    };
    std::vector<Case> const cases{
        {NodeKey{Ino{7}}, {.kind = KvKind::node, .id = 7}, "node 7"},
        {EdgeKey{Ino{7}, "a"}, {.kind = KvKind::edge, .id = 7, .name = "a"}, "entry \"a\""},
        {ChildKey{Ino{7}, "a"}, {.kind = KvKind::edge, .id = 7, .name = "a"}, "entry \"a\""},
        {ChunkKey{Ino{7}, {3}}, {.kind = KvKind::chunk, .id = 7, .second = 3}, "chunk 3"},
        {ParentsKey{Ino{7}}, {.kind = KvKind::parent, .id = 7, .second = 1}, "parents of node 7"},
        {SliceRefKey{SliceId{7}, 1}, {.kind = KvKind::slice_ref, .id = 7, .second = 1}, "slice 7"},
        {FlocksKey{Ino{7}}, {.kind = KvKind::flock, .id = 7}, "flocks of node 7"},
        {PlocksKey{Ino{7}}, {.kind = KvKind::plock, .id = 7}, "POSIX locks of node 7"},
        {SessionKey{SessionId{7}}, {.kind = KvKind::session_expire, .id = 7}, "session 7"},
        {DelfileKey{Ino{7}, 1}, {.kind = KvKind::deleted_file, .id = 7, .second = 1}, "file 7"},
        {DirStatKey{Ino{7}}, {.kind = KvKind::dir_stat, .id = 7}, "directory 7"},
        {dir_quota(Ino{7}), {.kind = KvKind::dir_quota, .id = 7}, "quota of directory 7"},
        {AclKey{7}, {.kind = KvKind::acl, .id = 7}, "ACL rule 7"},
        {DetachedKey{Ino{7}}, {.kind = KvKind::detached, .id = 7}, "detached tree 7"},
        {DelayedSlicesKey{SliceId{7}, 1},
         {.kind = KvKind::delayed_slices, .id = 7, .second = 1},
         "slice 7"},
    };
    for (auto const& c : cases) {
      SCOPED_TRACE(c.named);
      put_raw(encode_kv_key(c.stored), "bad");
      auto const values = ours->fetch(ctx, std::span(&c.key, 1));
      ASSERT_FALSE(values.ok());
      EXPECT_EQ(values.error().fault(), Fault::corrupt);
      EXPECT_NE(values.error().text().find(c.named), std::string::npos) << values.error().text();
    }
    put_raw("CnextInode", "bad");
    EXPECT_TRUE(failed_with(connect({})->allocate_ids(ctx, IdKind::inode, 1), Errc::io));
    for (auto const& failed :
         {ours->list_sessions(ctx).ok(), ours->list_locked(ctx, SessionId{1}).ok(),
          ours->list_quotas(ctx).ok(), ours->list_acls(ctx, 0).ok(),
          ours->list_delfiles(ctx, 9, 9).ok(), ours->list_detached(ctx, 9, 9).ok(),
          ours->list_delayed_slices(ctx, 9, 9).ok(), ours->list_garbage_slices(ctx, 9).ok(),
          ours->list_all_chunks(ctx, std::nullopt, 9).ok(),
          ours->list_dir(ctx, {.dir = Ino{7}}).ok()}) {
      EXPECT_FALSE(failed);
    }
  });
}

TEST_F(KvEngineTest, ACounterOutOfRangeIsRefused) {
  run([this] {
    put_raw("CnextSession", std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 8));
    auto const ids = connect({})->allocate_ids(ctx, IdKind::session, 1);
    ASSERT_FALSE(ids.ok());
    EXPECT_EQ(ids.error().fault(), Fault::corrupt);
  });
}

// ---- parts

TEST(KvOverlay, RangesAreCutAroundWhatIsPutLater) {
  kv::Overlay overlay;
  overlay.put("b", "lost");
  overlay.erase_range("a", "d");
  overlay.put("b", "1");
  overlay.erase("c");
  overlay.erase("x");
  std::string_view value;
  EXPECT_EQ(overlay.find("b", value), kv::Overlay::Fate::put);
  EXPECT_EQ(value, "1");
  EXPECT_EQ(overlay.find("aa", value), kv::Overlay::Fate::erased);
  EXPECT_EQ(overlay.find("d", value), kv::Overlay::Fate::untouched);
  EXPECT_TRUE(overlay.touches("c", "z"));
  EXPECT_FALSE(overlay.touches("y", "z"));
  auto const writes = overlay.writes();
  ASSERT_EQ(writes.size(), 4U);
  EXPECT_EQ(std::get<kv::PutPair>(writes[0]).key, "b");
  EXPECT_EQ(std::get<kv::DeleteKey>(writes[1]).key, "x");
  EXPECT_EQ(std::get<kv::DeleteRange>(writes[2]).end, "b");
  EXPECT_EQ(std::get<kv::DeleteRange>(writes[3]).begin, std::string("b\0", 2));
}

TEST(KvOverlay, MergingKeepsTheOrder) {
  kv::Overlay first;
  first.put("a1", "1");
  kv::Overlay second;
  second.erase_range("a", "b");
  second.put("a2", "2");
  first.merge(std::move(second));
  std::string_view value;
  EXPECT_EQ(first.find("a1", value), kv::Overlay::Fate::erased);
  EXPECT_EQ(first.find("a2", value), kv::Overlay::Fate::put);
}

TEST(KvCache, IsBoundedAndKeepsTheNewest) {
  kv::Cache cache(100);
  cache.store("hot", {.value = "1", .revision = 7});
  for (int i = 0; i < 1000; ++i) {
    cache.store(std::to_string(i), {.value = "x", .revision = 1});
    ASSERT_TRUE(cache.find("hot")) << i;
  }
  EXPECT_FALSE(cache.find("0"));
  cache.store("hot", {.value = "0", .revision = 6});
  EXPECT_EQ(cache.find("hot")->value, "1");
  cache.store("hot", {.value = std::string(kv::Cache::kValueMax + 1, 'x'), .revision = 8});
  EXPECT_FALSE(cache.find("hot")) << "too large to keep, and what was kept is old";
}

}  // namespace
}  // namespace zest::meta
