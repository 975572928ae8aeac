// Commits: conditions, changes, and that nothing happens by halves.
#include <algorithm>

#include "tests/conformance/engine/engine_suite.h"

namespace zest::meta::testing {

namespace {

constexpr Ino kFile{5};
constexpr ChunkKey kChunk{Ino{5}, ChunkIndex{0}};

SliceRecord slice(std::uint64_t id) {
  return {.pos = static_cast<std::uint32_t>(id) * 100,
          .id = SliceId{id},
          .size = 100,
          .off = 0,
          .len = 100};
}

/// One change of every kind; together they touch much.
std::vector<Change> many_changes() {
  return {Put{NodeKey{Ino{50}}, some_attr(50)},
          Put{EdgeKey{kRootIno, "new"}, Entry{FileType::regular, Ino{50}}},
          UpdateNode{.ino = kRootIno, .add_nlink = 1},
          AppendSlices{.key = {Ino{50}, ChunkIndex{0}}, .slices = {slice(1)}},
          NewSlice{.id = SliceId{1}, .size = 100},
          Put{XattrKey{Ino{50}, "user.a"}, std::string("v")},
          Put{DelfileKey{Ino{51}, 7}, DelfileRecord{1}}};
}

TEST_P(EngineTest, FailingConditionOfAnyKindChangesNothing) {
  run([this] {
    put(NodeKey{kFile}, some_attr(5));
    put(kChunk, Slices{slice(1), slice(2)});
    put(EdgeKey{kFile, "x"}, Entry{FileType::regular, Ino{6}});
    auto other = some_attr(5);
    other.mode ^= 1U;
    std::vector<Condition> const failing{
        ExpectAbsent{NodeKey{kFile}},
        ExpectEqual{NodeKey{kFile}, other},
        ExpectEqual{NodeKey{Ino{404}}, other},
        ExpectNode{.ino = kFile, .fields = kMode, .seen = other},
        ExpectNode{.ino = Ino{404}, .fields = kExists, .seen = {}},
        ExpectEmptyDir{kFile},
        ExpectChunkPrefix{kChunk, {slice(2)}},
        ExpectChunkPrefix{kChunk, {slice(1), slice(2), slice(3)}},
        ExpectChunkPrefix{{kFile, ChunkIndex{1}}, {slice(1)}},
    };
    for (std::size_t i = 0; i < failing.size(); ++i) {
      SCOPED_TRACE(i);
      // Last among conditions that hold, so that an engine that applies early is caught.
      EXPECT_FALSE(try_commit({.conditions = {ExpectNode{.ino = kRootIno, .seen = {}}, failing[i]},
                               .changes = many_changes()}));
      EXPECT_EQ(get(NodeKey{Ino{50}}), Value());
      EXPECT_EQ(get(EdgeKey{kRootIno, "new"}), Value());
      EXPECT_EQ(get(NodeKey{kRootIno}), Value(root_attr()));
      EXPECT_EQ(get(ChunkKey{Ino{50}, ChunkIndex{0}}), Value());
      EXPECT_EQ(get(SliceRefKey{SliceId{1}, 100}), Value());
      EXPECT_EQ(get(XattrKey{Ino{50}, "user.a"}), Value());
      EXPECT_EQ(get(DelfileKey{Ino{51}, 7}), Value());
    }
  });
}

TEST_P(EngineTest, ConditionsThatHoldLetTheCommitPass) {
  run([this] {
    put(NodeKey{kFile}, some_attr(5));
    put(kChunk, Slices{slice(1), slice(2)});
    must_commit(
        {.conditions = {ExpectAbsent{NodeKey{Ino{404}}}, ExpectEqual{NodeKey{kFile}, some_attr(5)},
                        ExpectEqual{NodeKey{Ino{404}}, Value()},
                        ExpectEqual{FlocksKey{kFile}, Flocks{}},
                        ExpectNode{.ino = kFile, .fields = kAllFields, .seen = some_attr(5)},
                        ExpectEmptyDir{kFile}, ExpectChunkPrefix{kChunk, {}},
                        ExpectChunkPrefix{kChunk, {slice(1)}},
                        ExpectChunkPrefix{kChunk, {slice(1), slice(2)}},
                        ExpectChunkPrefix{{kFile, ChunkIndex{7}}, {}}},
         .changes = many_changes()});
    EXPECT_EQ(get(NodeKey{Ino{50}}), Value(some_attr(50)));
    EXPECT_EQ(get(EdgeKey{kRootIno, "new"}), Value(Entry{FileType::regular, Ino{50}}));
  });
}

struct FieldCase {
  NodeField field;
  void (*alter)(Attr&);
};

std::vector<FieldCase> field_cases() {
  return {
      {kType, [](Attr& a) { a.type = FileType::fifo; }},
      {kMode, [](Attr& a) { a.mode ^= 1U; }},
      {kOwner, [](Attr& a) { a.uid += 1; }},
      {kOwner, [](Attr& a) { a.gid += 1; }},
      {kFlags, [](Attr& a) { a.flags ^= 1U; }},
      {kAtime, [](Attr& a) { a.atime.nsec += 1; }},
      {kMtime, [](Attr& a) { a.mtime.sec += 1; }},
      {kCtime, [](Attr& a) { a.ctime.nsec += 1; }},
      {kNlink, [](Attr& a) { a.nlink += 1; }},
      {kLength, [](Attr& a) { a.length += 1; }},
      {kRdev, [](Attr& a) { a.rdev += 1; }},
      {kParent, [](Attr& a) { a.parent.value += 1; }},
      {kAccessAcl, [](Attr& a) { a.access_acl += 1; }},
      {kDefaultAcl, [](Attr& a) { a.default_acl += 1; }},
      {kTier, [](Attr& a) { a.tier ^= 1U; }},
  };
}

TEST_P(EngineTest, ExpectNodeLooksAtTheNamedFieldsOnly) {
  run([this] {
    for (auto const& changed : field_cases()) {
      auto seen = some_attr(5);
      auto stored = seen;
      changed.alter(stored);
      put(NodeKey{kFile}, stored);
      for (auto const& asked : field_cases()) {
        EXPECT_EQ(try_commit({.conditions = {ExpectNode{
                                  .ino = kFile, .fields = asked.field, .seen = seen}}}),
                  asked.field != changed.field)
            << "field " << asked.field << " asked, " << changed.field << " changed";
      }
      EXPECT_TRUE(try_commit(
          {.conditions = {ExpectNode{.ino = kFile,
                                     .fields = kAllFields & ~std::uint32_t{changed.field},
                                     .seen = seen}}}));
    }
  });
}

TEST_P(EngineTest, UpdateNodeSetsTheNamedFieldsOnly) {
  run([this] {
    auto const values = some_attr(7);
    for (auto const& field : field_cases()) {
      put(NodeKey{kFile}, some_attr(5));
      must_commit({.changes = {UpdateNode{.ino = kFile, .set = field.field, .values = values}}});
      auto const after = get(NodeKey{kFile});
      auto const* attr = std::get_if<Attr>(&after);
      ASSERT_NE(attr, nullptr);
      EXPECT_TRUE(try_commit(
          {.conditions = {ExpectNode{.ino = kFile, .fields = field.field, .seen = values},
                          ExpectNode{.ino = kFile,
                                     .fields = kAllFields & ~std::uint32_t{field.field},
                                     .seen = some_attr(5)}}}))
          << "field " << field.field;
    }
  });
}

TEST_P(EngineTest, UpdateNodeAddsGrowsAndRaises) {
  run([this] {
    auto attr = some_attr(5);
    put(NodeKey{kFile}, attr);
    must_commit({.changes = {UpdateNode{.ino = kFile,
                                        .add_nlink = 2,
                                        .grow_length = attr.length - 1,
                                        .raise_mtime = WallTime{attr.mtime.sec + 10, 3},
                                        .raise_ctime = attr.ctime}}});
    attr.nlink += 2;
    attr.mtime = {attr.mtime.sec + 10, 3};
    attr.ctime.nsec += 1;  // The same stamp again: it has to change all the same.
    EXPECT_EQ(get(NodeKey{kFile}), Value(attr));
    must_commit(
        {.changes = {UpdateNode{.ino = kFile, .add_nlink = -1, .grow_length = attr.length + 1}}});
    attr.nlink -= 1;
    attr.length += 1;
    EXPECT_EQ(get(NodeKey{kFile}), Value(attr));
  });
}

TEST_P(EngineTest, RaisedTimesFollowTheRule) {
  run([this] {
    struct {
      WallTime stored;
      WallTime raised;
      WallTime expected;
    } const cases[]{
        {{100, 5}, {100, 6}, {100, 6}},                      // later
        {{100, 5}, {100, 5}, {100, 6}},                      // the same
        {{100, 999'999'999}, {100, 999'999'999}, {101, 0}},  // the same, carried
        {{100, 900}, {100, 5}, {100, 901}},                  // stored is a bit ahead
        {{101, 4}, {100, 5}, {101, 5}},                      // just less than a second ahead
        {{101, 5}, {100, 5}, {100, 5}},                      // a second ahead: a wrong clock
        {{4'000'000'000, 0}, {100, 5}, {100, 5}},            // far ahead
    };
    for (auto const& c : cases) {
      auto attr = some_attr(5);
      attr.mtime = c.stored;
      attr.ctime = c.stored;
      put(NodeKey{kFile}, attr);
      must_commit({.changes = {UpdateNode{
                       .ino = kFile, .raise_mtime = c.raised, .raise_ctime = c.raised}}});
      attr.mtime = c.expected;
      attr.ctime = c.expected;
      EXPECT_EQ(get(NodeKey{kFile}), Value(attr)) << c.stored.sec << "." << c.stored.nsec;
    }
  });
}

TEST_P(EngineTest, UpdateOfAMissingNodeIsAConflictAndUndoesTheRest) {
  run([this] {
    auto changes = many_changes();
    changes.emplace_back(UpdateNode{.ino = Ino{404}, .add_nlink = 1});
    EXPECT_FALSE(try_commit({.changes = changes}));
    EXPECT_EQ(get(NodeKey{Ino{50}}), Value());
    EXPECT_EQ(get(NodeKey{kRootIno}), Value(root_attr()));
    EXPECT_EQ(get(ChunkKey{Ino{50}, ChunkIndex{0}}), Value());

    put(NodeKey{kFile}, some_attr(5));
    EXPECT_FALSE(
        try_commit({.changes = {Erase{NodeKey{kFile}}, UpdateNode{.ino = kFile, .add_nlink = 1}}}));
    EXPECT_EQ(get(NodeKey{kFile}), Value(some_attr(5)));
  });
}

TEST_P(EngineTest, ChangesApplyInTheirOrder) {
  run([this] {
    must_commit({.changes = {Put{EdgeKey{kRootIno, "a"}, Entry{FileType::regular, Ino{6}}},
                             Erase{EdgeKey{kRootIno, "a"}},
                             Put{EdgeKey{kRootIno, "a"}, Entry{FileType::regular, Ino{7}}},
                             Put{NodeKey{kFile}, some_attr(1)}, Erase{NodeKey{kFile}},
                             Put{NodeKey{kFile}, some_attr(2)},
                             UpdateNode{.ino = kFile, .set = kMode, .values = some_attr(3)},
                             UpdateNode{.ino = kFile, .set = kMode, .values = some_attr(4)},
                             AppendSlices{.key = kChunk, .slices = {slice(1)}},
                             AppendSlices{.key = kChunk, .slices = {slice(2), slice(3)}}}});
    EXPECT_EQ(get(EdgeKey{kRootIno, "a"}), Value(Entry{FileType::regular, Ino{7}}));
    auto expected = some_attr(2);
    expected.mode = some_attr(4).mode;
    EXPECT_EQ(get(NodeKey{kFile}), Value(expected));
    EXPECT_EQ(get(kChunk), Value(Slices{slice(1), slice(2), slice(3)}));
  });
}

TEST_P(EngineTest, AppendingToAnAbsentChunkCreatesItUnlessOnlyExisting) {
  run([this] {
    must_commit(
        {.changes = {AppendSlices{.key = kChunk, .slices = {slice(1)}, .only_existing = true}}});
    EXPECT_EQ(get(kChunk), Value());
    must_commit({.changes = {AppendSlices{.key = kChunk, .slices = {slice(1)}}}});
    must_commit(
        {.changes = {AppendSlices{.key = kChunk, .slices = {slice(2)}, .only_existing = true}}});
    must_commit({.changes = {AppendSlices{.key = kChunk, .slices = {}}}});
    EXPECT_EQ(get(kChunk), Value(Slices{slice(1), slice(2)}));
  });
}

TEST_P(EngineTest, CompactionReplacesThePrefixAndKeepsTheTail) {
  run([this] {
    put(kChunk, Slices{slice(1), slice(2), slice(3)});
    // Somebody appends while the merged slice is being written.
    must_commit({.changes = {AppendSlices{.key = kChunk, .slices = {slice(4)}}}});
    EXPECT_TRUE(try_commit(
        {.conditions = {ExpectChunkPrefix{kChunk, {slice(1), slice(2), slice(3)}}},
         .changes = {ReplaceChunkPrefix{.key = kChunk, .count = 3, .slices = {slice(9)}}}}));
    EXPECT_EQ(get(kChunk), Value(Slices{slice(9), slice(4)}));
    // A second compaction of what is no longer there.
    EXPECT_FALSE(try_commit(
        {.conditions = {ExpectChunkPrefix{kChunk, {slice(1), slice(2), slice(3)}}},
         .changes = {ReplaceChunkPrefix{.key = kChunk, .count = 3, .slices = {slice(8)}}}}));
    EXPECT_EQ(get(kChunk), Value(Slices{slice(9), slice(4)}));
    must_commit({.changes = {ReplaceChunkPrefix{.key = kChunk, .count = 2, .slices = {}}}});
    EXPECT_EQ(get(kChunk), Value()) << "an empty list is no record";
  });
}

TEST_P(EngineTest, SliceReferencesCountUpAndDown) {
  run([this] {
    SliceRefKey const key{SliceId{10}, 4096};
    must_commit({.changes = {NewSlice{.id = key.id, .size = key.size}}});
    auto const add = [&](std::int64_t delta) {
      must_commit({.changes = {AddSliceRef{.id = key.id, .size = key.size, .delta = delta}}});
    };
    add(2);
    EXPECT_TRUE(must(engine().list_garbage_slices(ctx, 10)).empty());
    add(-3);
    EXPECT_EQ(must(engine().list_garbage_slices(ctx, 10)),
              (std::vector<DelayedSlice>{{.id = key.id, .size = key.size}}));
    must_commit({.changes = {Erase{key}}});
    EXPECT_TRUE(must(engine().list_garbage_slices(ctx, 10)).empty());
  });
}

TEST_P(EngineTest, ASliceOfSeveralRecordsIsNoGarbageBeforeTheLastIsGone) {
  run([this] {
    SliceRefKey const key{SliceId{11}, 4096};
    must_commit({.changes = {NewSlice{.id = key.id, .size = key.size, .refs = 3}}});
    auto const remove = [&](std::int64_t count) {
      must_commit({.changes = {AddSliceRef{.id = key.id, .size = key.size, .delta = -count}}});
      return must(engine().list_garbage_slices(ctx, 10)).size();
    };
    EXPECT_EQ(remove(1), 0U);
    EXPECT_EQ(remove(1), 0U);
    EXPECT_EQ(remove(1), 1U);
  });
}

TEST_P(EngineTest, EraseXattrsErasesThoseOfTheInodeOnly) {
  run([this] {
    for (auto const& name : {"user.a", "user.b"}) {
      put(XattrKey{kFile, name}, std::string("1"));
      put(XattrKey{Ino{kFile.value + 1}, name}, std::string("2"));
    }
    must_commit({.changes = {EraseXattrs{kFile}}});
    EXPECT_TRUE(must(engine().list_xattrs(ctx, kFile)).empty());
    auto names = must(engine().list_xattrs(ctx, Ino{kFile.value + 1}));
    std::ranges::sort(names);
    EXPECT_EQ(names, (std::vector<std::string>{"user.a", "user.b"}));
  });
}

TEST_P(EngineTest, EmptyCommitsPass) {
  run([this] { must_commit({}); });
}

TEST_P(EngineTest, CommittedDataCanBeSynced) {
  run([this] {
    put(NodeKey{kFile}, some_attr(5));
    must(engine().sync(ctx));
    must(engine().sync(ctx));
    EXPECT_EQ(get(NodeKey{kFile}), Value(some_attr(5)));
  });
}

TEST_P(EngineTest, EveryCallTakesItsTrips) {
  run([this] {
    auto const trips = [&](auto const& call) {
      auto const before = engine().trips();
      call();
      return engine().trips() - before;
    };
    EXPECT_LE(trips([&] { must_commit({.changes = many_changes()}); }), GetParam().trips_max);
    EXPECT_LE(trips([&] { get(ChildKey{kRootIno, "new"}); }), GetParam().trips_max);
    EXPECT_LE(trips([&] { must(engine().list_dir(ctx, {.dir = kRootIno, .attrs = true})); }),
              GetParam().trips_max);
    EXPECT_LE(trips([&] { must(engine().allocate_ids(ctx, IdKind::inode, 10)); }),
              GetParam().trips_max);
  });
}

TEST_P(EngineTest, StoppedRequestsAreNotCommitted) {
  run([this] {
    std::stop_source stop;
    stop.request_stop();
    Context stopped;
    stopped.stop = stop.get_token();
    auto const result = engine().commit(stopped, {.changes = many_changes()});
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), Errc::intr);
    EXPECT_EQ(get(NodeKey{Ino{50}}), Value());
  });
}

}  // namespace

}  // namespace zest::meta::testing
