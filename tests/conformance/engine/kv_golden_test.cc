// A volume that the peer wrote into etcd, key by key, as the engine reads it: every file under its
// path, with the attributes that the peer's mount showed.
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "tests/golden/golden_data.h"
#include "zest/base/metrics.h"
#include "zest/format/kv_key.h"
#include "zest/meta/engine/kv/kv_engine.h"
#include "zest/meta/engine/kv/memory_kv.h"
#include "zest/runtime/testing.h"

namespace zest::meta {
namespace {

constexpr std::string_view kFile = "volumes/etcd.txt";

class KvGoldenTest : public ::testing::Test {
 protected:
  /// Runs `body` on a fiber, with the peer's keys in the store.
  void run(std::function<void()> const& body) {
    zest::testing::run_on_loop([&] {
      auto const data = kv::make_memory_kv_data();
      auto const store = kv::make_memory_kv(data);
      for (auto const& line : golden_lines(kFile)) {
        if (line[0] == "kv") {
          auto const loaded =
              store->commit(ctx, {.writes = {kv::PutPair{.key = line[1], .value = line[2]}}});
          ASSERT_TRUE(loaded.ok());
          ++keys;
        }
      }
      engine = make_kv_engine(kv::make_memory_kv(data), {.prefix = kv_prefix("/vole")}, metrics);
      body();
      engine.reset();
    });
  }

  template <class T>
  T get(Key const& key) {
    auto const values = engine->fetch(ctx, std::span(&key, 1));
    EXPECT_TRUE(values.ok()) << values.error().text();
    auto const* record = values.ok() ? std::get_if<T>(&values->front()) : nullptr;
    EXPECT_NE(record, nullptr);
    return record == nullptr ? T{} : *record;
  }

  /// Walks from the root, or from the trash, which has no name in it.
  Ino look_up(std::string const& path) {
    auto ino = kRootIno;
    std::istringstream names(path);
    for (std::string name; std::getline(names, name, '/');) {
      ino = name == "."        ? kRootIno
            : name == ".trash" ? kTrashIno
                               : get<Child>(ChildKey{ino, name}).entry.ino;
    }
    return ino;
  }

  Context ctx;
  Registry metrics;
  std::unique_ptr<Engine> engine;
  std::size_t keys = 0;
};

TEST_F(KvGoldenTest, EveryFileHasTheAttributesThatThePeerShows) {
  run([this] {
    std::size_t files = 0;
    for (auto const& line : golden_lines(kFile)) {
      auto const number = [&line](std::size_t field) { return std::stoull(line[field]); };
      constexpr std::uint64_t kVirtual = 0x7FFFFFFF00000000;  // the mount's own files and /.trash
      if (line[0] != "stat" || (number(1) >= kVirtual && number(1) <= kTrashIno.value)) {
        continue;
      }
      SCOPED_TRACE(line.back());
      auto const ino = look_up(line.back());
      EXPECT_EQ(ino.value, number(1));
      auto const attr = get<Attr>(NodeKey{ino});
      EXPECT_EQ(to_mode_bits(attr.type) | attr.mode, number(2));
      EXPECT_EQ(attr.uid, number(3));
      EXPECT_EQ(attr.gid, number(4));
      EXPECT_EQ(attr.nlink, number(5));
      EXPECT_EQ(static_cast<std::uint64_t>(attr.mtime.sec) * 1'000'000'000 + attr.mtime.nsec,
                number(9));
      ++files;
    }
    EXPECT_GT(files, 30U);
  });
}

TEST_F(KvGoldenTest, ListingsFindEverything) {
  run([this] {
    auto const root = engine->list_dir(ctx, {.dir = kRootIno, .limit = 1000, .attrs = true});
    ASSERT_TRUE(root.ok()) << root.error().text();
    EXPECT_GT(root->entries.size(), 25U);
    for (auto const& entry : root->entries) {
      EXPECT_TRUE(entry.attr) << entry.name;
    }
    EXPECT_TRUE(engine->load_setting(ctx).ok());
    auto const sessions = engine->list_sessions(ctx);
    ASSERT_TRUE(sessions.ok()) << sessions.error().text();
    auto const chunks = engine->list_all_chunks(ctx, std::nullopt, 1000);
    ASSERT_TRUE(chunks.ok()) << chunks.error().text();
    EXPECT_GT(chunks->chunks.size(), 10U);
    EXPECT_TRUE(engine->list_delfiles(ctx, INT64_MAX, 1000).ok());
    EXPECT_TRUE(engine->list_delayed_slices(ctx, INT64_MAX, 1000).ok());
    EXPECT_TRUE(engine->list_detached(ctx, INT64_MAX, 1000).ok());
    EXPECT_TRUE(engine->list_garbage_slices(ctx, 1000).ok());
    EXPECT_TRUE(engine->list_quotas(ctx).ok());
    auto const acls = engine->list_acls(ctx, 0);
    ASSERT_TRUE(acls.ok()) << acls.error().text();
    EXPECT_FALSE(acls->empty());
    auto const usage = engine->read_usage(ctx);
    ASSERT_TRUE(usage.ok()) << usage.error().text();
    EXPECT_GT(usage->inodes, 20);
    // A hard-linked file's parents are records of their own.
    EXPECT_EQ(get<Attr>(NodeKey{Ino{4}}).parent, Ino{0});
    EXPECT_FALSE(get<Parents>(ParentsKey{Ino{4}}).empty());
    EXPECT_GT(engine->allocate_ids(ctx, IdKind::inode, 1)->first, 35U);
  });
}

}  // namespace
}  // namespace zest::meta
