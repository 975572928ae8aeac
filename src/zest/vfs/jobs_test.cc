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

template <class T>
void expect_ok(Result<T> const& result) {
  EXPECT_TRUE(result.ok()) << result.error().text();
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
  EXPECT_FALSE(worth_compacting(chunk_of(64 * kMib, 100, 4096)));
  EXPECT_TRUE(worth_compacting(chunk_of(64 * kMib, 600, 4096)));
  EXPECT_TRUE(worth_compacting(chunk_of(64 * kMib, 100, 65'536)));
  EXPECT_TRUE(worth_compacting(chunk_of(100, 1, 100)));
  EXPECT_FALSE(worth_compacting(chunk_of(100, 0, 1)));
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

// Goal: a client that reads while another one rewrites and compacts without a trash, so that the
// objects of every list it knows disappear under it, sees every byte and never an error. Whatever
// the interleaving: each request to the store takes a random while.
TEST(Jobs, ReadersSurviveCompactionsOfOthers) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    run_simulated(
        [&] {
          Volume volume;
          ClientOptions uncached;
          uncached.cache_bytes = 0;
          Client writer(volume, uncached);
          Client reader(volume, uncached);
          Rng rng(seed);
          volume.faulty.before = [&](StoreOp, std::string_view, std::uint64_t) {
            return Loop::current()->sleep_for(
                {}, std::chrono::microseconds(static_cast<std::int64_t>(rng.below(2000))));
          };
          constexpr std::size_t kSize = 200'000;
          constexpr std::size_t kPart = 10'000;
          auto const ino = writer.make_file("f");
          auto const handle = writer.open(ino);
          auto const text = text_pattern(kSize, 1);
          ASSERT_OK(writer.write(handle, 0, text));
          ASSERT_OK(writer.fs.fsync(writer.ctx, handle, false));
          auto const other = reader.open(ino, O_RDONLY);

          bool done = false;
          Scope scope;
          scope.spawn([&] {
            for (int round = 0; round < 30; ++round) {
              // The same bytes again: whatever list a reader has, it must see these.
              for (int i = 0; i < 6; ++i) {
                auto const at = rng.below(kSize / kPart) * kPart;
                expect_ok(writer.write(handle, at, std::string_view(text).substr(at, kPart)));
                expect_ok(writer.fs.fsync(writer.ctx, handle, false));
              }
              EXPECT_EQ(writer.read(handle, 0, kSize), text);  // which starts a compaction
            }
            done = true;
          });
          std::size_t reads = 0;
          while (!done) {
            auto const at = rng.below(kSize / kPart) * kPart;
            ASSERT_EQ(reader.read(other, at, kPart), text.substr(at, kPart)) << "seed " << seed;
            ++reads;
          }
          scope.join();
          EXPECT_GT(reads, 100U);
          ASSERT_OK(writer.close(handle));
          ASSERT_OK(reader.close(other));
          EXPECT_NE(writer.metrics.prometheus("").find("compact_size_histogram_bytes_count"),
                    std::string::npos);
          writer.stop();
          EXPECT_LT(volume.object_count(), 20U);
        },
        seed);
  }
}

// Goal: an object that is gone for good is reported, and once.
TEST(Jobs, ALostObjectIsAnError) {
  run_simulated([] {
    Volume volume;
    ClientOptions uncached;
    uncached.cache_bytes = 0;
    Client client(volume, uncached);
    auto const handle = client.open(client.make_file("f"));
    ASSERT_OK(client.write(handle, 0, text_pattern(1000, 1)));
    ASSERT_OK(client.fs.fsync(client.ctx, handle, false));
    auto const page = volume.objects->list({}, {.prefix = "chunks/"});
    ASSERT_OK(page);
    ASSERT_OK(volume.objects->remove({}, page->objects.at(0).key));
    ASSERT_ERRC(client.fs.read(client.ctx, handle, 0, 1000), Errc::io);
    ASSERT_OK(client.close(handle));
  });
}

// A request to `.control` to compact `ino` with two workers.
std::string compact_request(Ino ino) {
  std::string out("\0\0\3\xF0\0\0\0\x0A", 8);
  for (int shift = 56; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(ino.value >> shift));
  }
  return out.append("\0\2", 2);
}

// Goal: a request to `.control` leaves one slice of every file below a directory, whoever may read
// and write it asks; the answer counts the chunks.
TEST(Jobs, TreesAreCompactedOnRequest) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const dir = client.fs.mkdir(client.ctx, {.parent = kRootIno, .name = "d", .mode = 0755});
    ASSERT_OK(dir);
    std::vector<Ino> files;
    for (auto const* name : {"a", "b", "c"}) {
      files.push_back(client.make_file(name, dir->ino));
      auto const handle = client.open(files.back());
      for (std::uint64_t i = 0; i < 4; ++i) {
        ASSERT_OK(client.write(handle, i * 5000, text_pattern(5000, i)));
        ASSERT_OK(client.fs.fsync(client.ctx, handle, false));
      }
      ASSERT_OK(client.close(handle));
    }
    EXPECT_EQ(volume.object_count(), 12U);
    auto const ask = [&](Ino ino) {
      auto const handle = client.open(client.fs.lookup(client.ctx, kRootIno, ".control")->ino);
      auto const request = compact_request(ino);
      expect_ok(client.write(handle, 0, request));
      sleep(std::chrono::seconds(5));
      auto answer = client.read(handle, request.size(), 1000);
      expect_ok(client.close(handle));
      return answer;
    };
    client.ctx.caller = {.uid = 5, .gid = 6};
    EXPECT_EQ(ask(dir->ino).back(), static_cast<char>(EACCES));
    EXPECT_EQ(volume.object_count(), 12U);
    client.ctx.caller = {};
    EXPECT_TRUE(ask(dir->ino).ends_with(std::string("\xFE\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\3\0", 18)));
    EXPECT_EQ(volume.object_count(), 3U);
    for (auto const ino : files) {
      EXPECT_EQ(client.meta.read_chunk(client.ctx, ino, ChunkIndex{0})->size(), 1U);
      auto const handle = client.open(ino);
      EXPECT_EQ(client.read(handle, 15'000, 5000), text_pattern(5000, 3));
      ASSERT_OK(client.close(handle));
    }
    EXPECT_EQ(ask(Ino{4711}).back(), static_cast<char>(ENOENT));
  });
}

}  // namespace
}  // namespace zest
