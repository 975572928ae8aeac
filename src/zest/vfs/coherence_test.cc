// What clients of one volume see of each other: through locks, through open, while one appends, and
// after a session was ended.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

#include "zest/vfs/kernel_attrs.h"
#include "zest/vfs/vfs_fixture.h"

namespace zest {
namespace {

using testing::Client;
using testing::run_simulated;
using testing::Volume;

constexpr Duration kSecond = std::chrono::seconds(1);

void pass(Duration duration) {
  ASSERT_OK(Loop::current()->sleep_for({}, duration));
}

/// Whole-file lock of `type`, waiting.
vfs::LockArgs lock_args(Ino ino, vfs::Handle handle, std::uint64_t owner, LockRange::Type type) {
  return {.ino = ino,
          .handle = handle,
          .owner = owner,
          .range = {.type = type, .pid = 1, .start = 0, .end = ~std::uint64_t{0} >> 1},
          .wait = true};
}

/// What the kernel was told, in order.
struct Told {
  explicit Told(Client& client) {
    client.fs.set_invalidator(
        {.inode = [this](Ino ino, std::uint64_t, std::uint64_t) { pages.push_back(ino); },
         .entry = {},
         .inode_now = [this](Ino ino, bool) { now.push_back(ino); },
         .names = [this] { ++names; }});
  }
  std::vector<Ino> pages;
  std::vector<Ino> now;
  int names = 0;
};

/// Adds one to the number in the file, under a lock, without closing it.
void increment(Client& client, Ino ino, vfs::Handle handle, std::uint64_t owner, bool posix) {
  auto const call = [&](LockRange::Type type) {
    auto const args = lock_args(ino, handle, owner, type);
    return posix ? client.fs.setlk(client.ctx, args) : client.fs.flock(client.ctx, args);
  };
  ASSERT_OK(call(LockRange::Type::write));
  auto const text = client.read(handle, 0, 20);
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  ASSERT_OK(client.write(handle, 0, std::to_string(number + 1)));
  ASSERT_OK(call(LockRange::Type::unlock));
}

class Locks : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Locks, ::testing::Bool(), [](auto const& tested) {
  return tested.param ? std::string("posix") : std::string("flock");
});

// Goal: what is written under a lock is out when the lock is released, and whoever gets the lock
// sees it: two clients that count in one file lose nothing.
TEST_P(Locks, CountersLoseNothing) {
  run_simulated([] {
    Volume volume;
    Client one(volume);
    Client two(volume, {.seed = 2});
    auto const ino = one.make_file("counter");
    auto const a = one.open(ino);
    auto const b = two.open(ino);
    constexpr int kTimes = 25;
    Scope scope;
    for (auto* client : {&one, &two}) {
      scope.spawn([&, client] {
        for (int i = 0; i < kTimes; ++i) {
          increment(*client, ino, client == &one ? a : b, client == &one ? 11 : 12, GetParam());
        }
      });
    }
    scope.join();
    auto const check = two.open(ino);
    EXPECT_EQ(two.read(check, 0, 20), std::to_string(2 * kTimes));
    for (auto const handle : {b, check}) {
      ASSERT_OK(two.close(handle));
    }
    ASSERT_OK(one.close(a));
  });
}

// Goal: the kernel drops its pages before a lock call returns, where another client wrote; and only
// there.
TEST_P(Locks, TheKernelForgetsWhatAnotherClientChanged) {
  run_simulated([] {
    Volume volume;
    Client one(volume);
    Client two(volume, {.seed = 2});
    Told told(two);
    auto const ino = one.make_file("f");
    auto const a = one.open(ino);
    auto const b = two.open(ino);
    increment(one, ino, a, 11, GetParam());
    told.now.clear();
    increment(two, ino, b, 12, GetParam());
    EXPECT_EQ(told.now, std::vector{ino});
    told.now.clear();
    increment(two, ino, b, 12, GetParam());
    EXPECT_EQ(told.now, std::vector<Ino>{});
    increment(one, ino, a, 11, GetParam());
    increment(two, ino, b, 12, GetParam());
    EXPECT_EQ(told.now, std::vector{ino});
    EXPECT_EQ(two.read(b, 0, 9), "5");
    ASSERT_OK(one.close(a));
    ASSERT_OK(two.close(b));
    two.fs.set_invalidator({});
  });
}

// What another client's cleanup does: it marks the session, and releases its locks of `ino`.
void end_session(Volume& volume, Client& client, Ino ino) {
  meta::Commit mark;
  mark.changes.emplace_back(meta::Erase{meta::FlocksKey{ino}});
  mark.changes.emplace_back(meta::Erase{meta::PlocksKey{ino}});
  mark.changes.emplace_back(meta::Put{meta::SessionKey{client.meta.session()},
                                      meta::SessionRecord{.expire_sec = 0, .info = "{}"}});
  ASSERT_OK(volume.engine->commit({}, mark));
}

// Goal: what was written and not stored when the session ended is reported and never stored; files
// without locks work on, in the new session.
TEST(EndedSession, UnstoredDataAreReportedAndNotStoredLater) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    Told told(client);
    auto const ino = client.make_file("f");
    auto const handle = client.open(ino);
    ASSERT_OK(client.write(handle, 0, "kept"));
    ASSERT_OK(client.fs.fsync(client.ctx, handle, false));
    ASSERT_OK(client.write(handle, 4, "lost"));
    end_session(volume, client, ino);
    ASSERT_ERRC(client.fs.fsync(client.ctx, handle, false), Errc::io);
    pass(kSecond);
    EXPECT_EQ(client.read(handle, 0, 20), "kept");
    ASSERT_OK(client.write(handle, 4, "new"));
    ASSERT_OK(client.close(handle));
    EXPECT_EQ(told.names, 1);
    EXPECT_TRUE(std::ranges::count(told.pages, ino) > 0);
    Client other(volume);
    auto const check = other.open(ino);
    EXPECT_EQ(other.read(check, 0, 20), "keptnew");
    ASSERT_OK(other.close(check));
    client.fs.set_invalidator({});
  });
}

