#include <algorithm>
#include <random>
#include <set>
#include <thread>

#include "zest/chunk/chunk_fixture.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/loop_group.h"

namespace zest {
namespace {

using testing::Bench;
using testing::bytes_of;
using testing::pattern;
using testing::run_on_loop;
using testing::StoreOp;

std::vector<std::byte> read_all(Bench& bench, SliceId id, std::uint32_t size) {
  DataView view;
  auto const result = bench.blocks.read(bench.ctx, id, size, 0, size, true, view);
  EXPECT_TRUE(result.ok()) << result.error().text();
  return bytes_of(view);
}

// Goal: what is written in order comes back, under the names of the format.
TEST(SliceWriter, SequentialWritesBecomeBlocks) {
  run_on_loop([] {
    Bench bench;
    auto const data = pattern(150'000, 1);
    SliceWriter writer(bench.blocks);
    writer.set_id({42});
    for (std::size_t at = 0; at < data.size(); at += 10'000) {
      ASSERT_OK(writer.write(bench.ctx, static_cast<std::uint32_t>(at),
                             ByteView(data).subspan(at, 10'000)));
    }
    ASSERT_EQ(writer.length(), 150'000u);
    ASSERT_EQ(writer.frozen_end(), 131'072u);
    ASSERT_OK(writer.finish(bench.ctx, false));
    auto const page = bench.objects->list(bench.ctx, {});
    ASSERT_OK(page);
    ASSERT_EQ(page->objects.size(), 3u);
    EXPECT_EQ(page->objects[0].key, "chunks/0/0/42_0_65536");
    EXPECT_EQ(page->objects[1].key, "chunks/0/0/42_1_65536");
    EXPECT_EQ(page->objects[2].key, "chunks/0/0/42_2_18928");
    EXPECT_EQ(read_all(bench, {42}, 150'000), data);
    EXPECT_EQ(bench.pool.used(), 0u);
  });
}

// Goal: random writes, gaps and overwrites before the id is known equal the same writes to an
// array.
TEST(SliceWriter, RandomWritesEqualAnArray) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    run_on_loop([seed] {
      Bench bench;
      std::mt19937_64 random(seed);
      std::vector<std::byte> model;
      SliceWriter writer(bench.blocks);
      auto const steps = 1 + random() % 30;
      auto const id_at = random() % steps;
      for (std::uint64_t step = 0; step < steps; ++step) {
        if (step == id_at) {
          writer.set_id({seed});
        }
        auto const low = writer.frozen_end();
        auto const offset = static_cast<std::uint32_t>(low + random() % 300'000);
        auto const data = pattern(1 + random() % 100'000, random());
        ASSERT_OK(writer.write(bench.ctx, offset, data));
        model.resize(std::max(model.size(), offset + data.size()));
        std::copy(data.begin(), data.end(), model.begin() + offset);
        ASSERT_EQ(writer.length(), model.size());
        DataView pending;
        auto const from = writer.frozen_end();
        ASSERT_TRUE(writer.read(from, writer.length() - from, pending));
        ASSERT_TRUE(std::ranges::equal(bytes_of(pending), std::span(model).subspan(from)));
      }
      ASSERT_OK(writer.finish(bench.ctx, true));
      ASSERT_EQ(read_all(bench, {seed}, static_cast<std::uint32_t>(model.size())), model);
      ASSERT_EQ(bench.pool.used(), 0u);
    });
  }
}

// Goal: a file of ten bytes doesn't take a block of memory.
TEST(SliceWriter, SmallSlicesTakeLittleMemory) {
  run_on_loop([] {
    Bench bench({.block_size = 4u << 20, .cache_bytes = 0}, 64u << 20);
    SliceWriter writer(bench.blocks);
    auto const data = pattern(300'000, 3);
    ASSERT_OK(writer.write(bench.ctx, 0, ByteView(data).first(10)));
    EXPECT_EQ(bench.pool.used(), 4096u);
    for (std::uint32_t at = 10; at + 1000 < data.size(); at += 1000) {
      ASSERT_OK(writer.write(bench.ctx, at, ByteView(data).subspan(at, 1000)));
      ASSERT_LE(bench.pool.used(), std::max(8192u, 4 * (at + 1000)));
    }
  });
}

// Goal: reading pending bytes copies nothing: the pieces lie where the writer keeps them.
TEST(SliceWriter, PendingBytesAreReadInPlace) {
  run_on_loop([] {
    Bench bench;
    SliceWriter writer(bench.blocks);
    auto const data = pattern(4096, 3);
    ASSERT_OK(writer.write(bench.ctx, 0, data));
    DataView first;
    DataView second;
    ASSERT_TRUE(writer.read(0, 4096, first));
    ASSERT_TRUE(writer.read(100, 10, second));
    EXPECT_EQ(first.pieces()[0].bytes.data() + 100, second.pieces()[0].bytes.data());
    EXPECT_FALSE(writer.read(4000, 97, second));
    EXPECT_EQ(second.size(), 10u);
  });
}

}  // namespace
}  // namespace zest
