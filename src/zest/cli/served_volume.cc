#include "zest/cli/served_volume.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string_view>
#include <thread>
#include <utility>

#include "zest/admin/file_info.h"
#include "zest/admin/make_directories.h"
#include "zest/admin/volume.h"
#include "zest/cli/environment.h"
#include "zest/object/check_store.h"

namespace zest::cli {
namespace {

/// Compressing and hashing runs as wide as the machine is; file calls mostly wait.
std::size_t cores() {
  return std::max(2u, std::thread::hardware_concurrency());
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](timeval const& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

ServedVolume::ServedVolume(MountRequest const& request, Logger& log)
    : log_(log),
      rng_(random_seed()),
      file_pool_({.name = "files", .threads = std::max<std::size_t>(16, 4 * cores())}, metrics_),
      cpu_pool_({.name = "cpu", .threads = cores()}, metrics_),
      // The rest is for reads under way: a third of this, see BlockStore.
      buffers_(request.buffer_bytes / 4 * 3, metrics_) {}

Result<std::unique_ptr<ServedVolume>> ServedVolume::create(MountRequest const& request,
                                                           MetaUrl const& url, Logger& log) {
  std::unique_ptr<ServedVolume> volume(
      new ServedVolume(request, log));  // tidy: allow(new) private constructor
  ZEST_TRY(volume->loops_, LoopGroup::create(request.loops, log));
  ZEST_TRY(volume->engine_,
           open_engine(url, request.vfs.read_only ? EngineUse::read_only : EngineUse::existing, log,
                       volume->metrics_));
  auto started = volume->loops_->call(0, [&]() -> Result<void> {
    Context const ctx;
    ZEST_TRY(volume->setting_, admin::load_setting(ctx, *volume->engine_));
    ZEST_CHECK(check_features(volume->setting_, request.vfs.read_only));
    ZEST_CHECK(decrypt_secrets(volume->setting_));
    ZEST_CHECK(volume->open_data(ctx, request));
    ZEST_CHECK(volume->find_root(ctx, request));
    return volume->start(ctx, request);
  });
  if (!started.ok()) {
    // The first error is the one that tells something.
    static_cast<void>(volume->stop());
    return std::move(started).error();
  }
  volume->add_gauges();
  return volume;
}

Result<void> ServedVolume::open_data(Context const& ctx, MountRequest const& request) {
  auto place = setting_;
  place.storage = request.storage.value_or(place.storage);
  place.bucket = request.bucket.value_or(place.bucket);
  ZEST_TRY(store_, open_store(place, file_pool_));
  if (request.check_storage) {
    ZEST_CHECK(check_store(ctx, *store_, rng_, MissingBucket::fail));
  }
  auto config = request.blocks;
  config.block_size = setting_.block_size_bytes();
  config.hash_prefix = setting_.hash_prefix;
  config.compression = setting_.compression.empty() ? "none" : setting_.compression;
  config.cache_bytes = request.cache_bytes;
  blocks_ = std::make_unique<BlockStore>(*store_, std::move(config), buffers_, cpu_pool_, rng_,
                                         log_, metrics_);
  return {};
}

Result<void> ServedVolume::find_root(Context const& ctx, MountRequest const& request) {
  if (request.subdir.find_first_not_of('/') == std::string::npos) {
    return {};
  }
  auto found = admin::resolve_path(ctx, *engine_, request.subdir);
  if (failed_with(found, Errc::noent) && !request.vfs.read_only) {
    found = admin::make_directories(ctx,
                                    {.engine = *engine_,
                                     .setting = setting_,
                                     .clock = clock_,
                                     .rng = rng_,
                                     .log = log_,
                                     .metrics = metrics_},
                                    request.subdir);
  }
  if (!found.ok()) {
    return std::move(found).error().with("--subdir " + request.subdir);
  }
  root_ = *found;
  return {};
}

Result<void> ServedVolume::start(Context const& ctx, MountRequest const& request) {
  auto config = request.meta;
  config.root = root_;
  meta_ = std::make_unique<meta::Meta>(*engine_, setting_, std::move(config), clock_, rng_, log_,
                                       metrics_);
  ZEST_CHECK(meta_->start(ctx));
  meta_started_ = true;
  auto vfs_config = request.vfs;
  vfs_config.enable_acl = setting_.enable_acl;
  vfs_ = std::make_unique<vfs::Vfs>(
      std::move(vfs_config),
      vfs::Services{
          .meta = *meta_, .blocks = *blocks_, .rng = rng_, .log = log_, .metrics = metrics_});
  ZEST_CHECK(vfs_->start(ctx));
  vfs_started_ = true;
  return {};
}

void ServedVolume::add_gauges() {
  metrics_.gauge_fn("uptime", "Seconds since the start", [began = clock_.now(), this] {
    return std::chrono::duration<double>(clock_.now() - began).count();
  });
  metrics_.gauge_fn("cpu_usage", "CPU seconds used", cpu_seconds);
}

Result<void> ServedVolume::stop() {
  return loops_->call(0, [this]() -> Result<void> {
    Context const ctx;
    Result<void> first;
    if (std::exchange(vfs_started_, false)) {
      first = vfs_->stop(ctx);
    }
    if (std::exchange(meta_started_, false)) {
      auto second = meta_->stop(ctx);
      if (first.ok()) {
        first = std::move(second);
      }
    }
    vfs_.reset();
    meta_.reset();
    blocks_.reset();
    return first;
  });
}

ServedVolume::~ServedVolume() = default;

}  // namespace zest::cli