// Goal: bytes that nobody flushed fail by themselves when the new session comes.
TEST(EndedSession, DirtyFilesFailWhenTheNewSessionComes) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const ino = client.make_file("f");
    auto const handle = client.open(ino);
    ASSERT_OK(client.write(handle, 0, "lost"));
    end_session(volume, client, ino);
    ASSERT_ERRC(client.fs.mkdir(client.ctx, {.parent = kRootIno, .name = "d", .mode = 0755}),
                Errc::io);
    pass(kSecond);
    ASSERT_OK(client.fs.mkdir(client.ctx, {.parent = kRootIno, .name = "d", .mode = 0755}));
    ASSERT_ERRC(client.close(handle), Errc::io);
    EXPECT_EQ(client.attr(ino).length, 0u);
  });
}

// Goal: an open file whose lock was lost with the session gives EIO until it is closed; whoever
// opens it anew works.
TEST_P(Locks, AFileWithALostLockGivesEio) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const ino = client.make_file("f");
    auto const handle = client.open(ino);
    auto const args = lock_args(ino, handle, 11, LockRange::Type::write);
    auto const lock = [&](vfs::LockArgs const& with) {
      return GetParam() ? client.fs.setlk(client.ctx, with) : client.fs.flock(client.ctx, with);
    };
    ASSERT_OK(lock(args));
    end_session(volume, client, ino);
    ASSERT_ERRC(client.fs.mkdir(client.ctx, {.parent = kRootIno, .name = "d", .mode = 0755}),
                Errc::io);
    pass(kSecond);
    auto const second = client.open(ino);
    ASSERT_ERRC(client.write(handle, 0, "x"), Errc::io);
    ASSERT_ERRC(client.fs.read(client.ctx, handle, 0, 1), Errc::io);
    ASSERT_ERRC(lock(args), Errc::io);
    ASSERT_OK(lock(lock_args(ino, second, 12, LockRange::Type::write)));
    ASSERT_OK(client.write(second, 0, "y"));
    ASSERT_OK(client.close(second));
    ASSERT_OK(client.close(handle));
    auto const again = client.open(ino);
    EXPECT_EQ(client.read(again, 0, 9), "y");
    ASSERT_OK(client.close(again));
  });
}

