// Copies of files and trees, and restoring from the trash, which is a rename.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "zest/format/trash.h"
#include "zest/meta/meta_cases.h"

namespace zest::meta {
namespace {

using std::chrono::hours;
using testing::as_user;
using testing::Client;
using testing::make;
using testing::make_setting;
using testing::number;
using testing::OnEngines;
using testing::stat_of;
using testing::usage_of;
using testing::Volume;
using zest::testing::run_simulated;

class Clone : public OnEngines {};
INSTANTIATE_TEST_SUITE_P(Engines, Clone, testing::engine_cases(), testing::case_name);

std::uint64_t slice_number = 1000;

void write(Client& client, Ino ino, std::uint64_t index, std::uint32_t length) {
  SliceRecord const slice{.id = SliceId{++slice_number}, .size = length, .len = length};
  ASSERT_TRUE(client.meta
                  .write_slice(Context{}, {.ino = ino,
                                           .index = ChunkIndex{static_cast<std::uint32_t>(index)},
                                           .slices = {slice},
                                           .mtime = client.meta.getattr(Context{}, ino)->mtime})
                  .ok());
}

Slices chunk(Client& client, Ino ino, std::uint32_t index) {
  auto const slices = client.meta.read_chunk(Context{}, ino, ChunkIndex{index});
  EXPECT_TRUE(slices.ok());
  return slices.ok() ? *slices : Slices{};
}

Ino find(Client& client, Ino parent, std::string_view name) {
  auto const found = client.meta.lookup(Context{}, parent, name);
  EXPECT_TRUE(found.ok()) << name;
  return found.ok() ? found->ino : Ino{};
}

// Goal: a cloned file shares its slices, which live until the last of both is deleted.
TEST_P(Clone, AFileSharesItsSlices) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const ino = *make(client, FileType::regular, kRootIno, "f", 0640);
    write(client, ino, 0, 5000);
    write(client, ino, 2, 100);
    ASSERT_TRUE(client.meta.setxattr(volume.root, ino, "user.a", "value", 0).ok());
    auto const before = usage_of(client);
    auto const copy =
        client.meta.clone(volume.root, {.from = ino, .parent = kRootIno, .name = "c"});
    ASSERT_TRUE(copy.ok()) << copy.error().text();
    EXPECT_EQ(find(client, kRootIno, "c"), copy->ino);
    EXPECT_EQ(copy->attr.length, client.meta.getattr(volume.root, ino)->length);
    EXPECT_EQ(copy->attr.parent, kRootIno);
    for (std::uint32_t index = 0; index < 3; ++index) {
      EXPECT_EQ(chunk(client, copy->ino, index), chunk(client, ino, index));
    }
    EXPECT_EQ(*client.meta.getxattr(volume.root, copy->ino, "user.a"), "value");
    EXPECT_EQ(usage_of(client).inodes, before.inodes + 1);
    EXPECT_EQ(usage_of(client).space, 2 * before.space);
    auto const length = copy->attr.length;
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "f").ok());
    EXPECT_TRUE(client.meta.delete_file_data(volume.root, ino, length)->empty());
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "c").ok());
    EXPECT_EQ(client.meta.delete_file_data(volume.root, copy->ino, length)->size(), 2U);
  });
}

// Goal: a tree with everything in it is copied as it is: links, types, counts, statistics; hard
// links become files of their own.
TEST_P(Clone, ATreeIsCopiedWhole) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const top = *make(client, FileType::directory, kRootIno, "top");
    auto const sub = *make(client, FileType::directory, top, "sub");
    for (int i = 0; i < 150; ++i) {
      write(client, *make(client, FileType::regular, top, "f" + std::to_string(i)), 0, 100);
    }
    ASSERT_TRUE(make(client, FileType::symlink, sub, "link").ok());
    ASSERT_TRUE(make(client, FileType::fifo, sub, "pipe").ok());
    auto const file = *make(client, FileType::regular, sub, "big");
    for (std::uint64_t i = 0; i < 200; i += 2) {  // More chunks than one commit copies.
      write(client, file, i, 10);
    }
    ASSERT_TRUE(client.meta.link(volume.root, file, top, "hard").ok());
    auto const before = usage_of(client);
    auto const stats = stat_of(client, sub);
    CloneProgress progress;
    auto const copy = client.meta.clone(
        volume.root, {.from = top, .parent = kRootIno, .name = "copy"}, &progress);
    ASSERT_TRUE(copy.ok()) << copy.error().text();
    EXPECT_EQ(progress.cloned.load(), 156U);
    EXPECT_EQ(progress.total.load(), 156U);
    EXPECT_EQ(client.meta.getattr(volume.root, copy->ino)->nlink, 3U);
    EXPECT_EQ(client.meta.getattr(volume.root, kRootIno)->nlink, 4U);
    EXPECT_EQ(client.meta.readdir(volume.root, {.dir = copy->ino})->entries.size(), 152U);
    auto const sub_copy = find(client, copy->ino, "sub");
    EXPECT_EQ(*client.meta.readlink(volume.root, find(client, sub_copy, "link")), "target");
    EXPECT_EQ(client.meta.getattr(volume.root, find(client, sub_copy, "pipe"))->type,
              FileType::fifo);
    auto const big = find(client, sub_copy, "big");
    EXPECT_EQ(client.meta.getattr(volume.root, big)->nlink, 1U);
    EXPECT_EQ(chunk(client, big, 198), chunk(client, file, 198));
    EXPECT_NE(find(client, copy->ino, "hard"), big);
    EXPECT_EQ(stat_of(client, sub_copy), stats);
    // The hard link counts once more in the copy.
    EXPECT_EQ(usage_of(client).inodes, before.inodes * 2 + 1);
    EXPECT_TRUE(volume.engine->list_detached(volume.root, INT64_MAX, 10)->empty());
  });
}

