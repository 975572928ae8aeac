// Operations on content: slices, lengths, copies, compaction, deletion, open files, attributes.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>

#include "zest/format/slice.h"
#include "zest/meta/meta_cases.h"
#include "zest/runtime/sync.h"

namespace zest::meta {
namespace {

using testing::Client;
using testing::make;
using testing::make_setting;
using testing::number;
using testing::OnEngines;
using testing::stat_of;
using testing::usage_of;
using testing::Volume;
using zest::testing::run_simulated;

class Data : public OnEngines {};
INSTANTIATE_TEST_SUITE_P(Engines, Data, testing::engine_cases(), testing::case_name);

// Writes `length` bytes at `offset` (within one chunk) as a fresh slice.
Result<SliceRecord> write(Client& client, Ino ino, std::uint64_t offset, std::uint32_t length) {
  Context const ctx;
  ZEST_TRY(auto const id, client.meta.new_slice(ctx));
  SliceRecord const slice{.pos = static_cast<std::uint32_t>(offset % kChunkSize),
                          .id = id,
                          .size = length,
                          .off = 0,
                          .len = length};
  ZEST_CHECK(client.meta.write_slice(
      ctx, {.ino = ino,
            .index = ChunkIndex{static_cast<std::uint32_t>(offset / kChunkSize)},
            .slices = {slice},
            .mtime = Loop::current()->wall()}));
  return slice;
}

Slices chunk(Client& client, Ino ino, std::uint32_t index) {
  auto slices = client.meta.read_chunk(Context{}, ino, ChunkIndex{index});
  EXPECT_TRUE(slices.ok());
  return slices.ok() ? *slices : Slices{};
}

TEST_P(Data, WritesGrowTheFileAndItsAccounts) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto const before = *client.meta.getattr(volume.root, file);
    auto const first = *write(client, file, 0, 10'000);
    auto const second = *write(client, file, kChunkSize + 100, 50);
    auto const after = *client.meta.getattr(volume.root, file);
    EXPECT_EQ(after.length, kChunkSize + 150);
    EXPECT_GT(after.mtime, before.mtime);
    EXPECT_GT(after.ctime, before.ctime);
    EXPECT_EQ(chunk(client, file, 0), Slices{first});
    EXPECT_EQ(chunk(client, file, 1), Slices{second});
    EXPECT_EQ(chunk(client, file, 2), Slices{});
    auto const space = static_cast<std::int64_t>(align_4k(kChunkSize + 150));
    EXPECT_EQ(usage_of(client).space, space);
    EXPECT_EQ(
        stat_of(client, kRootIno),
        (DirStat{
            .length = static_cast<std::int64_t>(kChunkSize + 150), .space = space, .inodes = 1}));
    EXPECT_EQ(number(write(client, kRootIno, 0, 5)), EPERM);
    EXPECT_EQ(number(write(client, Ino{999}, 0, 5)), ENOENT);
  });
}

TEST_P(Data, EveryWriteChangesMtimeEvenWithinOneClockTick) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto last = client.meta.getattr(volume.root, file)->mtime;
    for (int i = 0; i < 5; ++i) {
      ASSERT_TRUE(write(client, file, 0, 10).ok());
      auto const now = client.meta.getattr(volume.root, file)->mtime;
      EXPECT_GT(now, last);
      last = now;
    }
  });
}

TEST_P(Data, LinkedFilesCountInAllTheirDirectories) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d");
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(client.meta.link(volume.root, file, dir, "g").ok());
    ASSERT_TRUE(client.meta.link(volume.root, file, dir, "h").ok());
    ASSERT_TRUE(write(client, file, 0, 8192).ok());
    EXPECT_EQ(stat_of(client, dir), (DirStat{.length = 16384, .space = 16384, .inodes = 2}));
    EXPECT_EQ(stat_of(client, kRootIno), (DirStat{.length = 8192, .space = 12288, .inodes = 2}));
    EXPECT_EQ(usage_of(client).space, 8192 + 4096);
  });
}

