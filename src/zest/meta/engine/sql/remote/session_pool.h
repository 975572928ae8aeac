// Sessions of a server, kept for reuse: some for each loop, because a session belongs to the loop
// whose fibers wait for its socket.
//
// A fiber takes a session for one batch and gives it back. At most `sessions_per_loop` batches of a
// loop are under way; further fibers wait in order, until their deadline. The session that was used
// last is taken first, so that those a burst has made grow old and are closed.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/meta/engine/sql/remote/session.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/sync.h"

namespace zest::meta::sql {

struct PoolOptions {
  /// More make a server slower, not faster: it serves them with a thread or a process each.
  std::size_t sessions_per_loop = 16;
  std::size_t idle_per_loop = 16;
  Duration idle_time = std::chrono::minutes(5);  ///< zero = never closed for idleness
  Duration life_time{};                          ///< zero = never closed for age
};

/// Thread-safe. Sessions are closed when it is destroyed; none may be in use then.
class SessionPool {
 private:
  struct PerLoop;

 public:
  SessionPool(std::unique_ptr<Connector> connector, PoolOptions const& options, Registry& metrics);
  ~SessionPool();
  SessionPool(SessionPool const&) = delete;
  SessionPool& operator=(SessionPool const&) = delete;

  /// A session in use; goes back at the end of its life if it is still usable.
  class Lease {
   public:
    Lease(SessionPool& pool, PerLoop& home) : pool_(&pool), home_(&home) {}
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&&) = delete;
    ~Lease();
    [[nodiscard]] Session& operator*() const noexcept { return *session_; }
    [[nodiscard]] Session* operator->() const noexcept { return session_.get(); }

   private:
    friend class SessionPool;
    SessionPool* pool_;
    PerLoop* home_;
    std::unique_ptr<Session> session_;
    TimePoint opened_{};
  };

  /// An idle session, or a new one. On a fiber; may suspend. Errors: EINTR, ETIMEDOUT (transient:
  /// nothing was sent), and those of Connector::connect.
  Result<Lease> acquire(Context const& ctx);

  [[nodiscard]] Connector& connector() noexcept { return *connector_; }

 private:
  struct Idle {
    std::unique_ptr<Session> session;
    TimePoint opened;
    TimePoint last_used;
  };
  /// Touched by fibers of its loop only.
  struct PerLoop {
    explicit PerLoop(std::size_t sessions) : slots(sessions) {}
    Semaphore slots;
    std::vector<Idle> idle;  ///< the one that was used last at the end
  };

  PerLoop& of_this_loop();
  void give_back(PerLoop& home, std::unique_ptr<Session> session, TimePoint opened);
  [[nodiscard]] bool too_old(TimePoint opened, TimePoint last_used, TimePoint now) const noexcept;

  std::unique_ptr<Connector> connector_;
  PoolOptions options_;
  Gauge& open_;
  Counter& connects_;
  std::mutex mutex_;  ///< guards the map, not what its entries point to
  std::map<Loop*, std::unique_ptr<PerLoop>> loops_;
};

}  // namespace zest::meta::sql
