// Files without a name: O_TMPFILE, files that another client unlinks while they are open here; and
// what becomes of slices after deletions and compactions.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>

#include "zest/meta/meta_cases.h"

namespace zest::meta {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using testing::Client;
using testing::make;
using testing::make_setting;
using testing::number;
using testing::OnEngines;
using testing::usage_of;
using testing::Volume;
using zest::testing::run_simulated;

class Unnamed : public OnEngines {};
INSTANTIATE_TEST_SUITE_P(Engines, Unnamed, testing::engine_cases(), testing::case_name);

void pass(Duration duration) {
  ASSERT_TRUE(Loop::current()->sleep_for(Context{}, duration).ok());
}

void write(Client& client, Ino ino, SliceRecord slice) {
  ASSERT_TRUE(client.meta
                  .write_slice(Context{}, {.ino = ino,
                                           .index = ChunkIndex{0},
                                           .slices = {slice},
                                           .mtime = client.meta.getattr(Context{}, ino)->mtime})
                  .ok());
}

template <class K>
bool present(Volume& volume, K const& key) {
  Key const wanted = key;
  auto const found = volume.engine->fetch(Context{}, std::span(&wanted, 1));
  return found.ok() && !std::holds_alternative<std::monostate>(found->front());
}

// Goal: O_TMPFILE's file has no name and no entry, counts in the usage, and its last close deletes
// it.
TEST_P(Unnamed, TmpfileGoesWithItsLastClose) {
  run_simulated([&] {
    Volume volume(engine(), make_setting(1));
    Client client(volume);
    auto const before = usage_of(client);
    auto const made = client.meta.tmpfile(volume.root, {.parent = kRootIno, .mode = 0640});
    ASSERT_TRUE(made.ok());
    EXPECT_EQ(made->attr.nlink, 0U);
    EXPECT_EQ(made->attr.mode, 0640);
    EXPECT_TRUE(client.meta.readdir(volume.root, {.dir = kRootIno})->entries.empty());
    EXPECT_TRUE(present(volume, SustainedKey{client.meta.session(), made->ino}));
    EXPECT_EQ(usage_of(client).inodes, before.inodes + 1);
    write(client, made->ino, {.id = SliceId{77}, .size = 100, .len = 100});
    EXPECT_EQ(client.meta.getattr(volume.root, made->ino)->length, 100U);
    auto const closed = client.meta.close(volume.root, made->ino);
    ASSERT_TRUE(closed.ok() && closed->has_value());
    EXPECT_TRUE((*closed)->data_unused);
    EXPECT_EQ((*closed)->length, 100U);
    EXPECT_EQ(number(client.meta.getattr(volume.root, made->ino)), ENOENT);
    EXPECT_EQ(usage_of(client).inodes, before.inodes);
    EXPECT_EQ(usage_of(client).space, before.space);
  });
}

// Goal: linkat(2) names it; then it is a file as any other, with one parent.
TEST_P(Unnamed, LinkNamesATmpfile) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    Client other(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d");
    auto const ino = client.meta.tmpfile(volume.root, {.parent = kRootIno, .mode = 0600})->ino;
    EXPECT_EQ(number(other.meta.link(volume.root, ino, dir, "theirs")), ENOENT);
    auto const linked = client.meta.link(volume.root, ino, dir, "f");
    ASSERT_TRUE(linked.ok());
    EXPECT_EQ(linked->attr.nlink, 1U);
    EXPECT_EQ(client.meta.getattr(volume.root, ino)->parent, dir);
    EXPECT_FALSE(present(volume, SustainedKey{client.meta.session(), ino}));
    EXPECT_FALSE(client.meta.close(volume.root, ino)->has_value());
    EXPECT_EQ(client.meta.lookup(volume.root, dir, "f")->ino, ino);
    EXPECT_EQ(testing::stat_of(client, dir).inodes, 1);
    EXPECT_TRUE(client.meta.link(volume.root, ino, kRootIno, "g").ok());
    EXPECT_TRUE(client.meta.unlink(volume.root, dir, "f").ok());
    EXPECT_TRUE(client.meta.unlink(volume.root, kRootIno, "g")->data_unused);
  });
}

