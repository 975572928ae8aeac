#include "zest/chunk/memory_cache.h"

#include <gtest/gtest.h>

#include <random>

namespace zest {
namespace {

constexpr std::size_t kBlock = 64 << 10;

struct Cache {
  explicit Cache(std::size_t blocks) : cache(blocks * (kBlock + 256), kBlock, metrics) {}
  void add(std::uint64_t id, bool ahead = false) {
    cache.insert(ref(id), std::make_shared<BlockBytes>(pool, kBlock), ahead);
  }
  [[nodiscard]] bool use(std::uint64_t id) { return cache.find(ref(id), Touch::use) != nullptr; }
  [[nodiscard]] bool has(std::uint64_t id) const { return cache.contains(ref(id)); }
  static BlockRef ref(std::uint64_t id) { return {.id = {id}, .index = 0, .size = kBlock}; }

  Registry metrics;
  BufferPool pool{64 << 20, metrics};
  MemoryCache cache;
};

// Goal: blocks that are used again survive a scan of any length.
TEST(MemoryCache, ScansDoNotFlushUsedBlocks) {
  Cache c(40);
  for (std::uint64_t id = 1; id <= 20; ++id) {
    c.add(id);
    ASSERT_TRUE(c.use(id));
  }
  for (std::uint64_t id = 1000; id < 3000; ++id) {
    c.add(id);
    for (int piece = 0; piece < 32; ++piece) {
      (void)c.cache.find(Cache::ref(id), Touch::continued);
    }
    if (id % 10 == 0) {
      for (std::uint64_t hot = 1; hot <= 20; ++hot) {
        ASSERT_TRUE(c.use(hot)) << hot << " lost at " << id;
      }
    }
  }
}

// Goal: the first use of a prefetched block is its only one in a scan: it doesn't count.
TEST(MemoryCache, PrefetchedScansDoNotFlushEither) {
  Cache c(40);
  for (std::uint64_t id = 1; id <= 20; ++id) {
    c.add(id);
    ASSERT_TRUE(c.use(id));
  }
  for (std::uint64_t id = 1000; id < 3000; ++id) {
    c.add(id, true);
    ASSERT_TRUE(c.use(id));
    if (id % 10 == 0) {
      for (std::uint64_t hot = 1; hot <= 20; ++hot) {
        ASSERT_TRUE(c.use(hot)) << hot << " lost at " << id;
      }
    }
  }
}

// Goal: a block that comes back soon after its eviction is kept longer than those that come once.
TEST(MemoryCache, ReturningBlocksGoToTheMainQueue) {
  Cache c(40);
  for (std::uint64_t id = 1; id <= 60; ++id) {
    c.add(id);
  }
  ASSERT_FALSE(c.has(1));
  c.add(1);
  for (std::uint64_t id = 100; id < 129; ++id) {
    c.add(id);
  }
  EXPECT_TRUE(c.has(1));
}

TEST(MemoryCache, NeverExceedsItsBound) {
  std::mt19937_64 random(4);
  Registry metrics;
  BufferPool pool(64 << 20, metrics);
  std::size_t const bound = 1 << 20;
  MemoryCache cache(bound, kBlock, metrics);
  for (int i = 0; i < 20'000; ++i) {
    auto const size = 1 + random() % kBlock;
    BlockRef const ref{.id = {random() % 300}, .index = 0, .size = 0};
    switch (random() % 3) {
      case 0: cache.insert(ref, std::make_shared<BlockBytes>(pool, size)); break;
      case 1: (void)cache.find(ref, Touch::use); break;
      default: cache.erase(ref); break;
    }
    ASSERT_LE(cache.bytes(), bound);
  }
  EXPECT_EQ(metrics.gauge("blockcache_bytes", "").value(),
            static_cast<std::int64_t>(cache.bytes()));
}

TEST(MemoryCache, TooLargeAndDisabled) {
  Registry metrics;
  BufferPool pool(1 << 20, metrics);
  MemoryCache small(1000, kBlock, metrics);
  small.insert({.id = {1}}, std::make_shared<BlockBytes>(pool, 4096));
  EXPECT_EQ(small.bytes(), 0u);
  MemoryCache none(0, kBlock, metrics);
  EXPECT_FALSE(none.enabled());
  none.insert({.id = {1}}, std::make_shared<BlockBytes>(pool, 1));
  EXPECT_FALSE(none.contains({.id = {1}}));
}

TEST(BlockBytes, ComeFromTheHeapWhenThePoolIsEmpty) {
  Registry metrics;
  BufferPool pool(8192, metrics);
  BlockBytes const first(pool, 8192);
  BlockBytes second(pool, 5000);
  EXPECT_EQ(pool.used(), 8192u);
  EXPECT_EQ(second.span().size(), 5000u);
  second.span()[4999] = std::byte{1};
}

}  // namespace
}  // namespace zest
