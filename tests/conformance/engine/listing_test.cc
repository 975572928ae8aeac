// Listings: complete, in pages, and unimpressed by what comes and goes meanwhile.
#include <algorithm>
#include <map>
#include <set>

#include "tests/conformance/engine/engine_suite.h"

namespace zest::meta::testing {

namespace {

constexpr Ino kDir{5};

Change entry_change(std::string name, std::uint64_t ino) {
  return Put{EdgeKey{kDir, std::move(name)}, Entry{FileType::regular, Ino{ino}}};
}

TEST_P(EngineTest, ListsAllEntriesInPages) {
  run([this] {
    std::map<std::string, std::uint64_t> expected;
    Commit commit;
    for (std::uint64_t i = 0; i < 25; ++i) {
      auto const name = "file-" + std::to_string(i * 7919 % 1000);
      expected[name] = 100 + i;
      commit.changes.push_back(entry_change(name, 100 + i));
    }
    commit.changes.push_back(
        Put{EdgeKey{Ino{kDir.value + 1}, "other"}, Entry{FileType::regular, Ino{99}}});
    must_commit(commit);
    for (auto const limit : {1UL, 4UL, 5UL, 24UL, 25UL, 26UL, 1000UL}) {
      std::map<std::string, std::uint64_t> seen;
      std::vector<std::string> order;
      std::string from;
      do {
        auto const page = must(engine().list_dir(ctx, {.dir = kDir, .from = from, .limit = limit}));
        ASSERT_LE(page.entries.size(), limit);
        for (auto const& entry : page.entries) {
          EXPECT_TRUE(seen.emplace(entry.name, entry.entry.ino.value).second) << entry.name;
          EXPECT_FALSE(entry.attr);
          order.push_back(entry.name);
        }
        from = page.next;
      } while (!from.empty());
      EXPECT_EQ(seen, expected) << "limit " << limit;
      if (engine().capabilities().ordered_listing) {
        EXPECT_TRUE(std::ranges::is_sorted(order));
      }
    }
  });
}

TEST_P(EngineTest, ListsAttributesAndEntriesWithoutNodes) {
  run([this] {
    must_commit({.changes = {entry_change("whole", 10), entry_change("broken", 11),
                             Put{NodeKey{Ino{10}}, some_attr(10)}}});
    auto const page = must(engine().list_dir(ctx, {.dir = kDir, .attrs = true}));
    ASSERT_EQ(page.entries.size(), 2U);
    for (auto const& entry : page.entries) {
      EXPECT_EQ(entry.attr.has_value(), entry.name == "whole");
      if (entry.attr) {
        EXPECT_EQ(*entry.attr, some_attr(10));
      }
    }
    EXPECT_TRUE(must(engine().list_dir(ctx, {.dir = Ino{404}})).entries.empty());
  });
}

TEST_P(EngineTest, NamesOfAnyBytesAreListed) {
  run([this] {
    std::set<std::string> expected;
    for (int i = 1; i < 256; ++i) {
      expected.insert(std::string(1, static_cast<char>(i)));
      expected.insert(std::string(3, static_cast<char>(i)));
    }
    Commit commit;
    for (auto const& name : expected) {
      commit.changes.push_back(entry_change(name, 10));
    }
    must_commit(commit);
    std::set<std::string> seen;
    std::string from;
    do {
      auto const page = must(engine().list_dir(ctx, {.dir = kDir, .from = from, .limit = 37}));
      for (auto const& entry : page.entries) {
        seen.insert(entry.name);
      }
      from = page.next;
    } while (!from.empty());
    EXPECT_EQ(seen, expected);
  });
}

TEST_P(EngineTest, EntriesThatStayAreListedOnceWhileOthersComeAndGo) {
  run([this] {
    Commit commit;
    for (int i = 0; i < 60; ++i) {
      commit.changes.push_back(entry_change("stays-" + std::to_string(i), 100));
      commit.changes.push_back(entry_change("goes-" + std::to_string(i), 100));
    }
    must_commit(commit);
    std::map<std::string, int> seen;
    std::string from;
    int step = 0;
    do {
      auto const page = must(engine().list_dir(ctx, {.dir = kDir, .from = from, .limit = 7}));
      Commit changes;
      for (auto const& entry : page.entries) {
        ++seen[entry.name];
        if (entry.name.starts_with("goes")) {
          changes.changes.push_back(Erase{EdgeKey{kDir, entry.name}});
        }
      }
      changes.changes.push_back(Erase{EdgeKey{kDir, "goes-" + std::to_string(59 - step)}});
      changes.changes.push_back(entry_change("comes-" + std::to_string(step), 100));
      must_commit(changes);
      from = page.next;
      ASSERT_LT(++step, 1000);
    } while (!from.empty());
    for (int i = 0; i < 60; ++i) {
      EXPECT_EQ(seen["stays-" + std::to_string(i)], 1) << i;
    }
    for (auto const& [name, times] : seen) {
      EXPECT_EQ(times, 1) << name;
    }
  });
}

TEST_P(EngineTest, ListsXattrNames) {
  run([this] {
    EXPECT_TRUE(must(engine().list_xattrs(ctx, kDir)).empty());
    put(XattrKey{kDir, "user.b"}, std::string("1"));
    put(XattrKey{kDir, "security.x"}, std::string("2"));
    auto names = must(engine().list_xattrs(ctx, kDir));
    std::ranges::sort(names);
    EXPECT_EQ(names, (std::vector<std::string>{"security.x", "user.b"}));
  });
}

TEST_P(EngineTest, ListsChunksOfOneInodeAscending) {
  run([this] {
    Slices const slices{{.pos = 0, .id = SliceId{1}, .size = 1, .off = 0, .len = 1}};
    for (std::uint32_t const index : {0U, 300U, 2U, 0x7FFFFFFFU, 257U}) {
      put(ChunkKey{kDir, ChunkIndex{index}}, slices);
    }
    put(ChunkKey{Ino{kDir.value + 1}, ChunkIndex{1}}, slices);
    std::vector<std::uint32_t> seen;
    std::optional<ChunkKey> from = ChunkKey{kDir, ChunkIndex{1}};
    while (from) {
      auto const page = must(engine().list_chunks(ctx, *from, 2));
      EXPECT_LE(page.chunks.size(), 2U);
      for (auto const& [key, value] : page.chunks) {
        EXPECT_EQ(key.ino, kDir);
        EXPECT_EQ(value, slices);
        seen.push_back(key.index.value);
      }
      from = page.next;
    }
    EXPECT_EQ(seen, (std::vector<std::uint32_t>{2, 257, 300, 0x7FFFFFFF}));
  });
}

TEST_P(EngineTest, ListsChunksOfAllInodes) {
  run([this] {
    Slices const slices{{.pos = 0, .id = SliceId{1}, .size = 1, .off = 0, .len = 1}};
    std::set<ChunkKey> expected;
    for (std::uint64_t ino = 10; ino < 15; ++ino) {
      for (std::uint32_t index = 0; index < 3; ++index) {
        expected.insert({Ino{ino}, ChunkIndex{index}});
        put(ChunkKey{Ino{ino}, ChunkIndex{index}}, slices);
      }
    }
    std::set<ChunkKey> seen;
    std::optional<ChunkKey> from;
    do {
      auto const page = must(engine().list_all_chunks(ctx, from, 4));
      for (auto const& [key, value] : page.chunks) {
        EXPECT_TRUE(seen.insert(key).second);
      }
      from = page.next;
    } while (from);
    EXPECT_EQ(seen, expected);
  });
}

TEST_P(EngineTest, ListsSessionsAndWhatTheyHold) {
  run([this] {
    SessionId const one{1};
    SessionId const two{2};
    put(SessionKey{one}, SessionRecord{100, "{}"});
    put(SessionKey{two}, SessionRecord{200, "{\"a\":1}"});
    auto sessions = must(engine().list_sessions(ctx));
    std::ranges::sort(sessions, {}, &SessionEntry::session);
    ASSERT_EQ(sessions.size(), 2U);
    EXPECT_EQ(sessions[0].session, one);
    EXPECT_EQ(sessions[1].record, (SessionRecord{200, "{\"a\":1}"}));

    for (std::uint64_t ino = 10; ino < 13; ++ino) {
      put(SustainedKey{one, Ino{ino}}, Present{});
    }
    put(SustainedKey{two, Ino{13}}, Present{});
    auto sustained = must(engine().list_sustained(ctx, one, 100));
    std::ranges::sort(sustained);
    EXPECT_EQ(sustained, (std::vector<Ino>{Ino{10}, Ino{11}, Ino{12}}));
    EXPECT_EQ(must(engine().list_sustained(ctx, one, 2)).size(), 2U);

    put(FlockKey{Ino{20}, one, 1}, FlockType::read);
    put(FlockKey{Ino{21}, two, 1}, FlockType::write);
    put(PlockKey{Ino{22}, one, 1},
        std::vector<LockRange>{{.type = LockRange::Type::read, .pid = 1, .start = 0, .end = 1}});
    put(PlockKey{Ino{20}, one, 1},
        std::vector<LockRange>{{.type = LockRange::Type::read, .pid = 1, .start = 0, .end = 1}});
    // Only a shared flock, and not the only one: after a crash it must be found like any other.
    put(FlockKey{Ino{23}, two, 5}, FlockType::read);
    put(FlockKey{Ino{23}, one, 5}, FlockType::read);
    auto locked = must(engine().list_locked(ctx, one));
    std::ranges::sort(locked);
    EXPECT_EQ(locked, (std::vector<Ino>{Ino{20}, Ino{22}, Ino{23}}));
    EXPECT_TRUE(must(engine().list_locked(ctx, SessionId{3})).empty());
  });
}

TEST_P(EngineTest, ListsDeletedFilesThatAreOldEnough) {
  run([this] {
    put(DelfileKey{Ino{10}, 100}, DelfileRecord{1000});
    put(DelfileKey{Ino{11}, 200}, DelfileRecord{2000});
    put(DelfileKey{Ino{12}, 300}, DelfileRecord{3000});
    auto files = must(engine().list_delfiles(ctx, 2000, 10));
    std::ranges::sort(files, {}, &DelfileEntry::ino);
    ASSERT_EQ(files.size(), 2U);
    EXPECT_EQ(files[1].ino, Ino{11});
    EXPECT_EQ(files[1].length, 200U);
    EXPECT_EQ(files[1].deleted_sec, 2000);
    EXPECT_EQ(must(engine().list_delfiles(ctx, 9999, 2)).size(), 2U);
  });
}

TEST_P(EngineTest, GarbageIsListedUpToTheLimit) {
  run([this] {
    for (std::uint64_t id = 1; id < 6; ++id) {
      must_commit({.changes = {NewSlice{.id = SliceId{id}, .size = 10},
                               AddSliceRef{.id = SliceId{id}, .size = 10, .delta = -1}}});
    }
    EXPECT_EQ(must(engine().list_garbage_slices(ctx, 3)).size(), 3U);
    EXPECT_EQ(must(engine().list_garbage_slices(ctx, 100)).size(), 5U);
  });
}

}  // namespace

}  // namespace zest::meta::testing