// Goal: who clones owns the copy; with `preserve` root keeps owners, and others keep only their
// own.
TEST_P(Clone, OwnersAndModes) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const ino = *make(client, FileType::regular, kRootIno, "f", 04755);
    ASSERT_TRUE(client.meta.setattr(volume.root, {.ino = ino, .uid = 7, .gid = 8}).ok());
    ASSERT_TRUE(client.meta.setattr(volume.root, {.ino = ino, .mode = 04755}).ok());
    auto const attr_of = [&](Context const& ctx, std::string_view name, bool preserve) {
      auto const copy = client.meta.clone(
          ctx, {.from = ino, .parent = kRootIno, .name = name, .preserve = preserve, .umask = 022});
      EXPECT_TRUE(copy.ok()) << copy.error().text();
      return copy.ok() ? copy->attr : Attr{};
    };
    auto const kept = attr_of(volume.root, "kept", true);
    EXPECT_EQ(kept.uid, 7U);
    EXPECT_EQ(kept.mode, 04755);
    EXPECT_EQ(kept.mtime, client.meta.getattr(volume.root, ino)->mtime);
    auto const fresh = attr_of(volume.root, "fresh", false);
    EXPECT_EQ(fresh.uid, 0U);
    auto const foreign = attr_of(as_user(9, 9), "foreign", true);
    EXPECT_EQ(foreign.uid, 9U);
    EXPECT_EQ(foreign.mode, 0755);
    EXPECT_EQ(attr_of(as_user(7, 8), "own", true).uid, 7U);
  });
}

TEST_P(Clone, Errors) {
  run_simulated([&] {
    Volume volume(engine(), make_setting(1));
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d", 0755);
    auto const secret = *make(client, FileType::regular, dir, "secret", 0600);
    auto const clone = [&](Context const& ctx, Ino from, Ino parent, std::string_view name) {
      return number(client.meta.clone(ctx, {.from = from, .parent = parent, .name = name}));
    };
    auto const before = usage_of(client);
    auto const user = as_user(7, 7);
    EXPECT_EQ(clone(user, secret, kRootIno, "x"), EACCES);
    EXPECT_EQ(clone(user, dir, kRootIno, "x"), EACCES);
    EXPECT_EQ(clone(user, secret, dir, "x"), EACCES);
    EXPECT_EQ(clone(volume.root, secret, kRootIno, "d"), EEXIST);
    EXPECT_EQ(clone(volume.root, secret, secret, "x"), ENOTDIR);
    EXPECT_EQ(clone(volume.root, Ino{4711}, kRootIno, "x"), ENOENT);
    EXPECT_EQ(clone(volume.root, secret, kRootIno, ""), EINVAL);
    EXPECT_EQ(clone(volume.root, kTrashIno, kRootIno, "x"), EPERM);
    EXPECT_EQ(clone(volume.root, secret, kTrashIno, "x"), EPERM);
    EXPECT_EQ(usage_of(client).inodes, before.inodes);
    EXPECT_TRUE(volume.engine->list_detached(volume.root, INT64_MAX, 10)->empty());
    EXPECT_EQ(client.meta.getattr(volume.root, kRootIno)->nlink, 3U);
  });
}