// Goal: who may not create in the directory makes no temporary file there, and nothing is left.
TEST_P(Unnamed, TmpfileNeedsTheDirectory) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d", 0755);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto const user = testing::as_user(7, 7);
    EXPECT_EQ(number(client.meta.tmpfile(user, {.parent = dir})), EACCES);
    EXPECT_EQ(number(client.meta.tmpfile(volume.root, {.parent = file})), ENOTDIR);
    EXPECT_TRUE(volume.engine->list_sustained(volume.root, client.meta.session(), 10)->empty());
  });
}

// Goal: a file that B unlinks while A has it open stays readable and writable through A, at A's
// next operation, and goes with A's close.
TEST_P(Unnamed, AFileUnlinkedElsewhereLivesOn) {
  run_simulated([&] {
    Volume volume(engine());
    Client a(volume);
    Client b(volume);
    auto const ino = *make(a, FileType::regular, kRootIno, "f");
    auto const before = usage_of(a);
    ASSERT_TRUE(a.meta.open(volume.root, ino, O_RDWR).ok());
    write(a, ino, {.id = SliceId{77}, .size = 100, .len = 100});
    write(b, ino, {.pos = 100, .id = SliceId{78}, .size = 5000, .len = 5000});
    EXPECT_TRUE(b.meta.unlink(volume.root, kRootIno, "f")->data_unused);
    EXPECT_EQ(number(b.meta.getattr(volume.root, ino)), ENOENT);

    auto const attr = a.meta.getattr(volume.root, ino);
    ASSERT_TRUE(attr.ok());
    EXPECT_EQ(attr->nlink, 0U);
    EXPECT_EQ(attr->length, 5100U);
    EXPECT_EQ(a.meta.read_chunk(volume.root, ino, ChunkIndex{0})->size(), 2U);
    write(a, ino, {.id = SliceId{79}, .size = 10, .len = 10});
    EXPECT_TRUE(a.meta.truncate(volume.root, ino, 50, true).ok());
    EXPECT_TRUE(present(volume, SustainedKey{a.meta.session(), ino}));
    EXPECT_FALSE(present(volume, DelfileKey{ino, 5100}));
    // B finds nothing to delete any more, and A's last close leaves its own record.
    EXPECT_TRUE(b.meta.delete_file_data(volume.root, ino, 5100)->empty());
    EXPECT_EQ(a.meta.read_chunk(volume.root, ino, ChunkIndex{0})->size(), 4U);
    EXPECT_TRUE((*a.meta.close(volume.root, ino))->data_unused);
    EXPECT_TRUE(present(volume, DelfileKey{ino, 50}));
    static_cast<void>(usage_of(b));
    EXPECT_EQ(usage_of(a).inodes, before.inodes - 1);
    EXPECT_EQ(usage_of(a).space, before.space - 4096);
  });
}

