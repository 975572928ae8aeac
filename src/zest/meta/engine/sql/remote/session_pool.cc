#include "zest/meta/engine/sql/remote/session_pool.h"

#include <algorithm>
#include <utility>

#include "zest/base/assert.h"

namespace zest::meta::sql {

SessionPool::SessionPool(std::unique_ptr<Connector> connector, PoolOptions const& options,
                         Registry& metrics)
    : connector_(std::move(connector)),
      options_(options),
      open_(metrics.gauge("meta_sql_sessions", "Open sessions to the metadata database.")),
      connects_(metrics.counter("meta_sql_connects",
                                "Sessions to the metadata database that were opened.")) {}

SessionPool::~SessionPool() = default;

SessionPool::Lease::Lease(Lease&& other) noexcept
    : pool_(other.pool_),
      home_(std::exchange(other.home_, nullptr)),
      session_(std::move(other.session_)),
      opened_(other.opened_) {}

SessionPool::Lease::~Lease() {
  if (home_ == nullptr) {
    return;
  }
  if (session_ != nullptr) {
    pool_->give_back(*home_, std::move(session_), opened_);
  }
  home_->slots.release();
}

SessionPool::PerLoop& SessionPool::of_this_loop() {
  auto* loop = Loop::current();
  ZEST_ASSERT(loop != nullptr && Loop::on_fiber());
  std::lock_guard const lock(mutex_);
  auto& place = loops_[loop];
  if (place == nullptr) {
    place = std::make_unique<PerLoop>(std::max<std::size_t>(options_.sessions_per_loop, 1));
  }
  return *place;
}

bool SessionPool::too_old(TimePoint opened, TimePoint last_used, TimePoint now) const noexcept {
  return (options_.idle_time > Duration::zero() && now - last_used > options_.idle_time) ||
         (options_.life_time > Duration::zero() && now - opened > options_.life_time);
}

Result<SessionPool::Lease> SessionPool::acquire(Context const& ctx) {
  auto& home = of_this_loop();
  auto slot = home.slots.acquire(ctx);
  if (!slot.ok()) {
    if (slot.error().code() == Errc::timedout) {
      return Error::transient(
          Errc::io, "all sessions to the metadata database are busy; nothing was sent to it");
    }
    return std::move(slot).error();
  }
  Lease lease(*this, home);
  auto const now = Loop::current()->now();
  while (!home.idle.empty()) {
    auto last = std::move(home.idle.back());
    home.idle.pop_back();
    if (too_old(last.opened, last.last_used, now) || !last.session->usable()) {
      open_.add(-1);
      continue;
    }
    lease.session_ = std::move(last.session);
    lease.opened_ = last.opened;
    return lease;
  }
  ZEST_TRY(lease.session_, connector_->connect(ctx));
  lease.opened_ = Loop::current()->now();
  open_.add(1);
  connects_.add();
  return lease;
}

void SessionPool::give_back(PerLoop& home, std::unique_ptr<Session> session, TimePoint opened) {
  auto const now = Loop::current()->now();
  // The oldest stand in front.
  while (!home.idle.empty() &&
         too_old(home.idle.front().opened, home.idle.front().last_used, now)) {
    home.idle.erase(home.idle.begin());
    open_.add(-1);
  }
  if (!session->usable() || home.idle.size() >= options_.idle_per_loop) {
    open_.add(-1);
    return;
  }
  home.idle.push_back({.session = std::move(session), .opened = opened, .last_used = now});
}

}  // namespace zest::meta::sql
