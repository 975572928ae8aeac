// The life of a mount: sessions and their fencing, locks, the Setting, round trips, the runner.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include <string>

#include "zest/meta/meta_cases.h"
#include "zest/meta/runner.h"
#include "zest/meta/statistics.h"
#include "zest/runtime/sync.h"

namespace zest::meta {
namespace {

using std::chrono::seconds;
using testing::Client;
using testing::make;
using testing::make_setting;
using testing::number;
using testing::OnEngines;
using testing::usage_of;
using testing::Volume;
using zest::testing::run_simulated;

class Life : public OnEngines {
 protected:
  // An engine that fails every call while `away` is set.
  std::unique_ptr<Engine> unreliable_engine(bool const& away) {
    MemoryEngineOptions options;
    options.usage_in_commit = GetParam().usage_in_commit;
    options.before_call = [&away](std::string_view) -> Result<void> {
      if (away) {
        return Error::transient(Errc::io, "engine away");
      }
      return {};
    };
    return make_memory_engine(std::move(options));
  }
};
INSTANTIATE_TEST_SUITE_P(Engines, Life, testing::engine_cases(), testing::case_name);

void pass(Duration duration) {
  ASSERT_TRUE(Loop::current()->sleep_for(Context{}, duration).ok());
}

TEST_P(Life, SessionIsRecordedRenewedAndRemoved) {
  run_simulated([&] {
    Volume volume(engine());
    auto client = std::make_unique<Client>(volume);
    auto const sid = client->meta.session();
    auto sessions = volume.engine->list_sessions(volume.root);
    ASSERT_EQ(sessions->size(), 1U);
    EXPECT_EQ(sessions->front().session, sid);
    auto const expires = sessions->front().record.expire_sec;
    EXPECT_GE(expires, volume.clock.wall().sec + 59);
    pass(seconds(100));
    sessions = volume.engine->list_sessions(volume.root);
    EXPECT_GE(sessions->front().record.expire_sec, expires + 80);
    EXPECT_TRUE(client->meta.alive());
    client->stop();
    EXPECT_TRUE(volume.engine->list_sessions(volume.root)->empty());
  });
}

TEST_P(Life, StaleSessionsAreCleanedUpByOthers) {
  run_simulated([&] {
    bool away = false;
    Volume volume(unreliable_engine(away));
    // A lease of 300 s; the beats at 57…63, …, 285…315 s fail, the next comes after 342 s.
    MetaConfig slow;
    slow.heartbeat = seconds(60);
    Client dead(volume, slow);
    auto const file = *make(dead, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(dead.meta.open(volume.root, file, O_RDWR).ok());
    ASSERT_TRUE(dead.meta.unlink(volume.root, kRootIno, "f")->sustained);
    auto const other = *make(dead, FileType::regular, kRootIno, "g");
    ASSERT_TRUE(dead.meta.flock(volume.root, other, 1, FlockOp::exclusive, false).ok());
    ASSERT_TRUE(dead.meta.flush_stats(volume.root).ok());
    auto const sid = dead.meta.session();
    // Nobody renews anything for longer than the lease; then another client comes.
    away = true;
    pass(seconds(325));
    EXPECT_FALSE(dead.meta.alive());
    EXPECT_EQ(number(make(dead, FileType::regular, kRootIno, "h")), EIO);
    away = false;
    MetaConfig quick;
    quick.heartbeat = seconds(1);
    Client alive(volume, quick);
    pass(seconds(5));
    EXPECT_EQ(number(alive.meta.getattr(volume.root, file)), ENOENT);
    EXPECT_TRUE(alive.meta.flock(volume.root, other, 1, FlockOp::exclusive, false).ok());
    // The client that lost its session goes on with a new one.
    pass(seconds(60));
    EXPECT_NE(dead.meta.session(), sid);
    EXPECT_TRUE(dead.meta.alive());
    EXPECT_TRUE(make(dead, FileType::regular, kRootIno, "h").ok());
    auto const sessions = volume.engine->list_sessions(volume.root);
    EXPECT_EQ(sessions->size(), 2U);
  });
}

TEST_P(Life, StopReleasesLocksAndDeletesSustainedFiles) {
  run_simulated([&] {
    Volume volume(engine());
    auto one = std::make_unique<Client>(volume);
    Client two(volume);
    auto const file = *make(*one, FileType::regular, kRootIno, "f");
    auto const kept = *make(*one, FileType::regular, kRootIno, "g");
    ASSERT_TRUE(one->meta.open(volume.root, file, O_RDWR).ok());
    ASSERT_TRUE(one->meta.unlink(volume.root, kRootIno, "f")->sustained);
    ASSERT_TRUE(one->meta.flock(volume.root, kept, 1, FlockOp::exclusive, false).ok());
    EXPECT_EQ(number(two.meta.flock(volume.root, kept, 1, FlockOp::shared, false)), EAGAIN);
    one->stop();
    EXPECT_TRUE(two.meta.flock(volume.root, kept, 1, FlockOp::shared, false).ok());
    EXPECT_EQ(number(two.meta.getattr(volume.root, file)), ENOENT);
    EXPECT_EQ(usage_of(two).inodes, 1);
    EXPECT_EQ(two.meta.deleted_files(volume.root, Duration::zero(), 10)->size(), 1U);
  });
}

TEST_P(Life, SettingIsReloadedAndAReformattedVolumeEndsTheMount) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto changed = volume.setting;
    changed.trash_days = 3;
    auto const trash = testing::make_dir(0555, kRootIno, {});
    auto const root = testing::make_dir(0777, kRootIno, {});
    ASSERT_TRUE(volume.engine->initialize(volume.root, encode_setting(changed), root, trash).ok());
    pass(seconds(15));
    EXPECT_EQ(client.meta.setting().trash_days, 3);
    EXPECT_TRUE(client.meta.alive());
    changed.uuid = "0b6f7a1e-0000-4000-8000-000000000002";
    ASSERT_TRUE(volume.engine->initialize(volume.root, encode_setting(changed), root, trash).ok());
    pass(seconds(15));
    EXPECT_FALSE(client.meta.alive());
    EXPECT_EQ(number(make(client, FileType::regular, kRootIno, "f")), EIO);
  });
}