// Goal: a reader that looks again and again while another client appends never sees a zero where
// bytes were written, and the kernel is told before it hears of a new length.
TEST(Coherence, AReaderOfAGrowingFileSeesNoZeros) {
  run_simulated([] {
    Volume volume;
    Client writer(volume);
    Client reader(volume, {.seed = 2});
    Told told(reader);
    auto const ino = writer.make_file("log");
    bool done = false;
    Scope scope;
    scope.spawn([&] {
      auto const handle = writer.open(ino);
      for (int i = 0; i < 60; ++i) {
        ASSERT_OK(
            writer.write(handle, static_cast<std::uint64_t>(i) * 1000, std::string(1000, 'x')));
        if (i % 3 == 0) {
          ASSERT_OK(writer.fs.fsync(writer.ctx, handle, false));
        }
        Loop::current()->yield();
      }
      ASSERT_OK(writer.close(handle));
      done = true;
    });
    auto const handle = reader.open(ino, O_RDONLY);
    std::uint64_t known = 0;
    while (!done || known < 60'000) {
      told.now.clear();
      auto const length = reader.attr(ino).length;
      EXPECT_EQ(told.now.size(), length > known ? 1u : 0u);
      auto const text = reader.read(handle, 0, 100'000);
      EXPECT_GE(text.size(), length);
      EXPECT_EQ(text.find('\0'), text.npos);
      EXPECT_GE(length, known);
      known = length;
      Loop::current()->yield();
    }
    scope.join();
    ASSERT_OK(reader.close(handle));
    reader.fs.set_invalidator({});
  });
}

// Goal: attributes that the kernel got before another client's close are dropped by the next open,
// also where this client never had the file open.
TEST(Coherence, OpenDropsOlderAttributesOfTheKernel) {
  run_simulated([] {
    Volume volume;
    Client one(volume);
    Client two(volume, {.seed = 2});
    Told told(two);
    auto const ino = one.make_file("f");
    ASSERT_OK(two.fs.lookup(two.ctx, kRootIno, "f"));
    auto const mine = one.open(ino);
    ASSERT_OK(one.write(mine, 0, "data"));
    ASSERT_OK(one.close(mine));
    auto const handle = two.open(ino, O_RDONLY);
    EXPECT_EQ(told.now, std::vector{ino});
    EXPECT_EQ(two.attr(ino).length, 4u);
    ASSERT_OK(two.close(handle));
    told.now.clear();
    ASSERT_OK(two.close(two.open(ino, O_RDONLY)));
    EXPECT_EQ(told.now, std::vector<Ino>{}) << "nothing changed";
    auto const own = two.open(ino);
    ASSERT_OK(two.write(own, 4, "more"));
    ASSERT_OK(two.close(own));
    ASSERT_OK(two.close(two.open(ino, O_RDONLY)));
    EXPECT_EQ(told.now, std::vector<Ino>{}) << "the kernel knows of its own writes";
    two.fs.set_invalidator({});
  });
}

TEST(KernelAttrs, RememberWhatWasHandedOutUntilItsTimeOut) {
  vfs::KernelAttrs table;
  TimePoint const start{};
  Attr attr{.type = FileType::regular, .length = 5};
  EXPECT_FALSE(table.differs(Ino{7}, attr, start));
  table.hand_out(Ino{7}, attr, start, kSecond);
  EXPECT_FALSE(table.differs(Ino{7}, attr, start));
  attr.length = 6;
  EXPECT_TRUE(table.differs(Ino{7}, attr, start));
  EXPECT_FALSE(table.differs(Ino{7}, attr, start + kSecond));
  table.wrote(Ino{7}, attr.mtime, attr);
  EXPECT_FALSE(table.differs(Ino{7}, attr, start));
  attr.length = 7;
  table.drop(Ino{7});
  EXPECT_FALSE(table.differs(Ino{7}, attr, start));
  // Enough inodes displace each other; those are taken for cached until the last time-out.
  for (std::uint64_t ino = 100; ino < 30'000; ++ino) {
    table.hand_out(Ino{ino}, attr, start, kSecond);
  }
  EXPECT_TRUE(table.differs(Ino{100}, attr, start));
  EXPECT_FALSE(table.differs(Ino{100}, attr, start + kSecond));
}

}  // namespace
}  // namespace zest
