// Goal: fsck finds every missing and every short block, nothing else, and doesn't count what a
// deleted file or a compacted chunk no longer needs. On the memory engine and store, with blocks
// made by hand.
#include "zest/admin/fsck.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "zest/format/object_name.h"
#include "zest/meta/engine/memory/memory.h"
#include "zest/object/mem/mem_store.h"
#include "zest/runtime/testing.h"

namespace zest::admin {
namespace {

constexpr std::uint32_t kBlock = 64 * 1024;

class FsckTest : public ::testing::Test {
 protected:
  FsckTest() { setting_.block_size_kib = 64; }

  /// A file of one slice, `size` bytes long, with all its blocks.
  void make_file(std::uint64_t ino, std::uint64_t slice, std::uint32_t size) {
    Attr attr;
    attr.length = size;
    meta::Commit commit;
    commit.changes.emplace_back(meta::Put{meta::NodeKey{Ino{ino}}, attr});
    commit.changes.emplace_back(meta::AppendSlices{
        {Ino{ino}, ChunkIndex{0}},
        {{.pos = 0, .id = SliceId{slice}, .size = size, .off = 0, .len = size}}});
    ASSERT_TRUE(engine_->commit(ctx_, commit).ok());
    for (std::uint32_t i = 0; i < block_count(size, kBlock); ++i) {
      put(slice, i, block_length(size, kBlock, i), block_length(size, kBlock, i));
    }
  }
  void put(std::uint64_t slice, std::uint32_t index, std::uint32_t length, std::uint32_t stored) {
    std::string const bytes(stored, 'x');
    std::array const parts{as_bytes(bytes)};
    auto const key = block_key(SliceId{slice}, index, length, false);
    ASSERT_TRUE(store_->put(ctx_, key, parts).ok());
  }
  void remove(std::uint64_t slice, std::uint32_t index, std::uint32_t length) {
    ASSERT_TRUE(store_->remove(ctx_, block_key(SliceId{slice}, index, length, false)).ok());
  }
  FsckReport check() {
    auto report = check_blocks(ctx_, *engine_, *store_, setting_, {});
    EXPECT_TRUE(report.ok());
    return report.ok() ? *std::move(report) : FsckReport{};
  }

  Context ctx_;
  Setting setting_;
  std::unique_ptr<meta::Engine> engine_ = meta::make_memory_engine();
  std::unique_ptr<ObjectStore> store_ = make_mem_store({});
};

TEST_F(FsckTest, ASoundVolumeIsSound) {
  testing::run_simulated([&] {
    make_file(2, 1, 3 * kBlock + 5);
    make_file(3, 2, 1);
    auto const report = check();
    EXPECT_EQ(report.slices, 2U);
    EXPECT_EQ(report.blocks, 5U);
    EXPECT_EQ(report.bytes, 3 * kBlock + 6U);
    EXPECT_EQ(report.broken, 0U);
  });
}

TEST_F(FsckTest, MissingAndShortBlocksAreNamed) {
  testing::run_simulated([&] {
    make_file(2, 1, 3 * kBlock);
    make_file(3, 2, kBlock);
    remove(1, 1, kBlock);
    put(2, 0, kBlock, kBlock - 1);
    auto const report = check();
    ASSERT_EQ(report.broken, 2U);
    ASSERT_EQ(report.examples.size(), 2U);
    EXPECT_EQ(report.examples[0].ino, Ino{2});
    EXPECT_EQ(report.examples[0].key, "chunks/0/0/1_1_65536");
    EXPECT_EQ(report.examples[0].why, "missing");
    EXPECT_EQ(report.examples[1].ino, Ino{3});
    EXPECT_EQ(report.examples[1].why, "65535 bytes instead of 65536");
  });
}

TEST_F(FsckTest, CompressedBlocksMayHaveAnySize) {
  setting_.compression = "lz4";
  testing::run_simulated([&] {
    make_file(2, 1, kBlock);
    put(1, 0, kBlock, 100);
    EXPECT_EQ(check().broken, 0U);
  });
}

TEST_F(FsckTest, ADeletedFileNeedsNoBlocks) {
  testing::run_simulated([&] {
    make_file(2, 1, kBlock);
    remove(1, 0, kBlock);
    meta::Commit commit;
    commit.changes.emplace_back(meta::Erase{meta::NodeKey{Ino{2}}});
    ASSERT_TRUE(engine_->commit(ctx_, commit).ok());
    EXPECT_EQ(check().broken, 0U);
  });
}

TEST_F(FsckTest, ManyBrokenBlocksAreCountedButNotAllListed) {
  testing::run_simulated([&] {
    make_file(2, 1, 300 * kBlock);
    for (std::uint32_t i = 0; i < 300; ++i) {
      remove(1, i, kBlock);
    }
    auto const report = check();
    EXPECT_EQ(report.broken, 300U);
    EXPECT_EQ(report.examples.size(), 100U);
  });
}

}  // namespace
}  // namespace zest::admin