TEST_P(Life, UsageIsFlushedEverySecond) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    ASSERT_TRUE(make(client, FileType::regular, kRootIno, "f").ok());
    pass(seconds(2));
    EXPECT_EQ(volume.engine->read_usage(volume.root)->inodes, 1);
    EXPECT_EQ(client.meta.statfs(volume.root)->used_inodes, 1U);
    EXPECT_EQ(client.meta.statfs(volume.root)->total_space, 1ULL << 50);
  });
}

TEST_P(Life, MissingDirectoryStatisticsAreRecomputed) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d");
    ASSERT_TRUE(make(client, FileType::regular, dir, "a").ok());
    ASSERT_TRUE(make(client, FileType::directory, dir, "b").ok());
    ASSERT_TRUE(client.meta.flush_stats(volume.root).ok());
    Commit drop;
    drop.changes.emplace_back(Erase{DirStatKey{dir}});
    while (!volume.engine->commit(volume.root, drop).ok()) {
    }
    ASSERT_TRUE(make(client, FileType::regular, dir, "c").ok());
    static_cast<void>(testing::stat_of(client, dir));
    while (testing::stat_of(client, dir).inodes < 0) {  // The write of it may meet a conflict.
      ASSERT_TRUE(make(client, FileType::regular, dir, "x").ok());
      ASSERT_TRUE(client.meta.unlink(volume.root, dir, "x").ok());
    }
    EXPECT_EQ(testing::stat_of(client, dir), (DirStat{.length = 0, .space = 12288, .inodes = 3}));
  });
}

TEST_P(Life, Flocks) {
  run_simulated([&] {
    Volume volume(engine());
    Client one(volume);
    Client two(volume);
    auto const file = *make(one, FileType::regular, kRootIno, "f");
    auto const lock = [&](Client& client, std::uint64_t owner, FlockOp op) {
      return number(client.meta.flock(volume.root, file, owner, op, false));
    };
    EXPECT_EQ(lock(one, 1, FlockOp::shared), 0);
    EXPECT_EQ(lock(two, 1, FlockOp::shared), 0);
    EXPECT_EQ(lock(one, 1, FlockOp::exclusive), EAGAIN);
    EXPECT_EQ(lock(two, 1, FlockOp::unlock), 0);
    EXPECT_EQ(lock(one, 1, FlockOp::exclusive), 0);
    EXPECT_EQ(lock(one, 2, FlockOp::shared), EAGAIN);
    EXPECT_EQ(lock(one, 1, FlockOp::shared), 0);
    EXPECT_EQ(lock(one, 2, FlockOp::shared), 0);
    EXPECT_EQ(number(one.meta.flock(volume.root, Ino{999}, 1, FlockOp::shared, false)), ENOENT);
  });
}

