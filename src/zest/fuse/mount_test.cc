// Goal: programs see a file system through every transport: what they write is what they read,
// whatever system call they use, and unmounting leaves nothing.
//
// Method: a real mount of a volume in memory, once for each combination of loop and transport; this
// process and children of it are the programs. Needs root and /dev/fuse, and fails without.
#include <dirent.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <array>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "zest/fuse/mount_table.h"
#include "zest/fuse/test_mount.h"
#include "zest/runtime/socket.h"
#include "zest/runtime/uring_port.h"

namespace zest::fuse {
namespace {

using testing::MountedVolume;
using testing::MountSetup;

struct Door {
  char const* name;
  LoopKind loop;
  TransportKind transport;
  std::size_t loops;
};

class MountTest : public ::testing::TestWithParam<Door> {
 protected:
  [[nodiscard]] static MountSetup setup() {
    return {.loop = GetParam().loop, .transport = GetParam().transport, .loops = GetParam().loops};
  }
  testing::UringSwitch uring_;
};

std::string random_bytes(std::size_t size, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::string out(size, '\0');
  for (std::size_t i = 0; i + 4 <= size; i += 4) {
    auto const word = static_cast<std::uint32_t>(random());
    std::memcpy(out.data() + i, &word, sizeof word);
  }
  return out;
}

UniqueFd open_file(std::string const& path, int flags, mode_t mode = 0644) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  EXPECT_TRUE(fd) << path << ": " << ::strerror(errno);
  return fd;
}

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    auto const n = ::write(fd, bytes.data(), bytes.size());
    ASSERT_GT(n, 0) << ::strerror(errno);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

std::string read_all(std::string const& path, int flags = 0) {
  auto const fd = open_file(path, O_RDONLY | flags);
  std::string out;
  std::vector<char> buffer(1u << 20);
  for (;;) {
    auto const n = ::read(fd.get(), buffer.data(), buffer.size());
    EXPECT_GE(n, 0) << ::strerror(errno);
    if (n <= 0) {
      return out;
    }
    out.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

void make_file(std::string const& path, std::string_view bytes) {
  auto const fd = open_file(path, O_CREAT | O_EXCL | O_WRONLY);
  write_all(fd.get(), bytes);
}

struct stat stat_of(std::string const& path) {
  struct stat status{};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path << ": " << ::strerror(errno);
  return status;
}

/// Runs `fn` in a child; its exit status, or minus the signal that killed it.
template <class Fn>
pid_t in_child(Fn&& fn) {
  pid_t const child = ::fork();
  if (child == 0) {
    ::_exit(fn());
  }
  EXPECT_GT(child, 0);
  return child;
}
int status_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

struct flock range(short type, off_t start, off_t length) {
  struct flock out{};
  out.l_type = type;
  out.l_whence = SEEK_SET;
  out.l_start = start;
  out.l_len = length;
  return out;
}

/// Waits until `child` sleeps in the kernel, that is, in its system call.
void wait_until_asleep(pid_t child) {
  auto const path = "/proc/" + std::to_string(child) + "/stat";
  for (int calm = 0; calm < 20;) {
    std::ifstream file(path);
    std::string const text((std::istreambuf_iterator<char>(file)), {});
    auto const state = text.substr(text.rfind(')') + 2, 1);
    calm = state == "S" || state == "D" ? calm + 1 : 0;
    ::poll(nullptr, 0, 5);
  }
}

TEST_P(MountTest, UsesTheTransportThatWasAskedFor) {
  MountedVolume volume(setup());
  ASSERT_TRUE(volume.session);
  EXPECT_EQ(volume.session->transport(),
            GetParam().transport == TransportKind::uring ? "uring" : "dev");
  auto const table = read_mount_table();
  ASSERT_OK(table);
  auto const entry = mount_at(*table, volume.root());
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->type, "fuse.zest");
  EXPECT_EQ(entry->source, "ZestFS:test");
  EXPECT_NE(entry->super_options.find("default_permissions"), std::string::npos);
  EXPECT_NE(entry->options.find("nosuid"), std::string::npos);
  EXPECT_EQ(stat_of(volume.root()).st_ino, 1u);
}

TEST_P(MountTest, FilesKeepTheirBytes) {
  MountedVolume volume(setup());
  auto const bytes = random_bytes(9'000'001, 1);
  make_file(volume.path("f"), bytes);
  EXPECT_TRUE(read_all(volume.path("f")) == bytes);
  EXPECT_TRUE(read_all(volume.path("f"), O_DIRECT) == bytes);
  auto const status = stat_of(volume.path("f"));
  EXPECT_EQ(status.st_size, 9'000'001);
  EXPECT_EQ(status.st_blocks, (9'000'001 + 511) / 512);
  EXPECT_EQ(status.st_blksize, 65536);
  EXPECT_EQ(status.st_mode, 0100644u);
  auto const fd = open_file(volume.path("f"), O_RDWR);
  ASSERT_EQ(::ftruncate(fd.get(), 5), 0);
  EXPECT_EQ(read_all(volume.path("f")), bytes.substr(0, 5));
  EXPECT_EQ(::fsync(fd.get()), 0);
}

TEST_P(MountTest, NamesDirectoriesAndLinks) {
  MountedVolume volume(setup());
  auto const d = volume.path("d");
  ASSERT_EQ(::mkdir(d.c_str(), 0750), 0);
  EXPECT_EQ(::mkdir(d.c_str(), 0750), -1);
  EXPECT_EQ(errno, EEXIST);
  make_file(d + "/a", "one");
  ASSERT_EQ(::link((d + "/a").c_str(), (d + "/b").c_str()), 0);
  EXPECT_EQ(stat_of(d + "/a").st_nlink, 2u);
  EXPECT_EQ(stat_of(d + "/a").st_ino, stat_of(d + "/b").st_ino);
  ASSERT_EQ(::symlink("a", (d + "/s").c_str()), 0);
  EXPECT_EQ(read_all(d + "/s"), "one");
  ASSERT_EQ(::rename((d + "/a").c_str(), volume.path("moved").c_str()), 0);
  EXPECT_EQ(::access((d + "/s").c_str(), F_OK), -1);
  EXPECT_EQ(::renameat2(AT_FDCWD, (d + "/b").c_str(), AT_FDCWD, volume.path("moved").c_str(),
                        RENAME_NOREPLACE),
            -1);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(::rmdir(d.c_str()), -1);
  EXPECT_EQ(errno, ENOTEMPTY);
  for (auto const* name : {"/b", "/s"}) {
    EXPECT_EQ(::unlink((d + name).c_str()), 0);
  }
  EXPECT_EQ(::rmdir(d.c_str()), 0);
  EXPECT_EQ(read_all(volume.path("moved")), "one");
  ASSERT_EQ(::mknod(volume.path("null").c_str(), S_IFCHR | 0666, 259), 0);
  EXPECT_EQ(stat_of(volume.path("null")).st_rdev, 259u);
}

TEST_P(MountTest, UmaskAppliesOnce) {
  MountedVolume volume(setup());
  auto const old = ::umask(027);
  open_file(volume.path("f"), O_CREAT | O_WRONLY, 0666);
  EXPECT_EQ(::mkdir(volume.path("d").c_str(), 0777), 0);
  ::umask(old);
  EXPECT_EQ(stat_of(volume.path("f")).st_mode & 07777, 0640u);
  EXPECT_EQ(stat_of(volume.path("d")).st_mode & 07777, 0750u);
}

TEST_P(MountTest, AppendersNeverOverwriteEachOther) {
  MountedVolume volume(setup());
  constexpr int kWriters = 4;
  constexpr int kLines = 200;
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&volume, w] {
      auto const fd = open_file(volume.path("log"), O_CREAT | O_WRONLY | O_APPEND);
      for (int i = 0; i < kLines; ++i) {
        write_all(fd.get(), std::string(1, static_cast<char>('a' + w)) + "23456\n");
      }
    });
  }
  for (auto& writer : writers) {
    writer.join();
  }
  auto const text = read_all(volume.path("log"));
  EXPECT_EQ(text.size(), kWriters * kLines * 7u);
  for (std::size_t i = 0; i < text.size(); i += 7) {
    ASSERT_EQ(text.substr(i + 1, 6), "23456\n") << i;
  }
}

