// For tests of meta: a volume in memory (or on a given engine) and clients of it on the simulated
// loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "zest/base/assert.h"
#include "zest/base/clock.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/rng.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/memory/memory.h"
#include "zest/meta/meta.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/testing.h"

namespace zest::meta::testing {

/// The clock of the loop that runs the test; as a real one, it never shows the same wall time
/// twice.
class LoopClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return Loop::current()->now(); }
  [[nodiscard]] WallTime wall() const noexcept override {
    auto time = Loop::current()->wall();
    auto const nsec = time.nsec + kStepNs * shown_.fetch_add(1);
    time.sec += static_cast<std::int64_t>(nsec / kNsPerSec);
    time.nsec = static_cast<std::uint32_t>(nsec % kNsPerSec);
    return time;
  }

 private:
  static constexpr std::uint64_t kNsPerSec = 1'000'000'000;
  static constexpr std::uint64_t kStepNs = 1000;  // above what raise_time adds
  mutable std::atomic<std::uint64_t> shown_{0};
};

inline Setting make_setting(std::int64_t trash_days) {
  Setting setting;
  setting.name = "test";
  setting.uuid = "0b6f7a1e-0000-4000-8000-000000000001";
  setting.storage = "mem";
  setting.block_size_kib = 4096;
  setting.trash_days = trash_days;
  setting.meta_version = 1;
  setting.dir_stats = true;
  return setting;
}

inline Attr make_dir(std::uint16_t mode, Ino parent, WallTime now) {
  Attr attr;
  attr.type = FileType::directory;
  attr.mode = mode;
  attr.atime = attr.mtime = attr.ctime = now;
  attr.nlink = 2;
  attr.length = 4096;
  attr.parent = parent;
  return attr;
}

inline Context as_user(std::uint32_t uid, std::uint32_t gid) {
  Context ctx;
  ctx.caller.uid = uid;
  ctx.caller.gid = gid;
  ctx.caller.pid = 1;
  ctx.caller.check_permissions = true;
  return ctx;
}

/// A formatted volume. Construct it on a fiber.
struct Volume {
  explicit Volume(std::unique_ptr<Engine> on, Setting with = make_setting(0),
                  std::uint64_t seed = 1)
      : rng(seed), engine(std::move(on)), setting(std::move(with)) {
    auto const now = clock.wall();
    auto const trash = make_dir(0555, kRootIno, now);
    auto const made =
        engine->initialize(root, encode_setting(setting), make_dir(0777, kRootIno, now),
                           setting.trash_days > 0 ? std::optional(trash) : std::nullopt);
    ZEST_ASSERT(made.ok());
    Commit commit;  // A volume that has statistics from the start.
    commit.changes.emplace_back(Put{DirStatKey{kRootIno}, DirStat{}});
    while (!engine->commit(root, commit).ok()) {
    }
  }

  LoopClock clock;
  Logger log{LogConfig{.level = LogLevel::off, .file = {}, .json = false, .color = false}};
  Rng rng;
  std::unique_ptr<Engine> engine;
  Setting setting;
  Context root;
};

/// One mounted client; start() is the constructor's, stop() the destructor's.
struct Client {
  explicit Client(Volume& volume, MetaConfig config = {})
      : Client(volume, *volume.engine, std::move(config)) {}
  /// With an engine of its own, which outlives it.
  Client(Volume& volume, Engine& engine, MetaConfig config = {})
      : meta(engine, volume.setting, std::move(config), volume.clock, volume.rng, volume.log,
             metrics) {
    ZEST_ASSERT(meta.start(volume.root).ok());
  }
  ~Client() {
    if (!stopped) {
      static_cast<void>(meta.stop(Context{}).ok());
    }
  }
  Client(Client const&) = delete;
  Client& operator=(Client const&) = delete;

  void stop() {
    ZEST_ASSERT(meta.stop(Context{}).ok());
    stopped = true;
  }

  Registry metrics;
  Meta meta;
  bool stopped = false;
};

/// A directory's or file's inode number, made by root with mode `mode`.
inline Result<Ino> make(Client& client, FileType type, Ino parent, std::string_view name,
                        std::uint16_t mode = 0755) {
  MknodRequest request{.parent = parent, .name = name, .type = type, .mode = mode, .target = {}};
  if (type == FileType::symlink) {
    request.target = "target";
  }
  ZEST_TRY(auto const reply, client.meta.mknod(Context{}, request));
  return reply.ino;
}

}  // namespace zest::meta::testing
