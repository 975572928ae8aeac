#include "zest/object/shard_store.h"

#include <gtest/gtest.h>

#include <string>

#include "zest/format/object_name.h"
#include "zest/object/mem/mem_store.h"
#include "zest/object/testing/expect.h"

namespace zest {
namespace {

struct Shards {
  explicit Shards(std::size_t count) {
    std::vector<std::unique_ptr<ObjectStore>> stores;
    for (std::size_t i = 0; i < count; ++i) {
      stores.push_back(make_mem_store());
      shards.push_back(stores.back().get());
    }
    store = make_shard_store(std::move(stores));
  }
  void put(std::string const& key) {
    ByteView const parts[] = {as_bytes(key)};
    ASSERT_OK(store->put(ctx, key, parts));
  }

  std::vector<ObjectStore*> shards;
  std::unique_ptr<ObjectStore> store;
  Context ctx;
};

TEST(ShardStore, EveryKeyIsInItsShardOnly) {
  Shards s(4);
  for (int i = 0; i < 100; ++i) {
    auto const key = block_key(SliceId{static_cast<std::uint64_t>(i)}, 0, 4096, false);
    s.put(key);
    for (std::size_t shard = 0; shard < 4; ++shard) {
      EXPECT_EQ(s.shards[shard]->head(s.ctx, key).ok(), shard == shard_of(key, 4));
    }
    ASSERT_OK(s.store->head(s.ctx, key));
    ASSERT_OK(s.store->remove(s.ctx, key));
    ASSERT_ERRC(s.store->head(s.ctx, key), Errc::noent);
  }
}

// Goal: pages of every size show each key once, in order, and end.
TEST(ShardStore, ListingsMergeInOrder) {
  Shards s(5);
  std::vector<std::string> keys;
  for (int i = 100; i < 200; ++i) {
    keys.push_back("v/k" + std::to_string(i));
    s.put(keys.back());
  }
  for (std::size_t limit = 1; limit <= 120; ++limit) {
    std::vector<std::string> seen;
    ListObjects request{.prefix = "v/", .limit = limit};
    for (bool more = true; more;) {
      auto const page = s.store->list(s.ctx, request);
      ASSERT_OK(page);
      ASSERT_LE(page->objects.size(), limit);
      for (auto const& object : page->objects) {
        seen.push_back(object.key);
      }
      more = page->more;
      ASSERT_TRUE(!more || !page->objects.empty());
      request.after = seen.back();
    }
    ASSERT_EQ(seen, keys) << limit;
  }
}

TEST(ShardStore, HasNoCopies) {
  Shards s(2);
  EXPECT_FALSE(s.store->capabilities().copy);
  ASSERT_ERRC(s.store->copy(s.ctx, {.from = "a", .to = "b"}), Errc::notsup);
}

}  // namespace
}  // namespace zest
