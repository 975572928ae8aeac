// Goal: replies have the kernel's layout and the units that the format demands.
#include "zest/fuse/reply.h"

#include <dirent.h>
#include <gtest/gtest.h>

#include "zest/fuse/negotiate.h"
#include "zest/object/testing/expect.h"

namespace zest::fuse {
namespace {

Attr sample_attr() {
  Attr attr;
  attr.type = FileType::regular;
  attr.mode = 04755;
  attr.uid = 1;
  attr.gid = 2;
  attr.mtime = {-5, 7};
  attr.nlink = 3;
  attr.length = 513;
  attr.rdev = 259;
  return attr;
}

TEST(Reply, AttributesInTheKernelsUnits) {
  auto const out = encode_attr(Ino{9}, sample_attr());
  EXPECT_EQ(out.ino, 9u);
  EXPECT_EQ(out.size, 513u);
  EXPECT_EQ(out.blocks, 2u);
  EXPECT_EQ(out.blksize, 65536u);
  EXPECT_EQ(out.mode, 0104755u);
  EXPECT_EQ(static_cast<std::int64_t>(out.mtime), -5);
  EXPECT_EQ(out.mtimensec, 7u);
  EXPECT_EQ(out.rdev, 259u);
  auto empty = sample_attr();
  empty.length = 0;
  EXPECT_EQ(encode_attr(Ino{9}, empty).blocks, 0u);
  empty.length = ~std::uint64_t{0};
  EXPECT_EQ(encode_attr(Ino{9}, empty).blocks, std::uint64_t{1} << 55);
}

TEST(Reply, EntryCarriesBothTimeouts) {
  auto const out = encode_entry({.ino = Ino{9},
                                 .attr = sample_attr(),
                                 .entry_timeout = std::chrono::milliseconds(1500),
                                 .attr_timeout = std::chrono::seconds(2)});
  EXPECT_EQ(out.nodeid, 9u);
  EXPECT_EQ(out.entry_valid, 1u);
  EXPECT_EQ(out.entry_valid_nsec, 500'000'000u);
  EXPECT_EQ(out.attr_valid, 2u);
}

TEST(Reply, NegativeEntryIsNodeZero) {
  auto const out = encode_entry({.ino = {}, .entry_timeout = std::chrono::seconds(3)});
  EXPECT_EQ(out.nodeid, 0u);
  EXPECT_EQ(out.entry_valid, 3u);
}

TEST(Reply, OpenFlags) {
  EXPECT_EQ(encode_open({.handle = {4}}).open_flags, FOPEN_PARALLEL_DIRECT_WRITES + 0u);
  EXPECT_EQ(encode_open({.handle = {4}, .keep_cache = true}).open_flags,
            FOPEN_PARALLEL_DIRECT_WRITES | FOPEN_KEEP_CACHE);
  auto const all = encode_open({.handle = {4}, .direct_io = true, .nonseekable = true});
  EXPECT_EQ(all.open_flags, FOPEN_PARALLEL_DIRECT_WRITES | FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE);
  EXPECT_EQ(all.fh, 4u);
  EXPECT_EQ(encode_opendir({.handle = {4}}).open_flags, 0u);
}

TEST(Reply, StatfsCountsIn4K) {
  auto const out = encode_statfs({.total_space = 1u << 30,
                                  .available_space = 1u << 29,
                                  .used_inodes = 10,
                                  .available_inodes = 90});
  EXPECT_EQ(out.st.bsize, 4096u);
  EXPECT_EQ(out.st.blocks, 262144u);
  EXPECT_EQ(out.st.bavail, 131072u);
  EXPECT_EQ(out.st.files, 100u);
  EXPECT_EQ(out.st.ffree, 90u);
  EXPECT_EQ(out.st.namelen, 255u);
}

TEST(Reply, PartsAreCopiedInOrder) {
  Reply reply;
  reply.append(std::uint32_t{0x64636261});
  reply.set_body("body");
  DataView data;
  data.append(as_bytes("data"), nullptr);
  reply.set_data(std::move(data));
  std::string out(reply.size(), '?');
  reply.copy_to(std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(out, "abcdbodydata");
}

TEST(Reply, FailureHasNoBody) {
  auto reply = Reply::failure(2);
  reply.set_body("body");
  EXPECT_EQ(reply.size(), 0u);
  EXPECT_TRUE(reply.head().empty());
}

TEST(Dirents, EntriesAreAlignedAndBounded) {
  DirentWriter writer({.size = 64});
  // 24 bytes of head and the name, rounded up to 8.
  EXPECT_TRUE(writer.add({.name = "12345678", .ino = Ino{2}, .next_offset = 5}));
  EXPECT_TRUE(writer.add({.name = "x", .ino = Ino{3}, .type = FileType::directory}));
  EXPECT_FALSE(writer.add({.name = "y", .ino = Ino{4}}));
  auto const out = writer.take();
  ASSERT_EQ(out.size(), 64u);
  fuse_dirent first;
  std::memcpy(&first, out.data(), FUSE_NAME_OFFSET);
  EXPECT_EQ(first.ino, 2u);
  EXPECT_EQ(first.off, 5u);
  EXPECT_EQ(first.namelen, 8u);
  EXPECT_EQ(first.type, DT_REG + 0u);
  EXPECT_EQ(out.substr(24, 8), "12345678");
  fuse_dirent second;
  std::memcpy(&second, out.data() + 32, FUSE_NAME_OFFSET);
  EXPECT_EQ(second.type, DT_DIR + 0u);
  EXPECT_EQ(out.substr(56, 8), std::string("x\0\0\0\0\0\0\0", 8));
}

TEST(Dirents, PlusKnowsNodesButNotDots) {
  DirentWriter writer({.size = 4096,
                       .plus = true,
                       .entry_timeout = std::chrono::seconds(1),
                       .dir_entry_timeout = std::chrono::seconds(2)});
  auto const attr = sample_attr();
  EXPECT_TRUE(writer.add({.name = ".", .ino = Ino{1}, .attr = &attr}));
  EXPECT_TRUE(writer.add({.name = "f", .ino = Ino{9}, .attr = &attr}));
  EXPECT_TRUE(writer.add({.name = "d", .ino = Ino{8}, .type = FileType::directory, .attr = &attr}));
  EXPECT_TRUE(writer.add({.name = "g", .ino = Ino{7}}));
  auto const out = writer.take();
  std::size_t const step = FUSE_REC_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + 1);
  ASSERT_EQ(out.size(), 4 * step);
  std::array<fuse_entry_out, 4> entries;
  for (std::size_t i = 0; i < 4; ++i) {
    std::memcpy(&entries[i], out.data() + i * step, sizeof entries[i]);
  }
  EXPECT_EQ(entries[0].nodeid, 0u);
  EXPECT_EQ(entries[1].nodeid, 9u);
  EXPECT_EQ(entries[1].entry_valid, 1u);
  EXPECT_EQ(entries[2].entry_valid, 2u);
  EXPECT_EQ(entries[3].nodeid, 0u);
}

TEST(Negotiate, TakesOnlyWhatBothHave) {
  Init const init{.major = 7,
                  .minor = 45,
                  .max_readahead = 131072,
                  .flags = FUSE_ASYNC_READ | FUSE_INIT_EXT | FUSE_SETXATTR_EXT |
                           FUSE_WRITEBACK_CACHE | FUSE_POSIX_ACL | abi::kInitOverIoUring};
  auto reply = negotiate(init, {.max_io = 1u << 20});
  ASSERT_OK(reply);
  EXPECT_EQ(reply->agreed.flags,
            static_cast<std::uint64_t>(FUSE_ASYNC_READ | FUSE_INIT_EXT | FUSE_SETXATTR_EXT));
  EXPECT_EQ(reply->out.max_pages, 256);
  EXPECT_EQ(reply->out.max_write, 1u << 20);
  EXPECT_EQ(reply->out.time_gran, 1u);
  EXPECT_FALSE(reply->agreed.over_io_uring);
  reply = negotiate(init, {.writeback_cache = true, .posix_acl = true, .over_io_uring = true});
  ASSERT_OK(reply);
  EXPECT_TRUE(reply->agreed.over_io_uring);
  EXPECT_EQ(reply->out.flags2, 1u << 9);
  EXPECT_NE(reply->out.flags & FUSE_WRITEBACK_CACHE, 0u);
  EXPECT_NE(reply->out.flags & FUSE_POSIX_ACL, 0u);
}

TEST(Negotiate, OldKernelsAreRefusedAndNewOnesAskedAgain) {
  ASSERT_ERRC(negotiate({.major = 7, .minor = 27}, {}), Errc::notsup);
  ASSERT_ERRC(negotiate({.major = 6, .minor = 99}, {}), Errc::notsup);
  auto const newer = negotiate({.major = 8, .minor = 1}, {});
  ASSERT_OK(newer);
  EXPECT_EQ(newer->out.major, 7u);
  EXPECT_EQ(newer->agreed.minor, 0u);
}

}  // namespace
}  // namespace zest::fuse
