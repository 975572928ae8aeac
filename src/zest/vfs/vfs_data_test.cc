// Reading and writing: order of commits, errors, memory pressure, coherence.
#include <algorithm>
#include <memory>
#include <stop_token>

#include "zest/runtime/sync.h"
#include "zest/vfs/file_reader.h"
#include "zest/vfs/vfs_fixture.h"

namespace zest {
namespace {

using testing::Client;
using testing::ClientOptions;
using testing::run_simulated;
using testing::StoreOp;
using testing::text_pattern;
using testing::Volume;

constexpr Duration kSecond = std::chrono::seconds(1);

// Goal: bytes that are not committed are visible to reads and attributes, in any order of writes.
TEST(VfsData, PendingWritesAreVisible) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const ino = client.make_file("f");
    auto const handle = client.open(ino);
    ASSERT_OK(client.write(handle, 100'000, "behind"));
    EXPECT_EQ(volume.object_count(), 0u);
    EXPECT_EQ(client.attr(ino).length, 100'006u);
    auto const found = client.fs.lookup(client.ctx, kRootIno, "f");
    ASSERT_OK(found);
    EXPECT_EQ(found->attr.length, 100'006u);
    ASSERT_OK(client.write(handle, 5, "front"));
    ASSERT_OK(client.write(handle, 7, "O"));
    EXPECT_EQ(client.read(handle, 5, 5), "frOnt");
    EXPECT_EQ(volume.object_count(), 0u);
    EXPECT_EQ(client.read(handle, 0, 12), std::string("\0\0\0\0\0frOnt\0\0", 12));
    EXPECT_EQ(client.read(handle, 99'998, 100), std::string("\0\0behind", 8));
    ASSERT_OK(client.close(handle));
  });
}

// Goal: idle writes are stored after a second, steady ones after five, without any flush.
TEST(VfsData, BackgroundFlush) {
  run_simulated([] {
    Volume volume;
    Client one(volume);
    Client two(volume);
    auto const ino = one.make_file("f");
    auto const handle = one.open(ino);
    ASSERT_OK(one.write(handle, 0, "abc"));
    ASSERT_OK(Loop::current()->sleep_for(one.ctx, kSecond / 2));
    EXPECT_EQ(two.attr(ino).length, 0u);
    ASSERT_OK(Loop::current()->sleep_for(one.ctx, kSecond));
    EXPECT_EQ(two.attr(ino).length, 3u);
    for (int i = 0; i < 60; ++i) {
      ASSERT_OK(one.write(handle, 3 + static_cast<std::uint64_t>(i), "x"));
      ASSERT_OK(Loop::current()->sleep_for(one.ctx, kSecond / 10));
    }
    EXPECT_GT(two.attr(ino).length, 30u);
    ASSERT_OK(one.close(handle));
    EXPECT_EQ(two.attr(ino).length, 63u);
  });
}

// Goal: the length never covers bytes that are still to be committed, although later blocks were
// stored before earlier ones.
TEST(VfsData, LengthNeverCoversMissingBytes) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    run_simulated(
        [seed] {
          Volume volume;
          Rng rng(seed);
          volume.faulty.before = [&](StoreOp op, std::string_view, std::uint64_t) {
            if (op == StoreOp::put) {
              (void)Loop::current()->sleep_for({}, std::chrono::milliseconds(rng.below(3000)));
            }
            return Result<void>();
          };
          Client writer(volume);
          Client reader(volume);
          auto const ino = writer.make_file("f");
          auto const handle = writer.open(ino);
          auto const start = kChunkSize - 50'000;  // two chunks, several slices
          // Ascending stripes of 'x' with a gap of nothing, so that each is a slice of its own.
          for (std::uint64_t i = 0; i < 10; ++i) {
            ASSERT_OK(writer.write(handle, start + i * 10'000, std::string(9'000, 'x')));
          }
          Scope scope;
          scope.spawn([&] { EXPECT_TRUE(writer.close(handle).ok()); });
          for (int i = 0; i < 40; ++i) {
            (void)Loop::current()->sleep_for({}, std::chrono::milliseconds(100));
            auto const open = reader.open(ino, O_RDONLY);
            auto const length = reader.attr(ino).length;
            for (std::uint64_t at = start; at < length; at += 10'000) {
              ASSERT_EQ(reader.read(open, at, 9'000), std::string(9'000, 'x')) << at;
            }
            ASSERT_OK(reader.close(open));
          }
          scope.join();
          EXPECT_EQ(reader.attr(ino).length, start + 99'000);
        },
        seed);
  }
}

// Goal: an error of a background commit is told once, to the next write, flush or fsync; what was
// uploaded is removed; the file works again afterwards.
TEST(VfsData, ErrorsStickOnce) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    bool full = true;
    volume.faulty.before = [&](StoreOp op, std::string_view key, std::uint64_t) {
      bool const second_block = key.find("_1_") != std::string_view::npos;
      if (op == StoreOp::put && full && second_block) {
        return Result<void>(Error(Errc::nospc, Fault::semantic, "disk full"));
      }
      return Result<void>();
    };
    auto const ino = client.make_file("f");
    auto const handle = client.open(ino);
    ASSERT_OK(client.write(handle, 0, "kept"));
    ASSERT_OK(client.fs.fsync(client.ctx, handle, false));
    ASSERT_OK(client.write(handle, 10, std::string(100'000, 'x')));
    ASSERT_OK(Loop::current()->sleep_for(client.ctx, 3 * kSecond));
    EXPECT_EQ(volume.object_count(), 1u);
    ASSERT_ERRC(client.fs.flush(client.ctx, handle, 0), Errc::nospc);
    ASSERT_OK(client.fs.flush(client.ctx, handle, 0));
    EXPECT_EQ(client.attr(ino).length, 4u);
    full = false;
    ASSERT_OK(client.write(handle, 4, std::string(100'000, 'y')));
    ASSERT_OK(client.close(handle));
    EXPECT_EQ(client.attr(ino).length, 100'004u);
    EXPECT_EQ(client.log.error_count(), 0u);
  });
}

std::string random_writes(Client& client, vfs::Handle handle, std::size_t count) {
  constexpr std::size_t kPage = 1000;
  Rng rng(count);
  std::string expected(600 * kPage, '\0');
  for (std::size_t i = 0; i < count; ++i) {
    auto const at = rng.below(599) * kPage + rng.below(900);
    auto const page = text_pattern(kPage, i);
    EXPECT_TRUE(client.write(handle, at, page).ok());
    expected.replace(at, kPage, page);
  }
  return expected;
}

// Goal: small writes all over a file share objects and commits, the later of two at one place is
// what counts, and deleting the file deletes the objects.
TEST(VfsData, RandomWritesShareObjects) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    Client other(volume);
    auto const ino = client.make_file("f");
    auto const handle = client.open(ino);
    auto const expected = random_writes(client, handle, 90);
    ASSERT_OK(client.close(handle));
    EXPECT_EQ(volume.object_count(), 2u) << "of 64 KiB, where 90 times 1,000 bytes were written";
    auto const reader = other.open(ino);
    auto const length = other.attr(ino).length;
    EXPECT_EQ(other.read(reader, 0, length), expected.substr(0, length));
    ASSERT_OK(other.close(reader));
    ASSERT_OK(client.fs.unlink(client.ctx, kRootIno, "f"));
    ASSERT_OK(Loop::current()->sleep_for(client.ctx, 120 * kSecond));
    EXPECT_EQ(volume.object_count(), 0u);
  });
}

// Goal: when the object of many slices cannot be stored, none of them is committed, the error is
// told once, and the same writes succeed afterwards.
TEST(VfsData, SharedObjectsFailAsOne) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    bool full = true;
    volume.faulty.before = [&](StoreOp op, std::string_view, std::uint64_t) {
      return op == StoreOp::put && full ? Result<void>(Error(Errc::nospc, Fault::semantic, "full"))
                                        : Result<void>();
    };
    auto const ino = client.make_file("f");
    auto const handle = client.open(ino);
    static_cast<void>(random_writes(client, handle, 60));
    ASSERT_ERRC(client.fs.flush(client.ctx, handle, 0), Errc::nospc);
    ASSERT_OK(client.fs.flush(client.ctx, handle, 0));
    EXPECT_EQ(client.attr(ino).length, 0u);
    EXPECT_EQ(volume.object_count(), 0u);
    full = false;
    auto const expected = random_writes(client, handle, 60);
    ASSERT_OK(client.close(handle));
    auto const reader = client.open(ino);
    auto const length = client.attr(ino).length;
    EXPECT_EQ(client.read(reader, 0, length), expected.substr(0, length));
    ASSERT_OK(client.close(reader));
  });
}

// Goal: with a pool of one megabyte, writers of many files, with many open slices each, all get
// through, and everything is right.
TEST(VfsData, ExhaustedBuffers) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    run_simulated(
        [] {
          Volume volume;
          volume.faulty.before = [&](StoreOp op, std::string_view, std::uint64_t) {
            if (op == StoreOp::put) {
              (void)Loop::current()->sleep_for({}, std::chrono::milliseconds(20));
            }
            return Result<void>();
          };
          ClientOptions options;
          options.pool_bytes = 1u << 20;
          Client client(volume, options);
          constexpr std::uint64_t kFiles = 40;
          Scope scope;
          std::vector<vfs::Handle> handles;
          for (std::uint64_t f = 0; f < kFiles; ++f) {
            handles.push_back(client.open(client.make_file("f" + std::to_string(f))));
          }
          for (std::uint64_t f = 0; f < kFiles; ++f) {
            scope.spawn([&, f] {
              for (std::uint64_t i = 0; i < 12; ++i) {
                // Scattered backwards: every write is an open slice of its own.
                auto const offset = (12 - i) * 50'000;
                EXPECT_TRUE(
                    client.write(handles[f], offset, text_pattern(30'000, f * 100 + i)).ok());
              }
            });
          }
          scope.join();
          for (std::uint64_t f = 0; f < kFiles; ++f) {
            for (std::uint64_t i = 0; i < 12; ++i) {
              ASSERT_EQ(client.read(handles[f], (12 - i) * 50'000, 30'000),
                        text_pattern(30'000, f * 100 + i));
            }
            ASSERT_OK(client.close(handles[f]));
          }
          client.stop();  // waits for compactions, which need memory too
          EXPECT_EQ(client.pool.used(), 0u);
        },
        seed);
  }
}

// Goal: parallel writers of one file at neighbouring places don't disturb each other.
TEST(VfsData, ParallelWritersOfOneFile) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    run_simulated(
        [] {
          Volume volume;
          Client client(volume);
          auto const ino = client.make_file("f");
          auto const handle = client.open(ino);
          auto const base = kChunkSize - 300'000;
          Scope scope;
          for (std::uint64_t w = 0; w < 8; ++w) {
            scope.spawn([&, w] {
              for (std::uint64_t i = 0; i < 10; ++i) {
                auto const stripe = i * 8 + w;
                EXPECT_TRUE(
                    client.write(handle, base + stripe * 7'001, text_pattern(7'001, stripe)).ok());
                if (i == w) {
                  EXPECT_TRUE(client.fs.fsync(client.ctx, handle, true).ok());
                }
              }
            });
          }
          scope.join();
          for (std::uint64_t s = 0; s < 80; ++s) {
            ASSERT_EQ(client.read(handle, base + s * 7'001, 7'001), text_pattern(7'001, s)) << s;
          }
          ASSERT_OK(client.close(handle));
        },
        seed);
  }
}

// Goal: a caller who gave up gets EINTR from a write that waits for memory, and nothing hangs.
TEST(VfsData, CancelledWriter) {
  run_simulated([] {
    Volume volume;
    Event blocked;
    volume.faulty.before = [&](StoreOp op, std::string_view, std::uint64_t) {
      if (op == StoreOp::put) {
        blocked.wait();
      }
      return Result<void>();
    };
    ClientOptions options;
    options.pool_bytes = 256u << 10;
    Client client(volume, options);
    auto const handle = client.open(client.make_file("f"));
    std::stop_source stop;
    Context ctx;
    ctx.stop = stop.get_token();
    Scope scope;
    Result<std::size_t> written = std::size_t{0};
    scope.spawn([&] {
      auto const data = text_pattern(1u << 20, 1);
      written = client.fs.write(ctx, handle, 0, as_bytes(data), false);
    });
    ASSERT_OK(Loop::current()->sleep_for({}, 10 * kSecond));
    stop.request_stop();
    scope.join();
    // A part was taken, or nothing.
    EXPECT_TRUE(written.ok() ? *written < (1u << 20) : written.error().code() == Errc::intr);
    blocked.set();
    ASSERT_OK(client.close(handle));
  });
}

// Goal: opening sees what another client closed; the kernel's pages are kept only if nothing
// changed, and own writes don't invalidate them.
TEST(VfsData, CloseToOpen) {
  run_simulated([] {
    Volume volume;
    Client one(volume);
    Client two(volume);
    auto const ino = one.make_file("f");
    auto open = one.fs.open(one.ctx, ino, O_RDWR);
    ASSERT_OK(open);
    ASSERT_OK(one.write(open->handle, 0, "first"));
    ASSERT_OK(one.close(open->handle));
    open = one.fs.open(one.ctx, ino, O_RDONLY);
    ASSERT_OK(open);
    EXPECT_TRUE(open->keep_cache);
    EXPECT_EQ(one.read(open->handle, 0, 10), "first");
    ASSERT_OK(one.close(open->handle));

    auto const other = two.open(ino);
    ASSERT_OK(two.write(other, 0, "other"));
    ASSERT_OK(two.close(other));
    open = one.fs.open(one.ctx, ino, O_RDONLY);
    ASSERT_OK(open);
    EXPECT_FALSE(open->keep_cache);
    EXPECT_EQ(one.read(open->handle, 0, 10), "other");
    ASSERT_OK(one.close(open->handle));
    open = one.fs.open(one.ctx, ino, O_RDONLY);
    ASSERT_OK(open);
    EXPECT_TRUE(open->keep_cache);
    ASSERT_OK(one.close(open->handle));
  });
}

// Goal: a write of another client that our own next commit covers with its time stamp is noticed.
TEST(VfsData, AHiddenWriteOfAnotherClientDropsTheKernelsPages) {
  run_simulated([] {
    Volume volume;
    Client one(volume);
    Client two(volume);
    auto const ino = one.make_file("f");
    auto const mine = one.open(ino);
    ASSERT_OK(one.write(mine, 0, "aaaaaaaaaa"));
    ASSERT_OK(one.fs.fsync(one.ctx, mine, false));
    auto const other = two.open(ino);
    ASSERT_OK(two.write(other, 0, "bb"));
    ASSERT_OK(two.close(other));
    ASSERT_OK(one.write(mine, 8, "cc"));
    ASSERT_OK(one.close(mine));
    auto const open = one.fs.open(one.ctx, ino, O_RDONLY);
    ASSERT_OK(open);
    EXPECT_FALSE(open->keep_cache);
    EXPECT_EQ(one.read(open->handle, 0, 20), "bbaaaaaacc");
    ASSERT_OK(one.close(open->handle));
  });
}

// Goal: an open reader survives that another client compacts the chunk and removes its slices.
TEST(VfsData, ReaderSurvivesCompaction) {
  run_simulated([] {
    Volume volume;
    ClientOptions uncached;
    uncached.cache_bytes = 0;
    Client one(volume, uncached);
    Client two(volume, uncached);
    auto const ino = one.make_file("f");
    auto const handle = one.open(ino);
    std::string expected;
    for (std::uint64_t i = 0; i < 4; ++i) {
      auto const part = text_pattern(10'000, i);
      ASSERT_OK(one.write(handle, i * 10'000, part));
      ASSERT_OK(one.fs.fsync(one.ctx, handle, false));
      expected += part;
    }
    EXPECT_EQ(one.read(handle, 0, 5), expected.substr(0, 5));  // the slice list is cached now
    auto const other = two.open(ino);
    auto const part = text_pattern(10'000, 9);
    ASSERT_OK(two.write(other, 40'000, part));
    ASSERT_OK(two.fs.fsync(two.ctx, other, false));
    EXPECT_EQ(two.read(other, 0, 50'000), expected + part);  // five records: compaction starts
    ASSERT_OK(Loop::current()->sleep_for({}, 10 * kSecond));
    EXPECT_EQ(volume.object_count(), 1u);
    EXPECT_EQ(one.read(handle, 0, 40'000), expected);
    ASSERT_OK(one.close(handle));
    ASSERT_OK(two.close(other));
  });
}

// Goal: a missing object is EIO after a second look, not a hang and not zeros.
TEST(VfsData, MissingObject) {
  run_simulated([] {
    Volume volume;
    ClientOptions uncached;
    uncached.cache_bytes = 0;
    Client client(volume, uncached);
    auto const handle = client.open(client.make_file("f"));
    ASSERT_OK(client.write(handle, 0, "data"));
    ASSERT_OK(client.fs.fsync(client.ctx, handle, false));
    auto const page = volume.objects->list({}, {});
    ASSERT_OK(page);
    ASSERT_OK(volume.objects->remove({}, page->objects.at(0).key));
    ASSERT_ERRC(client.fs.read(client.ctx, handle, 0, 4), Errc::io);
    ASSERT_OK(client.close(handle));
  });
}

// Goal: fsync and close sync what their policy says, and an idle close costs no trip.
TEST(VfsData, SyncPolicies) {
  run_simulated([] {
    Volume volume;
    StoreCapabilities const not_durable{.durable_put = false, .ranged_get = true};
    volume.faulty.capabilities_override = &not_durable;
    auto const syncs = [&] { return volume.faulty.calls(StoreOp::sync); };
    for (auto const policy :
         {vfs::SyncPolicy::close, vfs::SyncPolicy::fsync, vfs::SyncPolicy::never}) {
      SCOPED_TRACE(static_cast<int>(policy));
      ClientOptions options;
      options.vfs.sync = policy;
      Client client(volume, options);
      auto const handle =
          client.open(client.make_file("f" + std::to_string(static_cast<int>(policy))));
      ASSERT_OK(client.write(handle, 0, "data"));
      ASSERT_OK(Loop::current()->sleep_for({}, 3 * kSecond));  // stored in the background
      auto const before = syncs();
      ASSERT_OK(client.fs.flush(client.ctx, handle, 0));
      EXPECT_EQ(syncs() - before, policy == vfs::SyncPolicy::close ? 1u : 0u);
      ASSERT_OK(client.fs.fsync(client.ctx, handle, false));
      EXPECT_EQ(syncs() - before, policy == vfs::SyncPolicy::never ? 0u : 1u);
      auto const trips = volume.engine->trips();
      ASSERT_OK(client.fs.flush(client.ctx, handle, 0));
      EXPECT_EQ(volume.engine->trips(), trips);
      ASSERT_OK(client.close(handle));
    }
  });
}

// Goal: data and holes are found across chunks, also in a huge sparse file.
TEST(VfsData, SeekDataAndHole) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const ino = client.make_file("f");
    auto const handle = client.open(ino);
    auto const far = kChunkSize * 1000 + 5000;
    ASSERT_OK(client.write(handle, 1000, std::string(500, 'x')));
    ASSERT_OK(client.write(handle, far, std::string(500, 'x')));
    ASSERT_OK(client.fs.setattr(client.ctx, {.attrs = {.ino = ino}, .size = far + 10'000}));
    auto const seek = [&](std::uint64_t offset, int whence) {
      auto const found = client.fs.lseek(client.ctx, handle, offset, whence);
      return found.ok() ? static_cast<std::int64_t>(*found) : -found.error().number();
    };
    auto const trips = volume.engine->trips();
    EXPECT_EQ(seek(0, SEEK_DATA), 1000);
    EXPECT_EQ(seek(0, SEEK_HOLE), 0);
    EXPECT_EQ(seek(1200, SEEK_DATA), 1200);
    EXPECT_EQ(seek(1200, SEEK_HOLE), 1500);
    EXPECT_EQ(seek(1500, SEEK_DATA), static_cast<std::int64_t>(far));
    EXPECT_EQ(seek(far + 1, SEEK_HOLE), static_cast<std::int64_t>(far + 500));
    EXPECT_EQ(seek(far + 500, SEEK_DATA), -ENXIO);
    EXPECT_EQ(seek(far + 10'000, SEEK_HOLE), -ENXIO);
    EXPECT_LT(volume.engine->trips() - trips, 20u);
    ASSERT_OK(client.close(handle));
  });
}

// Goal: a client that lost its session writes no more, and says so once.
TEST(VfsData, Fencing) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const handle = client.open(client.make_file("f"));
    ASSERT_OK(client.write(handle, 0, "data"));
    auto other = volume.setting;
    other.uuid = "4b9a2c8e-0000-4000-8000-000000000002";
    ASSERT_OK(volume.engine->initialize({}, encode_setting(other), Attr{}, std::nullopt));
    while (client.meta.alive()) {
      ASSERT_OK(Loop::current()->sleep_for({}, kSecond / 10));
    }
    auto const errors = client.log.error_count();
    ASSERT_ERRC(client.write(handle, 0, "data"), Errc::io);
    ASSERT_ERRC(client.write(handle, 0, "data"), Errc::io);
    EXPECT_LE(client.log.error_count() - errors, 1u);
    client.fs.release(client.ctx, handle, std::nullopt);
  });
}

// Goal: sequential streams get a window that grows and is bounded; random reads get none.
TEST(ReadAhead, WindowGrowsForStreams) {
  vfs::ReadAhead ahead;
  constexpr std::uint64_t kStep = 128 * kKiB;
  constexpr std::uint64_t kMax = 4 * kMiB;
  std::uint64_t fetched = 0;
  for (std::uint64_t i = 0; i < 100; ++i) {
    auto const advice = ahead.note(i * kStep, kStep, kMax);
    EXPECT_TRUE(advice.sequential);
    if (advice.begin < advice.end) {
      EXPECT_GE(advice.begin, fetched);
      fetched = advice.end;
    }
    EXPECT_LE(fetched, (i + 1) * kStep + kMax + kMax / 2);
  }
  EXPECT_GE(fetched, 100 * kStep + kMax / 2);
  vfs::ReadAhead random;
  for (std::uint64_t i = 1; i < 100; ++i) {
    auto const advice = random.note((i * 7919 % 1000) * 10 * kMiB, 4096, kMax);
    EXPECT_FALSE(advice.sequential);
    EXPECT_EQ(advice.begin, advice.end);
  }
}

// Goal: many streams through one handle are all seen.
TEST(ReadAhead, InterleavedStreams) {
  vfs::ReadAhead ahead;
  int sequential = 0;
  for (std::uint64_t i = 0; i < 20; ++i) {
    for (std::uint64_t stream = 1; stream <= 3; ++stream) {
      auto const advice = ahead.note(stream * kGiB + i * 128 * kKiB, 128 * kKiB, 4 * kMiB);
      sequential += advice.sequential ? 1 : 0;
    }
  }
  EXPECT_EQ(sequential, 57);
}

}  // namespace
}  // namespace zest
