// Every kind of record: absent at first, comes back as it was put, is replaced, is erased.
#include <limits>

#include "tests/conformance/engine/engine_suite.h"

namespace zest::meta::testing {

namespace {

struct RecordCase {
  std::string name;
  Key key;
  Value first;
  Value second;
};

std::string every_byte() {
  std::string bytes;
  for (int i = 1; i < 256; ++i) {
    bytes.push_back(static_cast<char>(i));
  }
  return bytes;
}

constexpr std::uint64_t kHighBit = std::uint64_t{1} << 63U;

std::vector<RecordCase> record_cases() {
  Attr extreme = some_attr(3);
  extreme.type = FileType::socket;
  extreme.uid = 0x7FFFFFFF;
  extreme.gid = 0x7FFFFFFF;
  extreme.nlink = 0x7FFFFFFF;
  extreme.rdev = 0x7FFFFFFF;
  extreme.length = kFileSizeMax;
  extreme.parent = Ino{kTrashIno.value + 7};
  Attr before_1970 = some_attr(4);
  before_1970.atime = {.sec = -2, .nsec = 500'000'001};
  before_1970.mtime = {.sec = -1, .nsec = 999'999'999};
  before_1970.ctime = {.sec = 0, .nsec = 0};
  SliceRecord const a{.pos = 0, .id = SliceId{1}, .size = 10, .off = 0, .len = 10};
  SliceRecord const zeros{.pos = 10, .id = SliceId{0}, .size = 0, .off = 0, .len = 20};
  LockRange const read{.type = LockRange::Type::read, .pid = 7, .start = 0, .end = 9};
  LockRange const write{
      .type = LockRange::Type::write, .pid = 7, .start = 20, .end = 0x7FFFFFFFFFFFFFFF};
  return {
      {"node", NodeKey{Ino{5}}, extreme, before_1970},
      {"trash node", NodeKey{Ino{kTrashIno.value + 1}}, some_attr(1), some_attr(2)},
      {"entry", EdgeKey{kRootIno, every_byte()}, Entry{FileType::regular, Ino{5}},
       Entry{FileType::directory, Ino{6}}},
      {"symlink", SymlinkKey{Ino{7}}, std::string("../target"), every_byte()},
      {"xattr", XattrKey{Ino{8}, "user.name"}, std::string("a\0b", 3), std::string()},
      {"chunk", ChunkKey{Ino{9}, ChunkIndex{3}}, Slices{a, zeros}, Slices{zeros}},
      {"slice references", SliceRefKey{SliceId{10}, 4096}, std::int64_t{1}, std::int64_t{3}},
      {"flock", FlockKey{Ino{11}, SessionId{1}, kHighBit | 17}, FlockType::read, FlockType::write},
      {"POSIX lock", PlockKey{Ino{12}, SessionId{1}, kHighBit | 18},
       std::vector<LockRange>{read, write}, std::vector<LockRange>{write}},
      {"session", SessionKey{SessionId{13}}, SessionRecord{100, "{\"Version\":\"1\"}"},
       SessionRecord{200, ""}},
      {"sustained", SustainedKey{SessionId{1}, Ino{14}}, Present{}, Present{}},
      {"deleted file", DelfileKey{Ino{15}, std::uint64_t{1} << 40U}, DelfileRecord{100},
       DelfileRecord{200}},
      {"directory statistics", DirStatKey{Ino{16}}, DirStat{1, 4096, 1}, DirStat{-1, 0, 7}},
  };
}

TEST_P(EngineTest, EveryKindOfRecordIsStoredReplacedAndErased) {
  run([this] {
    for (auto const& record : record_cases()) {
      SCOPED_TRACE(record.name);
      EXPECT_EQ(get(record.key), Value()) << "absent at first";
      EXPECT_FALSE(try_commit({.conditions = {ExpectEqual{record.key, record.first}}}));
      EXPECT_TRUE(try_commit(
          {.conditions = {ExpectAbsent{record.key}}, .changes = {Put{record.key, record.first}}}));
      EXPECT_EQ(get(record.key), record.first);
      EXPECT_FALSE(try_commit({.conditions = {ExpectAbsent{record.key}}}));
      EXPECT_TRUE(try_commit({.conditions = {ExpectEqual{record.key, record.first}},
                              .changes = {Put{record.key, record.second}}}));
      EXPECT_EQ(get(record.key), record.second);
      must_commit({.changes = {Erase{record.key}}});
      EXPECT_EQ(get(record.key), Value());
      must_commit({.changes = {Erase{record.key}}});  // Absent is fine.
    }
  });
}

TEST_P(EngineTest, RecordsSurviveReconnecting) {
  if (!GetParam().many_clients) {
    GTEST_SKIP() << "the data live in the client";
  }
  run([this] {
    for (auto const& record : record_cases()) {
      put(record.key, record.first);
    }
    reconnect();
    for (auto const& record : record_cases()) {
      EXPECT_EQ(get(record.key), record.first) << record.name;
    }
    EXPECT_EQ(must(engine().load_setting(ctx)), std::string(kSettingText));
  });
}

TEST_P(EngineTest, FetchAnswersEachKeyInOrderInOneTrip) {
  run([this] {
    put(NodeKey{Ino{5}}, some_attr(5));
    put(EdgeKey{kRootIno, "a"}, Entry{FileType::regular, Ino{5}});
    std::vector<Key> const keys{EdgeKey{kRootIno, "missing"}, NodeKey{Ino{5}},
                                EdgeKey{kRootIno, "a"}, NodeKey{Ino{5}}, NodeKey{kRootIno}};
    auto const before = engine().trips();
    auto const values = must(engine().fetch(ctx, keys));
    EXPECT_EQ(engine().trips(), before + 1);
    std::vector<Value> const expected{Value(), some_attr(5), Entry{FileType::regular, Ino{5}},
                                      some_attr(5), root_attr()};
    EXPECT_EQ(values, expected);
    EXPECT_TRUE(must(engine().fetch(ctx, {})).empty());
  });
}

TEST_P(EngineTest, ChildIsTheEntryWithItsNode) {
  run([this] {
    put(EdgeKey{kRootIno, "a"}, Entry{FileType::regular, Ino{5}});
    EXPECT_EQ(get(ChildKey{kRootIno, "a"}),
              Value(Child{.entry = {FileType::regular, Ino{5}}, .attr = {}}))
        << "an entry without a node is reported, not hidden";
    put(NodeKey{Ino{5}}, some_attr(5));
    EXPECT_EQ(get(ChildKey{kRootIno, "a"}),
              Value(Child{.entry = {FileType::regular, Ino{5}}, .attr = some_attr(5)}));
    EXPECT_EQ(get(ChildKey{kRootIno, "A"}), Value()) << "names differ in case";
    EXPECT_EQ(get(ChildKey{Ino{5}, "a"}), Value());
  });
}

TEST_P(EngineTest, ChildSeesANodeOfTheSameCommit) {
  run([this] {
    // The condition is checked against the state in the transaction, whatever an engine buffers.
    put(EdgeKey{kRootIno, "a"}, Entry{FileType::regular, Ino{5}});
    must_commit({.changes = {Put{NodeKey{Ino{5}}, some_attr(5)},
                             UpdateNode{.ino = Ino{5}, .add_nlink = 3}}});
    auto expected = some_attr(5);
    expected.nlink += 3;
    EXPECT_EQ(get(ChildKey{kRootIno, "a"}),
              Value(Child{.entry = {FileType::regular, Ino{5}}, .attr = expected}));
  });
}

TEST_P(EngineTest, HasEntriesFollowsTheEntries) {
  run([this] {
    EXPECT_EQ(get(HasEntriesKey{kRootIno}), Value(false));
    put(EdgeKey{kRootIno, "a"}, Entry{FileType::regular, Ino{5}});
    put(EdgeKey{kRootIno, "b"}, Entry{FileType::regular, Ino{6}});
    EXPECT_EQ(get(HasEntriesKey{kRootIno}), Value(true));
    must_commit({.changes = {Erase{EdgeKey{kRootIno, "a"}}}});
    EXPECT_EQ(get(HasEntriesKey{kRootIno}), Value(true));
    must_commit({.changes = {Erase{EdgeKey{kRootIno, "b"}}}});
    EXPECT_EQ(get(HasEntriesKey{kRootIno}), Value(false));
  });
}

TEST_P(EngineTest, ParentsOfAHardLinkAreCountedByDirectory) {
  run([this] {
    Ino const file{5};
    EXPECT_EQ(get(ParentsKey{file}), Value());
    for (auto const& [dir, name] :
         {std::pair(Ino{1}, "a"), std::pair(Ino{1}, "b"), std::pair(Ino{9}, "a")}) {
      must_commit({.changes = {Put{EdgeKey{dir, name}, Entry{FileType::regular, file}},
                               AddParent{.ino = file, .parent = dir, .delta = 1}}});
    }
    EXPECT_EQ(get(ParentsKey{file}), Value(Parents{{Ino{1}, 2}, {Ino{9}, 1}}));
    must_commit({.changes = {Erase{EdgeKey{Ino{9}, "a"}},
                             AddParent{.ino = file, .parent = Ino{9}, .delta = -1}}});
    EXPECT_EQ(get(ParentsKey{file}), Value(Parents{{Ino{1}, 2}}));
    must_commit({.changes = {Erase{EdgeKey{Ino{1}, "a"}}, Erase{EdgeKey{Ino{1}, "b"}},
                             Erase{ParentsKey{file}}}});
    EXPECT_EQ(get(ParentsKey{file}), Value());
  });
}

TEST_P(EngineTest, ReplacingAnEntryMovesTheParent) {
  run([this] {
    must_commit({.changes = {Put{EdgeKey{Ino{1}, "a"}, Entry{FileType::regular, Ino{5}}},
                             AddParent{.ino = Ino{5}, .parent = Ino{1}, .delta = 1}}});
    must_commit({.changes = {Put{EdgeKey{Ino{1}, "a"}, Entry{FileType::regular, Ino{6}}},
                             AddParent{.ino = Ino{5}, .parent = Ino{1}, .delta = -1},
                             AddParent{.ino = Ino{6}, .parent = Ino{1}, .delta = 1}}});
    EXPECT_EQ(get(ParentsKey{Ino{5}}), Value());
    EXPECT_EQ(get(ParentsKey{Ino{6}}), Value(Parents{{Ino{1}, 1}}));
  });
}

TEST_P(EngineTest, LocksOfAnInodeAreOneSet) {
  run([this] {
    Ino const file{5};
    LockOwner const one{.session = SessionId{1}, .owner = kHighBit | 1};
    LockOwner const two{.session = SessionId{2}, .owner = 2};
    EXPECT_EQ(get(FlocksKey{file}), Value());
    put(FlockKey{file, one.session, one.owner}, FlockType::read);
    put(FlockKey{file, two.session, two.owner}, FlockType::read);
    Flocks const both{{one, FlockType::read}, {two, FlockType::read}};
    EXPECT_EQ(get(FlocksKey{file}), Value(both));
    EXPECT_TRUE(try_commit({.conditions = {ExpectEqual{FlocksKey{file}, both}},
                            .changes = {Erase{FlockKey{file, one.session, one.owner}}}}));
    EXPECT_FALSE(try_commit(
        {.conditions = {ExpectEqual{FlocksKey{file}, both}}, .changes = {Erase{FlocksKey{file}}}}));
    EXPECT_EQ(get(FlocksKey{file}), Value(Flocks{{two, FlockType::read}}));
    must_commit({.changes = {Erase{FlocksKey{file}}}});
    EXPECT_TRUE(try_commit({.conditions = {ExpectAbsent{FlocksKey{file}}}}));

    std::vector<LockRange> const ranges{
        {.type = LockRange::Type::write, .pid = 1, .start = 0, .end = 9}};
    put(PlockKey{file, one.session, one.owner}, ranges);
    put(PlockKey{file, two.session, two.owner}, ranges);
    Plocks const both_ranges{{one, ranges}, {two, ranges}};
    EXPECT_EQ(get(PlocksKey{file}), Value(both_ranges));
    put(PlockKey{file, one.session, one.owner}, std::vector<LockRange>());
    EXPECT_EQ(get(PlocksKey{file}), Value(Plocks{{two, ranges}})) << "an empty list is no record";
    EXPECT_FALSE(try_commit({.conditions = {ExpectEqual{PlocksKey{file}, both_ranges}}}));
    must_commit({.changes = {Erase{PlocksKey{file}}}});
    EXPECT_EQ(get(PlocksKey{file}), Value());
  });
}

TEST_P(EngineTest, MisuseIsRefusedAndChangesNothing) {
  run([this] {
    std::vector<Change> const misuses{
        Put{NodeKey{Ino{5}}, Entry{}}, Put{ParentsKey{Ino{5}}, Parents{}},
        Put{HasEntriesKey{Ino{5}}, true}, Put{NodeKey{Ino{5}}, Value()},
        Erase{ChildKey{kRootIno, "a"}}};
    for (auto const& misuse : misuses) {
      auto const result =
          engine().commit(ctx, {.changes = {Put{SymlinkKey{Ino{7}}, std::string("x")}, misuse}});
      ASSERT_FALSE(result.ok());
      EXPECT_EQ(result.error().fault(), Fault::bug);
      EXPECT_EQ(get(SymlinkKey{Ino{7}}), Value());
    }
  });
}

TEST_P(EngineTest, LargeIdsAreStoredWhereTheEngineSaysSo) {
  run([this] {
    if (engine().capabilities().ids_fit_int32) {
      GTEST_SKIP();
    }
    Attr attr = some_attr(1);
    attr.uid = 3'000'000'000;
    attr.gid = std::numeric_limits<std::uint32_t>::max();
    attr.rdev = std::numeric_limits<std::uint32_t>::max();
    put(NodeKey{Ino{5}}, attr);
    EXPECT_EQ(get(NodeKey{Ino{5}}), Value(attr));
  });
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Engines, EngineTest, ::testing::ValuesIn(engine_cases()),
                         [](auto const& engine) { return engine.param.name; });

}  // namespace zest::meta::testing
