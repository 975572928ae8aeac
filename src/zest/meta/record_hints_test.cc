// What this client remembers of nodes and names, and when that may answer a question.
#include "zest/meta/record_hints.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <optional>
#include <string>

#include "zest/meta/meta_cases.h"
#include "zest/meta/runner.h"

namespace zest::meta {
namespace {

using namespace std::chrono_literals;
using testing::Client;
using testing::make;
using testing::number;
using testing::Volume;
using zest::testing::run_simulated;

SystemClock const kClock;
constexpr Ino kDir{5};
constexpr Ino kFile{6};

Attr attr_of_length(std::uint64_t length) {
  Attr attr;
  attr.length = length;
  return attr;
}
Child child(Ino ino, std::uint64_t length) {
  return {.entry = {.type = FileType::regular, .ino = ino}, .attr = attr_of_length(length)};
}

TEST(RecordHints, RemembersNodesNamesAndWhatIsNotThere) {
  RecordHints hints(kClock);
  EXPECT_EQ(hints.find(NodeKey{kFile}, HintUse::any), std::nullopt);
  hints.remember(ChildKey{kDir, "a"}, child(kFile, 7), hints.now());
  EXPECT_EQ(hints.find(NodeKey{kFile}, HintUse::any), Value(attr_of_length(7)));
  EXPECT_EQ(hints.find(EdgeKey{kDir, "a"}, HintUse::any), Value(child(kFile, 7).entry));
  EXPECT_EQ(hints.find(ChildKey{kDir, "a"}, HintUse::any), Value(child(kFile, 7)));
  EXPECT_EQ(hints.find(ChildKey{kDir, "b"}, HintUse::any), std::nullopt);
  hints.remember(ChildKey{kDir, "b"}, Value(), hints.now());
  EXPECT_EQ(hints.find(EdgeKey{kDir, "b"}, HintUse::any), Value());
  hints.remember(NodeKey{kFile}, Value(), hints.now());
  EXPECT_EQ(hints.find(ChildKey{kDir, "a"}, HintUse::any), std::nullopt) << "the node is gone";
}

TEST(RecordHints, HoldsNoMoreThanItsLimits) {
  RecordHints hints(kClock, {.nodes = 2, .names = 2});
  for (std::uint64_t i = 1; i <= 3; ++i) {
    hints.remember(ChildKey{kDir, std::to_string(i)}, child(Ino{i}, i), hints.now());
    EXPECT_NE(hints.find(ChildKey{kDir, "1"}, HintUse::any), std::nullopt) << "used last";
  }
  EXPECT_EQ(hints.find(ChildKey{kDir, "2"}, HintUse::any), std::nullopt);
  EXPECT_NE(hints.find(ChildKey{kDir, "3"}, HintUse::any), std::nullopt);
}

TEST(RecordHints, AnswersOnlyWhatIsKnownToBeCurrent) {
  RecordHints hints(kClock);
  auto const current = [&] { return hints.find(ChildKey{kDir, "a"}, HintUse::current); };
  hints.remember(ChildKey{kDir, "a"}, child(kFile, 7), hints.now());
  EXPECT_EQ(current(), std::nullopt) << "an engine without pushes";
  hints.expect_pushes();
  EXPECT_EQ(current(), Value(child(kFile, 7)));

  hints.nodes_changed(std::array{kFile});
  EXPECT_EQ(current(), std::nullopt);
  hints.remember(ChildKey{kDir, "a"}, child(kFile, 8), hints.now());
  EXPECT_EQ(current(), Value(child(kFile, 8)));
  hints.entries_changed(std::array{kDir});
  EXPECT_EQ(current(), std::nullopt);
  EXPECT_EQ(hints.find(NodeKey{kFile}, HintUse::current), Value(attr_of_length(8)));
  hints.everything_changed();
  EXPECT_EQ(hints.find(NodeKey{kFile}, HintUse::current), std::nullopt);
  EXPECT_EQ(hints.find(ChildKey{kDir, "a"}, HintUse::any), Value(child(kFile, 8)));
}

// The reading was sent before the change, its reply came after the push.
TEST(RecordHints, AReplyThatAPushOvertookIsNotCurrent) {
  RecordHints hints(kClock);
  hints.expect_pushes();
  auto const sent = hints.now();
  hints.nodes_changed(std::array{kFile});
  hints.remember(NodeKey{kFile}, attr_of_length(7), sent);
  EXPECT_EQ(hints.find(NodeKey{kFile}, HintUse::current), std::nullopt);
}

// Of two readings the later one counts, in whatever order their replies come.
TEST(RecordHints, AnOlderReadingDoesNotReplaceANewerOne) {
  RecordHints hints(kClock);
  hints.expect_pushes();
  auto const first = hints.now();
  hints.nodes_changed(std::array{kFile});
  hints.remember(NodeKey{kFile}, attr_of_length(2), hints.now());
  hints.remember(NodeKey{kFile}, attr_of_length(1), first);
  EXPECT_EQ(hints.find(NodeKey{kFile}, HintUse::current), Value(attr_of_length(2)));
}

Attr directory() {
  return {.type = FileType::directory, .mode = 0755, .nlink = 2};
}
Commit one_more_in(Ino dir) {
  Commit commit;
  commit.changes.emplace_back(UpdateNode{.ino = dir, .values = {}, .add_nlink = 1});
  return commit;
}
std::optional<std::uint32_t> recent_nlink(RecordHints& hints, Duration age = 1s) {
  auto const node = hints.recent_dir(kDir, kClock.now() - age);
  return node ? std::optional(node->attr.nlink) : std::nullopt;
}

TEST(RecordHints, ADirectoryThatWasReadRecentlyHasWhatThisClientChangedSince) {
  RecordHints hints(kClock);
  EXPECT_EQ(recent_nlink(hints), std::nullopt);
  hints.remember(NodeKey{kDir}, directory(), hints.now());
  EXPECT_EQ(recent_nlink(hints), 2U);
  hints.committed(one_more_in(kDir), hints.now());
  auto const second = hints.now();
  auto const third = hints.now();
  hints.committed(one_more_in(kDir), third);
  hints.committed(one_more_in(kDir), second);
  EXPECT_EQ(recent_nlink(hints), 5U) << "commits that were under way together, too";
  EXPECT_EQ(recent_nlink(hints, -1s), std::nullopt) << "too old";

  hints.failed(one_more_in(kDir), hints.now());
  EXPECT_EQ(recent_nlink(hints), std::nullopt) << "nobody knows whether it happened";
  hints.remember(NodeKey{kDir}, attr_of_length(7), hints.now());
  EXPECT_EQ(recent_nlink(hints), std::nullopt) << "a file's length is another client's business";
}

// A reading and a commit that were under way together: the one may contain the other, or not.
TEST(RecordHints, AReadingThatACommitOverlappedIsNoRecentDirectory) {
  RecordHints hints(kClock);
  auto reading = hints.now();
  hints.committed(one_more_in(kDir), hints.now());
  hints.remember(NodeKey{kDir}, directory(), reading);
  EXPECT_EQ(recent_nlink(hints), std::nullopt) << "the commit ended first";

  auto const commit = hints.now();
  hints.remember(NodeKey{kDir}, directory(), hints.now());
  EXPECT_EQ(recent_nlink(hints), 2U);
  hints.committed(one_more_in(kDir), commit);
  EXPECT_EQ(recent_nlink(hints), std::nullopt) << "the reading ended first";

  hints.remember(NodeKey{kDir}, directory(), hints.now());
  EXPECT_EQ(recent_nlink(hints), 2U) << "read anew";
}

// A whole record that this client put: nothing may be said when another commit overlapped.
TEST(RecordHints, OfTwoCommitsTogetherNobodyKnowsWhichPutWasTheLast) {
  RecordHints hints(kClock);
  Commit put;
  put.changes.emplace_back(Put{NodeKey{kDir}, directory()});
  hints.committed(put, hints.now());
  EXPECT_EQ(recent_nlink(hints), 2U);
  auto const first = hints.now();
  hints.committed(one_more_in(kDir), hints.now());
  hints.committed(put, first);
  EXPECT_EQ(recent_nlink(hints), std::nullopt);
}

// Two clients: what one remembers is wrong by the other's doing; nobody is told so.
TEST(RecordHints, AWrongHintCostsATripAndNothingElse) {
  run_simulated([] {
    Volume volume(make_memory_engine({.yield = false}));
    Client one(volume);
    Client two(volume);
    auto const& ctx = volume.root;
    EXPECT_EQ(number(one.meta.lookup(ctx, kRootIno, "f")), ENOENT);
    auto const file = *make(two, FileType::regular, kRootIno, "f");
    EXPECT_EQ(number(make(one, FileType::regular, kRootIno, "f")), EEXIST);

    ASSERT_TRUE(two.meta.truncate(ctx, file, 100, false).ok());
    auto const changed = one.meta.setattr(ctx, {.ino = file, .mode = 0600});
    ASSERT_TRUE(changed.ok());
    EXPECT_EQ(changed->length, 100U) << "no old length in the reply";

    ASSERT_TRUE(two.meta.unlink(ctx, kRootIno, "f").ok());
    EXPECT_EQ(number(one.meta.setattr(ctx, {.ino = file, .mode = 0644})), ENOENT);
    EXPECT_EQ(number(one.meta.unlink(ctx, kRootIno, "f")), ENOENT);
    EXPECT_TRUE(make(one, FileType::directory, kRootIno, "f").ok());
  });
}

// A refusal that was decided on an old record is judged again before anybody hears of it.
TEST(RecordHints, ARefusalIsJudgedOnFreshRecords) {
  run_simulated([] {
    Volume volume(make_memory_engine({.yield = false}));
    Client one(volume);
    Client two(volume);
    auto const& ctx = volume.root;
    auto const dir = *make(one, FileType::directory, kRootIno, "d", 0700);
    auto const user = testing::as_user(7, 7);
    EXPECT_EQ(number(one.meta.mknod(user, {.parent = dir, .name = "x", .target = {}})), EACCES);
    ASSERT_TRUE(two.meta.setattr(ctx, {.ino = dir, .mode = 0777}).ok());
    EXPECT_TRUE(one.meta.mknod(user, {.parent = dir, .name = "x", .target = {}}).ok());
  });
}

}  // namespace
}  // namespace zest::meta
