// Advisory locks (format/05 §12). The whole set of an inode is read and is the condition of a
// change: whoever takes a lock at the same time makes the commit fail.
#include "zest/format/locks.h"

#include "zest/meta/ops/ops.h"

namespace zest::meta::ops {
namespace {

bool conflicts(FlockOp wanted, FlockType held) noexcept {
  return wanted == FlockOp::exclusive || held == FlockType::write;
}

// Who held the lock before has stored its data before it gave the lock up. So the node as it is when
// the lock is taken tells whether anything that this client remembers is old. That it is still the
// one that was fetched is a condition: another client may have taken the lock, written and given it
// up in between, and the locks look as before. Lock calls are not run with hints.
void expect_data(Txn& txn, Ino ino) {
  txn.expect_node(ino, kMtime | kCtime | kLength);
}

}  // namespace

/// One try of flock(2). Errors: ENOENT. Trips: 1 fetch, 1 commit.
Result<LockAttempt> flock(Txn& txn, FlockRequest const& request) {
  FlocksKey const all{request.ino};
  FlockKey const own{request.ino, request.owner.session, request.owner.owner};
  txn.fence(request.owner.session);
  if (request.op == FlockOp::unlock) {
    txn.erase(own);
    return LockAttempt{};
  }
  ZEST_CHECK(txn.fetch({NodeKey{request.ino}, all}));
  ZEST_TRY(auto const node, txn.node(request.ino));
  LockAttempt attempt{.holders = {}, .attr = node};
  ZEST_TRY(auto const held, txn.get(all));
  auto const wanted = request.op == FlockOp::exclusive ? FlockType::write : FlockType::read;
  for (auto const& [owner, type] : held.value_or(Flocks{})) {
    if (owner == request.owner) {
      if (type == wanted) {
        return attempt;
      }
    } else if (conflicts(request.op, type)) {
      attempt.holders.push_back(owner);
    }
  }
  if (attempt.holders.empty()) {
    txn.expect_unchanged(all);
    expect_data(txn, request.ino);
    txn.put(own, wanted);
  }
  return attempt;
}

/// One try of fcntl(F_SETLK). Errors: ENOENT, EINVAL (range). Trips: 1 fetch, 1 commit.
Result<LockAttempt> setlk(Txn& txn, PlockRequest const& request) {
  if (request.range.start > request.range.end) {
    return Errc::inval;
  }
  PlocksKey const all{request.ino};
  PlockKey const own{request.ino, request.owner.session, request.owner.owner};
  txn.fence(request.owner.session);
  ZEST_CHECK(txn.fetch({NodeKey{request.ino}, all}));
  auto const unlock = request.range.type == LockRange::Type::unlock;
  LockAttempt attempt;
  if (!unlock) {
    ZEST_TRY(attempt.attr, txn.node(request.ino));
  }
  ZEST_TRY(auto const read, txn.get(all));
  auto const held = read.value_or(Plocks{});
  if (!unlock) {
    for (auto const& [owner, ranges] : held) {
      if (owner != request.owner && find_conflict(ranges, request.range).has_value()) {
        attempt.holders.push_back(owner);
      }
    }
    if (!attempt.holders.empty()) {
      return attempt;
    }
  }
  auto const mine = held.find(request.owner);
  auto const before = mine == held.end() ? std::vector<LockRange>{} : mine->second;
  auto after = merge_lock(before, request.range);
  if (after == before) {
    return attempt;
  }
  txn.expect_unchanged(all);
  if (!unlock) {
    expect_data(txn, request.ino);
  }
  if (after.empty()) {
    txn.erase(own);
  } else {
    txn.put(own, std::move(after));
  }
  return attempt;
}

/// fcntl(F_GETLK): the first lock in the way; its pid only where this client holds it. Trips: 1.
Result<LockRange> getlk(Txn& txn, PlockRequest const& request) {
  if (request.range.start > request.range.end) {
    return Errc::inval;
  }
  ZEST_TRY(auto const held, txn.get(PlocksKey{request.ino}));
  for (auto const& [owner, ranges] : held.value_or(Plocks{})) {
    if (owner == request.owner) {
      continue;
    }
    if (auto found = find_conflict(ranges, request.range)) {
      if (owner.session != request.owner.session) {
        found->pid = 0;
      }
      return *found;
    }
  }
  return LockRange{.type = LockRange::Type::unlock, .pid = 0, .start = 0, .end = 0};
}

/// Trips: 1 fetch, 1 commit.
Result<void> release_locks(Txn& txn, SessionId session, Ino ino) {
  ZEST_CHECK(txn.fetch({FlocksKey{ino}, PlocksKey{ino}}));
  ZEST_TRY(auto const flocks, txn.get(FlocksKey{ino}));
  for (auto const& [owner, type] : flocks.value_or(Flocks{})) {
    if (owner.session == session) {
      txn.erase(FlockKey{ino, session, owner.owner});
    }
  }
  ZEST_TRY(auto const plocks, txn.get(PlocksKey{ino}));
  for (auto const& [owner, ranges] : plocks.value_or(Plocks{})) {
    if (owner.session == session) {
      txn.erase(PlockKey{ino, session, owner.owner});
    }
  }
  return {};
}

}  // namespace zest::meta::ops
