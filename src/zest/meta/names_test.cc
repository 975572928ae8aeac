// Operations on names: create, link, unlink, rmdir, rename, lookup, listing, trash.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "zest/format/trash.h"
#include "zest/meta/meta_cases.h"

namespace zest::meta {
namespace {

using testing::Client;
using testing::make;
using testing::make_setting;
using testing::number;
using testing::OnEngines;
using testing::stat_of;
using testing::usage_of;
using testing::Volume;
using zest::testing::run_simulated;

class Names : public OnEngines {};
INSTANTIATE_TEST_SUITE_P(Engines, Names, testing::engine_cases(), testing::case_name);

RenameRequest move(Ino from, std::string_view name, Ino to, std::string_view new_name,
                   std::uint32_t flags = 0) {
  return {.parent = from, .name = name, .new_parent = to, .new_name = new_name, .flags = flags};
}

std::set<std::string> names_in(Client& client, Ino dir) {
  std::set<std::string> names;
  auto const page = client.meta.readdir(Context{}, {.dir = dir});
  EXPECT_TRUE(page.ok());
  for (auto const& entry : page->entries) {
    names.insert(entry.name);
  }
  return names;
}

TEST_P(Names, CreateSetsTheNodeAndTouchesTheDirectory) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const before = *client.meta.getattr(volume.root, kRootIno);
    auto ctx = testing::as_user(7, 8);
    auto const made = client.meta.mknod(ctx, {.parent = kRootIno,
                                              .name = "f",
                                              .type = FileType::regular,
                                              .mode = 0666,
                                              .umask = 022,
                                              .target = {}});
    ASSERT_TRUE(made.ok()) << made.error().text();
    auto const found = client.meta.lookup(volume.root, kRootIno, "f");
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found->ino, made->ino);
    EXPECT_EQ(found->attr, made->attr);
    EXPECT_EQ(found->attr.mode, 0644);
    EXPECT_EQ(found->attr.uid, 7U);
    EXPECT_EQ(found->attr.gid, 8U);
    EXPECT_EQ(found->attr.nlink, 1U);
    EXPECT_EQ(found->attr.parent, kRootIno);
    auto const after = *client.meta.getattr(volume.root, kRootIno);
    EXPECT_GT(after.mtime, before.mtime);
    EXPECT_GT(after.ctime, before.ctime);
    EXPECT_EQ(after.nlink, before.nlink);
    ASSERT_TRUE(make(client, FileType::directory, kRootIno, "d").ok());
    EXPECT_EQ(client.meta.getattr(volume.root, kRootIno)->nlink, before.nlink + 1);
    EXPECT_EQ(usage_of(client).inodes, 2);
    EXPECT_EQ(usage_of(client).space, 8192);
    EXPECT_EQ(stat_of(client, kRootIno), (DirStat{.length = 0, .space = 8192, .inodes = 2}));
  });
}

TEST_P(Names, CreateErrors) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    EXPECT_EQ(number(make(client, FileType::regular, kRootIno, "f")), EEXIST);
    EXPECT_EQ(number(make(client, FileType::directory, file, "x")), ENOTDIR);
    EXPECT_EQ(number(make(client, FileType::directory, Ino{999}, "x")), ENOENT);
    EXPECT_EQ(number(make(client, FileType::directory, kTrashIno, "x")), ENOENT);
    auto const locked = *make(client, FileType::directory, kRootIno, "locked", 0555);
    EXPECT_EQ(number(client.meta.mknod(
                  testing::as_user(5, 5),
                  {.parent = locked, .name = "x", .type = FileType::regular, .target = {}})),
              EACCES);
    MknodRequest link{.parent = kRootIno, .name = "l", .type = FileType::symlink, .target = {}};
    EXPECT_EQ(number(client.meta.mknod(volume.root, link)), EINVAL);
    std::string const too_long(4096, 't');
    link.target = too_long;
    EXPECT_EQ(number(client.meta.mknod(volume.root, link)), ENAMETOOLONG);
  });
}

