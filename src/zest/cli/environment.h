// Builds what a command works on: the only place that names concrete engines and stores.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "zest/base/clock.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/cli/meta_url.h"
#include "zest/format/setting.h"
#include "zest/meta/engine.h"
#include "zest/object/store.h"
#include "zest/runtime/loop_group.h"
#include "zest/runtime/pool.h"

namespace zest::cli {

enum class EngineUse : std::uint8_t {
  create,    ///< `format`: an empty database is fine
  existing,  ///< the database must be there
  read_only,
};

/// How long a call waits for a server that is away: a mount sits out its restart; a person who
/// typed a wrong port wants to know.
constexpr Duration kPatienceOfMounts = std::chrono::seconds(30);
constexpr Duration kPatienceOfCommands = std::chrono::seconds(3);

/// Connects to the metadata engine of `url`. ENOTSUP for engines of the format that this version
/// lacks, EINVAL for a scheme nobody knows. Messages show the redacted URL. Blocks.
Result<std::unique_ptr<meta::Engine>> open_engine(MetaUrl const& url, EngineUse use, Logger& log,
                                                  Registry& metrics,
                                                  Duration patience = kPatienceOfMounts);

/// The META-URL with relative paths made absolute, for what outlives the current directory.
MetaUrl absolute_url(MetaUrl url);

/// The volume's store: its shards as one, with its `{Name}/`, encrypted if it has a key, whose
/// passphrase is taken from the variable JFS_RSA_PASSPHRASE. Secrets in `setting` are plain.
/// ENOTSUP for storages and ciphers that this version lacks, EACCES for a passphrase that is
/// missing or wrong. `pool` outlives the store.
Result<std::unique_ptr<ObjectStore>> open_store(Setting const& setting, BlockingPool& pool);

/// Refuses a volume with features that this client doesn't keep up, and would therefore damage or
/// misread. A read-only client may do more.
Result<void> check_features(Setting const& setting, bool read_only);

/// What every short command needs, on one loop.
class Workshop {
 public:
  static Result<std::unique_ptr<Workshop>> create(LogConfig const& log);
  ~Workshop();
  Workshop(Workshop const&) = delete;
  Workshop& operator=(Workshop const&) = delete;

  /// Reads the URL (with a password from the environment) and opens its engine.
  Result<void> open(std::string_view meta_url, EngineUse use);
  /// Runs `fn(Context const&)` on a fiber, where engines and stores may be called.
  template <class Fn>
  auto run(Fn&& fn) -> std::invoke_result_t<Fn, Context const&> {
    Context const ctx;
    return loops_->call(0, [&] { return std::forward<Fn>(fn)(ctx); });
  }

  [[nodiscard]] MetaUrl const& url() const noexcept { return url_; }
  [[nodiscard]] meta::Engine& engine() noexcept { return *engine_; }
  [[nodiscard]] BlockingPool& pool() noexcept { return pool_; }
  [[nodiscard]] Logger& log() noexcept { return log_; }
  [[nodiscard]] Registry& metrics() noexcept { return metrics_; }
  [[nodiscard]] Clock const& clock() const noexcept { return clock_; }
  [[nodiscard]] Rng& rng() noexcept { return rng_; }

 private:
  explicit Workshop(LogConfig const& log);
  Logger log_;
  Registry metrics_;
  SystemClock clock_;
  Rng rng_;
  BlockingPool pool_;
  MetaUrl url_;
  std::unique_ptr<LoopGroup> loops_;
  std::unique_ptr<meta::Engine> engine_;
};

/// A seed that differs from run to run.
std::uint64_t random_seed();

}  // namespace zest::cli
