#include <algorithm>
#include <atomic>
#include <random>
#include <span>

#include "zest/chunk/chunk_fixture.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/loop_group.h"
#include "zest/runtime/sync.h"

namespace zest {
namespace {

using testing::Bench;
using testing::bytes_of;
using testing::pattern;
using testing::run_on_loop;
using testing::run_simulated;
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

// Goal: the failure of any upload reaches the next write or finish, and stays.
TEST(SliceWriter, UploadErrorsStick) {
  for (std::uint64_t nth = 1; nth <= 5; ++nth) {
    SCOPED_TRACE(nth);
    run_simulated([nth] {
      Bench bench;
      bench.faulty.fail_nth(StoreOp::put, nth, Errc::nospc, Fault::semantic);
      SliceWriter writer(bench.blocks);
      writer.set_id({1});
      auto const data = pattern(100'000, 1);
      Result<void> written;
      for (std::uint32_t i = 0; i < 3 && written.ok(); ++i) {
        written = writer.write(bench.ctx, i * 100'000, data);
        Loop::current()->yield();
      }
      ASSERT_TRUE(written.ok() || written.error().code() == Errc::nospc);
      ASSERT_ERRC(writer.finish(bench.ctx, true), Errc::nospc);
      ASSERT_ERRC(writer.finish(bench.ctx, true), Errc::nospc);
      EXPECT_EQ(bench.pool.used(), 0u);
    });
  }
}

// Goal: a lost reply to a put is a retry, and the slice is right.
TEST(SliceWriter, LostRepliesAreRetried) {
  run_simulated([] {
    Bench bench;
    bench.faulty.after = [](StoreOp op, std::string_view, std::uint64_t number) -> Result<void> {
      return op == StoreOp::put && number % 2 == 1
                 ? Result<void>(Error::transient(Errc::connreset, "lost"))
                 : Result<void>();
    };
    auto const data = pattern(150'000, 1);
    SliceWriter writer(bench.blocks);
    writer.set_id({1});
    ASSERT_OK(writer.write(bench.ctx, 0, data));
    ASSERT_OK(writer.finish(bench.ctx, false));
    EXPECT_EQ(read_all(bench, {1}, 150'000), data);
  });
}

// Goal: who gives up waiting in finish() may ask again; the uploads were not harmed.
TEST(SliceWriter, FinishMayBeRepeatedAfterATimeOut) {
  run_simulated([] {
    Bench bench;
    bench.faulty.before = [&](StoreOp, std::string_view, std::uint64_t) {
      return Loop::current()->sleep_for(bench.ctx, std::chrono::seconds(5));
    };
    auto const data = pattern(150'000, 1);
    SliceWriter writer(bench.blocks);
    writer.set_id({1});
    ASSERT_OK(writer.write(bench.ctx, 0, data));
    Context late;
    late.deadline = Loop::current()->now() + std::chrono::seconds(1);
    ASSERT_ERRC(writer.finish(late, false), Errc::timedout);
    std::stop_source stopped;
    stopped.request_stop();
    Context stop;
    stop.stop = stopped.get_token();
    ASSERT_ERRC(writer.finish(stop, false), Errc::intr);
    ASSERT_OK(writer.finish(bench.ctx, false));
    EXPECT_EQ(bench.faulty.calls(StoreOp::put), 3u);
    EXPECT_EQ(read_all(bench, {1}, 150'000), data);
  });
}

// Goal: durable finish flushes the objects after all of them are stored, a plain one doesn't.
TEST(SliceWriter, DurableFinishSyncs) {
  for (bool const durable : {false, true}) {
    run_on_loop([durable] {
      Bench bench;
      StoreCapabilities const lazy;
      bench.faulty.capabilities_override = &lazy;
      std::uint64_t puts_before_sync = 0;
      bench.faulty.before = [&](StoreOp op, std::string_view, std::uint64_t) -> Result<void> {
        if (op == StoreOp::sync) {
          puts_before_sync = bench.faulty.calls(StoreOp::put);
        }
        return {};
      };
      SliceWriter writer(bench.blocks);
      writer.set_id({1});
      ASSERT_OK(writer.write(bench.ctx, 0, pattern(150'000, 1)));
      ASSERT_OK(writer.finish(bench.ctx, durable));
      EXPECT_EQ(bench.faulty.calls(StoreOp::sync), durable ? 1u : 0u);
      EXPECT_EQ(puts_before_sync, durable ? 3u : 0u);
    });
  }
}

// Goal: abort takes away every object of the slice, before and after finish().
TEST(SliceWriter, AbortRemovesWhatWasUploaded) {
  for (bool const finished : {false, true}) {
    run_on_loop([finished] {
      Bench bench;
      SliceWriter writer(bench.blocks);
      writer.set_id({1});
      ASSERT_OK(writer.write(bench.ctx, 0, pattern(150'000, 1)));
      if (finished) {
        ASSERT_OK(writer.finish(bench.ctx, false));
        ASSERT_EQ(bench.faulty.calls(StoreOp::put), 3u);
      }
      writer.abort(bench.ctx);
      auto const page = bench.objects->list(bench.ctx, {});
      ASSERT_OK(page);
      EXPECT_TRUE(page->objects.empty());
      EXPECT_EQ(bench.pool.used(), 0u);
    });
  }
}

// Goal: a writer that is dropped gives its memory back and ends its uploads, also hanging ones.
TEST(SliceWriter, DestructionEndsUploads) {
  run_simulated([] {
    auto config = Bench::small_blocks();
    config.retries = 1000;
    Bench bench(config);
    bench.faulty.fail_all(StoreOp::put, Errc::connreset, Fault::transient);
    auto const start = Loop::current()->now();
    {
      SliceWriter writer(bench.blocks);
      writer.set_id({1});
      ASSERT_OK(writer.write(bench.ctx, 0, pattern(150'000, 1)));
      ASSERT_OK(Loop::current()->sleep_for(bench.ctx, std::chrono::seconds(1)));
    }
    EXPECT_LT(Loop::current()->now() - start, std::chrono::seconds(2));
    EXPECT_EQ(bench.pool.used(), 0u);
  });
}

TEST(SliceWriter, WritesBeyondAChunkAreRefused) {
  run_on_loop([] {
    Bench bench;
    SliceWriter writer(bench.blocks);
    std::byte const bytes[2] = {};
    ASSERT_ERRC(writer.write(bench.ctx, 64u << 20, bytes), Errc::inval);
    ASSERT_ERRC(writer.write(bench.ctx, (64u << 20) - 1, bytes), Errc::inval);
  });
}

// Goal: uploads never exceed their bound, the pool never its limit.
TEST(SliceWriter, UploadsAreBounded) {
  run_simulated([] {
    auto config = Bench::small_blocks();
    config.uploads_max = 3;
    Bench bench(config, 1u << 20);
    bench.faulty.before = [&](StoreOp, std::string_view, std::uint64_t) {
      EXPECT_LE(bench.pool.used(), bench.pool.limit());
      return Loop::current()->sleep_for(bench.ctx, std::chrono::milliseconds(10));
    };
    auto const data = pattern(4u << 20, 1);
    SliceWriter writer(bench.blocks);
    writer.set_id({1});
    ASSERT_OK(writer.write(bench.ctx, 0, data));
    ASSERT_OK(writer.finish(bench.ctx, false));
    EXPECT_EQ(bench.faulty.peak(StoreOp::put), 3u);
    EXPECT_EQ(read_all(bench, {1}, 4u << 20), data);
  });
}

/// What vfs does with a file that is written in pieces: a new slice whenever memory is short.
struct FileModel {
  struct Slice {
    SliceId id;
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
  };
  std::vector<Slice> slices;
};

Result<void> finish_slice(Bench& bench, SliceWriter& writer, std::uint32_t offset,
                          FileModel& file) {
  if (writer.length() == 0) {
    return {};
  }
  ZEST_CHECK(writer.finish(bench.ctx, false));
  file.slices.push_back({writer.id(), offset, writer.length()});
  return {};
}

Result<void> write_file(Bench& bench, std::span<std::byte const> data, std::uint32_t piece,
                        std::atomic<std::uint64_t>& next_id, FileModel& file) {
  std::uint32_t start = 0;  // of the open slice
  auto writer = std::make_unique<SliceWriter>(bench.blocks);
  writer->set_id({next_id++});
  for (std::uint32_t at = 0; at < data.size();) {
    auto const bytes = data.subspan(at, std::min<std::size_t>(piece, data.size() - at));
    auto result = writer->write(bench.ctx, at - start, bytes);
    if (failed_with(result, Errc::again)) {
      ZEST_CHECK(finish_slice(bench, *writer, start, file));
      writer = std::make_unique<SliceWriter>(bench.blocks);
      writer->set_id({next_id++});
      start = at;
      continue;
    }
    ZEST_CHECK(std::move(result));
    at += static_cast<std::uint32_t>(bytes.size());
    Loop::current()->yield();  // others get their turn while this one holds a part of a block
  }
  return finish_slice(bench, *writer, start, file);
}

void check_file(Bench& bench, std::span<std::byte const> data, FileModel const& file) {
  std::vector<std::byte> got(data.size());
  for (auto const& slice : file.slices) {
    auto const bytes = read_all(bench, slice.id, slice.size);
    ASSERT_EQ(bytes.size(), slice.size);
    std::ranges::copy(bytes, got.begin() + slice.offset);
  }
  ASSERT_TRUE(std::ranges::equal(got, data));
}

// Goal: 64 writers that together want far more blocks than the pool holds come to an end, in any
// order of their steps.
TEST(SliceWriter, ManyWritersOnASmallPoolDoNotDeadlock) {
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    SCOPED_TRACE(seed);
    run_simulated(
        [] {
          Bench bench({.block_size = 1u << 20, .cache_bytes = 0}, 16u << 20);
          std::atomic<int> pressure = 0;
          bench.blocks.on_memory_pressure([&] { ++pressure; });
          std::atomic<std::uint64_t> next_id = 1;
          auto const data = pattern(2'500'000, 1);
          std::vector<FileModel> files(64);
          Scope scope;
          for (auto& file : files) {
            scope.spawn([&] {
              auto const result = write_file(bench, data, 100'000, next_id, file);
              ASSERT_TRUE(result.ok()) << result.error().text();
            });
          }
          scope.join();
          EXPECT_GT(pressure, 0);
          for (auto const& file : files) {
            check_file(bench, data, file);
          }
          EXPECT_EQ(bench.pool.used(), 0u);
        },
        seed);
  }
}

// Goal: writers of whole blocks wait instead of asking for a new slice, and end too.
TEST(SliceWriter, WholeBlockWritersNeverStartAgain) {
  run_simulated([] {
    Bench bench({.block_size = 4u << 20, .cache_bytes = 0}, 16u << 20);
    auto const data = pattern(5'000'000, 1);
    Scope scope;
    for (std::uint64_t id = 1; id <= 12; ++id) {
      scope.spawn([&, id] {
        SliceWriter writer(bench.blocks, SliceWriter::Memory::whole_blocks);
        writer.set_id({id});
        for (std::uint32_t at = 0; at < data.size(); at += 100'000) {
          ASSERT_OK(writer.write(bench.ctx, at, std::span(data).subspan(at, 100'000)));
          Loop::current()->yield();
        }
        ASSERT_OK(writer.finish(bench.ctx, false));
        ASSERT_EQ(read_all(bench, {id}, 5'000'000), data);
      });
    }
    scope.join();
  });
}

// Goal: 32 writers and readers on two loops at once; memory stays within its limit, bytes are
// right.
TEST(SliceWriter, WritersOnSeveralLoops) {
  Logger log({.level = LogLevel::error, .file = {}, .json = false, .color = false});
  auto group =
      LoopGroup::create({.kind = LoopKind::epoll, .loops = 2, .pin = false, .loop = {}}, log);
  ASSERT_OK(group);
  auto bench = std::make_unique<Bench>(
      BlockStoreConfig{.block_size = 256u << 10, .cache_bytes = 2u << 20}, 4u << 20);
  bench->faulty.before = [&](StoreOp, std::string_view, std::uint64_t) -> Result<void> {
    EXPECT_LE(bench->pool.used(), bench->pool.limit());
    Loop::current()->yield();
    return {};
  };
  auto const data = pattern(700'000, 1);
  std::atomic<std::uint64_t> next_id = 1;
  std::vector<FileModel> files(32);
  Scope scope;
  for (std::size_t i = 0; i < files.size(); ++i) {
    scope.spawn_on((*group)->loop(i % 2), [&, i] {
      auto const result = write_file(*bench, data, 30'000, next_id, files[i]);
      ASSERT_TRUE(result.ok()) << result.error().text();
      check_file(*bench, data, files[i]);
    });
  }
  scope.join();
  EXPECT_EQ(bench->pool.used(), 0u);
  (*group)->call(0, [&] { bench.reset(); });
}

}  // namespace
}  // namespace zest
