// This client's session in the volume (format/06 §1): the record that tells others it is alive.
//
// The record expires five heartbeats after it was written; then any client may clean the session
// up: its locks are released, its unlinked open files deleted. A client cannot know at once that
// this happened, so it fences itself: alive() is false from the moment the own lease has run out on
// the own monotonic clock, until a heartbeat succeeds. A heartbeat that finds its record gone or
// changed (somebody is cleaning up) opens a new session with a new id: locks and sustained files of
// the old one are lost, what is written from then on is as valid as any client's.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/result.h"
#include "zest/format/types.h"
#include "zest/meta/engine.h"
#include "zest/meta/runner.h"

namespace zest::meta {

/// Thread-safe for the readers; open, beat and the cleanups are called by one fiber at a time.
class Session {
 public:
  struct Config {
    Duration heartbeat = std::chrono::seconds(12);
    SessionInfo info;
  };
  Session(Engine& engine, Runner& runner, Clock const& clock, Logger& log, Config config)
      : engine_(engine), runner_(runner), clock_(clock), log_(log), config_(std::move(config)) {}
  Session(Session const&) = delete;
  Session& operator=(Session const&) = delete;

  /// Takes an id and writes the record.
  Result<void> open(Context const& ctx);
  /// Renews the lease, or opens a new session when the old one was taken away.
  Result<void> beat(Context const& ctx);
  /// Cleans up up to 1000 sessions of other clients whose lease has run out.
  Result<void> clean_stale(Context const& ctx);
  /// Cleans up the own session; alive() is false afterwards.
  Result<void> close(Context const& ctx);

  /// 0 = none was opened.
  [[nodiscard]] SessionId id() const noexcept {
    return SessionId{id_.load(std::memory_order_acquire)};
  }
  /// False when the lease has run out; true where no session was ever opened.
  [[nodiscard]] bool alive() const noexcept;

 private:
  [[nodiscard]] std::int64_t lease_sec() const noexcept;
  Result<void> clean(Context const& ctx, SessionId session);

  Engine& engine_;
  Runner& runner_;
  Clock const& clock_;
  Logger& log_;
  Config config_;
  std::atomic<std::uint64_t> id_{0};
  /// Monotonic nanoseconds; the lease ends here for us.
  std::atomic<std::int64_t> lease_end_{0};
  std::optional<SessionRecord> written_;
};

}  // namespace zest::meta
