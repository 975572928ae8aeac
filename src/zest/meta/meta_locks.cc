// The facade: advisory locks. A try is a transaction; waiting is this file's business.
#include <algorithm>
#include <chrono>

#include "zest/meta/meta_impl.h"

namespace zest::meta {
namespace {

// Locks of other clients are polled; the first pause is the peer's for write locks.
constexpr auto kPauseFirst = std::chrono::milliseconds(1);
constexpr auto kPauseMax = std::chrono::milliseconds(200);

}  // namespace

Result<LockReply> Meta::flock(Context const& ctx, Ino ino, std::uint64_t owner, FlockOp op,
                              bool wait) {
  ZEST_CHECK(impl_->check_writable());
  Duration pause = kPauseFirst;
  while (true) {
    auto const generation = impl_->lock_waiters.generation();
    // Asked for each time: while it waited, the client may have got a new session.
    ops::FlockRequest const request{
        .ino = ino, .owner = {.session = impl_->session.id(), .owner = owner}, .op = op};
    ZEST_TRY(auto const attempt,
             impl_->runner.run(ctx, [&](Txn& txn) { return ops::flock(txn, request); }));
    if (attempt.holders.empty()) {
      if (op != FlockOp::exclusive) {
        impl_->lock_waiters.wake();  // Released, or weakened to shared.
      }
      return LockReply{.attr = attempt.attr, .session = request.owner.session};
    }
    if (!wait) {
      return Errc::again;
    }
    ZEST_CHECK(impl_->lock_waiters.wait(ctx, generation, pause));
    pause = std::min<Duration>(pause * 2, kPauseMax);
  }
}

Result<LockReply> Meta::setlk(Context const& ctx, LockRequest const& request) {
  ZEST_CHECK(impl_->check_writable());
  auto& waiters = impl_->lock_waiters;
  Duration pause = kPauseFirst;
  while (true) {
    auto const generation = waiters.generation();
    ops::PlockRequest const mapped{
        .ino = request.ino,
        .owner = {.session = impl_->session.id(), .owner = request.owner},
        .range = request.range};
    auto attempt = impl_->runner.run(ctx, [&](Txn& txn) { return ops::setlk(txn, mapped); });
    if (!attempt.ok()) {
      waiters.stops_waiting(mapped.owner);
      return std::move(attempt).error();
    }
    if (attempt->holders.empty()) {
      waiters.stops_waiting(mapped.owner);
      if (request.range.type != LockRange::Type::write) {
        waiters.gave_up(mapped.owner);
        waiters.wake();
      }
      return LockReply{.attr = attempt->attr, .session = mapped.owner.session};
    }
    if (!request.wait) {
      return Errc::again;
    }
    ZEST_CHECK(waiters.waits_for(mapped.owner, attempt->holders));
    auto waited = waiters.wait(ctx, generation, pause);
    if (!waited.ok()) {
      waiters.stops_waiting(mapped.owner);
      return std::move(waited).error();
    }
    pause = std::min<Duration>(pause * 2, kPauseMax);
  }
}

Result<LockRange> Meta::getlk(Context const& ctx, LockRequest const& request) {
  ops::PlockRequest const mapped{.ino = request.ino,
                                 .owner = {.session = impl_->session.id(), .owner = request.owner},
                                 .range = request.range};
  return impl_->runner.run(ctx, [&](Txn& txn) { return ops::getlk(txn, mapped); });
}

}  // namespace zest::meta
