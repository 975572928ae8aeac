// A client whose session was ended by another one's cleanup: nothing it does counts any more until
// it has a new session, and it gets that by itself.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "zest/meta/meta_cases.h"
#include "zest/runtime/sync.h"

namespace zest::meta {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Client;
using testing::make;
using testing::number;
using testing::OnEngines;
using testing::Volume;
using zest::testing::run_simulated;

class Fenced : public OnEngines {};
INSTANTIATE_TEST_SUITE_P(Engines, Fenced, testing::engine_cases(), testing::case_name);

void pass(Duration duration) {
  ASSERT_TRUE(Loop::current()->sleep_for(Context{}, duration).ok());
}

MetaConfig beating_every(Duration heartbeat) {
  MetaConfig config;
  config.heartbeat = heartbeat;
  return config;
}

void must_commit(Volume& volume, Commit const& commit) {
  while (!volume.engine->commit(volume.root, commit).ok()) {
  }
}

// For others the lease of this client has run out: as if it had been paused for longer than that.
void let_lease_run_out(Volume& volume, SessionId session) {
  Commit old;
  old.changes.emplace_back(
      Put{SessionKey{session}, SessionRecord{.expire_sec = 1, .info = "{\"HostName\":\"h\"}"}});
  must_commit(volume, old);
}

// Ends the session of `paused` as another client's cleanup does, without letting its own heartbeat
// run: its beats come every ten minutes, the other client's every second.
void end_session(Volume& volume, Client& paused) {
  auto const session = paused.meta.session();
  let_lease_run_out(volume, session);
  Client other(volume, beating_every(seconds(1)));
  pass(seconds(3));
  auto const sessions = *volume.engine->list_sessions(volume.root);
  for (auto const& entry : sessions) {
    ASSERT_NE(entry.session, session);
  }
  ASSERT_EQ(paused.meta.session(), session);
}

// Goal: the first commit after the pause is refused, and from then on the client knows.
TEST_P(Fenced, NothingIsChangedUnderAnEndedSession) {
  run_simulated([&] {
    Volume volume(engine());
    Client paused(volume, beating_every(seconds(600)));
    auto const file = *make(paused, FileType::regular, kRootIno, "f");
    auto const slice = *paused.meta.new_slice(volume.root);
    end_session(volume, paused);

    auto const session = paused.meta.session();
    EXPECT_TRUE(paused.meta.alive()) << "nothing has told it yet";
    EXPECT_EQ(number(make(paused, FileType::directory, kRootIno, "d")), EIO);
    EXPECT_FALSE(paused.meta.alive()) << "it knows at once, not only at its next heartbeat";
    EXPECT_EQ(number(paused.meta.lookup(volume.root, kRootIno, "d")), ENOENT);
    EXPECT_EQ(number(paused.meta.unlink(volume.root, kRootIno, "f")), EIO);
    EXPECT_EQ(number(paused.meta.setattr(volume.root, {.ino = file, .mode = 0600})), EIO);
    EXPECT_TRUE(paused.meta.getattr(volume.root, file).ok()) << "reading goes on";

    pass(milliseconds(100));
    EXPECT_TRUE(paused.meta.alive()) << "it got a new session by itself";
    EXPECT_NE(paused.meta.session(), session);
    EXPECT_TRUE(make(paused, FileType::directory, kRootIno, "d").ok());
    // What was written before is not let in through the new session.
    WriteSliceRequest late{.ino = file,
                           .index = {},
                           .slices = {{.pos = 0, .id = slice, .size = 9, .len = 9}},
                           .mtime = {},
                           .session = session};
    EXPECT_EQ(number(paused.meta.write_slice(volume.root, late)), EIO);
    EXPECT_EQ(paused.meta.getattr(volume.root, file)->length, 0U);
    late.session = paused.meta.session();
    EXPECT_TRUE(paused.meta.write_slice(volume.root, late).ok());
  });
}

// Goal: locks and unlinked open files of the ended session are gone, and who listens hears of it.
TEST_P(Fenced, LocksAndSustainedFilesEndWithTheSession) {
  run_simulated([&] {
    Volume volume(engine());
    Client paused(volume, beating_every(seconds(600)));
    std::vector<SessionId> ended;
    paused.meta.set_session_listener([&](SessionId session) { ended.push_back(session); });
    auto const locked = *make(paused, FileType::regular, kRootIno, "l");
    auto const kept = *make(paused, FileType::regular, kRootIno, "k");
    auto const session = paused.meta.session();
    EXPECT_EQ(paused.meta.flock(volume.root, locked, 1, FlockOp::shared, false)->session, session);
    ASSERT_TRUE(paused.meta.open(volume.root, kept, O_RDWR).ok());
    ASSERT_TRUE(paused.meta.unlink(volume.root, kRootIno, "k")->sustained);
    end_session(volume, paused);

    Client other(volume, beating_every(seconds(600)));
    EXPECT_TRUE(other.meta.flock(volume.root, locked, 1, FlockOp::exclusive, false).ok());
    EXPECT_EQ(number(other.meta.getattr(volume.root, kept)), ENOENT);
    EXPECT_EQ(number(paused.meta.flock(volume.root, locked, 2, FlockOp::shared, false)), EAGAIN);
    EXPECT_EQ(number(paused.meta.flock(volume.root, locked, 1, FlockOp::unlock, false)), EIO);
    pass(milliseconds(100));
    EXPECT_EQ(ended, std::vector{session});
    EXPECT_TRUE(paused.meta.close(volume.root, kept).ok());
    EXPECT_TRUE(other.meta.flock(volume.root, locked, 1, FlockOp::unlock, false).ok());
    EXPECT_EQ(paused.meta.flock(volume.root, locked, 1, FlockOp::exclusive, false)->session,
              paused.meta.session());
    paused.meta.set_session_listener({});
  });
}

// Goal: a session that is only marked (its cleanup is under way, or its cleaner died) is fenced
// too.
TEST_P(Fenced, AMarkIsEnough) {
  run_simulated([&] {
    Volume volume(engine());
    Client paused(volume, beating_every(seconds(600)));
    auto const session = paused.meta.session();
    Commit mark;
    mark.changes.emplace_back(
        Put{SessionKey{session}, SessionRecord{.expire_sec = 0, .info = "{}"}});
    must_commit(volume, mark);
    EXPECT_EQ(number(make(paused, FileType::regular, kRootIno, "f")), EIO);
    pass(milliseconds(100));
    EXPECT_TRUE(make(paused, FileType::regular, kRootIno, "f").ok());
    // Whoever comes next finishes what the dead cleaner began, the client itself included.
    Client other(volume, beating_every(seconds(1)));
    pass(seconds(3));
    EXPECT_EQ(volume.engine->list_sessions(volume.root)->size(), 2U);
    EXPECT_EQ(paused.metrics.counter("transaction_restart", "").value() > 0,
              GetParam().conflict_per_mille > 0);
  });
}

// Goal: a read-only mount has no session and is not fenced; neither is the bookkeeping of sessions.
TEST_P(Fenced, ReadersAreNotFenced) {
  run_simulated([&] {
    Volume volume(engine());
    Client writer(volume);
    ASSERT_TRUE(make(writer, FileType::regular, kRootIno, "f").ok());
    MetaConfig config;
    config.read_only = true;
    Client reader(volume, config);
    EXPECT_TRUE(reader.meta.lookup(volume.root, kRootIno, "f").ok());
    EXPECT_EQ(number(make(reader, FileType::regular, kRootIno, "g")), EROFS);
    EXPECT_TRUE(reader.meta.alive());
    let_lease_run_out(volume, writer.meta.session());
    writer.stop();
    EXPECT_TRUE(volume.engine->list_sessions(volume.root)->empty());
  });
}

// Goal: an edge of the graph of waiters that has lost its reason makes no deadlock. B gives up what
// A waits for, and waits for what A holds before A has noticed.
TEST_P(Fenced, AWaiterThatIsAboutToBeServedIsNoDeadlock) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const x = *make(client, FileType::regular, kRootIno, "x");
    auto const y = *make(client, FileType::regular, kRootIno, "y");
    auto const lock = [&](Ino ino, std::uint64_t owner, LockRange::Type type) {
      return number(client.meta.setlk(volume.root, {.ino = ino,
                                                    .owner = owner,
                                                    .range = {.type = type, .start = 0, .end = 9},
                                                    .wait = true}));
    };
    using enum LockRange::Type;
    constexpr std::uint64_t kA = 1;
    constexpr std::uint64_t kB = 2;
    ASSERT_EQ(lock(x, kB, write), 0);
    ASSERT_EQ(lock(y, kA, write), 0);
    Scope scope;
    scope.spawn([&] {
      EXPECT_EQ(lock(x, kA, write), 0);
      EXPECT_EQ(lock(y, kA, unlock), 0);
    });
    pass(seconds(1));
    EXPECT_EQ(lock(x, kB, unlock), 0);
    EXPECT_EQ(lock(y, kB, write), 0);
    scope.join();
  });
}

}  // namespace
}  // namespace zest::meta