TEST_P(Names, SymlinksKeepTheirTarget) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const link = client.meta.mknod(
        volume.root,
        {.parent = kRootIno, .name = "l", .type = FileType::symlink, .target = "../somewhere"});
    ASSERT_TRUE(link.ok());
    EXPECT_EQ(link->attr.length, 12U);
    EXPECT_EQ(link->attr.mode, 0777);
    EXPECT_EQ(*client.meta.readlink(volume.root, link->ino), "../somewhere");
    EXPECT_EQ(number(client.meta.readlink(volume.root, kRootIno)), EINVAL);
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "l").ok());
    EXPECT_EQ(number(client.meta.readlink(volume.root, link->ino)), ENOENT);
    EXPECT_EQ(usage_of(client).inodes, 0);
  });
}

TEST_P(Names, LookupOfDotsAndOfASubdirectoryMount) {
  run_simulated([&] {
    Volume volume(engine());
    Client whole(volume);
    auto const dir = *make(whole, FileType::directory, kRootIno, "d");
    auto const sub = *make(whole, FileType::directory, dir, "s");
    EXPECT_EQ(whole.meta.lookup(volume.root, sub, "..")->ino, dir);
    EXPECT_EQ(whole.meta.lookup(volume.root, sub, ".")->ino, sub);
    MetaConfig config;
    config.root = dir;
    Client part(volume, config);
    EXPECT_EQ(part.meta.lookup(volume.root, kRootIno, "s")->ino, sub);
    EXPECT_EQ(part.meta.lookup(volume.root, kRootIno, "..")->ino, kRootIno);
    EXPECT_EQ(part.meta.lookup(volume.root, sub, "..")->ino, kRootIno);
    EXPECT_EQ(*part.meta.parent_of(volume.root, sub), kRootIno);
    EXPECT_EQ(number(part.meta.lookup(volume.root, kRootIno, "d")), ENOENT);
    ASSERT_TRUE(make(part, FileType::regular, kRootIno, "f").ok());
    EXPECT_EQ(names_in(whole, dir), (std::set<std::string>{"f", "s"}));
  });
}

TEST_P(Names, UnlinkDeletesTheLastName) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(client.meta.setxattr(volume.root, file, "user.a", "1", 0).ok());
    auto const gone = client.meta.unlink(volume.root, kRootIno, "f");
    ASSERT_TRUE(gone.ok());
    EXPECT_EQ(gone->ino, file);
    EXPECT_TRUE(gone->data_unused);
    EXPECT_EQ(number(client.meta.getattr(volume.root, file)), ENOENT);
    EXPECT_EQ(number(client.meta.unlink(volume.root, kRootIno, "f")), ENOENT);
    EXPECT_EQ(usage_of(client).inodes, 0);
    EXPECT_EQ(usage_of(client).space, 0);
    EXPECT_EQ(stat_of(client, kRootIno), DirStat{});
    EXPECT_EQ(client.meta.deleted_files(volume.root, Duration::zero(), 10)->size(), 1U);
  });
}

TEST_P(Names, UnlinkErrors) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const sticky = *make(client, FileType::directory, kRootIno, "sticky", 01777);
    ASSERT_TRUE(make(client, FileType::regular, sticky, "roots").ok());
    EXPECT_EQ(number(client.meta.unlink(volume.root, kRootIno, "sticky")), EISDIR);
    EXPECT_EQ(number(client.meta.unlink(testing::as_user(5, 5), sticky, "roots")), EPERM);
    auto const closed = *make(client, FileType::directory, kRootIno, "closed", 0755);
    ASSERT_TRUE(make(client, FileType::regular, closed, "f").ok());
    EXPECT_EQ(number(client.meta.unlink(testing::as_user(5, 5), closed, "f")), EACCES);
    SetattrRequest freeze{.ino = closed};
    freeze.flags = std::uint8_t{kFlagAppend};
    ASSERT_TRUE(client.meta.setattr(volume.root, freeze).ok());
    EXPECT_EQ(number(client.meta.unlink(volume.root, closed, "f")), EPERM);
    EXPECT_TRUE(make(client, FileType::regular, closed, "g").ok());
  });
}