TEST_P(Data, TruncateAppendsZerosBothWays) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto const slice = *write(client, file, 0, 6);
    ASSERT_TRUE(client.meta.truncate(volume.root, file, 100 * kMiB, false).ok());
    EXPECT_EQ(client.meta.getattr(volume.root, file)->length, 100 * kMiB);
    EXPECT_EQ(chunk(client, file, 0),
              (Slices{slice, {.pos = 6, .len = static_cast<std::uint32_t>(kChunkSize - 6)}}));
    EXPECT_EQ(chunk(client, file, 1), (Slices{{.pos = 0, .len = 36 * kMiB}}));
    ASSERT_TRUE(client.meta.truncate(volume.root, file, 3, false).ok());
    EXPECT_EQ(chunk(client, file, 0).back(),
              (SliceRecord{.pos = 3, .len = static_cast<std::uint32_t>(kChunkSize - 3)}));
    EXPECT_EQ(chunk(client, file, 1).size(), 2U);
    EXPECT_EQ(usage_of(client).space, 4096);

    auto const before = *client.meta.getattr(volume.root, file);
    ASSERT_TRUE(client.meta.truncate(volume.root, file, 3, false).ok());
    auto const after = *client.meta.getattr(volume.root, file);
    EXPECT_GT(after.mtime, before.mtime);
    EXPECT_GT(after.ctime, before.ctime);
    EXPECT_EQ(number(client.meta.truncate(volume.root, file, kFileSizeMax, false)), EFBIG);
    EXPECT_EQ(number(client.meta.truncate(volume.root, kRootIno, 1, false)), EISDIR);
  });
}

// Chunks in the middle get zeros only where they have records, however far the ends are apart.
TEST_P(Data, TruncateOfAHugeHoleTouchesFewChunks) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(write(client, file, 200 * kChunkSize + 7, 9).ok());
    ASSERT_TRUE(client.meta.truncate(volume.root, file, kFileSizeMax - 1, false).ok());
    ASSERT_TRUE(client.meta.truncate(volume.root, file, 5, false).ok());
    auto const middle = chunk(client, file, 200);
    EXPECT_EQ(middle.back(),
              (SliceRecord{.pos = 0, .len = static_cast<std::uint32_t>(kChunkSize)}));
    EXPECT_EQ(chunk(client, file, 100), Slices{});
    for (auto const& piece : overlay(middle)) {
      EXPECT_EQ(piece.id, SliceId{});
    }
  });
}

TEST_P(Data, TruncateByANonOwnerTakesSetuid) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f", 06777);
    EXPECT_EQ(client.meta.truncate(testing::as_user(5, 5), file, 10, false)->mode, 0777);
    EXPECT_EQ(client.meta.getattr(volume.root, file)->mode, 0777);
  });
}

TEST_P(Data, Fallocate) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto const slice = *write(client, file, 0, 100);
    auto const call = [&](std::uint32_t mode, std::uint64_t offset, std::uint64_t length) {
      return number(client.meta.fallocate(
          volume.root, {.ino = file, .mode = mode, .offset = offset, .length = length}));
    };
    EXPECT_EQ(call(0, 0, 0), EINVAL);
    EXPECT_EQ(call(kFallocPunchHole, 0, 1), EINVAL);
    EXPECT_EQ(call(0x08, 0, 1), ENOTSUP);
    EXPECT_EQ(call(0x28, 0, 1), EINVAL);
    EXPECT_EQ(call(0, kFileSizeMax - 1, 2), EFBIG);
    EXPECT_EQ(call(0, 0, 5000), 0);
    EXPECT_EQ(client.meta.getattr(volume.root, file)->length, 5000U);
    EXPECT_EQ(call(kFallocKeepSize, 0, 50'000), 0);
    EXPECT_EQ(client.meta.getattr(volume.root, file)->length, 5000U);
    EXPECT_EQ(call(kFallocPunchHole | kFallocKeepSize, 10, 20), 0);
    EXPECT_EQ(chunk(client, file, 0), (Slices{slice, {.pos = 10, .len = 20}}));
    EXPECT_EQ(call(kFallocZeroRange, 90, 10'000), 0);
    EXPECT_EQ(client.meta.getattr(volume.root, file)->length, 10'090U);
    EXPECT_EQ(chunk(client, file, 0).back(), (SliceRecord{.pos = 90, .len = 4910}));
    EXPECT_EQ(usage_of(client).space, 12288);
  });
}

TEST_P(Data, CopyRangeSharesSlices) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const in = *make(client, FileType::regular, kRootIno, "in");
    auto const out = *make(client, FileType::regular, kRootIno, "out");
    auto const slice = *write(client, in, 100, 1000);
    auto const copied = client.meta.copy_file_range(
        volume.root,
        {.in = in, .offset_in = 50, .out = out, .offset_out = kChunkSize - 100, .length = 5000});
    ASSERT_TRUE(copied.ok());
    EXPECT_EQ(copied->copied, 1050U);
    EXPECT_EQ(copied->out_attr.length, kChunkSize + 950);
    auto const tail = static_cast<std::uint32_t>(kChunkSize - 100);
    EXPECT_EQ(chunk(client, out, 0),
              (Slices{{.pos = tail, .len = 50},
                      {.pos = tail + 50, .id = slice.id, .size = 1000, .off = 0, .len = 50}}));
    EXPECT_EQ(chunk(client, out, 1),
              (Slices{{.pos = 0, .id = slice.id, .size = 1000, .off = 50, .len = 950}}));
    // Three records use the slice now: it is free only when all of them are gone.
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "in")->data_unused);
    EXPECT_TRUE(client.meta.delete_file_data(volume.root, in, 1100)->empty());
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "out")->data_unused);
    auto const freed = client.meta.delete_file_data(volume.root, out, kChunkSize + 950);
    ASSERT_EQ(freed->size(), 1U);
    EXPECT_EQ(freed->front(), (DelayedSlice{slice.id, 1000}));
    ASSERT_TRUE(client.meta.forget_slices(volume.root, *freed).ok());
    EXPECT_TRUE(client.meta.delete_file_data(volume.root, out, kChunkSize + 950)->empty());
    EXPECT_TRUE(client.meta.deleted_files(volume.root, Duration::zero(), 10)->empty());
    EXPECT_TRUE(client.meta.garbage_slices(volume.root, 10)->empty());
    EXPECT_EQ(usage_of(client).space, 0);
  });
}

