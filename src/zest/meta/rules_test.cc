// Each rule alone: who may do what to which node.
#include "zest/meta/rules.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>

#include "zest/meta/ops/ops.h"

namespace zest::meta {
namespace {

Caller user(std::uint32_t uid, std::uint32_t gid, bool check = true) {
  return {.uid = uid, .gid = gid, .pid = 1, .groups = {}, .check_permissions = check};
}

Attr node(FileType type, std::uint16_t mode, std::uint32_t uid = 0, std::uint32_t gid = 0) {
  Attr attr;
  attr.type = type;
  attr.mode = mode;
  attr.uid = uid;
  attr.gid = gid;
  attr.nlink = 1;
  attr.parent = kRootIno;
  return attr;
}

TEST(Rules, ModeBitsOfTheFirstClassThatMatchesDecide) {
  auto const attr = node(FileType::regular, 0047, 10, 20);
  EXPECT_TRUE(failed_with(check_mode(user(10, 20), attr, kRead), Errc::acces));
  EXPECT_TRUE(check_mode(user(11, 20), attr, kRead).ok());
  EXPECT_TRUE(failed_with(check_mode(user(11, 20), attr, kWrite), Errc::acces));
  EXPECT_TRUE(check_mode(user(11, 21), attr, kRead | kWrite | kExecute).ok());
  auto grouped = user(11, 21);
  grouped.groups = {20};
  EXPECT_TRUE(failed_with(check_mode(grouped, attr, kWrite), Errc::acces));
}

TEST(Rules, RootMayAllButExecuteWhatNobodyMay) {
  EXPECT_TRUE(check_mode(user(0, 0), node(FileType::regular, 0), kRead | kWrite).ok());
  EXPECT_TRUE(
      failed_with(check_mode(user(0, 0), node(FileType::regular, 0666), kExecute), Errc::acces));
  EXPECT_TRUE(check_mode(user(0, 0), node(FileType::regular, 0010), kExecute).ok());
  EXPECT_TRUE(check_mode(user(0, 0), node(FileType::directory, 0), kExecute).ok());
}

TEST(Rules, ModeBitsAreTheKernelsBusinessUnlessAskedFor) {
  EXPECT_TRUE(check_access(user(1, 1, false), node(FileType::regular, 0), kWrite).ok());
  EXPECT_FALSE(check_access(user(1, 1, true), node(FileType::regular, 0), kWrite).ok());
}

TEST(Rules, NewNames) {
  std::string const longest(255, 'x');
  EXPECT_TRUE(check_new_name(Ino{5}, longest).ok());
  EXPECT_TRUE(failed_with(check_new_name(Ino{5}, longest + "x"), Errc::nametoolong));
  EXPECT_TRUE(failed_with(check_new_name(Ino{5}, ""), Errc::inval));
  EXPECT_TRUE(failed_with(check_new_name(Ino{5}, "a/b"), Errc::inval));
  EXPECT_TRUE(failed_with(check_new_name(Ino{5}, std::string_view("a\0b", 3)), Errc::inval));
  EXPECT_TRUE(failed_with(check_new_name(Ino{5}, "."), Errc::exist));
  EXPECT_TRUE(failed_with(check_new_name(Ino{5}, ".."), Errc::exist));
  EXPECT_TRUE(failed_with(check_new_name(kRootIno, ".trash"), Errc::perm));
  EXPECT_TRUE(check_new_name(Ino{5}, ".trash").ok());
}

TEST(Rules, OldNames) {
  EXPECT_TRUE(failed_with(check_old_name(Ino{5}, ""), Errc::noent));
  EXPECT_TRUE(failed_with(check_old_name(Ino{5}, "."), Errc::inval));
  EXPECT_TRUE(failed_with(check_old_name(Ino{5}, ".."), Errc::notempty));
  EXPECT_TRUE(failed_with(check_old_name(kRootIno, ".trash"), Errc::perm));
}

TEST(Rules, EntriesAreAddedInThisOrderOfErrors) {
  auto const mallory = user(7, 7);
  EXPECT_TRUE(
      failed_with(check_add_entry(mallory, kTrashIno, node(FileType::regular, 0)), Errc::notdir));
  auto dir = node(FileType::directory, 0755);
  EXPECT_TRUE(failed_with(check_add_entry(user(0, 0), kTrashIno, dir), Errc::perm));
  dir.parent = Ino{kTrashIno.value + 1};
  EXPECT_TRUE(failed_with(check_add_entry(mallory, Ino{5}, dir), Errc::noent));
  EXPECT_TRUE(check_add_entry(user(0, 0), Ino{5}, dir, true).ok());
  dir.parent = kRootIno;
  dir.flags = kFlagImmutable;
  EXPECT_TRUE(failed_with(check_add_entry(mallory, Ino{5}, dir), Errc::acces));
  EXPECT_TRUE(failed_with(check_add_entry(user(0, 0), Ino{5}, dir), Errc::perm));
  dir.flags = kFlagAppend;
  EXPECT_TRUE(check_add_entry(user(0, 0), Ino{5}, dir).ok());
}

TEST(Rules, EntriesAreTakenFromTheTrashByRootOnly) {
  auto const dir = node(FileType::directory, 0777);
  EXPECT_TRUE(failed_with(check_take_entry(user(7, 7), Ino{kTrashIno.value + 1}, dir), Errc::perm));
  EXPECT_TRUE(check_take_entry(user(0, 0), Ino{kTrashIno.value + 1}, dir).ok());
  auto append = dir;
  append.flags = kFlagAppend;
  EXPECT_TRUE(failed_with(check_take_entry(user(0, 0), Ino{5}, append), Errc::perm));
}

TEST(Rules, StickyBitIsEpermAsOnLinux) {
  auto const dir = node(FileType::directory, 01777, 1, 1);
  auto const file = node(FileType::regular, 0666, 2, 2);
  EXPECT_TRUE(check_sticky(user(0, 0), dir, file).ok());
  EXPECT_TRUE(check_sticky(user(1, 9), dir, file).ok());
  EXPECT_TRUE(check_sticky(user(2, 9), dir, file).ok());
  EXPECT_TRUE(failed_with(check_sticky(user(3, 1, false), dir, file), Errc::perm));
  EXPECT_TRUE(check_sticky(user(3, 1), node(FileType::directory, 0777, 1, 1), file).ok());
}

TEST(Rules, Opens) {
  auto file = node(FileType::regular, 0444, 5, 5);
  EXPECT_TRUE(check_open(user(6, 6), file, O_RDONLY).ok());
  EXPECT_TRUE(failed_with(check_open(user(6, 6), file, O_RDWR), Errc::acces));
  EXPECT_TRUE(
      failed_with(check_open(user(0, 0), node(FileType::directory, 0777), O_RDONLY), Errc::isdir));
  EXPECT_TRUE(
      failed_with(check_open(user(0, 0), node(FileType::symlink, 0777), O_RDONLY), Errc::loop));
  EXPECT_TRUE(
      failed_with(check_open(user(0, 0), node(FileType::fifo, 0777), O_RDONLY), Errc::nxio));
  file.flags = kFlagImmutable;
  EXPECT_TRUE(failed_with(check_open(user(0, 0), file, O_WRONLY), Errc::perm));
  EXPECT_TRUE(check_open(user(0, 0), file, O_RDONLY).ok());
  file.flags = kFlagAppend;
  EXPECT_TRUE(failed_with(check_open(user(0, 0), file, O_WRONLY), Errc::perm));
  EXPECT_TRUE(check_open(user(0, 0), file, O_WRONLY | O_APPEND).ok());
  EXPECT_TRUE(failed_with(check_open(user(0, 0), file, O_WRONLY | O_APPEND | O_TRUNC), Errc::perm));
  file.flags = 0;
  file.parent = Ino{kTrashIno.value + 3};
  EXPECT_TRUE(failed_with(check_open(user(0, 0), file, O_RDWR), Errc::perm));
}

TEST(Rules, SetgidDirectoriesGiveTheirGroup) {
  auto const dir = node(FileType::directory, 02777, 1, 50);
  auto const file = new_node_owner(user(7, 8), dir, {.type = FileType::regular, .mode = 02775});
  EXPECT_EQ(file.gid, 50U);
  EXPECT_EQ(file.mode, 0775);  // The caller is not in group 50 and must not make its programs.
  auto const sub =
      new_node_owner(user(7, 8), dir, {.type = FileType::directory, .mode = 0777, .umask = 022});
  EXPECT_EQ(sub.mode, 02755);
  EXPECT_EQ(new_node_owner(user(7, 50), dir, {.type = FileType::regular, .mode = 02775}).mode,
            02775);
  EXPECT_EQ(new_node_owner(user(7, 8), node(FileType::directory, 0777, 1, 50),
                           {.type = FileType::symlink, .mode = 0, .umask = 077})
                .mode,
            0777);
}

TEST(Rules, SetuidAndSetgidGoWithTheOwner) {
  EXPECT_EQ(mode_after_chown(user(0, 0), FileType::directory, 06755), 06755);
  EXPECT_EQ(mode_after_chown(user(0, 0), FileType::regular, 06755), 0755);
  EXPECT_EQ(mode_after_chown(user(0, 0), FileType::regular, 06745), 02745);
  EXPECT_EQ(mode_after_chown(user(9, 9), FileType::regular, 06745), 0745);
  EXPECT_EQ(mode_after_write(user(9, 9), node(FileType::regular, 06755)), 0755);
  EXPECT_EQ(mode_after_write(user(9, 9), node(FileType::regular, 06745)), 02745);
  EXPECT_EQ(mode_after_write(user(0, 0), node(FileType::regular, 06755)), 06755);
}

TEST(Rules, ChmodIsTheOwners) {
  auto const file = node(FileType::regular, 0644, 5, 5);
  SetattrRequest request{.ino = Ino{9}};
  request.mode = 0600;
  auto const changed = ops::apply_setattr(user(5, 5), file, request, {});
  ASSERT_TRUE(changed.ok());
  EXPECT_EQ(changed->mode, 0600);
  EXPECT_TRUE(failed_with(ops::apply_setattr(user(6, 5), file, request, {}), Errc::perm));
  request.mode = 02644;
  auto const outside = ops::apply_setattr(user(5, 6), file, request, {});
  ASSERT_TRUE(outside.ok());
  EXPECT_EQ(outside->mode, 0644);  // Not in the file's group: setgid is dropped.
}

TEST(Rules, TheKernelMayTakeSetuidAwayForAnybodyWhoWrites) {
  auto const file = node(FileType::regular, 04666, 5, 5);
  SetattrRequest request{.ino = Ino{9}};
  request.mode = 0666;
  ASSERT_TRUE(ops::apply_setattr(user(6, 6, false), file, request, {}).ok());
  request.mode = 04667;
  EXPECT_TRUE(failed_with(ops::apply_setattr(user(6, 6, false), file, request, {}), Errc::perm));
}

TEST(Rules, Chown) {
  auto const file = node(FileType::regular, 06755, 5, 5);
  SetattrRequest give{.ino = Ino{9}};
  give.uid = 6;
  EXPECT_TRUE(failed_with(ops::apply_setattr(user(5, 5), file, give, {}), Errc::perm));
  auto const given = ops::apply_setattr(user(0, 0), file, give, {});
  ASSERT_TRUE(given.ok());
  EXPECT_EQ(given->uid, 6U);
  EXPECT_EQ(given->mode, 0755);
  SetattrRequest group{.ino = Ino{9}};
  group.gid = 77;
  EXPECT_TRUE(failed_with(ops::apply_setattr(user(5, 5), file, group, {}), Errc::perm));
  auto member = user(5, 5);
  member.groups = {77};
  EXPECT_TRUE(ops::apply_setattr(member, file, group, {}).ok());
  EXPECT_TRUE(failed_with(ops::apply_setattr(user(6, 77), file, group, {}), Errc::perm));
}

TEST(Rules, ExplicitTimesAreTheOwnersAndNowIsTheWriters) {
  auto const file = node(FileType::regular, 0646, 5, 5);
  SetattrRequest past{.ino = Ino{9}};
  past.mtime = WallTime{.sec = 100, .nsec = 5};
  EXPECT_TRUE(failed_with(ops::apply_setattr(user(6, 6), file, past, {}), Errc::perm));
  auto const set = ops::apply_setattr(user(5, 5), file, past, {});
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(set->mtime, (WallTime{.sec = 100, .nsec = 5}));
  SetattrRequest now{.ino = Ino{9}};
  now.mtime_now = true;
  EXPECT_TRUE(ops::apply_setattr(user(6, 6), file, now, {.sec = 7}).ok());
  EXPECT_TRUE(failed_with(ops::apply_setattr(user(6, 5), file, now, {.sec = 7}), Errc::acces));
}

TEST(Rules, ImmutableNodesChangeOnlyTheirFlags) {
  auto file = node(FileType::regular, 0644, 5, 5);
  file.flags = kFlagImmutable;
  SetattrRequest request{.ino = Ino{9}};
  request.mode = 0600;
  EXPECT_TRUE(failed_with(ops::apply_setattr(user(0, 0), file, request, {}), Errc::perm));
  SetattrRequest flags{.ino = Ino{9}};
  flags.flags = std::uint8_t{0};
  EXPECT_TRUE(ops::apply_setattr(user(0, 0), file, flags, {}).ok());
  EXPECT_TRUE(failed_with(ops::apply_setattr(user(5, 5), file, flags, {}), Errc::perm));
  flags.flags = std::uint8_t{0x80};
  EXPECT_TRUE(failed_with(ops::apply_setattr(user(0, 0), file, flags, {}), Errc::notsup));
}

TEST(Rules, AtimeModes) {
  Attr attr = node(FileType::regular, 0644);
  attr.atime = {.sec = 1000};
  attr.mtime = attr.ctime = {.sec = 900};
  WallTime const soon{.sec = 1002};
  EXPECT_FALSE(ops::wants_atime(AtimeMode::noatime, attr, {.sec = 999'999}));
  EXPECT_FALSE(ops::wants_atime(AtimeMode::relatime, attr, soon));
  EXPECT_TRUE(ops::wants_atime(AtimeMode::strictatime, attr, soon));
  EXPECT_TRUE(ops::wants_atime(AtimeMode::relatime, attr, {.sec = 1000 + 25 * 3600}));
  attr.ctime = {.sec = 1001};
  EXPECT_TRUE(ops::wants_atime(AtimeMode::relatime, attr, soon));
}

}  // namespace
}  // namespace zest::meta