TEST_P(Names, HardLinksCountNamesAndParents) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d");
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto const linked = client.meta.link(volume.root, file, dir, "g");
    ASSERT_TRUE(linked.ok());
    EXPECT_EQ(linked->attr.nlink, 2U);
    EXPECT_EQ(linked->attr.parent, Ino{});
    EXPECT_EQ(number(client.meta.link(volume.root, file, dir, "g")), EEXIST);
    EXPECT_EQ(number(client.meta.link(volume.root, dir, dir, "h")), EPERM);
    EXPECT_EQ(number(client.meta.link(volume.root, Ino{999}, dir, "h")), ENOENT);
    Key const key = ParentsKey{file};
    auto parents = client.meta.engine().fetch(volume.root, std::span(&key, 1));
    EXPECT_EQ(std::get<Parents>(parents->front()), (Parents{{kRootIno, 1}, {dir, 1}}));
    EXPECT_EQ(stat_of(client, dir).inodes, 1);
    EXPECT_EQ(usage_of(client).inodes, 2);

    auto const first = client.meta.unlink(volume.root, kRootIno, "f");
    EXPECT_FALSE(first->data_unused);
    EXPECT_EQ(client.meta.getattr(volume.root, file)->nlink, 1U);
    parents = client.meta.engine().fetch(volume.root, std::span(&key, 1));
    EXPECT_EQ(std::get<Parents>(parents->front()), (Parents{{dir, 1}}));
    EXPECT_TRUE(client.meta.unlink(volume.root, dir, "g")->data_unused);
    EXPECT_EQ(usage_of(client).inodes, 1);
    EXPECT_EQ(stat_of(client, dir), DirStat{});
  });
}

TEST_P(Names, Rmdir) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d");
    ASSERT_TRUE(make(client, FileType::regular, dir, "f").ok());
    EXPECT_EQ(number(client.meta.rmdir(volume.root, kRootIno, "d")), ENOTEMPTY);
    EXPECT_EQ(number(client.meta.rmdir(volume.root, dir, "f")), ENOTDIR);
    EXPECT_EQ(number(client.meta.rmdir(volume.root, dir, ".")), EINVAL);
    EXPECT_EQ(number(client.meta.rmdir(volume.root, dir, "..")), ENOTEMPTY);
    ASSERT_TRUE(client.meta.unlink(volume.root, dir, "f").ok());
    EXPECT_EQ(*client.meta.rmdir(volume.root, kRootIno, "d"), dir);
    EXPECT_EQ(number(client.meta.rmdir(volume.root, kRootIno, "d")), ENOENT);
    EXPECT_EQ(number(make(client, FileType::regular, dir, "late")), ENOENT);
    EXPECT_EQ(client.meta.getattr(volume.root, kRootIno)->nlink, 2U);
    EXPECT_EQ(usage_of(client).inodes, 0);
  });
}

TEST_P(Names, RenameMovesAndReplaces) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const a = *make(client, FileType::directory, kRootIno, "a");
    auto const b = *make(client, FileType::directory, kRootIno, "b");
    auto const file = *make(client, FileType::regular, a, "f");
    auto const old = *make(client, FileType::regular, b, "g");
    auto const moved = client.meta.rename(volume.root, move(a, "f", b, "g"));
    ASSERT_TRUE(moved.ok());
    EXPECT_EQ(moved->ino, file);
    EXPECT_EQ(moved->attr.parent, b);
    ASSERT_TRUE(moved->replaced.has_value());
    EXPECT_EQ(moved->replaced->ino, old);
    EXPECT_TRUE(moved->replaced->data_unused);
    EXPECT_EQ(client.meta.lookup(volume.root, b, "g")->ino, file);
    EXPECT_EQ(client.meta.getattr(volume.root, file)->parent, b);
    EXPECT_EQ(number(client.meta.lookup(volume.root, a, "f")), ENOENT);
    EXPECT_EQ(number(client.meta.getattr(volume.root, old)), ENOENT);
    EXPECT_EQ(stat_of(client, a), DirStat{});
    EXPECT_EQ(stat_of(client, b).inodes, 1);

    auto const sub = *make(client, FileType::directory, a, "sub");
    ASSERT_TRUE(client.meta.rename(volume.root, move(a, "sub", b, "sub")).ok());
    EXPECT_EQ(client.meta.getattr(volume.root, a)->nlink, 2U);
    EXPECT_EQ(client.meta.getattr(volume.root, b)->nlink, 3U);
    EXPECT_EQ(client.meta.getattr(volume.root, sub)->parent, b);
    ASSERT_TRUE(make(client, FileType::directory, a, "empty").ok());
    ASSERT_TRUE(client.meta.rename(volume.root, move(b, "sub", a, "empty")).ok());
    EXPECT_EQ(client.meta.getattr(volume.root, a)->nlink, 3U);
    EXPECT_EQ(client.meta.getattr(volume.root, b)->nlink, 2U);
    EXPECT_EQ(usage_of(client).inodes, 4);
  });
}

