// Background work: deletion, compaction, the hourly cleaning, in virtual time.
#include "zest/vfs/jobs.h"

#include "zest/vfs/vfs_fixture.h"

namespace zest {
namespace {

using testing::Client;
using testing::ClientOptions;
using testing::run_simulated;
using testing::StoreOp;
using testing::text_pattern;
using testing::Volume;

ClientOptions with_jobs() {
  ClientOptions options;
  options.vfs.background_jobs = true;
  return options;
}

void sleep(Duration duration) {
  EXPECT_TRUE(Loop::current()->sleep_for({}, duration).ok());
}

// Goal: what a client could not delete is deleted by the hourly job, by one of two clients.
TEST(Jobs, LeftoversAreDeleted) {
  run_simulated([] {
    Volume volume;
    Client one(volume, with_jobs());
    Client two(volume, with_jobs());
    auto const handle = one.open(one.make_file("f"));
    ASSERT_OK(one.write(handle, 0, text_pattern(300'000, 1)));
    ASSERT_OK(one.close(handle));
    bool broken = true;
    volume.faulty.before = [&](StoreOp op, std::string_view, std::uint64_t) {
      return op == StoreOp::remove && broken ? Result<void>(Error::transient(Errc::io, "away"))
                                             : Result<void>();
    };
    ASSERT_OK(one.fs.unlink(one.ctx, kRootIno, "f"));
    sleep(std::chrono::minutes(30));
    EXPECT_EQ(volume.object_count(), 5u);
    broken = false;
    sleep(std::chrono::minutes(150));
    EXPECT_EQ(volume.object_count(), 0u);
  });
}

// Goal: what another client unlinks while it is open here can be read and written here for as long
// as it is open, whether its data were cached or not; then they go.
TEST(Jobs, FilesUnlinkedElsewhereLiveUntilTheyAreClosed) {
  run_simulated([] {
    Volume volume;
    ClientOptions uncached;
    uncached.cache_bytes = 0;
    Client one(volume, uncached);
    Client two(volume);
    auto const ino = one.make_file("f");
    auto const handle = one.open(ino);
    auto const text = text_pattern(300'000, 1);
    ASSERT_OK(one.write(handle, 0, text));
    ASSERT_OK(one.fs.fsync(one.ctx, handle, false));
    ASSERT_OK(two.fs.unlink(two.ctx, kRootIno, "f"));
    EXPECT_EQ(one.read(handle, 0, 300'000), text);
    sleep(std::chrono::minutes(5));
    EXPECT_EQ(one.read(handle, 0, 300'000), text);
    EXPECT_EQ(one.attr(ino).nlink, 0u);
    ASSERT_OK(one.write(handle, 300'000, "more"));
    ASSERT_OK(one.fs.fsync(one.ctx, handle, false));
    EXPECT_EQ(one.read(handle, 299'999, 10), text.substr(299'999) + "more");
    EXPECT_EQ(volume.object_count(), 6u);
    ASSERT_OK(one.close(handle));
    sleep(std::chrono::minutes(2));
    EXPECT_EQ(volume.object_count(), 0u);
  });
}

// Goal: data of deleted files wait only while others could have them open.
TEST(Jobs, DeletionWaitsOnlyForOtherClients) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const put = [&](std::string_view name) {
      auto const handle = client.open(client.make_file(name));
      ASSERT_OK(client.write(handle, 0, text_pattern(50'000, 1)));
      ASSERT_OK(client.close(handle));
    };
    put("alone");
    ASSERT_OK(client.fs.unlink(client.ctx, kRootIno, "alone"));
    sleep(std::chrono::seconds(1));
    EXPECT_EQ(volume.object_count(), 0u);
    put("a");
    put("b");
    Client other(volume);
    ASSERT_OK(client.fs.unlink(client.ctx, kRootIno, "a"));
    sleep(std::chrono::seconds(30));
    ASSERT_OK(client.fs.unlink(client.ctx, kRootIno, "b"));
    EXPECT_EQ(volume.object_count(), 2u);
    sleep(std::chrono::seconds(31));
    EXPECT_EQ(volume.object_count(), 1u);
    sleep(std::chrono::seconds(30));
    EXPECT_EQ(volume.object_count(), 0u);
  });
}

// Goal: slices that a compaction replaced stay for the trash period and go then, as the metrics
// tell.
TEST(Jobs, DelayedSlicesExpire) {
  run_simulated([] {
    Volume volume(/*trash_days=*/1);
    Client client(volume, with_jobs());
    auto const ino = client.make_file("f");
    auto const handle = client.open(ino);
    for (std::uint64_t i = 0; i < 8; ++i) {
      ASSERT_OK(client.write(handle, i * 100, text_pattern(100, i)));
      ASSERT_OK(client.fs.fsync(client.ctx, handle, false));
    }
    EXPECT_EQ(client.read(handle, 0, 800).size(), 800u);
    sleep(std::chrono::minutes(1));
    EXPECT_EQ(volume.object_count(), 9u);
    sleep(std::chrono::hours(27));
    EXPECT_EQ(volume.object_count(), 1u);
    auto const exposed = client.metrics.prometheus("");
    EXPECT_NE(exposed.find("juicefs_bgjob_items_total{job=\"cleanDelayedSlices\"} 1"),
              std::string::npos)
        << exposed;
    ASSERT_OK(client.close(handle));
  });
}

// Goal: files in the trash survive its days and go afterwards, with their objects.
TEST(Jobs, TrashExpires) {
  run_simulated([] {
    Volume volume(/*trash_days=*/1);
    Client client(volume, with_jobs());
    auto const handle = client.open(client.make_file("f"));
    ASSERT_OK(client.write(handle, 0, text_pattern(100'000, 1)));
    ASSERT_OK(client.close(handle));
    ASSERT_OK(client.fs.unlink(client.ctx, kRootIno, "f"));
    sleep(std::chrono::hours(25));
    EXPECT_EQ(volume.object_count(), 2u);
    EXPECT_EQ(client.list(kTrashIno).size(), 3u);
    sleep(std::chrono::hours(4));
    EXPECT_EQ(volume.object_count(), 0u);
    EXPECT_EQ(client.list(kTrashIno).size(), 2u);
  });
}

// Goal: a file that is only appended to, with a sync after each line, keeps few records.
TEST(Jobs, AppendedFileIsCompacted) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const ino = client.make_file("log");
    auto const handle = client.open(ino);
    std::string expected;
    for (std::uint64_t i = 0; i < 450; ++i) {
      auto const line = text_pattern(100, i);
      ASSERT_OK(client.write(handle, expected.size(), line));
      ASSERT_OK(client.fs.fsync(client.ctx, handle, false));
      expected += line;
    }
    sleep(std::chrono::seconds(5));
    auto const slices = client.meta.read_chunk(client.ctx, ino, ChunkIndex{0});
    ASSERT_OK(slices);
    EXPECT_LT(slices->size(), 200u);
    EXPECT_EQ(client.read(handle, 0, expected.size()), expected);
    ASSERT_OK(client.close(handle));
    client.stop();
    EXPECT_LT(volume.object_count(), 200u);
  });
}

// Goal: a few small writes into a large slice are not worth writing it again; as many bytes of new
// ones as it has are, and very many records always.
TEST(Jobs, RewritingIsInProportion) {
  auto const chunk_of = [](std::uint32_t large, std::size_t small, std::uint32_t length) {
    std::vector<SliceRecord> records{{.pos = 0, .id = SliceId{1}, .size = large, .len = large}};
    for (std::size_t i = 0; i < small; ++i) {
      records.push_back({.pos = static_cast<std::uint32_t>(i * 2 * length),
                         .id = SliceId{i + 2},
                         .size = length,
                         .len = length});
    }
    return records;
  };
  constexpr std::uint32_t kMib = 1u << 20;
  EXPECT_FALSE(vfs::worth_compacting(chunk_of(64 * kMib, 100, 4096)));
  EXPECT_TRUE(vfs::worth_compacting(chunk_of(64 * kMib, 600, 4096)));
  EXPECT_TRUE(vfs::worth_compacting(chunk_of(64 * kMib, 100, 65'536)));
  EXPECT_TRUE(vfs::worth_compacting(chunk_of(100, 1, 100)));
  EXPECT_FALSE(vfs::worth_compacting(chunk_of(100, 0, 1)));
}

// Goal: compaction that loses its race or its store leaves data and objects right.
TEST(Jobs, FailedCompactionLeavesNothing) {
  run_simulated([] {
    Volume volume;
    ClientOptions uncached;
    uncached.cache_bytes = 0;
    Client client(volume, uncached);
    auto const handle = client.open(client.make_file("f"));
    std::string expected;
    for (std::uint64_t i = 0; i < 8; ++i) {
      auto const part = text_pattern(20'000, i);
      ASSERT_OK(client.write(handle, i * 20'000, part));
      ASSERT_OK(client.fs.fsync(client.ctx, handle, false));
      expected += part;
    }
    EXPECT_EQ(volume.object_count(), 8u);
    volume.faulty.before = [&](StoreOp op, std::string_view key, std::uint64_t) {
      return op == StoreOp::put && key.find("_2_") != std::string_view::npos
                 ? Result<void>(Error(Errc::nospc, Fault::semantic, "full"))
                 : Result<void>();
    };
    EXPECT_EQ(client.read(handle, 0, expected.size()), expected);
    sleep(std::chrono::seconds(10));
    EXPECT_EQ(volume.object_count(), 8u);
    EXPECT_EQ(client.read(handle, 0, expected.size()), expected);
    ASSERT_OK(client.close(handle));
  });
}

}  // namespace
}  // namespace zest
