// All parts of a mounted volume, built from the bottom up and taken down in the opposite order.
#pragma once

#include <memory>
#include <string>

#include "zest/base/clock.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/chunk/block_store.h"
#include "zest/cli/meta_url.h"
#include "zest/cli/mount.h"
#include "zest/format/setting.h"
#include "zest/meta/engine.h"
#include "zest/meta/meta.h"
#include "zest/object/store.h"
#include "zest/runtime/buffer_pool.h"
#include "zest/runtime/loop_group.h"
#include "zest/runtime/pool.h"
#include "zest/vfs/vfs.h"

namespace zest::cli {

class ServedVolume {
 public:
  /// Opens everything and starts the volume's background work. `log` outlives it. Blocks; on a
  /// foreign thread.
  static Result<std::unique_ptr<ServedVolume>> create(MountRequest const& request,
                                                      MetaUrl const& url, Logger& log);
  /// Stores what is still in memory and closes the session. The error is the first that happened;
  /// all steps are taken anyway.
  Result<void> stop();
  ~ServedVolume();
  ServedVolume(ServedVolume const&) = delete;
  ServedVolume& operator=(ServedVolume const&) = delete;

  [[nodiscard]] vfs::Vfs& vfs() noexcept { return *vfs_; }
  [[nodiscard]] LoopGroup& loops() noexcept { return *loops_; }
  [[nodiscard]] Registry& metrics() noexcept { return metrics_; }
  [[nodiscard]] Setting const& setting() const noexcept { return setting_; }
  /// Inode of the volume that is the mount's root.
  [[nodiscard]] Ino root() const noexcept { return root_; }
  /// Where the data are, for people.
  [[nodiscard]] std::string storage() const { return store_->describe(); }

 private:
  ServedVolume(MountRequest const& request, Logger& log);
  Result<void> open_data(Context const& ctx, MountRequest const& request);
  Result<void> find_root(Context const& ctx, MountRequest const& request);
  Result<void> start(Context const& ctx, MountRequest const& request);
  void add_gauges();

  Logger& log_;
  Registry metrics_;
  SystemClock clock_;
  Rng rng_;
  BlockingPool file_pool_;
  BlockingPool cpu_pool_;
  BufferPool buffers_;
  std::unique_ptr<LoopGroup> loops_;
  std::unique_ptr<meta::Engine> engine_;
  Setting setting_;
  Ino root_ = kRootIno;
  std::unique_ptr<ObjectStore> store_;
  std::unique_ptr<BlockStore> blocks_;
  std::unique_ptr<meta::Meta> meta_;
  std::unique_ptr<vfs::Vfs> vfs_;
  bool meta_started_ = false;
  bool vfs_started_ = false;
};

}  // namespace zest::cli