TEST_P(Data, CopyRangeErrors) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(write(client, file, 0, 1000).ok());
    auto const call = [&](Ino in, std::uint64_t from, Ino out, std::uint64_t to) {
      return number(client.meta.copy_file_range(
          volume.root, {.in = in, .offset_in = from, .out = out, .offset_out = to, .length = 100}));
    };
    EXPECT_EQ(call(file, 0, file, 50), EINVAL);
    EXPECT_EQ(call(file, 0, file, 100), 0);
    EXPECT_EQ(call(file, 0, kRootIno, 0), EISDIR);
    EXPECT_EQ(call(file, 0, Ino{999}, 0), ENOENT);
    EXPECT_EQ(call(file, kFileSizeMax, file, 0), EFBIG);
    EXPECT_EQ(client.meta
                  .copy_file_range(
                      volume.root,
                      {.in = file, .offset_in = 5000, .out = file, .offset_out = 0, .length = 10})
                  ->copied,
              0U);
  });
}

TEST_P(Data, CompactionReplacesAPrefix) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto const a = *write(client, file, 0, 100);
    auto const b = *write(client, file, 50, 100);
    auto const before = *client.meta.getattr(volume.root, file);
    auto const seen = chunk(client, file, 0);
    auto const late = *write(client, file, 200, 10);
    SliceRecord const merged{
        .pos = 0, .id = *client.meta.new_slice(volume.root), .size = 150, .off = 0, .len = 150};
    ChunkKey const key{file, ChunkIndex{0}};
    auto const freed = client.meta.compact_chunk(volume.root, key, seen, 0, merged);
    ASSERT_TRUE(freed.ok());
    EXPECT_EQ(*freed, (std::vector<DelayedSlice>{{a.id, 100}, {b.id, 100}}));
    EXPECT_EQ(chunk(client, file, 0), (Slices{merged, late}));
    EXPECT_GT(client.meta.getattr(volume.root, file)->mtime, before.mtime);  // By the late write.
    EXPECT_EQ(number(client.meta.compact_chunk(volume.root, key, seen, 0, merged)), EINVAL);
    EXPECT_EQ(client.meta.garbage_slices(volume.root, 10)->size(), 2U);
    ASSERT_TRUE(client.meta.forget_slices(volume.root, *freed).ok());
    EXPECT_TRUE(client.meta.garbage_slices(volume.root, 10)->empty());
  });
}