TEST_P(Names, RenameErrors) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const a = *make(client, FileType::directory, kRootIno, "a");
    auto const b = *make(client, FileType::directory, a, "b");
    auto const c = *make(client, FileType::directory, b, "c");
    ASSERT_TRUE(make(client, FileType::regular, kRootIno, "f").ok());
    auto const rename = [&](Ino from, std::string_view name, Ino to, std::string_view new_name,
                            std::uint32_t flags = 0) {
      return number(client.meta.rename(volume.root, move(from, name, to, new_name, flags)));
    };
    EXPECT_EQ(rename(kRootIno, "a", a, "x"), EINVAL);
    EXPECT_EQ(rename(kRootIno, "a", b, "x"), EINVAL);
    EXPECT_EQ(rename(kRootIno, "a", c, "x"), EINVAL);
    EXPECT_EQ(rename(b, "c", kRootIno, "a", kRenameExchange), EINVAL);
    EXPECT_EQ(rename(b, "c", kRootIno, "a"), ENOTEMPTY);
    EXPECT_EQ(rename(kRootIno, "f", kRootIno, "a"), EISDIR);
    EXPECT_EQ(rename(kRootIno, "a", kRootIno, "f"), ENOTDIR);
    EXPECT_EQ(rename(kRootIno, "nothing", kRootIno, "x"), ENOENT);
    EXPECT_EQ(rename(kRootIno, "f", kRootIno, "a", kRenameNoReplace), EEXIST);
    EXPECT_EQ(rename(kRootIno, "f", kRootIno, "x", kRenameExchange), ENOENT);
    EXPECT_EQ(rename(kRootIno, "f", kRootIno, "x", 4), ENOTSUP);
    EXPECT_EQ(rename(kRootIno, "f", kRootIno, "x", 3), EINVAL);
    EXPECT_EQ(rename(kRootIno, ".", kRootIno, "x"), EBUSY);
    EXPECT_EQ(rename(kRootIno, "f", kRootIno, "f"), 0);
    EXPECT_EQ(rename(kRootIno, "f", Ino{999}, "f"), ENOENT);
  });
}

TEST_P(Names, RenameExchangesAcrossDirectories) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const a = *make(client, FileType::directory, kRootIno, "a");
    auto const b = *make(client, FileType::directory, kRootIno, "b");
    auto const file = *make(client, FileType::regular, a, "f");
    auto const dir = *make(client, FileType::directory, b, "d");
    ASSERT_TRUE(client.meta.rename(volume.root, move(a, "f", b, "d", kRenameExchange)).ok());
    EXPECT_EQ(client.meta.lookup(volume.root, b, "d")->ino, file);
    EXPECT_EQ(client.meta.lookup(volume.root, a, "f")->ino, dir);
    EXPECT_EQ(client.meta.getattr(volume.root, a)->nlink, 3U);
    EXPECT_EQ(client.meta.getattr(volume.root, b)->nlink, 2U);
    EXPECT_EQ(client.meta.getattr(volume.root, dir)->parent, a);
    EXPECT_EQ(client.meta.getattr(volume.root, file)->parent, b);
  });
}