TEST_P(MountTest, SharedMappingsReachTheFile) {
  MountedVolume volume(setup());
  constexpr std::size_t kSize = 1u << 20;
  make_file(volume.path("f"), std::string(kSize, 'x'));
  {
    auto const fd = open_file(volume.path("f"), O_RDWR);
    void* const memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    ASSERT_NE(memory, MAP_FAILED);
    std::memset(static_cast<char*>(memory) + 5000, 'y', 100'000);
    ASSERT_EQ(::msync(memory, kSize, MS_SYNC), 0);
    ::munmap(memory, kSize);
  }
  auto expected = std::string(kSize, 'x');
  expected.replace(5000, 100'000, std::string(100'000, 'y'));
  EXPECT_TRUE(read_all(volume.path("f"), O_DIRECT) == expected);
}

TEST_P(MountTest, ParallelWritersOfOneFile) {
  MountedVolume volume(setup());
  constexpr std::size_t kPart = 1u << 20;
  constexpr std::size_t kWriters = 6;
  make_file(volume.path("f"), "");
  std::vector<std::thread> writers;
  for (std::size_t w = 0; w < kWriters; ++w) {
    writers.emplace_back([&volume, w] {
      // Half of them past the page cache, where writes of one file really run at once.
      auto const fd = open_file(volume.path("f"), O_WRONLY | (w % 2 == 0 ? O_DIRECT : 0));
      auto const bytes = random_bytes(kPart, static_cast<std::uint32_t>(w));
      for (std::size_t done = 0; done < kPart; done += 65536) {
        ASSERT_EQ(
            ::pwrite(fd.get(), bytes.data() + done, 65536, static_cast<off_t>(w * kPart + done)),
            65536);
      }
    });
  }
  for (auto& writer : writers) {
    writer.join();
  }
  auto const all = read_all(volume.path("f"));
  ASSERT_EQ(all.size(), kPart * kWriters);
  for (std::size_t w = 0; w < kWriters; ++w) {
    EXPECT_TRUE(all.substr(w * kPart, kPart) == random_bytes(kPart, static_cast<std::uint32_t>(w)))
        << w;
  }
}

