// For the tests of this module: a BlockStore over a store that can fail, on a loop of its own.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/rng.h"
#include "zest/chunk/block_store.h"
#include "zest/object/mem/mem_store.h"
#include "zest/object/testing/expect.h"
#include "zest/object/testing/faulty_store.h"
#include "zest/runtime/buffer_pool.h"
#include "zest/runtime/pool.h"
#include "zest/runtime/testing.h"

namespace zest::testing {

/// Everything a BlockStore stands on, with small blocks so that tests stay fast. Use on a loop.
struct Bench {
  explicit Bench(BlockStoreConfig config = small_blocks(), std::size_t pool_bytes = 16u << 20)
      : objects(make_mem_store()),
        faulty(*objects),
        pool(pool_bytes, metrics),
        blocks(faulty, std::move(config), pool, cpu, rng, log, metrics) {}

  static BlockStoreConfig small_blocks() {
    return {.block_size = 64u << 10, .cache_bytes = 4u << 20, .retries = 2};
  }

  Registry metrics;
  Logger log{{.level = LogLevel::error, .file = {}, .json = false, .color = false}};
  Rng rng{7};
  BlockingPool cpu{{.name = "cpu", .threads = 2, .queue_max = 64}, metrics};
  std::unique_ptr<ObjectStore> objects;
  FaultyStore faulty;
  BufferPool pool;
  BlockStore blocks;
  Context ctx;
};

/// `size` bytes that differ from place to place and from seed to seed.
inline std::vector<std::byte> pattern(std::size_t size, std::uint64_t seed) {
  std::vector<std::byte> bytes(size);
  std::uint64_t x = seed * 0x9E3779B97F4A7C15ULL + 1;
  for (auto& b : bytes) {
    x = x * 6364136223846793005ULL + 1442695040888963407ULL;
    b = static_cast<std::byte>(x >> 56);
  }
  return bytes;
}

inline std::vector<std::byte> bytes_of(DataView const& view) {
  std::vector<std::byte> bytes(view.size());
  view.copy_to(bytes);
  return bytes;
}

}  // namespace zest::testing
