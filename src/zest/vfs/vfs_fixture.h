// For the tests of this module: volumes in memory and clients on them.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/rng.h"
#include "zest/chunk/block_store.h"
#include "zest/format/setting.h"
#include "zest/meta/engine/memory/memory.h"
#include "zest/meta/meta.h"
#include "zest/object/mem/mem_store.h"
#include "zest/object/testing/expect.h"
#include "zest/object/testing/faulty_store.h"
#include "zest/runtime/buffer_pool.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/pool.h"
#include "zest/runtime/testing.h"
#include "zest/vfs/vfs.h"

namespace zest::testing {

/// The time of the loop that asks, so that simulations have virtual time everywhere.
class LoopClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return Loop::current()->now(); }
  [[nodiscard]] WallTime wall() const noexcept override { return Loop::current()->wall(); }
};

/// What clients share: metadata and objects. Small blocks, so that tests stay fast.
struct Volume {
  explicit Volume(std::int64_t trash_days = 0, meta::MemoryEngineOptions options = {})
      : engine(meta::make_memory_engine(std::move(options))),
        objects(make_mem_store()),
        faulty(*objects) {
    setting.name = "test";
    setting.uuid = "4b9a2c8e-0000-4000-8000-000000000001";
    setting.storage = "mem";
    setting.bucket = "mem";
    setting.block_size_kib = 64;
    setting.trash_days = trash_days;
    setting.meta_version = 1;
    setting.dir_stats = true;
    initialize();
  }
  /// On another engine.
  Volume(std::unique_ptr<meta::Engine> other, std::unique_ptr<ObjectStore> store)
      : engine(std::move(other)), objects(std::move(store)), faulty(*objects) {
    setting.name = "test";
    setting.uuid = "4b9a2c8e-0000-4000-8000-000000000001";
    setting.storage = "file";
    setting.bucket = "somewhere";
    setting.block_size_kib = 64;
    setting.meta_version = 1;
    initialize();
  }

