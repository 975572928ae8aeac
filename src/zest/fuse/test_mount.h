// For tests and benchmarks: a volume in memory, mounted for real. Needs root and /dev/fuse.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>

#include "zest/base/rng.h"
#include "zest/chunk/block_store.h"
#include "zest/format/setting.h"
#include "zest/fuse/session.h"
#include "zest/meta/engine/memory/memory.h"
#include "zest/meta/meta.h"
#include "zest/object/mem/mem_store.h"
#include "zest/object/testing/expect.h"
#include "zest/runtime/buffer_pool.h"
#include "zest/runtime/loop_group.h"
#include "zest/runtime/pool.h"
#include "zest/vfs/vfs.h"

namespace zest::fuse::testing {

/// Switches FUSE over io_uring on in the kernel, and back to what it was at the end.
class UringSwitch {
 public:
  UringSwitch() {
    std::ifstream(kPath) >> before_;
    std::ofstream(kPath) << "Y";
  }
  ~UringSwitch() { std::ofstream(kPath) << before_; }
  UringSwitch(UringSwitch const&) = delete;
  UringSwitch& operator=(UringSwitch const&) = delete;

 private:
  static constexpr char const* kPath = "/sys/module/fuse/parameters/enable_uring";
  std::string before_ = "N";
};

struct MountSetup {
  LoopKind loop = LoopKind::epoll;
  TransportKind transport = TransportKind::dev;
  std::size_t loops = 2;
  Duration timeout = std::chrono::seconds(1);
  std::string raw_options;
};

/// An empty volume of its own and its mount, in a new directory under /tmp.
class MountedVolume {
 public:
  explicit MountedVolume(MountSetup const& setup) {
    std::string pattern = "/tmp/zest-fuse-test-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    auto group = LoopGroup::create({.kind = setup.loop, .loops = setup.loops}, log);
    EXPECT_TRUE(group.ok());
    loops = *std::move(group);
    setting.name = "test";
    setting.uuid = "4b9a2c8e-0000-4000-8000-000000000001";
    setting.storage = "mem";
    setting.bucket = "mem";
    setting.block_size_kib = 4096;
    setting.trash_days = 0;
    setting.meta_version = 1;
    setting.dir_stats = true;
    vfs::VfsConfig config;
    config.attr_timeout = config.entry_timeout = config.dir_entry_timeout = setup.timeout;
    config.background_jobs = false;
    config.enable_xattr = true;
    config.enable_ioctl = true;
    config.hide_internal = true;
    loops->call(0, [&] { start(config); });
    auto mounted = FuseSession::mount({.mount_point = directory_,
                                       .fs_name = "test",
                                       .transport = setup.transport,
                                       .raw_options = setup.raw_options},
                                      *fs, *loops, log, metrics);
    EXPECT_TRUE(mounted.ok()) << mounted.error().text();
    if (mounted.ok()) {
      session = *std::move(mounted);
    }
  }

  ~MountedVolume() {
    if (session) {
      auto done = session->unmount(UnmountMode::normal);
      EXPECT_TRUE(done.ok()) << done.error().text();
      session.reset();
    }
    loops->call(0, [this] {
      EXPECT_TRUE(fs->stop({}).ok());
      EXPECT_TRUE(meta->stop({}).ok());
      fs.reset();
      meta.reset();
      blocks.reset();
    });
    EXPECT_EQ(::rmdir(directory_.c_str()), 0) << directory_ << " isn't empty";
    EXPECT_EQ(log.error_count(), 0u);
  }
  MountedVolume(MountedVolume const&) = delete;
  MountedVolume& operator=(MountedVolume const&) = delete;

  [[nodiscard]] std::string const& root() const noexcept { return directory_; }
  [[nodiscard]] std::string path(std::string const& name) const { return directory_ + "/" + name; }

 private:
  void start(vfs::VfsConfig const& config) {
    Attr root;
    root.type = FileType::directory;
    root.mode = 0777;
    root.nlink = 2;
    root.length = 4096;
    root.parent = kRootIno;
    EXPECT_TRUE(engine->initialize({}, encode_setting(setting), root, std::nullopt).ok());
    meta = std::make_unique<meta::Meta>(
        *engine, setting, meta::MetaConfig{.background_jobs = false}, clock, rng, log, metrics);
    blocks = std::make_unique<BlockStore>(
        *objects, BlockStoreConfig{.block_size = setting.block_size_bytes()}, pool, cpu, rng, log,
        metrics);
    fs = std::make_unique<vfs::Vfs>(
        config, vfs::Services{
                    .meta = *meta, .blocks = *blocks, .rng = rng, .log = log, .metrics = metrics});
    EXPECT_TRUE(meta->start({}).ok());
    EXPECT_TRUE(fs->start({}).ok());
  }

  std::string directory_;

 public:
  Logger log{{.level = LogLevel::warn}};
  Registry metrics;
  SystemClock clock;
  Rng rng{1};
  Setting setting;
  std::unique_ptr<meta::Engine> engine = meta::make_memory_engine({.yield = false});
  std::unique_ptr<ObjectStore> objects = make_mem_store();
  BlockingPool cpu{{.name = "cpu", .threads = 2, .queue_max = 64}, metrics};
  BufferPool pool{64u << 20, metrics};
  std::unique_ptr<LoopGroup> loops;
  std::unique_ptr<meta::Meta> meta;
  std::unique_ptr<BlockStore> blocks;
  std::unique_ptr<vfs::Vfs> fs;
  std::unique_ptr<FuseSession> session;
};

}  // namespace zest::fuse::testing