// Goal: a clone that is stopped in the middle leaves nothing, except data that wait for deletion
// and whose slices the source still has.
TEST_P(Clone, StoppedInTheMiddleItLeavesNothing) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const top = *make(client, FileType::directory, kRootIno, "top");
    auto const sub = *make(client, FileType::directory, top, "sub");
    for (int i = 0; i < 100; ++i) {
      write(client, *make(client, FileType::regular, sub, "f" + std::to_string(i)), 0, 100);
    }
    ASSERT_TRUE(make(client, FileType::regular, sub, "unreadable", 0).ok());
    auto const before = usage_of(client);
    auto const user = as_user(7, 7);
    EXPECT_EQ(number(client.meta.setattr(volume.root, {.ino = kRootIno, .mode = 0777})), 0);
    EXPECT_EQ(number(client.meta.clone(user, {.from = top, .parent = kRootIno, .name = "c"})),
              EACCES);
    EXPECT_EQ(number(client.meta.lookup(volume.root, kRootIno, "c")), ENOENT);
    EXPECT_EQ(usage_of(client).inodes, before.inodes);
    EXPECT_EQ(usage_of(client).space, before.space);
    EXPECT_TRUE(volume.engine->list_detached(volume.root, INT64_MAX, 10)->empty());
    auto const waiting = client.meta.deleted_files(volume.root, -hours(1), 1000);
    for (auto const& file : *waiting) {
      EXPECT_TRUE(client.meta.delete_file_data(volume.root, file.ino, file.length)->empty());
    }
    auto const file = find(client, sub, "f1");
    ASSERT_TRUE(client.meta.unlink(volume.root, sub, "f1").ok());
    EXPECT_EQ(client.meta.delete_file_data(volume.root, file, 100)->size(), 1U);
  });
}

// Goal: what a crash left of a clone is found by its record, and cleaned up when it is old.
TEST_P(Clone, ForgottenTreesAreCleaned) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const before = usage_of(client);
    auto const top = *make(client, FileType::directory, kRootIno, "top");
    auto const sub = *make(client, FileType::directory, top, "sub");
    write(client, *make(client, FileType::regular, sub, "f"), 0, 100);
    static_cast<void>(usage_of(client));
    Commit detach;
    detach.changes.emplace_back(Erase{EdgeKey{kRootIno, "top"}});
    detach.changes.emplace_back(Put{DetachedKey{top}, volume.clock.wall().sec});
    while (!volume.engine->commit(volume.root, detach).ok()) {
    }
    EXPECT_EQ(*client.meta.clean_detached(volume.root, hours(24), 10), 0U);
    ASSERT_TRUE(Loop::current()->sleep_for(Context{}, hours(25)).ok());
    EXPECT_EQ(*client.meta.clean_detached(volume.root, hours(24), 10), 1U);
    EXPECT_EQ(number(client.meta.getattr(volume.root, sub)), ENOENT);
    EXPECT_EQ(usage_of(client).inodes, before.inodes);
    EXPECT_EQ(client.meta.deleted_files(volume.root, -hours(1), 10)->size(), 1U);
    EXPECT_EQ(*client.meta.clean_detached(volume.root, hours(24), 10), 0U);
  });
}

// Goal: concat appends all sources in one commit, at any offset, and shares their slices; a target
// among the sources and a source without rights change nothing; more than one commit can hold goes
// in steps.
TEST_P(Clone, ConcatAppendsWholeFiles) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    std::vector<Ino> parts;
    for (int i = 0; i < 3; ++i) {
      parts.push_back(*make(client, FileType::regular, kRootIno, "part" + std::to_string(i), 0600));
      write(client, parts.back(), 1, 1000);
    }
    auto const out = *make(client, FileType::regular, kRootIno, "out");
    write(client, out, 0, 100);
    auto const all = client.meta.concat(volume.root, out, parts);
    ASSERT_TRUE(all.ok()) << all.error().text();
    EXPECT_EQ(all->length, 100 + 3 * (kChunkSize + 1000));
    EXPECT_EQ(client.meta.getattr(volume.root, out)->length, all->length);
    EXPECT_EQ(chunk(client, out, 1).size(), 3U);
    parts.push_back(out);
    EXPECT_EQ(number(client.meta.concat(volume.root, out, parts)), EINVAL);
    parts.pop_back();
    EXPECT_EQ(number(client.meta.concat(as_user(7, 7), out, parts)), EACCES);
    EXPECT_EQ(client.meta.getattr(volume.root, out)->length, all->length);
    auto const length = client.meta.getattr(volume.root, parts[0])->length;
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "part0").ok());
    EXPECT_TRUE(client.meta.delete_file_data(volume.root, parts[0], length)->empty());
    parts.erase(parts.begin());
    write(client, parts[0], 70, 1000);
    auto const more = client.meta.concat(volume.root, out, parts);
    ASSERT_TRUE(more.ok()) << more.error().text();
    EXPECT_EQ(more->length, all->length + 71 * kChunkSize + 2000);
  });
}

}  // namespace
}  // namespace zest::meta
