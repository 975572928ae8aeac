// Goal: what mount(8) hands over becomes the right `zest mount`, and fstab keeps all its other
// lines.
#include "zest/cli/mount_helper.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace zest::cli {
namespace {

using Words = std::vector<std::string>;

MountFlag flag_of(std::string_view name) {
  if (name == "writeback" || name == "debug" || name == "read-only") {
    return MountFlag::plain;
  }
  return name == "cache-size" || name == "attr-cache" ? MountFlag::value : MountFlag::none;
}

TEST(MountHelper, OptionsBecomeFlagsOrGoToFuse) {
  EXPECT_EQ(translate_mount({"sqlite3:///a.db", "/mnt", "-o",
                             "rw,_netdev,cache-size=10G,writeback,allow_other,x-systemd.automount"},
                            flag_of),
            (Words{"mount", "-d", "--cache-size=10G", "--writeback", "-o", "allow_other",
                   "sqlite3:///a.db", "/mnt"}));
}

TEST(MountHelper, OldNamesAreTranslated) {
  EXPECT_EQ(translate_mount({"u", "/m", "-o", "attrcacheto=5"}, flag_of),
            (Words{"mount", "-d", "--attr-cache=5", "u", "/m"}));
}

TEST(MountHelper, DebugGoesToBoth) {
  EXPECT_EQ(translate_mount({"u", "/m", "-o", "debug"}, flag_of),
            (Words{"mount", "-d", "--debug", "-o", "debug", "u", "/m"}));
}

TEST(MountHelper, ANameThatNeedsAValueButHasNoneGoesToFuse) {
  EXPECT_EQ(translate_mount({"u", "/m", "-o", "cache-size"}, flag_of),
            (Words{"mount", "-d", "-o", "cache-size", "u", "/m"}));
}

TEST(MountHelper, WhatMountAddsIsDropped) {
  EXPECT_EQ(translate_mount({"u", "/m", "-n", "-s", "-v", "-t", "zest", "-o", "ro"}, flag_of),
            (Words{"mount", "-d", "-o", "ro", "u", "/m"}));
}

TEST(MountHelper, NamesOfTheProgram) {
  EXPECT_TRUE(called_by_mount("/sbin/mount.zest"));
  EXPECT_TRUE(called_by_mount("mount.juicefs"));
  EXPECT_FALSE(called_by_mount("/usr/bin/zest"));
}

TEST(Fstab, ALineIsAddedBehindTheOthers) {
  EXPECT_EQ(
      updated_fstab("# comment\n/dev/sda1 / ext4 defaults 0 1\n",
                    {.meta_url = "sqlite3:///a.db",
                     .mount_point = "/mnt/my vol",
                     .options = {"writeback", "cache-size=10G"}}),
      "# comment\n/dev/sda1 / ext4 defaults 0 1\n"
      "sqlite3:///a.db  /mnt/my\\040vol  zest  _netdev,nofail,cache-size=10G,writeback  0 0\n");
}

TEST(Fstab, TheLineOfTheSameMountIsReplacedInItsPlace) {
  EXPECT_EQ(updated_fstab("u  /m  zest  _netdev,nofail,old  0 0\n"
                          "u  /other  zest  keep  0 0\n"
                          "u\t/m\text4\tkeep\t0 0\n",
                          {.meta_url = "u", .mount_point = "/m", .options = {"new"}}),
            "u  /m  zest  _netdev,nofail,new  0 0\n"
            "u  /other  zest  keep  0 0\n"
            "u\t/m\text4\tkeep\t0 0\n");
}

TEST(Fstab, ALastLineWithoutAnEndIsKept) {
  EXPECT_EQ(updated_fstab("last line", {.meta_url = "u", .mount_point = "/m", .options = {}}),
            "last line\nu  /m  zest  _netdev,nofail  0 0\n");
}

TEST(Fstab, APasswordNeverGetsIn) {
  EXPECT_TRUE(failed_with(
      update_fstab({.meta_url = "redis://:pw@host/1", .mount_point = "/m", .options = {}}),
      Errc::perm));
}

}  // namespace
}  // namespace zest::cli