TEST_P(Names, TwoNamesOfOneFileStayWhenRenamedOntoEachOther) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(client.meta.link(volume.root, file, kRootIno, "g").ok());
    ASSERT_TRUE(client.meta.rename(volume.root, move(kRootIno, "f", kRootIno, "g")).ok());
    EXPECT_EQ(names_in(client, kRootIno), (std::set<std::string>{"f", "g"}));
    EXPECT_EQ(client.meta.getattr(volume.root, file)->nlink, 2U);
  });
}

// Two clients move two directories into one another, in every order of their steps: one of the two
// must be refused, and the tree stays a tree.
TEST_P(Names, TwoClientsCannotMakeACycle) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    run_simulated(
        [&] {
          Volume volume(engine());
          Client one(volume);
          Client two(volume);
          auto const a = *make(one, FileType::directory, kRootIno, "a");
          auto const b = *make(one, FileType::directory, kRootIno, "b");
          auto const a1 = *make(one, FileType::directory, a, "a1");
          auto const b1 = *make(one, FileType::directory, b, "b1");
          int first = -1;
          int second = -1;
          Scope scope;
          scope.spawn(
              [&] { first = number(one.meta.rename(volume.root, move(kRootIno, "a", b1, "x"))); });
          scope.spawn(
              [&] { second = number(two.meta.rename(volume.root, move(kRootIno, "b", a1, "y"))); });
          scope.join();
          EXPECT_TRUE((first == 0) != (second == 0)) << "seed " << seed;
          EXPECT_TRUE(first == EINVAL || second == EINVAL || first == ENOENT || second == ENOENT)
              << first << ' ' << second;
        },
        seed);
  }
}

TEST_P(Names, TrashKeepsWhatIsDeleted) {
  run_simulated([&] {
    Volume volume(engine(), make_setting(1));
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto const dir = *make(client, FileType::directory, kRootIno, "d");
    EXPECT_FALSE(client.meta.unlink(volume.root, kRootIno, "f")->data_unused);
    ASSERT_TRUE(client.meta.rmdir(volume.root, kRootIno, "d").ok());
    EXPECT_EQ(client.meta.lookup(volume.root, kRootIno, ".trash")->ino, kTrashIno);
    auto const hour =
        client.meta.lookup(volume.root, kTrashIno, trash_dir_name(volume.clock.wall()));
    ASSERT_TRUE(hour.ok());
    EXPECT_EQ(hour->attr.mode, 0555);
    EXPECT_EQ(names_in(client, hour->ino),
              (std::set<std::string>{trash_entry_name(kRootIno, file, "f"),
                                     trash_entry_name(kRootIno, dir, "d")}));
    EXPECT_EQ(client.meta.getattr(volume.root, file)->parent, hour->ino);
    EXPECT_EQ(client.meta.getattr(volume.root, file)->nlink, 1U);
    EXPECT_EQ(usage_of(client).inodes, 3);  // Both, and the hourly directory.
    EXPECT_EQ(stat_of(client, hour->ino).inodes, 2);
    EXPECT_EQ(stat_of(client, kRootIno), DirStat{});

    EXPECT_EQ(
        number(client.meta.rmdir(volume.root, kTrashIno, trash_dir_name(volume.clock.wall()))),
        EPERM);
    EXPECT_EQ(number(make(client, FileType::regular, hour->ino, "x")), EPERM);
    EXPECT_EQ(number(make(client, FileType::regular, dir, "x")), ENOENT);
    SetattrRequest chmod{.ino = file};
    chmod.mode = std::uint16_t{0600};
    EXPECT_EQ(number(client.meta.setattr(volume.root, chmod)), EPERM);
    auto const entry = trash_entry_name(kRootIno, file, "f");
    EXPECT_EQ(number(client.meta.unlink(testing::as_user(5, 5), hour->ino, entry)), EPERM);
    // Root puts one back and deletes the other for good.
    ASSERT_TRUE(client.meta
                    .rename(volume.root, move(hour->ino, entry, kRootIno, "f",
                                              kRenameNoReplace | kRenameRestore))
                    .ok());
    EXPECT_EQ(client.meta.getattr(volume.root, file)->parent, kRootIno);
    ASSERT_TRUE(
        client.meta.rmdir(volume.root, hour->ino, trash_entry_name(kRootIno, dir, "d")).ok());
    EXPECT_EQ(usage_of(client).inodes, 2);
    EXPECT_EQ(stat_of(client, hour->ino), DirStat{});
  });
}