// Goal: each kind of operation on the handle notices; so does the heartbeat without any.
TEST_P(Unnamed, EveryOperationNoticesAndSoDoesTheHeartbeat) {
  run_simulated([&] {
    Volume volume(engine());
    Client a(volume);
    Client b(volume);
    auto const lost = [&](std::string const& name) {
      auto const ino = *make(a, FileType::regular, kRootIno, name);
      EXPECT_TRUE(a.meta.open(volume.root, ino, O_RDWR).ok());
      write(a, ino, {.id = SliceId{77}, .size = 100, .len = 100});
      EXPECT_TRUE(b.meta.unlink(volume.root, kRootIno, name)->data_unused);
      return ino;
    };
    auto ino = lost("read");
    EXPECT_EQ(a.meta.read_chunk(volume.root, ino, ChunkIndex{0})->size(), 1U);
    ino = lost("write");
    EXPECT_TRUE(a.meta
                    .write_slice(volume.root, {.ino = ino,
                                               .index = ChunkIndex{0},
                                               .slices = {{.id = SliceId{80}, .size = 9, .len = 9}},
                                               .mtime = volume.clock.wall()})
                    .ok());
    ino = lost("setattr");
    EXPECT_TRUE(a.meta.setattr(volume.root, {.ino = ino, .mode = 0600}).ok());
    ino = lost("fallocate");
    EXPECT_TRUE(a.meta.fallocate(volume.root, {.ino = ino, .length = 4096}).ok());
    auto const in = lost("in");
    auto const out = lost("out");
    EXPECT_EQ(a.meta.copy_file_range(volume.root, {.in = in, .out = out, .length = 100})->copied,
              100U);
    ino = lost("nothing");
    pass(seconds(15));
    EXPECT_TRUE(present(volume, NodeKey{ino}));
    EXPECT_TRUE(present(volume, SustainedKey{a.meta.session(), ino}));
    a.stop();
    EXPECT_FALSE(present(volume, NodeKey{ino}));
  });
}

