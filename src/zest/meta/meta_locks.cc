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

Result<void> Meta::flock(Context const& ctx, Ino ino, std::uint64_t owner, FlockOp op, bool wait) {
  ZEST_CHECK(impl_->check_writable());
  Duration pause = kPauseFirst;
  while (true) {
    auto const generation = impl_->lock_waiters.generation();
    ops::FlockRequest const request{
        .ino = ino, .owner = {.session = impl_->session.id(), .owner = owner}, .op = op};
    ZEST_TRY(auto const attempt,
             impl_->runner.run(ctx, [&](Txn& txn) { return ops::flock(txn, request); }));
    if (attempt.holders.empty()) {
      if (op != FlockOp::exclusive) {
        impl_->lock_waiters.wake();  // Released, or weakened to shared.
      }
      return {};
    }
    if (!wait) {
      return Errc::again;
    }
    ZEST_CHECK(impl_->lock_waiters.wait(ctx, generation, pause));
    pause = std::min<Duration>(pause * 2, kPauseMax);
  }
}

Result<void> Meta::setlk(Context const& ctx, LockRequest const& request) {
  ZEST_CHECK(impl_->check_writable());
  Duration pause = kPauseFirst;
  while (true) {
    auto const generation = impl_->lock_waiters.generation();
    ops::PlockRequest const mapped{
        .ino = request.ino,
        .owner = {.session = impl_->session.id(), .owner = request.owner},
        .range = request.range};
    auto attempt = impl_->runner.run(ctx, [&](Txn& txn) { return ops::setlk(txn, mapped); });
    if (!attempt.ok()) {
      impl_->lock_waiters.stops_waiting(mapped.owner);
      return std::move(attempt).error();
    }
    if (attempt->holders.empty()) {
      impl_->lock_waiters.stops_waiting(mapped.owner);
      if (request.range.type != LockRange::Type::write) {
        impl_->lock_waiters.wake();
      }
      return {};
    }
    if (!request.wait) {
      return Errc::again;
    }
    ZEST_CHECK(impl_->lock_waiters.waits_for(mapped.owner, attempt->holders));
    if (auto waited = impl_->lock_waiters.wait(ctx, generation, pause); !waited.ok()) {
      impl_->lock_waiters.stops_waiting(mapped.owner);
      return waited;
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
