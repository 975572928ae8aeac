#include <algorithm>
#include <random>
#include <set>

#include "zest/chunk/chunk_fixture.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/sync.h"

namespace zest {
namespace {

using testing::Bench;
using testing::bytes_of;
using testing::pattern;
using testing::run_on_loop;
using testing::run_simulated;
using testing::StoreOp;

constexpr std::uint32_t kBlock = 64u << 10;

/// Puts a slice's objects into the store behind the BlockStore, as another client would have.
void put_slice(Bench& bench, SliceId id, std::span<std::byte const> data) {
  auto const size = static_cast<std::uint32_t>(data.size());
  for (std::uint32_t i = 0; i < block_count(size, kBlock); ++i) {
    auto const length = block_length(size, kBlock, i);
    ByteView const parts[] = {data.subspan(std::size_t{i} * kBlock, length)};
    ASSERT_OK(bench.objects->put(bench.ctx, block_key(id, i, length, false), parts));
  }
}

struct ReadArgs {
  SliceId id;
  std::uint32_t size = 0;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
  bool whole = false;
};
Result<std::vector<std::byte>> read(Bench& bench, ReadArgs const& args) {
  DataView view;
  ZEST_CHECK(
      bench.blocks.read(bench.ctx, args.id, args.size, args.offset, args.length, args.whole, view));
  return bytes_of(view);
}

// Goal: any range of any slice, read either way, with and without a cache, is the bytes stored.
TEST(BlockStore, RandomReadsEqualAnArray) {
  for (std::size_t const cache : {std::size_t{0}, std::size_t{400'000}, std::size_t{8} << 20}) {
    for (std::string const compression : {"none", "lz4", "zstd"}) {
      SCOPED_TRACE(compression + " cache " + std::to_string(cache));
      run_on_loop([&] {
        auto config = Bench::small_blocks();
        config.cache_bytes = cache;
        config.compression = compression;
        Bench bench(config);
        std::mt19937_64 random(5);
        std::vector<std::vector<std::byte>> slices;
        for (std::uint64_t id = 1; id <= 8; ++id) {
          slices.push_back(pattern(1 + random() % 500'000, id));
          SliceWriter writer(bench.blocks);
          writer.set_id({id});
          ASSERT_OK(writer.write(bench.ctx, 0, slices.back()));
          ASSERT_OK(writer.finish(bench.ctx, false));
        }
        for (int i = 0; i < 400; ++i) {
          auto const which = random() % slices.size();
          auto const& slice = slices[which];
          auto const offset = random() % slice.size();
          auto const length = 1 + random() % (slice.size() - offset);
          auto const got = read(bench, {.id = {which + 1},
                                        .size = static_cast<std::uint32_t>(slice.size()),
                                        .offset = static_cast<std::uint32_t>(offset),
                                        .length = static_cast<std::uint32_t>(length),
                                        .whole = random() % 2 == 0});
          ASSERT_OK(got);
          ASSERT_TRUE(std::ranges::equal(*got, std::span(slice).subspan(offset, length)));
        }
        EXPECT_LE(bench.metrics.gauge("blockcache_bytes", "").value(),
                  static_cast<std::int64_t>(cache));
        EXPECT_EQ(bench.pool.used(), 0u);
      });
    }
  }
}

TEST(BlockStore, SliceZeroIsZeros) {
  run_on_loop([] {
    Bench bench;
    auto const got = read(bench, {.size = 300'000, .offset = 5, .length = 200'000});
    ASSERT_OK(got);
    EXPECT_EQ(*got, std::vector<std::byte>(200'000));
    EXPECT_EQ(bench.faulty.calls(StoreOp::get), 0u);
  });
}

TEST(BlockStore, ReadBeyondTheSliceIsRefused) {
  run_on_loop([] {
    Bench bench;
    ASSERT_ERRC(read(bench, {.id = {1}, .size = 10, .offset = 5, .length = 6}), Errc::inval);
    ASSERT_ERRC(read(bench, {.id = {1}, .size = 10, .offset = 11, .length = 0}), Errc::inval);
  });
}

// Goal: cached bytes are handed out where they lie.
TEST(BlockStore, CachedReadsCopyNothing) {
  run_on_loop([] {
    Bench bench;
    put_slice(bench, {1}, pattern(kBlock, 1));
    DataView first;
    DataView second;
    ASSERT_OK(bench.blocks.read(bench.ctx, {1}, kBlock, 0, kBlock, true, first));
    ASSERT_OK(bench.blocks.read(bench.ctx, {1}, kBlock, 1000, 500, false, second));
    ASSERT_EQ(first.pieces().size(), 1u);
    ASSERT_EQ(second.pieces().size(), 1u);
    EXPECT_EQ(first.pieces()[0].bytes.data() + 1000, second.pieces()[0].bytes.data());
    EXPECT_EQ(bench.faulty.calls(StoreOp::get), 1u);
    EXPECT_EQ(bench.metrics.counter("blockcache_hits", "").value(), 1u);
    EXPECT_EQ(bench.metrics.counter("blockcache_hit_bytes", "").value(), 500u);
    EXPECT_EQ(bench.metrics.counter("blockcache_miss", "").value(), 1u);
  });
}

// Goal: bytes in a view stay what they are when their block is evicted and its slice removed.
TEST(BlockStore, ViewsOutliveEviction) {
  run_on_loop([] {
    auto config = Bench::small_blocks();
    config.cache_bytes = 100'000;  // one block
    Bench bench(config);
    auto const data = pattern(kBlock, 1);
    put_slice(bench, {1}, data);
    put_slice(bench, {2}, pattern(kBlock * 4, 2));
    DataView view;
    ASSERT_OK(bench.blocks.read(bench.ctx, {1}, kBlock, 0, kBlock, true, view));
    ASSERT_OK(read(bench, {.id = {2}, .size = kBlock * 4, .length = kBlock * 4, .whole = true}));
    ASSERT_OK(bench.blocks.remove_slice(bench.ctx, {1}, kBlock));
    EXPECT_EQ(bytes_of(view), data);
  });
}

// Goal: fifty fibers that want one block make one request.
TEST(BlockStore, EqualReadsAreMerged) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    run_simulated(
        [] {
          Bench bench;
          auto const data = pattern(kBlock, 1);
          put_slice(bench, {1}, data);
          bench.faulty.before = [&](StoreOp, std::string_view, std::uint64_t) {
            return Loop::current()->sleep_for(bench.ctx, std::chrono::milliseconds(20));
          };
          Scope scope;
          for (int i = 0; i < 50; ++i) {
            scope.spawn([&] {
              auto const got =
                  read(bench, {.id = {1}, .size = kBlock, .length = kBlock, .whole = true});
              ASSERT_OK(got);
              ASSERT_EQ(*got, data);
            });
          }
          scope.join();
          EXPECT_EQ(bench.faulty.calls(StoreOp::get), 1u);
        },
        seed);
  }
}

// Goal: when the fiber that reads for others is cancelled, the others get the block all the same.
TEST(BlockStore, CancelledLeaderHarmsNobody) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    run_simulated(
        [] {
          Bench bench;
          auto const data = pattern(kBlock, 1);
          put_slice(bench, {1}, data);
          bench.faulty.before = [&](StoreOp, std::string_view, std::uint64_t number) {
            Context const ctx;  // a store that does not notice the stop at once
            auto const slow = std::chrono::milliseconds(number == 1 ? 50 : 5);
            return Loop::current()->sleep_for(ctx, slow);
          };
          bench.faulty.after = [&](StoreOp, std::string_view,
                                   std::uint64_t number) -> Result<void> {
            return number == 1 ? Result<void>(Errc::intr) : Result<void>();
          };
          std::stop_source stop;
          Scope scope;
          scope.spawn([&] {
            Context ctx;
            ctx.stop = stop.get_token();
            DataView view;
            ASSERT_ERRC(bench.blocks.read(ctx, {1}, kBlock, 0, kBlock, true, view), Errc::intr);
          });
          ASSERT_OK(Loop::current()->sleep_for(bench.ctx, std::chrono::milliseconds(5)));
          for (int i = 0; i < 10; ++i) {
            scope.spawn([&] {
              auto const got =
                  read(bench, {.id = {1}, .size = kBlock, .length = kBlock, .whole = true});
              ASSERT_OK(got);
              ASSERT_EQ(*got, data);
            });
          }
          ASSERT_OK(Loop::current()->sleep_for(bench.ctx, std::chrono::milliseconds(5)));
          stop.request_stop();
          scope.join();
          EXPECT_EQ(bench.faulty.calls(StoreOp::get), 2u);
        },
        seed);
  }
}

// Goal: a waiter's own deadline ends its wait, not the read.
TEST(BlockStore, WaitersHaveTheirOwnDeadline) {
  run_simulated([] {
    Bench bench;
    put_slice(bench, {1}, pattern(kBlock, 1));
    bench.faulty.before = [&](StoreOp, std::string_view, std::uint64_t) {
      return Loop::current()->sleep_for(bench.ctx, std::chrono::seconds(2));
    };
    Scope scope;
    scope.spawn([&] {
      ASSERT_OK(read(bench, {.id = {1}, .size = kBlock, .length = kBlock, .whole = true}));
    });
    Loop::current()->yield();
    ASSERT_OK(Loop::current()->sleep_for(bench.ctx, std::chrono::milliseconds(1)));
    Context ctx;
    ctx.deadline = Loop::current()->now() + std::chrono::milliseconds(100);
    DataView view;
    ASSERT_ERRC(bench.blocks.read(ctx, {1}, kBlock, 0, kBlock, true, view), Errc::timedout);
    EXPECT_EQ(view.size(), 0u);
    scope.join();
    EXPECT_EQ(bench.faulty.calls(StoreOp::get), 1u);
  });
}

// Goal: a random reader moves only what it asks for, until it comes back often.
TEST(BlockStore, RandomReadersGetRanges) {
  run_on_loop([] {
    Bench bench;
    auto const data = pattern(kBlock, 1);
    put_slice(bench, {1}, data);
    for (std::uint32_t i = 0; i < 3; ++i) {
      ASSERT_OK(read(bench, {.id = {1}, .size = kBlock, .offset = i * 10'000, .length = 1000}));
    }
    EXPECT_EQ(bench.faulty.bytes_got(), 3000u);
    ASSERT_OK(read(bench, {.id = {1}, .size = kBlock, .offset = 50'000, .length = 1000}));
    EXPECT_EQ(bench.faulty.bytes_got(), 3000u + kBlock);
    ASSERT_OK(read(bench, {.id = {1}, .size = kBlock, .offset = 60'000, .length = 1000}));
    EXPECT_EQ(bench.faulty.calls(StoreOp::get), 4u);
  });
}

// Goal: where a request costs next to nothing, pieces do not push whole blocks out of the cache.
TEST(BlockStore, NearStoresAreReadInPieces) {
  run_on_loop([] {
    Bench bench;
    StoreCapabilities const near{.durable_put = true, .near = true};
    bench.faulty.capabilities_override = &near;
    put_slice(bench, {1}, pattern(kBlock, 1));
    for (std::uint32_t i = 0; i < 512; ++i) {
      ASSERT_OK(read(bench, {.id = {1}, .size = kBlock, .offset = i * 10, .length = 100}));
    }
    EXPECT_EQ(bench.faulty.bytes_got(), 51'200u);
  });
}

TEST(BlockStore, StoresWithoutRangesAreReadWhole) {
  run_on_loop([] {
    Bench bench;
    StoreCapabilities const no_ranges{.durable_put = true, .ranged_get = false};
    bench.faulty.capabilities_override = &no_ranges;
    put_slice(bench, {1}, pattern(kBlock, 1));
    ASSERT_OK(read(bench, {.id = {1}, .size = kBlock, .offset = 10'000, .length = 1000}));
    EXPECT_EQ(bench.faulty.bytes_got(), kBlock);
  });
}

TEST(BlockStore, PrefetchFillsTheCache) {
  run_on_loop([] {
    Bench bench;
    auto const data = pattern(5 * kBlock, 1);
    put_slice(bench, {1}, data);
    bench.blocks.prefetch({1}, 5 * kBlock, kBlock, 3 * kBlock);
    while (bench.metrics.gauge("blockcache_blocks", "").value() < 3) {
      Loop::current()->yield();
    }
    EXPECT_EQ(bench.faulty.calls(StoreOp::get), 3u);
    auto const got = read(
        bench,
        {.id = {1}, .size = 5 * kBlock, .offset = kBlock, .length = 3 * kBlock, .whole = true});
    ASSERT_OK(got);
    EXPECT_TRUE(std::ranges::equal(*got, std::span(data).subspan(kBlock, 3 * kBlock)));
    EXPECT_EQ(bench.faulty.calls(StoreOp::get), 3u);
  });
}

// Goal: prefetching is bounded, dropped beyond the bound, and harmless on missing objects.
TEST(BlockStore, PrefetchIsBounded) {
  run_simulated([] {
    auto config = Bench::small_blocks();
    config.prefetches_max = 3;
    Bench bench(config);
    bench.faulty.before = [&](StoreOp, std::string_view, std::uint64_t) {
      return Loop::current()->sleep_for(bench.ctx, std::chrono::milliseconds(10));
    };
    bench.blocks.prefetch({1}, 64 * kBlock, 0, 64 * kBlock);
    ASSERT_OK(Loop::current()->sleep_for(bench.ctx, std::chrono::seconds(1)));
    EXPECT_EQ(bench.faulty.calls(StoreOp::get), 3u);
    EXPECT_EQ(bench.faulty.peak(StoreOp::get), 3u);
  });
}

// Goal: a missing object is reported at once, as what it is.
TEST(BlockStore, MissingObjectIsNotRetried) {
  run_on_loop([] {
    Bench bench;
    for (bool const whole : {false, true}) {
      ASSERT_ERRC(read(bench, {.id = {1}, .size = kBlock, .length = 10, .whole = whole}),
                  Errc::noent);
    }
    EXPECT_EQ(bench.faulty.calls(StoreOp::get), 2u);
  });
}

// Goal: objects that are too short are EIO with the key in the message, never wrong bytes; each
// kind of lie, for both kinds of reads.
TEST(BlockStore, ShortObjectsAreErrors) {
  for (bool const whole : {false, true}) {
    for (std::size_t const kept : {std::size_t{0}, std::size_t{5'500}, std::size_t{kBlock} - 1}) {
      run_simulated([&] {
        Bench bench;
        auto const short_body = pattern(kept, 1);
        ByteView const parts[] = {short_body};
        ASSERT_OK(bench.objects->put(bench.ctx, "chunks/0/0/1_0_65536", parts));
        auto const offset = whole ? 0u : kBlock - 1000;
        auto const result = read(
            bench, {.id = {1}, .size = kBlock, .offset = offset, .length = 1000, .whole = whole});
        ASSERT_ERRC(result, Errc::io);
        EXPECT_NE(result.error().text().find("1_0_65536"), std::string::npos);
        EXPECT_EQ(bench.faulty.calls(StoreOp::get), 3u);
      });
    }
  }
}

TEST(BlockStore, ShortReadOnceIsRepaired) {
  run_simulated([] {
    Bench bench;
    auto const data = pattern(kBlock, 1);
    put_slice(bench, {1}, data);
    int calls = 0;
    bench.faulty.distort = [&](std::string_view, ByteRange, ByteSpan, std::size_t got) {
      return ++calls == 1 ? got / 2 : got;
    };
    auto const got = read(bench, {.id = {1}, .size = kBlock, .length = kBlock});
    ASSERT_OK(got);
    EXPECT_EQ(*got, data);
    EXPECT_EQ(bench.metrics.counter("object_request_errors", "").value(), 1u);
  });
}

// Goal: damage in a compressed object is found, whatever byte it hits, or the bytes are right.
TEST(BlockStore, DamagedCompressedObjectsNeverOverflow) {
  for (std::string const compression : {"lz4", "zstd"}) {
    run_simulated([&] {
      auto config = Bench::small_blocks();
      config.compression = compression;
      config.cache_bytes = 0;
      config.retries = 0;
      Bench bench(config);
      std::vector<std::byte> const data(kBlock, std::byte{'x'});
      ByteView const parts[] = {data};
      ASSERT_OK(bench.blocks.write_block(bench.ctx, {.id = {1}, .index = 0, .size = kBlock}, parts,
                                         false));
      std::mt19937_64 random(9);
      int errors = 0;
      for (int i = 0; i < 200; ++i) {
        bench.faulty.distort = [&](std::string_view, ByteRange, ByteSpan out, std::size_t got) {
          out[random() % got] = static_cast<std::byte>(random() % 256);
          return got - random() % 2;
        };
        auto const got = read(bench, {.id = {1}, .size = kBlock, .length = kBlock});
        ASSERT_TRUE(got.ok() || got.error().code() == Errc::io);
        errors += got.ok() ? 0 : 1;
      }
      EXPECT_GT(errors, 50);
    });
  }
}

// Goal: failures that pass are survived, the n-th, n = 1…; those that stay are EIO after the tries.
TEST(BlockStore, RetriesUntilSuccessOrLimit) {
  run_simulated([] {
    Bench bench;
    auto const data = pattern(kBlock, 1);
    put_slice(bench, {1}, data);
    auto const start = Loop::current()->now();
    bench.faulty.before = [](StoreOp, std::string_view, std::uint64_t number) -> Result<void> {
      return number <= 2 ? Result<void>(Error::transient(Errc::connreset, "gone")) : Result<void>();
    };
    ASSERT_OK(read(bench, {.id = {1}, .size = kBlock, .length = kBlock}));
    EXPECT_EQ(bench.faulty.calls(StoreOp::get), 3u);
    EXPECT_GE(Loop::current()->now() - start, std::chrono::milliseconds(150));  // two pauses
    bench.faulty.fail_all(StoreOp::get, Errc::connreset, Fault::transient);
    ASSERT_ERRC(read(bench, {.id = {2}, .size = kBlock, .length = kBlock}), Errc::io);
    EXPECT_EQ(bench.faulty.calls(StoreOp::get), 6u);
  });
}

TEST(BlockStore, RetriesEndWithTheDeadlineAndTheStop) {
  run_simulated([] {
    auto config = Bench::small_blocks();
    config.retries = 1000;
    Bench bench(config);
    bench.faulty.fail_all(StoreOp::get, Errc::connreset, Fault::transient);
    auto* const loop = Loop::current();
    Context late;
    late.deadline = loop->now() + std::chrono::seconds(10);
    DataView view;
    ASSERT_ERRC(bench.blocks.read(late, {1}, kBlock, 0, kBlock, true, view), Errc::timedout);
    EXPECT_LE(loop->now(), late.deadline + std::chrono::milliseconds(1));
    std::stop_source stop;
    Context stopped;
    stopped.stop = stop.get_token();
    Scope scope;
    scope.spawn([&] {
      ASSERT_OK(loop->sleep_for(bench.ctx, std::chrono::seconds(3)));
      stop.request_stop();
    });
    ASSERT_ERRC(bench.blocks.read(stopped, {1}, kBlock, 0, kBlock, true, view), Errc::intr);
    scope.join();
  });
}

// Goal: answers about the store's state reach the writer as they are, at once.
TEST(BlockStore, FullStoreIsReportedAtOnce) {
  for (auto const code : {Errc::nospc, Errc::dquot, Errc::rofs}) {
    run_on_loop([&] {
      Bench bench;
      bench.faulty.fail_all(StoreOp::put, code, Fault::semantic);
      auto const data = pattern(100, 1);
      ByteView const parts[] = {data};
      ASSERT_ERRC(
          bench.blocks.write_block(bench.ctx, {.id = {1}, .index = 0, .size = 100}, parts, true),
          code);
      EXPECT_EQ(bench.faulty.calls(StoreOp::put), 1u);
      ASSERT_ERRC(read(bench, {.id = {1}, .size = 100, .length = 100}), Errc::noent);
    });
  }
}

TEST(BlockStore, WrittenBlocksAreReadFromTheCache) {
  run_on_loop([] {
    Bench bench;
    auto const data = pattern(1000, 1);
    auto buffer = bench.pool.acquire(bench.ctx, 1000);
    ASSERT_OK(buffer);
    std::ranges::copy(data, buffer->data());
    ASSERT_OK(bench.blocks.write_block(bench.ctx, {.id = {1}, .index = 0, .size = 1000},
                                       *std::move(buffer), 1000, true));
    EXPECT_EQ(bench.pool.used(), 0u);
    auto const got = read(bench, {.id = {1}, .size = 1000, .length = 1000});
    ASSERT_OK(got);
    EXPECT_EQ(*got, data);
    EXPECT_EQ(bench.faulty.calls(StoreOp::get), 0u);
  });
}

// Goal: a slice is removed completely, from cache and store, with several requests at once.
TEST(BlockStore, RemoveSlice) {
  run_simulated([] {
    Bench bench;
    put_slice(bench, {1}, pattern(20 * kBlock + 5, 1));
    put_slice(bench, {2}, pattern(5, 2));
    ASSERT_OK(read(bench, {.id = {1}, .size = 20 * kBlock + 5, .length = kBlock, .whole = true}));
    bench.faulty.before = [&](StoreOp, std::string_view, std::uint64_t) {
      return Loop::current()->sleep_for(bench.ctx, std::chrono::milliseconds(10));
    };
    ASSERT_OK(bench.blocks.remove_slice(bench.ctx, {1}, 20 * kBlock + 5));
    EXPECT_EQ(bench.faulty.calls(StoreOp::remove), 21u);
    EXPECT_GT(bench.faulty.peak(StoreOp::remove), 1u);
    EXPECT_LE(bench.faulty.peak(StoreOp::remove), 8u);
    auto const page = bench.objects->list(bench.ctx, {});
    ASSERT_OK(page);
    EXPECT_EQ(page->objects.size(), 1u);
    ASSERT_ERRC(read(bench, {.id = {1}, .size = 20 * kBlock + 5, .length = kBlock, .whole = true}),
                Errc::noent);
    ASSERT_OK(bench.blocks.remove_slice(bench.ctx, {1}, 20 * kBlock + 5));  // again is fine
    bench.faulty.fail_all(StoreOp::remove, Errc::acces, Fault::semantic);
    ASSERT_ERRC(bench.blocks.remove_slice(bench.ctx, {2}, 5), Errc::io);
  });
}

TEST(BlockStore, SyncAsksOnlyWhereNeededAndOnlyOnce) {
  run_on_loop([] {
    Bench bench;
    ASSERT_OK(bench.blocks.sync_slice(bench.ctx, {1}, 3 * kBlock));
    EXPECT_EQ(bench.faulty.calls(StoreOp::sync), 0u);  // mem says durable_put
    StoreCapabilities const lazy;
    bench.faulty.capabilities_override = &lazy;
    ASSERT_OK(bench.blocks.sync_slice(bench.ctx, {1}, 3 * kBlock));
    EXPECT_EQ(bench.faulty.calls(StoreOp::sync), 1u);
    bench.faulty.fail_all(StoreOp::sync, Errc::io, Fault::transient);
    ASSERT_ERRC(bench.blocks.sync_slice(bench.ctx, {1}, 3 * kBlock), Errc::io);
    EXPECT_EQ(bench.faulty.calls(StoreOp::sync), 2u);  // a failed flush is never repeated
  });
}

TEST(BlockStore, DownloadsAreBounded) {
  run_simulated([] {
    auto config = Bench::small_blocks();
    config.downloads_max = 4;
    Bench bench(config);
    for (std::uint64_t id = 1; id <= 30; ++id) {
      put_slice(bench, {id}, pattern(100, id));
    }
    bench.faulty.before = [&](StoreOp, std::string_view, std::uint64_t) {
      return Loop::current()->sleep_for(bench.ctx, std::chrono::milliseconds(10));
    };
    Scope scope;
    for (std::uint64_t id = 1; id <= 30; ++id) {
      scope.spawn([&bench, id] {
        auto const got = read(bench, {.id = {id}, .size = 100, .length = 100, .whole = true});
        ASSERT_OK(got);
        ASSERT_EQ(*got, pattern(100, id));
      });
    }
    scope.join();
    EXPECT_EQ(bench.faulty.peak(StoreOp::get), 4u);
  });
}

TEST(BlockStore, RequestsAreCounted) {
  run_on_loop([] {
    Bench bench;
    auto const data = pattern(100, 1);
    ByteView const parts[] = {data};
    ASSERT_OK(
        bench.blocks.write_block(bench.ctx, {.id = {1}, .index = 0, .size = 100}, parts, false));
    ASSERT_OK(read(bench, {.id = {1}, .size = 100, .length = 100}));
    ASSERT_OK(bench.blocks.remove_slice(bench.ctx, {1}, 100));
    auto const text = bench.metrics.stats();
    for (auto const* line :
         {"juicefs_object_request_durations_histogram_seconds_GET_total 1",
          "juicefs_object_request_durations_histogram_seconds_PUT_total 1",
          "juicefs_object_request_durations_histogram_seconds_DELETE_total 1",
          "juicefs_object_request_data_bytes_GET 100", "juicefs_object_request_data_bytes_PUT 100",
          "juicefs_object_request_errors 0", "juicefs_object_request_uploading 0",
          "juicefs_used_buffer_size_bytes 0"}) {
      EXPECT_NE(text.find(line), std::string::npos) << line << "\nin\n" << text;
    }
  });
}

}  // namespace
}  // namespace zest