TEST_P(Life, PosixLocks) {
  run_simulated([&] {
    Volume volume(engine());
    Client one(volume);
    Client two(volume);
    auto const file = *make(one, FileType::regular, kRootIno, "f");
    using enum LockRange::Type;
    auto const lock = [&](Client& client, LockRange::Type type, std::uint64_t start,
                          std::uint64_t end) {
      return number(client.meta.setlk(
          volume.root, {.ino = file,
                        .owner = 7,
                        .range = {.type = type, .pid = 5, .start = start, .end = end}}));
    };
    EXPECT_EQ(lock(one, write, 0, 9), 0);
    EXPECT_EQ(lock(two, read, 9, 20), EAGAIN);
    EXPECT_EQ(lock(two, read, 10, 20), 0);
    EXPECT_EQ(lock(one, unlock, 5, 9), 0);
    EXPECT_EQ(lock(two, read, 5, 9), 0);
    EXPECT_EQ(lock(two, read, 9, 5), EINVAL);
    auto const seen = two.meta.getlk(
        volume.root,
        {.ino = file, .owner = 7, .range = {.type = write, .pid = 9, .start = 0, .end = 100}});
    EXPECT_EQ(*seen, (LockRange{.type = write, .pid = 0, .start = 0, .end = 4}));
    auto const mine = one.meta.getlk(
        volume.root,
        {.ino = file, .owner = 8, .range = {.type = read, .pid = 9, .start = 0, .end = 100}});
    EXPECT_EQ(*mine, (LockRange{.type = write, .pid = 5, .start = 0, .end = 4}));
    EXPECT_EQ(lock(one, unlock, 0, 100), 0);
    EXPECT_EQ(lock(two, unlock, 0, 100), 0);
    EXPECT_EQ(
        one.meta
            .getlk(volume.root,
                   {.ino = file, .owner = 8, .range = {.type = write, .start = 0, .end = 100}})
            ->type,
        unlock);
  });
}

TEST_P(Life, WaitersGetTheLockWhenItIsReleased) {
  run_simulated([&] {
    Volume volume(engine());
    Client one(volume);
    Client two(volume);
    auto const file = *make(one, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(one.meta.flock(volume.root, file, 1, FlockOp::exclusive, false).ok());
    int got = 0;
    Scope scope;
    scope.spawn([&] {
      EXPECT_TRUE(one.meta.flock(volume.root, file, 2, FlockOp::shared, true).ok());
      ++got;
    });
    scope.spawn([&] {
      EXPECT_TRUE(two.meta.flock(volume.root, file, 1, FlockOp::shared, true).ok());
      ++got;
    });
    Context limited;
    limited.deadline = Loop::current()->now() + seconds(1);
    EXPECT_EQ(number(two.meta.flock(limited, file, 3, FlockOp::exclusive, true)), ETIMEDOUT);
    EXPECT_EQ(got, 0);
    ASSERT_TRUE(one.meta.flock(volume.root, file, 1, FlockOp::unlock, false).ok());
    scope.join();
    EXPECT_EQ(got, 2);
  });
}

TEST_P(Life, WaitersAreInterrupted) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(client.meta.flock(volume.root, file, 1, FlockOp::exclusive, false).ok());
    Scope scope;
    scope.spawn([&] {
      Context ctx;
      ctx.stop = scope.token();
      EXPECT_EQ(number(client.meta.flock(ctx, file, 2, FlockOp::shared, true)), EINTR);
    });
    pass(seconds(1));
    scope.request_stop();
    scope.join();
  });
}