// Goal: once the data are being deleted, the file is not brought back; what is still there can be
// read, the rest is an error and never zeros.
TEST_P(Unnamed, AFileBeingDeletedIsNotBroughtBack) {
  run_simulated([&] {
    Volume volume(engine());
    Client a(volume);
    Client b(volume);
    auto const ino = *make(a, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(a.meta.open(volume.root, ino, O_RDWR).ok());
    write(a, ino, {.id = SliceId{77}, .size = 100, .len = 100});
    ASSERT_TRUE(b.meta.unlink(volume.root, kRootIno, "f")->data_unused);
    Commit claim;
    claim.changes.emplace_back(Put{DelfileKey{ino, 100}, DelfileRecord{.deleted_sec = 1}});
    while (!volume.engine->commit(volume.root, claim).ok()) {
    }
    EXPECT_EQ(number(a.meta.getattr(volume.root, ino)), ENOENT);
    EXPECT_EQ(a.meta.read_chunk(volume.root, ino, ChunkIndex{0})->size(), 1U);
    EXPECT_EQ(b.meta.delete_file_data(volume.root, ino, 100)->size(), 1U);
    EXPECT_EQ(number(a.meta.read_chunk(volume.root, ino, ChunkIndex{0})), ENOENT);
    EXPECT_FALSE(a.meta.close(volume.root, ino)->has_value());
  });
}

// Goal: a chunk that a client without claims dropped before the file was brought back is an error.
TEST_P(Unnamed, AMissingChunkOfAnAdoptedFileIsAnError) {
  run_simulated([&] {
    Volume volume(engine());
    Client a(volume);
    Client b(volume);
    auto const ino = *make(a, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(a.meta.open(volume.root, ino, O_RDWR).ok());
    write(a, ino, {.id = SliceId{77}, .size = 100, .len = 100});
    ASSERT_TRUE(b.meta.unlink(volume.root, kRootIno, "f")->data_unused);
    Commit drop;
    drop.changes.emplace_back(Erase{ChunkKey{ino, ChunkIndex{0}}});
    while (!volume.engine->commit(volume.root, drop).ok()) {
    }
    EXPECT_TRUE(a.meta.getattr(volume.root, ino).ok());
    EXPECT_EQ(number(a.meta.read_chunk(volume.root, ino, ChunkIndex{0})), EIO);
    EXPECT_TRUE(a.meta.read_chunk(volume.root, ino, ChunkIndex{1})->empty());
  });
}

// Goal: a file that is not open here, and one of a read-only mount, stay deleted.
TEST_P(Unnamed, OnlyOpenFilesOfWritableMountsComeBack) {
  run_simulated([&] {
    Volume volume(engine());
    Client writer(volume);
    MetaConfig config;
    config.read_only = true;
    Client reader(volume, config);
    auto const ino = *make(writer, FileType::regular, kRootIno, "f");
    write(writer, ino, {.id = SliceId{77}, .size = 100, .len = 100});
    ASSERT_TRUE(reader.meta.open(volume.root, ino, O_RDONLY).ok());
    ASSERT_TRUE(writer.meta.unlink(volume.root, kRootIno, "f")->data_unused);
    EXPECT_EQ(number(writer.meta.getattr(volume.root, ino)), ENOENT);
    EXPECT_EQ(number(reader.meta.getattr(volume.root, ino)), ENOENT);
    EXPECT_EQ(reader.meta.read_chunk(volume.root, ino, ChunkIndex{0})->size(), 1U);
    EXPECT_TRUE(writer.meta.others_live(volume.root).ok());
    EXPECT_FALSE(*writer.meta.others_live(volume.root));
  });
}

// Goal: two clients have it open; the file lives until the second one closed it, too.
TEST_P(Unnamed, TheLastOfSeveralClientsDeletes) {
  run_simulated([&] {
    Volume volume(engine());
    Client a(volume);
    Client b(volume);
    auto const ino = *make(a, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(a.meta.open(volume.root, ino, O_RDWR).ok());
    ASSERT_TRUE(b.meta.open(volume.root, ino, O_RDWR).ok());
    write(a, ino, {.id = SliceId{77}, .size = 100, .len = 100});
    EXPECT_TRUE(b.meta.unlink(volume.root, kRootIno, "f")->sustained);
    EXPECT_TRUE((*b.meta.close(volume.root, ino))->data_unused);
    EXPECT_TRUE(*b.meta.others_live(volume.root));
    EXPECT_EQ(a.meta.read_chunk(volume.root, ino, ChunkIndex{0})->size(), 1U);
    EXPECT_TRUE((*a.meta.close(volume.root, ino))->data_unused);
    EXPECT_EQ(number(a.meta.getattr(volume.root, ino)), ENOENT);
  });
}

// Goal: slices that a compaction replaced keep their references for the trash period, then lose
// them exactly once, whoever cleans.
TEST_P(Unnamed, DelayedSlicesExpireOnce) {
  run_simulated([&] {
    Volume volume(engine(), make_setting(1));
    Client client(volume);
    Client other(volume);
    auto const ino = *make(client, FileType::regular, kRootIno, "f");
    write(client, ino, {.id = SliceId{81}, .size = 100, .len = 100});
    write(client, ino, {.pos = 100, .id = SliceId{82}, .size = 100, .len = 100});
    auto const seen = *client.meta.read_chunk(volume.root, ino, ChunkIndex{0});
    auto const freed = client.meta.compact_chunk(volume.root, {ino, ChunkIndex{0}}, seen, 0,
                                                 {.id = SliceId{90}, .size = 200, .len = 200});
    ASSERT_TRUE(freed.ok() && freed->empty());
    EXPECT_EQ(client.meta.expire_delayed_slices(volume.root, 10)->lists, 0U);
    pass(hours(25));
    auto const expired = client.meta.expire_delayed_slices(volume.root, 10);
    ASSERT_TRUE(expired.ok());
    EXPECT_EQ(expired->lists, 1U);
    EXPECT_EQ(expired->unused.size(), 2U);
    EXPECT_EQ(other.meta.expire_delayed_slices(volume.root, 10)->lists, 0U);
    ASSERT_TRUE(client.meta.forget_slices(volume.root, expired->unused).ok());
    EXPECT_TRUE(client.meta.garbage_slices(volume.root, 10)->empty());
    EXPECT_TRUE(present(volume, ChunkKey{ino, ChunkIndex{0}}));
  });
}

}  // namespace
}  // namespace zest::meta
