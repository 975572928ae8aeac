#include "zest/meta/session.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <string>

#include "zest/format/session.h"
#include "zest/meta/ops/ops.h"
#include "zest/runtime/loop.h"

namespace zest::meta {
namespace {

constexpr std::int64_t kHeartbeatsPerLease = 5;
constexpr std::size_t kStaleMax = 1000;
constexpr std::size_t kSustainedPage = 1000;
constexpr std::int64_t kYearSec = 365LL * 24 * 3600;

std::int64_t ticks(TimePoint time) noexcept {
  return time.time_since_epoch().count();
}

}  // namespace

std::int64_t Session::lease_sec() const noexcept {
  if (config_.heartbeat <= Duration::zero()) {
    return kYearSec;
  }
  auto const lease = config_.heartbeat * kHeartbeatsPerLease;
  return std::max<std::int64_t>(1, std::chrono::duration_cast<std::chrono::seconds>(lease).count());
}

bool Session::alive() const noexcept {
  auto const id = id_.load(std::memory_order_acquire);
  return id == 0 || (id != ended_.load(std::memory_order_acquire) &&
                     ticks(clock_.now()) < lease_end_.load(std::memory_order_acquire));
}

void Session::refused(SessionId session) {
  if (session != id() || ended_.exchange(session.value) == session.value) {
    return;  // Of an earlier session, or known already.
  }
  log_.error(
      "another client has ended this client's session, because it was paused or cut off for longer "
      "than its lease; its locks, its unlinked open files and what was written but not stored are "
      "lost; a new session is opened",
      {{"session", session.value}});
  {
    std::unique_lock const lock(mutex_);
    beat_due_ = true;
  }
  due_.notify_all();
}

Result<void> Session::wait_for_beat(Context const& ctx, Duration pause) {
  Context limited = ctx;
  auto const until = Loop::current()->now() + pause;
  limited.deadline = std::min(ctx.deadline, until);
  std::unique_lock lock(mutex_);
  while (!beat_due_) {
    auto waited = due_.wait(limited, lock);
    if (failed_with(waited, Errc::timedout) && until <= ctx.deadline) {
      break;
    }
    ZEST_CHECK(std::move(waited));
  }
  beat_due_ = false;
  return {};
}

Result<void> Session::open(Context const& ctx) {
  ZEST_TRY(auto const range, engine_.allocate_ids(ctx, IdKind::session, 1));
  // The lease counts from before the write, so it never ends later for us than for others.
  auto const start = clock_.now();
  SessionRecord record{.expire_sec = clock_.wall().sec + lease_sec(),
                       .info = encode_session(config_.info)};
  SessionKey const key{SessionId{range.first}};
  ZEST_CHECK(runner_.run(ctx, [&](Txn& txn) -> Result<void> {
    txn.fence(SessionId{});
    txn.put(key, record);
    return {};
  }));
  written_ = std::move(record);
  lease_end_.store(ticks(start) + lease_sec() * 1'000'000'000, std::memory_order_release);
  id_.store(range.first, std::memory_order_release);
  return {};
}

Result<bool> Session::beat(Context const& ctx) {
  if (ended_.load(std::memory_order_acquire) == id().value) {
    ZEST_CHECK(open(ctx));
    return true;
  }
  SessionKey const key{id()};
  auto const start = clock_.now();
  SessionRecord const record{.expire_sec = clock_.wall().sec + lease_sec(), .info = written_->info};
  auto renewed = runner_.run(ctx, [&](Txn& txn) -> Result<void> {
    ZEST_TRY(auto const found, txn.get(key));
    if (found != written_ && found != record) {
      return Errc::stale;
    }
    txn.fence(SessionId{});
    txn.expect_unchanged(key);
    txn.put(key, record);
    return {};
  });
  if (failed_with(renewed, Errc::stale)) {
    refused(id());
    ZEST_CHECK(open(ctx));
    return true;
  }
  ZEST_CHECK(std::move(renewed));
  written_ = record;
  lease_end_.store(ticks(start) + lease_sec() * 1'000'000'000, std::memory_order_release);
  return false;
}

Result<void> Session::clean_stale(Context const& ctx) {
  ZEST_TRY(auto const sessions, engine_.list_sessions(ctx));
  auto const now = clock_.wall().sec;
  std::size_t cleaned = 0;
  for (auto const& [session, record] : sessions) {
    if (record.expire_sec >= now || session == id()) {
      continue;
    }
    if (++cleaned > kStaleMax) {
      break;
    }
    SessionKey const key{session};
    auto const seen = record;
    // Marked first: an owner that comes back to life sees that its session is no longer its own.
    auto marked = runner_.run(ctx, [&](Txn& txn) -> Result<bool> {
      ZEST_TRY(auto const found, txn.get(key));
      if (found != seen) {
        return false;
      }
      txn.fence(SessionId{});
      txn.expect_unchanged(key);
      txn.put(key, SessionRecord{.expire_sec = 0, .info = seen.info});
      return true;
    });
    if (!marked.ok()) {
      return std::move(marked).error();
    }
    if (*marked) {
      log_.info("cleaning up a stale session", {{"session", session.value}});
      ZEST_CHECK(clean(ctx, session));
    }
  }
  return {};
}

// Locks, sustained inodes, then the record: whatever fails leaves the record for the next round.
Result<void> Session::clean(Context const& ctx, SessionId session) {
  ZEST_TRY(auto const locked, engine_.list_locked(ctx, session));
  for (auto const ino : locked) {
    ZEST_CHECK(runner_.run(ctx, [&](Txn& txn) {
      txn.fence(SessionId{});
      return ops::release_locks(txn, session, ino);
    }));
  }
  while (true) {
    ZEST_TRY(auto const inodes, engine_.list_sustained(ctx, session, kSustainedPage));
    for (auto const ino : inodes) {
      ZEST_CHECK(runner_.run(ctx, [&](Txn& txn) {
        txn.fence(SessionId{});
        return ops::delete_sustained(txn, session, ino);
      }));
    }
    if (inodes.size() < kSustainedPage) {
      break;
    }
  }
  return runner_.run(ctx, [&](Txn& txn) -> Result<void> {
    txn.fence(SessionId{});
    txn.erase(SessionKey{session});
    return {};
  });
}

Result<void> Session::close(Context const& ctx) {
  if (id().value == 0) {
    return {};
  }
  ZEST_CHECK(clean(ctx, id()));
  lease_end_.store(0, std::memory_order_release);
  return {};
}

}  // namespace zest::meta