TEST_P(MountTest, LongListingsAndSeekdir) {
  constexpr int kFiles = 10'000;
  MountedVolume volume(setup());
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_EQ(::mknod(volume.path("file-" + std::to_string(i)).c_str(), S_IFREG | 0600, 0), 0);
  }
  std::unique_ptr<DIR, int (*)(DIR*)> const dir(::opendir(volume.root().c_str()), ::closedir);
  ASSERT_TRUE(dir);
  std::vector<std::string> names;
  std::vector<long> places;
  for (auto* e = ::readdir(dir.get()); e != nullptr; e = ::readdir(dir.get())) {
    names.emplace_back(e->d_name);
    places.push_back(::telldir(dir.get()));
  }
  std::set<std::string> const unique(names.begin(), names.end());
  EXPECT_EQ(names.size(), kFiles + 2u);
  EXPECT_EQ(unique.size(), names.size());
  for (std::size_t const i : {7'000u, 1u, 9'999u, 4'321u}) {
    ::seekdir(dir.get(), places[i]);
    auto const* const next = ::readdir(dir.get());
    ASSERT_NE(next, nullptr) << i;
    EXPECT_EQ(next->d_name, names[i + 1]) << i;
  }
  ::rewinddir(dir.get());
  EXPECT_EQ(::readdir(dir.get())->d_name, names[0]);
}

