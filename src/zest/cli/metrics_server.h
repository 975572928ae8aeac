// GET /metrics for Prometheus: a few lines of HTTP/1.1 on a loop, one connection a fiber.
#pragma once

#include <memory>
#include <string>

#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/sync.h"

namespace zest::cli {

class MetricsServer {
 public:
  /// Serves on `loop` until destroyed. `address` is HOST:PORT with a numeric host; when the port is
  /// taken, any free one is used, as the peer does. `labels` (Prometheus form) are added to every
  /// sample. `metrics`, `log` and `loop` outlive the server. Call and destroy on a foreign thread.
  static Result<std::unique_ptr<MetricsServer>> start(std::string const& address,
                                                      std::string labels, Loop& loop,
                                                      Registry& metrics, Logger& log);
  ~MetricsServer();
  MetricsServer(MetricsServer const&) = delete;
  MetricsServer& operator=(MetricsServer const&) = delete;
  /// Where it listens.
  [[nodiscard]] std::string const& address() const noexcept;

 private:
  struct Impl;
  explicit MetricsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest::cli