TEST_P(Life, ACircleOfWaitersIsADeadlock) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const a = *make(client, FileType::regular, kRootIno, "a");
    auto const b = *make(client, FileType::regular, kRootIno, "b");
    auto const lock = [&](Ino ino, std::uint64_t owner, LockRange::Type type, bool wait) {
      return number(client.meta.setlk(volume.root, {.ino = ino,
                                                    .owner = owner,
                                                    .range = {.type = type, .start = 0, .end = 9},
                                                    .wait = wait}));
    };
    using enum LockRange::Type;
    ASSERT_EQ(lock(a, 1, write, true), 0);
    ASSERT_EQ(lock(b, 2, write, true), 0);
    Scope scope;
    scope.spawn([&] { EXPECT_EQ(lock(b, 1, write, true), 0); });
    pass(seconds(1));
    EXPECT_EQ(lock(a, 2, write, true), EDEADLK);
    EXPECT_EQ(lock(b, 2, unlock, false), 0);
    scope.join();
  });
}

// Between one client's look at the locks and its commit, another takes the lock, writes, and gives
// it up: the locks look as before, but the node that comes with the lock must be the new one.
TEST(Locks, AGrantTellsWhatTheHolderInBetweenHasWritten) {
  for (bool const posix : {false, true}) {
    run_simulated([posix] {
      std::function<void()> in_between;
      MemoryEngineOptions options;
      options.yield = false;
      options.before_call = [&](std::string_view name) -> Result<void> {
        if (name == "commit" && in_between) {
          std::exchange(in_between, nullptr)();
        }
        return {};
      };
      Volume volume(make_memory_engine(options));
      Client one(volume);
      Client two(volume);
      auto const& ctx = volume.root;
      auto const file = *make(one, FileType::regular, kRootIno, "f");
      auto const take = [&](Client& client, bool unlock) {
        if (!posix) {
          return client.meta.flock(ctx, file, 1, unlock ? FlockOp::unlock : FlockOp::exclusive,
                                   false);
        }
        LockRange range{.type = unlock ? LockRange::Type::unlock : LockRange::Type::write};
        range.end = 10;
        return client.meta.setlk(ctx, {.ino = file, .owner = 1, .range = range});
      };
      in_between = [&] {
        ASSERT_TRUE(take(two, false).ok());
        ASSERT_TRUE(two.meta
                        .write_slice(ctx, {.ino = file,
                                           .index = {},
                                           .slices = {{.pos = 0, .id = {1}, .size = 9, .len = 9}},
                                           .mtime = volume.clock.wall()})
                        .ok());
        ASSERT_TRUE(take(two, true).ok());
      };
      auto const granted = take(one, false);
      ASSERT_TRUE(granted.ok()) << granted.error().text();
      EXPECT_EQ(in_between, nullptr);
      EXPECT_EQ(granted->attr, *one.meta.getattr(ctx, file));
      EXPECT_EQ(granted->attr->length, 9U);
    });
  }
}

// Creators in one directory depend on its type, mode, owner and flags, not on its times: nobody has
// to try again.
TEST(Conflicts, CreatorsInOneDirectoryDoNotMeet) {
  run_simulated([&] {
    Volume volume(make_memory_engine());
    Client one(volume);
    Client two(volume);
    Scope scope;
    for (int i = 0; i < 20; ++i) {
      scope.spawn([&, i] {
        auto& client = i % 2 == 0 ? one : two;
        EXPECT_TRUE(make(client, FileType::directory, kRootIno, "d" + std::to_string(i)).ok());
      });
    }
    scope.join();
    EXPECT_EQ(one.metrics.counter("transaction_restart", "").value(), 0U);
    EXPECT_EQ(two.metrics.counter("transaction_restart", "").value(), 0U);
    EXPECT_EQ(one.meta.getattr(volume.root, kRootIno)->nlink, 22U);
  });
}

TEST(Conflicts, EndlessConflictsEndWithTheDeadline) {
  run_simulated([&] {
    Rng rng(1);
    MemoryEngineOptions options;
    options.rng = &rng;
    Volume volume(make_memory_engine(options));
    Client client(volume);
    Registry metrics;
    Statistics statistics(*volume.engine);
    Runner runner(*volume.engine, volume.clock, rng, metrics, statistics);
    Context ctx;
    ctx.deadline = Loop::current()->now() + std::chrono::milliseconds(100);
    auto const body = [](Txn&) -> Result<void> {
      return Error(Errc::again, Fault::conflict, "always");
    };
    EXPECT_EQ(number(runner.run(ctx, body)), ETIMEDOUT);
    EXPECT_EQ(number(runner.run(Context{}, body)), EIO);
    EXPECT_GT(metrics.counter("transaction_restart", "").value(), 200U);
  });
}

}  // namespace
}  // namespace zest::meta