TEST_P(MountTest, CopyRangeSeekAndHoles) {
  MountedVolume volume(setup());
  auto const bytes = random_bytes(300'000, 3);
  make_file(volume.path("a"), bytes);
  {
    auto const a = open_file(volume.path("a"), O_RDONLY);
    auto const b = open_file(volume.path("b"), O_CREAT | O_RDWR);
    off_t in = 1000;
    off_t out = 8192;
    ASSERT_EQ(::copy_file_range(a.get(), &in, b.get(), &out, 200'000, 0), 200'000)
        << ::strerror(errno);
    EXPECT_EQ(::lseek(b.get(), 0, SEEK_END), 208'192);
    EXPECT_EQ(::lseek(b.get(), 208'192, SEEK_DATA), -1);
    EXPECT_EQ(errno, ENXIO);
    EXPECT_LE(::lseek(b.get(), 0, SEEK_HOLE), 208'192);
    EXPECT_EQ(::fallocate(b.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10'000, 50), 0);
  }
  auto expected = std::string(8192, '\0') + bytes.substr(1000, 200'000);
  expected.replace(10'000, 50, std::string(50, '\0'));
  EXPECT_TRUE(read_all(volume.path("b")) == expected);
}

TEST_P(MountTest, StatfsXattrsAndFlags) {
  MountedVolume volume(setup());
  struct statvfs stat{};
  ASSERT_EQ(::statvfs(volume.root().c_str(), &stat), 0);
  EXPECT_EQ(stat.f_bsize, 4096u);
  EXPECT_EQ(stat.f_namemax, 255u);
  EXPECT_GT(stat.f_bavail, 0u);
  auto const f = volume.path("f");
  make_file(f, "x");
  ASSERT_EQ(::setxattr(f.c_str(), "user.color", "green", 5, XATTR_CREATE), 0) << ::strerror(errno);
  EXPECT_EQ(::setxattr(f.c_str(), "user.color", "red", 3, XATTR_CREATE), -1);
  EXPECT_EQ(errno, EEXIST);
  std::array<char, 64> value{};
  EXPECT_EQ(::getxattr(f.c_str(), "user.color", nullptr, 0), 5);
  EXPECT_EQ(::getxattr(f.c_str(), "user.color", value.data(), 3), -1);
  EXPECT_EQ(errno, ERANGE);
  EXPECT_EQ(::getxattr(f.c_str(), "user.color", value.data(), value.size()), 5);
  EXPECT_EQ(::listxattr(f.c_str(), value.data(), value.size()), 11);
  EXPECT_STREQ(value.data(), "user.color");
  EXPECT_EQ(::removexattr(f.c_str(), "user.color"), 0);
  auto const fd = open_file(f, O_RDONLY);
  int flags = FS_APPEND_FL;
  EXPECT_EQ(::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags), 0) << ::strerror(errno);
  flags = 0;
  EXPECT_EQ(::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags), 0) << ::strerror(errno);
  EXPECT_EQ(flags & FS_APPEND_FL, FS_APPEND_FL);
  flags = 0;
  EXPECT_EQ(::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags), 0);
}

TEST_P(MountTest, UnlinkedAndUnnamedFilesLive) {
  MountedVolume volume(setup());
  auto const bytes = random_bytes(100'000, 4);
  std::string back(bytes.size(), '\0');
  auto const fd = open_file(volume.path("gone"), O_CREAT | O_RDWR);
  write_all(fd.get(), bytes);
  ASSERT_EQ(::unlink(volume.path("gone").c_str()), 0);
  EXPECT_EQ(::pread(fd.get(), back.data(), back.size(), 0), 100'000);
  EXPECT_TRUE(back == bytes);
  auto const unnamed = open_file(volume.root(), O_TMPFILE | O_RDWR, 0600);
  write_all(unnamed.get(), bytes);
  EXPECT_EQ(::pread(unnamed.get(), back.data(), back.size(), 0), 100'000);
  EXPECT_TRUE(back == bytes);
  struct stat status{};
  EXPECT_EQ(::fstat(unnamed.get(), &status), 0);
  EXPECT_EQ(status.st_nlink, 0u);
}

TEST_P(MountTest, LocksOfTwoProcesses) {
  MountedVolume volume(setup());
  make_file(volume.path("f"), "x");
  auto const fd = open_file(volume.path("f"), O_RDWR);
  auto lock = range(F_WRLCK, 10, 10);
  ASSERT_EQ(::fcntl(fd.get(), F_SETLK, &lock), 0) << ::strerror(errno);
  auto const parent = ::getpid();
  pid_t const child = in_child([&] {
    int const own = ::open(volume.path("f").c_str(), O_RDWR);
    auto wanted = range(F_RDLCK, 0, 11);
    if (::fcntl(own, F_GETLK, &wanted) != 0 || wanted.l_type != F_WRLCK || wanted.l_start != 10 ||
        wanted.l_len != 10 || wanted.l_pid != parent) {
      return 1;
    }
    auto conflicting = range(F_RDLCK, 0, 11);
    if (::fcntl(own, F_SETLK, &conflicting) != -1 || (errno != EAGAIN && errno != EACCES)) {
      return 2;
    }
    auto beside = range(F_WRLCK, 0, 10);
    return ::fcntl(own, F_SETLK, &beside) == 0 ? 0 : 3;
  });
  EXPECT_EQ(status_of(child), 0);
  auto all = range(F_WRLCK, 0, 0);
  EXPECT_EQ(::fcntl(fd.get(), F_SETLK, &all), 0) << "the child's lock outlived it";
}

TEST_P(MountTest, BlockedLocksAreInterruptedAndGranted) {
  MountedVolume volume(setup());
  make_file(volume.path("f"), "x");
  auto const fd = open_file(volume.path("f"), O_RDWR);
  ASSERT_EQ(::flock(fd.get(), LOCK_EX), 0);
  auto const wait_for_lock = [&](bool handler) {
    return in_child([&volume, handler] {
      if (handler) {
        struct sigaction action{};
        action.sa_handler = [](int) {};  // without SA_RESTART
        ::sigaction(SIGINT, &action, nullptr);
      }
      int const own = ::open(volume.path("f").c_str(), O_RDWR);
      return ::flock(own, LOCK_EX) == 0 ? 0 : errno == EINTR ? 4 : 5;
    });
  };
  pid_t const interrupted = wait_for_lock(true);
  wait_until_asleep(interrupted);
  ::kill(interrupted, SIGINT);
  EXPECT_EQ(status_of(interrupted), 4);
  pid_t const killed = wait_for_lock(false);
  wait_until_asleep(killed);
  ::kill(killed, SIGKILL);
  EXPECT_EQ(status_of(killed), -SIGKILL);
  pid_t const granted = wait_for_lock(false);
  wait_until_asleep(granted);
  ASSERT_EQ(::flock(fd.get(), LOCK_UN), 0);
  EXPECT_EQ(status_of(granted), 0);
}

TEST_P(MountTest, ManyBlockedLocksDontStopTheRest) {
  MountedVolume volume(setup());
  make_file(volume.path("f"), "x");
  auto const fd = open_file(volume.path("f"), O_RDWR);
  ASSERT_EQ(::flock(fd.get(), LOCK_EX), 0);
  std::vector<pid_t> waiting;
  for (int i = 0; i < 100; ++i) {
    waiting.push_back(in_child([&volume] {
      int const own = ::open(volume.path("f").c_str(), O_RDWR);
      return ::flock(own, LOCK_SH) == 0 ? 0 : errno == ENOLCK ? 6 : 5;
    }));
  }
  wait_until_asleep(waiting.front());
  make_file(volume.path("g"), "still alive");
  EXPECT_EQ(read_all(volume.path("g")), "still alive");
  ASSERT_EQ(::flock(fd.get(), LOCK_UN), 0);
  for (auto const child : waiting) {
    auto const status = status_of(child);
    EXPECT_TRUE(status == 0 || status == 6) << status;
  }
}

TEST_P(MountTest, BusyIsToldAndForceEndsIt) {
  MountedVolume volume(setup());
  auto const fd = open_file(volume.path("f"), O_CREAT | O_RDWR);
  auto const busy = volume.session->unmount();
  ASSERT_ERRC(busy, Errc::busy);
  EXPECT_NE(busy.error().text().find(volume.root()), std::string::npos);
  write_all(fd.get(), "still works");
  ASSERT_OK(volume.session->unmount(UnmountMode::force));
  EXPECT_EQ(::write(fd.get(), "x", 1), -1);
  auto const table = read_mount_table();
  ASSERT_OK(table);
  EXPECT_FALSE(mount_at(*table, volume.root()));
}

TEST_P(MountTest, SecondMountOfTheVolumeIsRefused) {
  MountedVolume volume(setup());
  auto const again = FuseSession::mount({.mount_point = volume.root(), .fs_name = "test"},
                                        *volume.fs, *volume.loops, volume.log, volume.metrics);
  ASSERT_ERRC(again, Errc::busy);
}

TEST_P(MountTest, AllowRootKeepsOthersOut) {
  auto with_option = setup();
  with_option.raw_options = "allow_root";
  MountedVolume volume(with_option);
  make_file(volume.path("f"), "secret");
  ASSERT_EQ(::chmod(volume.path("f").c_str(), 0666), 0);
  auto const opens_as_nobody = [](std::string const& path) {
    return status_of(in_child([&path] {
      if (::setgid(65534) != 0 || ::setuid(65534) != 0) {
        return 100;
      }
      return ::open(path.c_str(), O_RDONLY) >= 0 ? 0 : errno;
    }));
  };
  EXPECT_EQ(opens_as_nobody(volume.path("f")), EACCES);
  EXPECT_EQ(read_all(volume.path("f")), "secret");
}

TEST_P(MountTest, OtherUsersAreWhoTheyAre) {
  MountedVolume volume(setup());
  ASSERT_EQ(::chmod(volume.root().c_str(), 0777), 0);
  make_file(volume.path("private"), "x");
  ASSERT_EQ(::chmod(volume.path("private").c_str(), 0600), 0);
  EXPECT_EQ(status_of(in_child([&volume] {
              if (::setgid(65534) != 0 || ::setuid(65533) != 0) {
                return 100;
              }
              int const own = ::open(volume.path("own").c_str(), O_CREAT | O_RDWR, 0640);
              return ::open(volume.path("private").c_str(), O_RDONLY) >= 0 ? 101
                     : errno != EACCES                                     ? 102
                     : own < 0                                             ? 103
                                                                           : 0;
            })),
            0);
  auto const status = stat_of(volume.path("own"));
  EXPECT_EQ(status.st_uid, 65533u);
  EXPECT_EQ(status.st_gid, 65534u);
}

TEST_P(MountTest, MetricsCount) {
  MountedVolume volume(setup());
  make_file(volume.path("f"), "12345");
  EXPECT_EQ(read_all(volume.path("f")), "12345");
  auto const stats = volume.metrics.stats();
  EXPECT_NE(stats.find("juicefs_fuse_ops_total_create 1\n"), std::string::npos) << stats;
  EXPECT_NE(stats.find("juicefs_fuse_written_size_bytes_sum 5\n"), std::string::npos) << stats;
}

INSTANTIATE_TEST_SUITE_P(
    Doors, MountTest,
    ::testing::Values(Door{"epoll_dev", LoopKind::epoll, TransportKind::dev, 2},
                      Door{"uring_dev", LoopKind::uring, TransportKind::dev, 2},
                      Door{"uring_uring", LoopKind::uring, TransportKind::uring, 2},
                      Door{"one_loop_uring", LoopKind::uring, TransportKind::uring, 1},
                      Door{"three_loops_uring", LoopKind::uring, TransportKind::uring, 3}),
    [](auto const& door) { return door.param.name; });

TEST(Fallback, WithoutRingsAutoTakesTheDevice) {
  testing::UringSwitch const on;
  MountedVolume volume({.loop = LoopKind::epoll, .transport = TransportKind::automatic});
  ASSERT_TRUE(volume.session);
  EXPECT_EQ(volume.session->transport(), "dev");
}

TEST(Fallback, WhenQueuesCannotBeRegisteredAutoTakesTheDevice) {
  testing::UringSwitch const on;
  MountedVolume volume({.loop = LoopKind::uring, .transport = TransportKind::dev});
  ASSERT_OK(volume.session->unmount());
  // Fill the rings' tables of descriptors, which the transport needs a place in.
  for (std::size_t i = 0; i < volume.loops->size(); ++i) {
    volume.loops->call(i, [] {
      auto* const port = UringPort::of(*Loop::current());
      while (port->register_fd(0) >= 0) {
      }
    });
  }
  FuseConfig config{.mount_point = volume.root(), .fs_name = "test"};
  config.transport = TransportKind::uring;
  EXPECT_FALSE(
      FuseSession::mount(config, *volume.fs, *volume.loops, volume.log, volume.metrics).ok());
  config.transport = TransportKind::automatic;
  auto mounted = FuseSession::mount(config, *volume.fs, *volume.loops, volume.log, volume.metrics);
  ASSERT_OK(mounted);
  volume.session = *std::move(mounted);
  EXPECT_EQ(volume.session->transport(), "dev");
  make_file(volume.path("f"), "works");
  EXPECT_EQ(read_all(volume.path("f")), "works");
}

}  // namespace
}  // namespace zest::fuse
