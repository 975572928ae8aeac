// Goal: other processes find a mount while its process lives, and only then.
#include "zest/cli/mount_record.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <string>

namespace zest::cli {
namespace {

using namespace std::chrono_literals;

/// A mount point no other test and no real mount uses.
std::string unique_place(std::string const& name) {
  return "/nonexistent/zest-mount-record-test/" + std::to_string(getpid()) + "/" + name;
}

/// A process that holds a record for `place` until it is killed.
class Holder {
 public:
  explicit Holder(std::string const& place) {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe(ends.data()), 0);
    pid_ = fork();
    if (pid_ == 0) {
      auto const record = MountRecord::create(
          {.mount_point = place, .meta_url = "sqlite3:///a.db", .volume = "vol", .pid = getpid()},
          false);
      char const word = record.ok() ? 'y' : 'n';
      [[maybe_unused]] auto const written = write(ends[1], &word, 1);
      pause();
      _exit(0);
    }
    char word = 0;
    EXPECT_EQ(read(ends[0], &word, 1), 1);
    EXPECT_EQ(word, 'y');
    close(ends[0]);
    close(ends[1]);
  }
  void end() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
      pid_ = 0;
    }
  }
  ~Holder() { end(); }
  Holder(Holder const&) = delete;
  Holder& operator=(Holder const&) = delete;
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

TEST(MountRecord, IsFoundWhileItsProcessLives) {
  auto const place = unique_place("lives");
  Holder holder(place);
  auto const found = MountedBy::find(place);
  ASSERT_TRUE(found.ok());
  ASSERT_TRUE(found->has_value());
  EXPECT_EQ((*found)->facts().meta_url, "sqlite3:///a.db");
  EXPECT_EQ((*found)->facts().volume, "vol");
  EXPECT_EQ((*found)->facts().pid, holder.pid());
  EXPECT_FALSE((*found)->wait_ended(1ms));
  holder.end();
  EXPECT_TRUE((*found)->wait_ended(10s));
}

TEST(MountRecord, AKilledProcessLeavesNone) {
  auto const place = unique_place("killed");
  Holder(place).end();
  auto const found = MountedBy::find(place);
  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(found->has_value());
  // And the next mount there takes the file over.
  EXPECT_TRUE(
      MountRecord::create({.mount_point = place, .meta_url = "u", .volume = "v"}, false).ok());
}

TEST(MountRecord, ASecondMountIsRefusedUnlessItIsMeant) {
  auto const place = unique_place("second");
  Holder holder(place);
  MountFacts const facts{.mount_point = place, .meta_url = "u", .volume = "v", .pid = getpid()};
  EXPECT_TRUE(failed_with(MountRecord::create(facts, false), Errc::busy));
  EXPECT_TRUE(MountRecord::create(facts, true).ok());
}

}  // namespace
}  // namespace zest::cli
