// Goal: the mount table, mount options and CPU lists are read as the kernel writes them.
#include "zest/fuse/mount_table.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

#include "zest/fuse/interrupts.h"
#include "zest/fuse/mount.h"
#include "zest/fuse/uring_transport.h"
#include "zest/object/testing/expect.h"

namespace zest::fuse {
namespace {

TEST(MountTable, EscapesAndOptionalFields) {
  auto const table = parse_mountinfo(
      "36 35 98:0 / /mnt/a\\040b\\134c rw,noatime master:1 shared:2 - fuse.zest "
      "ZestFS:my\\011name rw,user_id=0\n"
      "garbage\n"
      "37 35 0:43 / / rw - ext4 /dev/root rw\n"
      "38 35 0:44 / /mnt/a\\040b\\134c ro - tmpfs none rw");
  ASSERT_EQ(table.size(), 3u);
  EXPECT_EQ(table[0].mount_point, "/mnt/a b\\c");
  EXPECT_EQ(table[0].source, "ZestFS:my\tname");
  EXPECT_EQ(table[0].type, "fuse.zest");
  EXPECT_EQ(table[0].options, "rw,noatime");
  EXPECT_EQ(table[0].super_options, "rw,user_id=0");
  EXPECT_EQ(table[0].device_major, 98u);
  auto const top = mount_at(table, "/mnt/a b\\c");
  ASSERT_TRUE(top);
  EXPECT_EQ(top->id, 38);
  EXPECT_FALSE(mount_at(table, "/mnt"));
}

TEST(MountTable, OurOwnHasARoot) {
  auto const table = read_mount_table();
  ASSERT_OK(table);
  EXPECT_TRUE(mount_at(*table, "/"));
}

TEST(MountPoint, MissingAndNotADirectory) {
  ASSERT_ERRC(normalise_mount_point("/tmp/fuse-does-not-exist"), Errc::noent);
  ASSERT_ERRC(normalise_mount_point(""), Errc::noent);
  ASSERT_ERRC(inspect_mount_point("/dev/null"), Errc::notdir);
  auto const normal = normalise_mount_point("/proc/../tmp//");
  ASSERT_OK(normal);
  EXPECT_EQ(*normal, "/tmp");
}

TEST(MountOptions, FlagsValuesAndWhatIsIgnored) {
  auto const raw = parse_raw_options(
      "defaults,ro,noexec,suid,_netdev,x-systemd.automount,allow_root,"
      "fsname=a=b,max_read=65536,writeback_cache");
  ASSERT_OK(raw);
  EXPECT_TRUE(raw->read_only);
  EXPECT_TRUE(raw->allow_root);
  EXPECT_TRUE(raw->writeback_cache);
  EXPECT_EQ(raw->set_flags, MS_NOEXEC + 0ul);
  EXPECT_EQ(raw->clear_flags, MS_NOSUID + 0ul);
  EXPECT_EQ(raw->source, "a=b");
  EXPECT_EQ(raw->max_read, 65536u);
  auto const last = parse_raw_options("nosuid,suid,dev,nodev");
  ASSERT_OK(last);
  EXPECT_EQ(last->clear_flags, MS_NOSUID + 0ul);
  EXPECT_EQ(last->set_flags, MS_NODEV + 0ul);
}

TEST(MountOptions, UnknownOnesAreNamed) {
  auto const raw = parse_raw_options("ro,frobnicate=1");
  ASSERT_ERRC(raw, Errc::inval);
  EXPECT_NE(raw.error().text().find("frobnicate=1"), std::string::npos);
  ASSERT_ERRC(parse_raw_options("max_read=12k"), Errc::inval);
}

TEST(CpuList, CountsRangesAndSingles) {
  EXPECT_EQ(count_cpu_list("0-1\n"), 2u);
  EXPECT_EQ(count_cpu_list("0\n"), 1u);
  EXPECT_EQ(count_cpu_list("0-3,8,10-11\n"), 7u);
  EXPECT_EQ(count_cpu_list(""), 0u);
  EXPECT_EQ(count_cpu_list("3-1"), 0u);
  EXPECT_EQ(count_cpu_list("a-b"), 0u);
  EXPECT_GE(possible_cpus(), 1u);
}

TEST(Interrupts, OnlyLocksStopAtOnce) {
  InterruptTable table;
  std::stop_source lock;
  std::stop_source read;
  table.add({.unique = 2, .pid = 1, .kind = Interruptible::always, .stop = &lock});
  table.add({.unique = 4, .pid = 1, .kind = Interruptible::when_killed, .stop = &read});
  EXPECT_EQ(table.interrupt(2), InterruptTable::Outcome::stopped);
  EXPECT_EQ(table.interrupt(4), InterruptTable::Outcome::ignored);  // pid 1 isn't being killed
  EXPECT_EQ(table.interrupt(6), InterruptTable::Outcome::unknown);
  EXPECT_TRUE(lock.stop_requested());
  EXPECT_FALSE(read.stop_requested());
  table.remove(2);
  table.remove(4);
  EXPECT_EQ(table.interrupt(2), InterruptTable::Outcome::unknown);
}

TEST(Interrupts, ClosingStopsLocksOfThenAndLater) {
  InterruptTable table;
  std::stop_source before;
  std::stop_source after;
  std::stop_source flush;
  table.add({.unique = 2, .pid = 1, .kind = Interruptible::always, .stop = &before});
  table.close();
  table.add({.unique = 4, .pid = 1, .kind = Interruptible::always, .stop = &after});
  table.add({.unique = 6, .pid = 1, .kind = Interruptible::never, .stop = &flush});
  EXPECT_TRUE(before.stop_requested());
  EXPECT_TRUE(after.stop_requested());
  EXPECT_FALSE(flush.stop_requested());
}

}  // namespace
}  // namespace zest::fuse