TEST_P(Names, TrashOfHardLinksAndReplacedFiles) {
  run_simulated([&] {
    Volume volume(engine(), make_setting(1));
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    ASSERT_TRUE(client.meta.link(volume.root, file, kRootIno, "g").ok());
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "g").ok());
    EXPECT_EQ(client.meta.getattr(volume.root, file)->nlink, 2U);
    // The same name again: its place in the trash is taken, so this link is really dropped.
    ASSERT_TRUE(client.meta.link(volume.root, file, kRootIno, "g").ok());
    EXPECT_EQ(client.meta.getattr(volume.root, file)->nlink, 3U);
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "g").ok());
    EXPECT_EQ(client.meta.getattr(volume.root, file)->nlink, 2U);
    // skip_trash and SkipTrash directories delete at once.
    ASSERT_TRUE(make(client, FileType::regular, kRootIno, "tmp").ok());
    EXPECT_TRUE(client.meta.unlink(volume.root, kRootIno, "tmp", true)->data_unused);
    auto const quick = *make(client, FileType::directory, kRootIno, "quick");
    SetattrRequest flags{.ino = quick};
    flags.flags = std::uint8_t{kFlagSkipTrash};
    ASSERT_TRUE(client.meta.setattr(volume.root, flags).ok());
    ASSERT_TRUE(make(client, FileType::regular, quick, "t").ok());
    EXPECT_TRUE(client.meta.unlink(volume.root, quick, "t")->data_unused);
    // A replaced file goes to the trash under the destination's name.
    auto const over = *make(client, FileType::regular, kRootIno, "over");
    ASSERT_TRUE(make(client, FileType::regular, kRootIno, "new").ok());
    auto const moved = client.meta.rename(volume.root, move(kRootIno, "new", kRootIno, "over"));
    ASSERT_TRUE(moved.ok());
    EXPECT_FALSE(moved->replaced->data_unused);
    EXPECT_TRUE(is_trash(client.meta.getattr(volume.root, over)->parent));
  });
}

TEST_P(Names, ExpiredTrashIsEmptied) {
  run_simulated([&] {
    Volume volume(engine(), make_setting(1));
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto const dir = *make(client, FileType::directory, kRootIno, "d");
    auto const other = *make(client, FileType::regular, kRootIno, "g");
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "f").ok());
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "g").ok());
    ASSERT_TRUE(client.meta.rmdir(volume.root, kRootIno, "d").ok());
    EXPECT_EQ(client.meta.expire_trash(volume.root, 10)->size(), 0U);
    auto& loop = *Loop::current();
    ASSERT_TRUE(loop.sleep_for(volume.root, std::chrono::hours(28)).ok());
    EXPECT_EQ(client.meta.expire_trash(volume.root, 1)->size(), 1U);
    EXPECT_EQ(client.meta.expire_trash(volume.root, 10)->size(), 1U);
    EXPECT_EQ(client.meta.expire_trash(volume.root, 10)->size(), 0U);
    EXPECT_EQ(number(client.meta.getattr(volume.root, file)), ENOENT);
    EXPECT_EQ(number(client.meta.getattr(volume.root, other)), ENOENT);
    EXPECT_EQ(number(client.meta.getattr(volume.root, dir)), ENOENT);
    EXPECT_TRUE(names_in(client, kTrashIno).empty());
    EXPECT_EQ(usage_of(client).inodes, 0);
    EXPECT_EQ(usage_of(client).space, 0);
  });
}