  void initialize() {
    auto const directory = [](std::uint16_t mode, Ino parent) {
      return Attr{
          .type = FileType::directory, .mode = mode, .nlink = 2, .length = 4096, .parent = parent};
    };
    std::optional<Attr> trash;
    if (setting.trash_days > 0) {
      trash = directory(0555, kRootIno);
    }
    auto made = engine->initialize({}, encode_setting(setting), directory(0777, kRootIno), trash);
    EXPECT_TRUE(made.ok()) << made.error().text();
  }
  [[nodiscard]] std::size_t object_count() {
    auto page = objects->list({}, {.prefix = "chunks/", .limit = 100'000});
    return page.ok() ? page->objects.size() : 0;
  }

  Setting setting;
  std::unique_ptr<meta::Engine> engine;
  std::unique_ptr<ObjectStore> objects;
  FaultyStore faulty;
};

struct ClientOptions {
  vfs::VfsConfig vfs = quiet();
  std::size_t pool_bytes = 16u << 20;
  std::size_t cache_bytes = 1u << 20;
  std::uint64_t seed = 1;

  /// Without hourly jobs, so that a simulation ends when its work is done.
  static vfs::VfsConfig quiet() {
    vfs::VfsConfig config;
    config.background_jobs = false;
    config.enable_xattr = true;
    config.enable_ioctl = true;
    config.mount_point = "/mnt/test";
    config.version = "0.0.0-test";
    return config;
  }
};

/// One mounted client. Create, use and destroy it on a fiber.
struct Client {
  explicit Client(Volume& v, ClientOptions options = {})
      : volume(v),
        rng(options.seed),
        pool(options.pool_bytes, metrics),
        blocks(v.faulty,
               {.block_size = v.setting.block_size_bytes(),
                .cache_bytes = options.cache_bytes,
                .retries = 1},
               pool, cpu, rng, log, metrics),
        meta(*v.engine, v.setting, {.background_jobs = false}, clock, rng, log, metrics),
        fs(options.vfs,
           {.meta = meta, .blocks = blocks, .rng = rng, .log = log, .metrics = metrics}) {
    auto started = meta.start(ctx);
    EXPECT_TRUE(started.ok()) << started.error().text();
    EXPECT_TRUE(fs.start(ctx).ok());
  }
  ~Client() { stop(); }
  void stop() {
    if (!stopped) {
      stopped = true;
      stop_result = fs.stop(ctx);
      EXPECT_TRUE(meta.stop(ctx).ok());
    }
  }

  Ino make_file(std::string_view name, Ino parent = kRootIno) {
    auto made = fs.mknod(ctx, {.parent = parent, .name = name, .mode = 0644});
    EXPECT_TRUE(made.ok()) << name << ": " << made.error().text();
    return made.ok() ? made->ino : Ino{};
  }
  vfs::Handle open(Ino ino, std::uint32_t flags = O_RDWR) {
    auto opened = fs.open(ctx, ino, flags);
    EXPECT_TRUE(opened.ok()) << opened.error().text();
    return opened.ok() ? opened->handle : vfs::Handle{};
  }
  /// close(2): flush and release; returns what flush said.
  Result<void> close(vfs::Handle handle) {
    auto flushed = fs.flush(ctx, handle, 0);
    fs.release(ctx, handle, std::nullopt);
    return flushed;
  }
  Result<std::size_t> write(vfs::Handle handle, std::uint64_t offset, std::string_view text) {
    return fs.write(ctx, handle, offset, as_bytes(text), false);
  }
  std::string read(vfs::Handle handle, std::uint64_t offset, std::size_t size) {
    auto view = fs.read(ctx, handle, offset, size);
    EXPECT_TRUE(view.ok()) << view.error().text();
    std::string out;
    if (view.ok()) {
      out.resize(view->size());
      view->copy_to(std::as_writable_bytes(std::span(out.data(), out.size())));
    }
    return out;
  }
  Attr attr(Ino ino) {
    auto got = fs.getattr(ctx, ino, std::nullopt);
    EXPECT_TRUE(got.ok()) << got.error().text();
    return got.ok() ? got->attr : Attr{};
  }
  /// All names of a directory.
  std::vector<std::string> list(Ino ino, bool plus = false) {
    std::vector<std::string> names;
    auto opened = fs.opendir(ctx, ino);
    EXPECT_TRUE(opened.ok());
    std::uint64_t offset = 0;
    for (bool more = true; more;) {
      more = false;
      std::size_t taken = 0;
      auto done = fs.readdir(ctx, opened->handle, offset, plus, [&](vfs::DirItem const& item) {
        if (taken == 100) {
          return false;
        }
        names.emplace_back(item.name);
        offset = item.next_offset;
        ++taken;
        more = true;
        return true;
      });
      EXPECT_TRUE(done.ok()) << done.error().text();
      more = more && done.ok();
    }
    fs.releasedir(ctx, opened->handle);
    return names;
  }

  Volume& volume;
  Context ctx;
  LoopClock clock;
  Registry metrics;
  Logger log{{.level = LogLevel::error, .file = {}, .json = false, .color = false}};
  Rng rng;
  BlockingPool cpu{{.name = "cpu", .threads = 2, .queue_max = 64}, metrics};
  BufferPool pool;
  BlockStore blocks;
  meta::Meta meta;
  vfs::Vfs fs;
  bool stopped = false;
  Result<void> stop_result;
};

/// A file as an array of bytes, sparse: what the real one is compared with.
class ModelFile {
 public:
  [[nodiscard]] std::uint64_t length() const noexcept { return length_; }
  void write(std::uint64_t offset, std::string_view bytes) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      byte(offset + i) = bytes[i];
    }
    length_ = std::max(length_, offset + bytes.size());
  }
  void truncate(std::uint64_t length) {
    zero(length, length_);
    length_ = length;
  }
  void zero(std::uint64_t begin, std::uint64_t end) {
    for (auto at = begin; at < end;) {
      auto const page_end = (at / kPage + 1) * kPage;
      auto const it = pages_.find(at / kPage);
      if (it != pages_.end()) {
        auto const stop = std::min(end, page_end);
        std::fill(it->second.begin() + static_cast<std::ptrdiff_t>(at % kPage),
                  it->second.begin() + static_cast<std::ptrdiff_t>(stop - (page_end - kPage)),
                  '\0');
      }
      at = page_end;
    }
  }
  void grow(std::uint64_t length) { length_ = std::max(length_, length); }
  [[nodiscard]] std::string read(std::uint64_t offset, std::size_t size) const {
    if (offset >= length_) {
      return {};
    }
    std::string out(static_cast<std::size_t>(std::min<std::uint64_t>(size, length_ - offset)),
                    '\0');
    for (std::size_t i = 0; i < out.size(); ++i) {
      auto const it = pages_.find((offset + i) / kPage);
      if (it != pages_.end()) {
        out[i] = it->second[(offset + i) % kPage];
      }
    }
    return out;
  }

 private:
  static constexpr std::uint64_t kPage = 4096;
  char& byte(std::uint64_t at) {
    auto& page = pages_[at / kPage];
    page.resize(kPage);
    return page[at % kPage];
  }
  std::map<std::uint64_t, std::string> pages_;
  std::uint64_t length_ = 0;
};

/// `size` bytes that differ from place to place and from seed to seed.
inline std::string text_pattern(std::size_t size, std::uint64_t seed) {
  std::string out(size, '\0');
  std::uint64_t x = seed * 0x9E3779B97F4A7C15ULL + 1;
  for (auto& c : out) {
    x = x * 6364136223846793005ULL + 1442695040888963407ULL;
    c = static_cast<char>(x >> 56);
  }
  return out;
}

}  // namespace zest::testing