TEST_P(Data, CompactionWithTrashDelaysAndSkipsTheHead) {
  run_simulated([&] {
    Volume volume(engine(), make_setting(1));
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto const head = *write(client, file, 0, 100);
    ASSERT_TRUE(write(client, file, 100, 100).ok());
    ASSERT_TRUE(write(client, file, 200, 100).ok());
    auto const seen = chunk(client, file, 0);
    SliceRecord const merged{
        .pos = 100, .id = *client.meta.new_slice(volume.root), .size = 200, .off = 0, .len = 200};
    ChunkKey const key{file, ChunkIndex{0}};
    EXPECT_TRUE(client.meta.compact_chunk(volume.root, key, seen, 1, merged)->empty());
    EXPECT_EQ(chunk(client, file, 0), (Slices{head, merged}));
    EXPECT_TRUE(client.meta.garbage_slices(volume.root, 10)->empty());
  });
}

TEST_P(Data, OpenFilesSurviveTheirUnlink) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto const slice = *write(client, file, 0, 5000);
    ASSERT_TRUE(client.meta.open(volume.root, file, O_RDWR).ok());
    ASSERT_TRUE(client.meta.open(volume.root, file, O_RDONLY).ok());
    auto const gone = client.meta.unlink(volume.root, kRootIno, "f");
    EXPECT_TRUE(gone->sustained);
    EXPECT_FALSE(gone->data_unused);
    EXPECT_EQ(client.meta.getattr(volume.root, file)->nlink, 0U);
    EXPECT_EQ(chunk(client, file, 0), Slices{slice});
    EXPECT_EQ(number(client.meta.link(volume.root, file, kRootIno, "g")), ENOENT);
    ASSERT_TRUE(write(client, file, 5000, 5000).ok());
    EXPECT_EQ(usage_of(client).space, 12288);
    EXPECT_EQ(stat_of(client, kRootIno), DirStat{});
    EXPECT_FALSE(client.meta.close(volume.root, file)->has_value());
    auto const last = client.meta.close(volume.root, file);
    ASSERT_TRUE(last->has_value());
    EXPECT_TRUE((*last)->data_unused);
    EXPECT_EQ((*last)->length, 10'000U);
    EXPECT_EQ(number(client.meta.getattr(volume.root, file)), ENOENT);
    EXPECT_EQ(usage_of(client).space, 0);
    EXPECT_EQ(client.meta.deleted_files(volume.root, Duration::zero(), 10)->size(), 1U);
  });
}

// An open, an unlink and a close of one file in every order of their steps: whoever got an open
// file can read it, and when all is closed nothing of it is left.
TEST_P(Data, OpenRacingUnlinkNeitherLosesNorLeaks) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    run_simulated(
        [&] {
          Volume volume(engine());
          Client client(volume);
          auto const file = *make(client, FileType::regular, kRootIno, "f");
          ASSERT_TRUE(write(client, file, 0, 10).ok());
          std::size_t deleted = 0;
          auto const note = [&](Result<std::optional<UnlinkReply>> const& reply) {
            ASSERT_TRUE(reply.ok());
            deleted += reply->has_value() && (*reply)->data_unused ? 1U : 0U;
          };
          Scope scope;
          for (int i = 0; i < 3; ++i) {
            scope.spawn([&] {
              auto const opened = client.meta.open(volume.root, file, O_RDONLY);
              if (!opened.ok()) {
                EXPECT_EQ(number(opened), ENOENT);
                return;
              }
              EXPECT_EQ(chunk(client, file, 0).size(), 1U) << "seed " << seed;
              note(client.meta.close(volume.root, file));
            });
          }
          scope.spawn([&] {
            auto const gone = client.meta.unlink(volume.root, kRootIno, "f");
            ASSERT_TRUE(gone.ok());
            deleted += gone->data_unused ? 1U : 0U;
          });
          scope.join();
          EXPECT_LE(deleted, 1U) << "seed " << seed;
          EXPECT_EQ(number(client.meta.getattr(volume.root, file)), ENOENT) << "seed " << seed;
          EXPECT_EQ(usage_of(client).inodes, 0) << "seed " << seed;
          EXPECT_TRUE(
              client.meta.engine().list_sustained(volume.root, client.meta.session(), 10)->empty())
              << "seed " << seed;
        },
        seed);
  }
}