TEST_P(Names, ListingPagesAndErrors) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d");
    std::set<std::string> made;
    for (int i = 0; i < 25; ++i) {
      auto const name = "n" + std::to_string(i);
      ASSERT_TRUE(make(client, FileType::regular, dir, name).ok());
      made.insert(name);
    }
    std::set<std::string> seen;
    ListDir request{.dir = dir, .from = {}, .limit = 7, .attrs = true};
    do {
      auto page = client.meta.readdir(volume.root, request);
      ASSERT_TRUE(page.ok());
      for (auto const& entry : page->entries) {
        EXPECT_TRUE(seen.insert(entry.name).second);
        EXPECT_TRUE(entry.attr.has_value());
      }
      request.from = page->next;
    } while (!request.from.empty());
    EXPECT_EQ(seen, made);
    EXPECT_EQ(number(client.meta.readdir(volume.root, {.dir = Ino{999}})), ENOENT);
    auto const file = client.meta.lookup(volume.root, dir, "n1")->ino;
    EXPECT_EQ(number(client.meta.readdir(volume.root, {.dir = file})), ENOTDIR);
    auto const closed = *make(client, FileType::directory, kRootIno, "closed", 0700);
    EXPECT_EQ(number(client.meta.readdir(testing::as_user(5, 5), {.dir = closed})), EACCES);
  });
}

TEST_P(Names, ReadOnlyMountsChangeNothing) {
  run_simulated([&] {
    Volume volume(engine());
    Client writer(volume);
    auto const file = *make(writer, FileType::regular, kRootIno, "f");
    MetaConfig config;
    config.read_only = true;
    Client reader(volume, config);
    EXPECT_EQ(reader.meta.session(), SessionId{});
    EXPECT_EQ(number(make(reader, FileType::regular, kRootIno, "g")), EROFS);
    EXPECT_EQ(number(reader.meta.unlink(volume.root, kRootIno, "f")), EROFS);
    EXPECT_EQ(number(reader.meta.open(volume.root, file, 2)), EROFS);
    EXPECT_EQ(number(reader.meta.access(volume.root, file, 2)), EROFS);
    EXPECT_TRUE(reader.meta.open(volume.root, file, 0).ok());
    EXPECT_TRUE(reader.meta.close(volume.root, file).ok());
  });
}

TEST_P(Names, CapacityIsEnospc) {
  run_simulated([&] {
    auto setting = make_setting(0);
    setting.inodes = 2;
    Volume volume(engine(), setting);
    Client client(volume);
    ASSERT_TRUE(make(client, FileType::regular, kRootIno, "a").ok());
    ASSERT_TRUE(make(client, FileType::regular, kRootIno, "b").ok());
    EXPECT_EQ(number(make(client, FileType::regular, kRootIno, "c")), ENOSPC);
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "a").ok());
    EXPECT_TRUE(make(client, FileType::regular, kRootIno, "c").ok());
  });
}

// create() counts the open before the file has a name: whoever unlinks it finds it open.
TEST_P(Names, ACreatedFileIsOpenFromTheStart) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const made =
        client.meta.create(volume.root, {.parent = kRootIno, .name = "f", .target = {}});
    ASSERT_TRUE(made.ok()) << made.error().text();
    auto const gone = client.meta.unlink(volume.root, kRootIno, "f");
    ASSERT_TRUE(gone.ok());
    EXPECT_TRUE(gone->sustained);
    EXPECT_EQ(client.meta.getattr(volume.root, made->ino)->nlink, 0U);
    auto const closed = client.meta.close(volume.root, made->ino);
    ASSERT_TRUE(closed.ok());
    EXPECT_TRUE(closed->has_value());
    // One that fails leaves nothing open behind.
    ASSERT_TRUE(make(client, FileType::regular, kRootIno, "g").ok());
    EXPECT_EQ(
        number(client.meta.create(volume.root, {.parent = kRootIno, .name = "g", .target = {}})),
        EEXIST);
    auto const next = make(client, FileType::regular, kRootIno, "h");
    ASSERT_TRUE(next.ok());
    EXPECT_FALSE(client.meta.unlink(volume.root, kRootIno, "h")->sustained);
  });
}

}  // namespace
}  // namespace zest::meta
