// This client's session in the volume (format/06 §1): the record that tells others it is alive.
//
// The record expires five heartbeats after it was written; then any client may clean the session
// up: its locks are released, its unlinked open files deleted. A client that was paused or cut off
// cannot know at once that this happened, so two things stop it from writing on:
//
//   the fence  every commit names the session, and the engine refuses it (ESTALE) when the record
//              is gone or marked: no window, whatever the clocks say. The first refusal ends the
//              session here, too: alive() is false from then on.
//   the lease  alive() is false from the moment the own lease has run out on the own monotonic
//              clock, until a heartbeat succeeds. That covers the peer's cleanup, which releases
//              locks before it erases the record.
//
// A session that ended (refused, or a heartbeat finds its record gone or changed) is followed at
// once by a new one with a new id: locks and sustained files of the old one are lost, so is what
// was written under it and not committed; what is written from then on is as valid as any client's.
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
#include "zest/runtime/sync.h"

namespace zest::meta {

/// Thread-safe for the readers; open, beat and the cleanups are called by one fiber at a time.
class Session final : public Fence {
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
  /// Renews the lease, or opens a new session when the old one was taken away. True: a new one was
  /// opened.
  Result<bool> beat(Context const& ctx);
  /// Suspends for `pause`, less when a beat is due at once because the session ended. EINTR: stop.
  Result<void> wait_for_beat(Context const& ctx, Duration pause);
  /// Cleans up up to 1000 sessions of other clients whose lease has run out.
  Result<void> clean_stale(Context const& ctx);
  /// Cleans up the own session; alive() is false afterwards.
  Result<void> close(Context const& ctx);

  /// 0 = none was opened.
  [[nodiscard]] SessionId id() const noexcept {
    return SessionId{id_.load(std::memory_order_acquire)};
  }
  /// False when the lease has run out or the session ended; true where none was ever opened.
  [[nodiscard]] bool alive() const noexcept;

  [[nodiscard]] SessionId session() const noexcept override { return id(); }
  void refused(SessionId session) override;

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
  /// The last session that ended against our will.
  std::atomic<std::uint64_t> ended_{0};
  std::optional<SessionRecord> written_;
  FiberMutex mutex_;
  FiberCondition due_;
  bool beat_due_ = false;  ///< guarded by mutex_
};

}  // namespace zest::meta