TEST_P(Data, OpenErrors) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f", 0600);
    EXPECT_EQ(number(client.meta.open(testing::as_user(5, 5), file, O_RDONLY)), EACCES);
    EXPECT_EQ(number(client.meta.open(volume.root, Ino{999}, O_RDONLY)), ENOENT);
    EXPECT_EQ(number(client.meta.open(volume.root, kRootIno, O_RDONLY)), EISDIR);
    EXPECT_TRUE(client.meta.unlink(volume.root, kRootIno, "f")->data_unused);  // Nothing counted.
  });
}

TEST_P(Data, ExtendedAttributes) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto& meta = client.meta;
    EXPECT_EQ(number(meta.getxattr(volume.root, file, "user.a")), ENODATA);
    EXPECT_EQ(number(meta.setxattr(volume.root, file, "user.a", "1", kXattrReplace)), ENODATA);
    auto const before = meta.getattr(volume.root, file)->ctime;
    EXPECT_EQ(number(meta.setxattr(volume.root, file, "user.a", "1", 0)), 0);
    EXPECT_GT(meta.getattr(volume.root, file)->ctime, before);
    EXPECT_EQ(number(meta.setxattr(volume.root, file, "user.a", "2", kXattrCreate)), EEXIST);
    EXPECT_EQ(number(meta.setxattr(volume.root, file, "user.a", "2", kXattrReplace)), 0);
    EXPECT_EQ(number(meta.setxattr(volume.root, file, "user.b", "", kXattrCreate)), 0);
    EXPECT_EQ(*meta.getxattr(volume.root, file, "user.a"), "2");
    EXPECT_EQ(meta.listxattr(volume.root, file)->size(), 2U);
    EXPECT_EQ(number(meta.setxattr(volume.root, file, "", "x", 0)), EINVAL);
    EXPECT_EQ(number(meta.setxattr(volume.root, file, "user.x", "x", 3)), EINVAL);
    EXPECT_EQ(number(meta.setxattr(volume.root, file, std::string(256, 'n'), "x", 0)), ERANGE);
    std::string const big(65537, 'v');
    EXPECT_EQ(number(meta.setxattr(volume.root, file, "user.x", big, 0)), ERANGE);
    EXPECT_EQ(number(meta.setxattr(testing::as_user(5, 5), file, "user.x", "x", 0)), EACCES);
    EXPECT_EQ(number(meta.setxattr(testing::as_user(5, 5), file, "trusted.x", "x", 0)), EPERM);
    EXPECT_EQ(number(meta.removexattr(volume.root, file, "user.a")), 0);
    EXPECT_EQ(number(meta.removexattr(volume.root, file, "user.a")), ENODATA);
    EXPECT_EQ(number(meta.listxattr(volume.root, Ino{999})), ENOENT);
  });
}

TEST_P(Data, SetattrChangesWhatWasAskedAndCtime) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f", 0644);
    auto const before = *client.meta.getattr(volume.root, file);
    SetattrRequest request{.ino = file};
    request.mode = std::uint16_t{0640};
    request.uid = 12;
    request.atime = WallTime{.sec = -5, .nsec = 7};
    auto const reply = client.meta.setattr(volume.root, request);
    ASSERT_TRUE(reply.ok());
    auto const after = *client.meta.getattr(volume.root, file);
    EXPECT_EQ(after, *reply);
    EXPECT_EQ(after.mode, 0640);
    EXPECT_EQ(after.uid, 12U);
    EXPECT_EQ(after.gid, before.gid);
    EXPECT_EQ(after.atime, (WallTime{.sec = -5, .nsec = 7}));
    EXPECT_EQ(after.mtime, before.mtime);
    EXPECT_GT(after.ctime, before.ctime);
    EXPECT_EQ(number(client.meta.setattr(volume.root, {.ino = Ino{999}})), ENOENT);
  });
}

TEST_P(Data, RelatimeFollowsReads) {
  run_simulated([&] {
    Volume volume(engine());
    MetaConfig config;
    config.atime = AtimeMode::relatime;
    Client client(volume, config);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(write(client, file, 0, 10).ok());
    auto const before = *client.meta.getattr(volume.root, file);
    ASSERT_EQ(chunk(client, file, 0).size(), 1U);
    auto const after = *client.meta.getattr(volume.root, file);
    EXPECT_GE(after.atime, before.atime);
    EXPECT_EQ(after.ctime, before.ctime);
  });
}

}  // namespace
}  // namespace zest::meta
