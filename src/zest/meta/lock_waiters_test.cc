#include "zest/meta/lock_waiters.h"

#include <gtest/gtest.h>

namespace zest::meta {
namespace {

LockOwner owner(std::uint64_t number) {
  return {.session = SessionId{1}, .owner = number};
}

TEST(LockWaiters, ACircleCountsWhenEverybodyHasLookedAgain) {
  LockWaiters waiters;
  EXPECT_TRUE(waiters.waits_for(owner(1), {owner(2)}).ok());
  EXPECT_TRUE(waiters.waits_for(owner(2), {owner(3)}).ok());
  EXPECT_TRUE(waiters.waits_for(owner(3), {owner(1)}).ok());
  EXPECT_TRUE(waiters.waits_for(owner(1), {owner(2)}).ok());
  EXPECT_TRUE(waiters.waits_for(owner(2), {owner(3)}).ok());
  EXPECT_TRUE(failed_with(waiters.waits_for(owner(3), {owner(1)}), Errc::deadlk));
}

// 2 has let go of what 1 waits for, and waits for 3, which has let go, too: nobody is stuck.
TEST(LockWaiters, ALockThatWasReleasedMakesNoCircle) {
  LockWaiters waiters;
  EXPECT_TRUE(waiters.waits_for(owner(1), {owner(2)}).ok());
  EXPECT_TRUE(waiters.waits_for(owner(2), {owner(1)}).ok());
  waiters.stops_waiting(owner(1));
  EXPECT_TRUE(waiters.waits_for(owner(2), {owner(1)}).ok());
  EXPECT_TRUE(waiters.waits_for(owner(1), {owner(2)}).ok());
  EXPECT_TRUE(waiters.waits_for(owner(1), {owner(2)}).ok());
  EXPECT_TRUE(waiters.waits_for(owner(2), {owner(1)}).ok());
  // 1 began to wait last, so it's the one that is told.
  EXPECT_TRUE(failed_with(waiters.waits_for(owner(1), {owner(2)}), Errc::deadlk));
}

}  // namespace
}  // namespace zest::meta
