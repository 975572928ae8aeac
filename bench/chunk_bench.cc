// What the data path costs without metadata and kernel: MB/s and CPU seconds per GiB through
// SliceWriter and BlockStore, on the mem and the file store.
//
//   chunk_bench [DIRECTORY [MIB [ROUNDS]]]      (default: /tmp, 512, 5)
//
// Every round runs all rows once, so that rows are comparable; medians are printed. The file store
// works in the page cache: this measures us, not the disk.
#include <stdlib.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/rng.h"
#include "zest/base/types.h"
#include "zest/chunk/block_store.h"
#include "zest/object/file/file_store.h"
#include "zest/object/mem/mem_store.h"
#include "zest/runtime/buffer_pool.h"
#include "zest/runtime/pool.h"
#include "zest/runtime/testing.h"

namespace zest {
namespace {

constexpr std::uint32_t kPiece = 128 * kKiB;  // what the kernel sends and asks for
constexpr std::uint32_t kSlice = 64 * kMiB;
constexpr std::uint64_t kWarmSlices = 3;  // more than the cache

struct Row {
  std::vector<double> speed;
  std::vector<double> cpu;
};
using Rows = std::map<std::string, Row>;

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  auto const seconds = [](timeval t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void measure(Rows& rows, std::string const& name, std::uint64_t bytes,
             std::function<void()> const& work) {
  auto const cpu = cpu_seconds();
  auto const start = std::chrono::steady_clock::now();
  work();
  std::chrono::duration<double> const time = std::chrono::steady_clock::now() - start;
  auto& row = rows[name];
  row.speed.push_back(static_cast<double>(bytes) / 1e6 / time.count());
  row.cpu.push_back((cpu_seconds() - cpu) * static_cast<double>(kGiB) / static_cast<double>(bytes));
}

void must(Result<void> const& result) {
  if (!result.ok()) {
    std::fprintf(stderr, "chunk_bench: %s\n", result.error().text().c_str());
    std::exit(1);
  }
}

/// A BlockStore with empty caches.
struct Stack {
  Stack(ObjectStore& store, BlockStoreConfig config)
      : pool(300u << 20, metrics), blocks(store, std::move(config), pool, cpu, rng, log, metrics) {}
  Registry metrics;
  Logger log{{.level = LogLevel::warn, .file = {}, .json = false, .color = false}};
  Rng rng{1};
  BlockingPool cpu{{.name = "cpu", .threads = 2, .queue_max = 64}, metrics};
  BufferPool pool;
  BlockStore blocks;
  Context ctx;
};

void write_slices(Stack& stack, std::uint64_t count, std::vector<std::byte> const& data) {
  for (std::uint64_t id = 1; id <= count; ++id) {
    SliceWriter writer(stack.blocks);
    writer.set_id({id});
    for (std::uint32_t at = 0; at < kSlice; at += kPiece) {
      must(writer.write(stack.ctx, at, ByteView(data).subspan(at % data.size(), kPiece)));
    }
    must(writer.finish(stack.ctx, false));
  }
}

void read_slices(Stack& stack, std::uint64_t first, std::uint64_t count, std::uint32_t window) {
  std::vector<std::byte> reply(kPiece);
  for (std::uint64_t id = first; id < first + count; ++id) {
    for (std::uint32_t at = 0; at < kSlice; at += kPiece) {
      if (window > 0 && at % (4 * kMiB) == 0) {
        stack.blocks.prefetch({id}, kSlice, at, std::min(window, kSlice - at));
      }
      DataView view;
      must(stack.blocks.read(stack.ctx, {id}, kSlice, at, kPiece, true, view));
      view.copy_to(reply);  // as the reply to the kernel would
    }
  }
}

void read_randomly(Stack& stack, std::uint64_t count, std::uint64_t reads) {
  std::vector<std::byte> reply(4 * kKiB);
  for (std::uint64_t i = 0; i < reads; ++i) {
    DataView view;
    auto const offset = static_cast<std::uint32_t>(stack.rng.below(kSlice / 4096) * 4096);
    must(stack.blocks.read(stack.ctx, {1 + stack.rng.below(count)}, kSlice, offset, 4096, false,
                           view));
    view.copy_to(reply);
  }
}

void run_round(Rows& rows, std::string const& name, ObjectStore& store, std::uint64_t slices,
               std::vector<std::byte> const& data) {
  auto const bytes = slices * kSlice;
  for (std::string const compression : {"none", "lz4"}) {
    auto const label = name + (compression == "none" ? "" : " " + compression);
    BlockStoreConfig const config{.compression = compression, .cache_bytes = 128u << 20};
    {
      Stack stack(store, config);
      measure(rows, label + " write 128K", bytes, [&] { write_slices(stack, slices, data); });
    }
    {
      Stack stack(store, config);
      // Fill the cache first: a running client has touched its memory long ago.
      read_slices(stack, 1, kWarmSlices, 32 * kMiB);
      measure(rows, label + " read 128K cold", bytes - kWarmSlices * kSlice,
              [&] { read_slices(stack, 1 + kWarmSlices, slices - kWarmSlices, 32 * kMiB); });
      if (compression == "none") {
        read_slices(stack, 1, 1, 0);
        measure(rows, label + " read 128K cached", 8 * std::uint64_t{kSlice}, [&] {
          for (int i = 0; i < 8; ++i) {
            read_slices(stack, 1, 1, 0);
          }
        });
      }
    }
    if (compression == "none") {
      auto uncached = config;
      uncached.cache_bytes = 0;
      Stack stack(store, uncached);
      constexpr std::uint64_t kReads = 20'000;
      measure(rows, label + " read 4K random", kReads * 4096,
              [&] { read_randomly(stack, slices, kReads); });
    }
  }
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void run(std::string const& directory, std::uint64_t mib, int rounds) {
  auto const slices = std::max(kWarmSlices + 1, mib * kMiB / kSlice);
  // Half of it compresses.
  Rng rng(1);
  std::vector<std::byte> data(8 * kMiB);
  for (std::size_t i = 0; i < data.size(); ++i) {
    data[i] = i % 256 < 128 ? static_cast<std::byte>(rng.below(256)) : std::byte{'x'};
  }
  Rows rows;
  for (int round = 0; round < rounds; ++round) {
    Registry metrics;
    BlockingPool pool({.name = "object", .threads = 4, .queue_max = 256}, metrics);
    auto const mem = make_mem_store();
    run_round(rows, "mem ", *mem, slices, data);
    std::string root = directory + "/zest-chunk-bench-XXXXXX";
    if (::mkdtemp(root.data()) == nullptr) {
      must(Error::from_errno(errno, "creating " + root));
    }
    auto file = make_file_store({.root = root}, pool);
    must(file.ok() ? Result<void>() : Result<void>(file.error().clone()));
    run_round(rows, "file", **file, slices, data);
    std::filesystem::remove_all(root);
  }
  std::printf("%-28s %10s %14s\n", "", "MB/s", "CPU s per GiB");
  for (auto const& [name, row] : rows) {
    std::printf("%-28s %10.0f %14.3f\n", name.c_str(), median(row.speed), median(row.cpu));
  }
}

}  // namespace
}  // namespace zest

int main(int argc, char** argv) {
  std::string const directory = argc > 1 ? argv[1] : "/tmp";
  auto const mib = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 512;
  int const rounds = argc > 3 ? static_cast<int>(std::strtol(argv[3], nullptr, 10)) : 5;
  zest::testing::run_on_loop([&] { zest::run(directory, mib, std::max(rounds, 1)); });
}
