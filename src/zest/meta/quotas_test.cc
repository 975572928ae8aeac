// Quotas of directories, users and groups: what they refuse, what they count, and with whom they
// share it.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "zest/meta/meta_cases.h"
#include "zest/meta/quotas.h"
#include "zest/meta/tree_walk.h"

namespace zest::meta {
namespace {

using testing::as_user;
using testing::Client;
using testing::make;
using testing::make_setting;
using testing::number;
using testing::OnEngines;
using testing::Volume;
using zest::testing::run_simulated;

class QuotaRules : public OnEngines {};
INSTANTIATE_TEST_SUITE_P(Engines, QuotaRules, testing::engine_cases(), testing::case_name);

constexpr QuotaKey kUser7{.type = QuotaType::user, .id = 7};
constexpr QuotaKey kUser9{.type = QuotaType::user, .id = 9};
constexpr QuotaKey kGroup8{.type = QuotaType::group, .id = 8};
constexpr std::int64_t kBlock = 4096;

Setting owner_setting(std::int64_t trash_days = 0) {
  auto setting = make_setting(trash_days);
  setting.user_group_quota = true;
  return setting;
}

struct Limits {
  std::int64_t space = 0;
  std::int64_t inodes = 0;
};

void set_limits(Volume& volume, QuotaKey const& key, Limits limits) {
  ASSERT_TRUE(
      volume.engine
          ->set_quota(Context{}, key, {.max_space = limits.space, .max_inodes = limits.inodes})
          .ok());
}

// All clients read quotas at their heartbeat.
void wait_for_heartbeat() {
  ASSERT_TRUE(Loop::current()->sleep_for(Context{}, std::chrono::seconds(14)).ok());
}

// What the engine has after this client flushed; all −1 without a record.
Usage stored(Client& client, QuotaKey const& key) {
  EXPECT_TRUE(client.meta.flush_stats(Context{}).ok());
  std::array<Key, 1> const keys{key};
  auto const found = client.meta.engine().fetch(Context{}, keys);
  EXPECT_TRUE(found.ok());
  auto const* quota = std::get_if<Quota>(&found->front());
  return quota == nullptr ? Usage{.space = -1, .inodes = -1}
                          : Usage{.space = quota->used_space, .inodes = quota->used_inodes};
}

::testing::AssertionResult is_usage(Usage const& usage, std::int64_t space, std::int64_t inodes) {
  if (usage.space == space && usage.inodes == inodes) {
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << usage.space << " bytes, " << usage.inodes << " inodes";
}

Result<EntryReply> create_as(Client& client, Context const& ctx, Ino parent,
                             std::string_view name) {
  return client.meta.mknod(
      ctx, {.parent = parent, .name = name, .type = FileType::regular, .mode = 0666, .target = {}});
}

RenameRequest move(Ino from, std::string_view name, Ino to, std::string_view new_name,
                   std::uint32_t flags = 0) {
  return {.parent = from, .name = name, .new_parent = to, .new_name = new_name, .flags = flags};
}

TEST_P(QuotaRules, ADirectoryQuotaLimitsEverythingBelow) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const top = *make(client, FileType::directory, kRootIno, "top", 0777);
    auto const sub = *make(client, FileType::directory, top, "sub", 0777);
    set_limits(volume, dir_quota(top), {.inodes = 3});
    wait_for_heartbeat();
    ASSERT_TRUE(make(client, FileType::regular, sub, "a").ok());
    ASSERT_TRUE(make(client, FileType::regular, top, "b").ok());
    ASSERT_TRUE(make(client, FileType::directory, sub, "c").ok());
    EXPECT_EQ(number(make(client, FileType::regular, sub, "d")), EDQUOT);
    EXPECT_EQ(number(make(client, FileType::symlink, top, "d")), EDQUOT);
    EXPECT_TRUE(make(client, FileType::regular, kRootIno, "d").ok()) << "not beside it";
    EXPECT_TRUE(is_usage(stored(client, dir_quota(top)), 3 * kBlock, 3));
    EXPECT_EQ(number(make(client, FileType::regular, sub, "d")), EDQUOT) << "after the flush, too";

    ASSERT_TRUE(client.meta.unlink(volume.root, sub, "a").ok());
    EXPECT_TRUE(make(client, FileType::regular, sub, "d").ok());
    EXPECT_TRUE(is_usage(stored(client, dir_quota(top)), 3 * kBlock, 3));
    ASSERT_TRUE(client.meta.rmdir(volume.root, sub, "c").ok());
    EXPECT_TRUE(is_usage(stored(client, dir_quota(top)), 2 * kBlock, 2));
  });
}

TEST_P(QuotaRules, GrowthOfAFileCountsAndShrinkingIsAllowed) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d", 0777);
    set_limits(volume, dir_quota(dir), {.space = 4 * kBlock});
    wait_for_heartbeat();
    auto const file = *make(client, FileType::regular, dir, "f", 0666);
    ASSERT_TRUE(client.meta.truncate(volume.root, file, 4 * kBlock, false).ok());
    EXPECT_EQ(number(client.meta.truncate(volume.root, file, 4 * kBlock + 1, false)), EDQUOT);
    EXPECT_EQ(number(client.meta.fallocate(volume.root, {.ino = file, .length = 5 * kBlock})),
              EDQUOT);
    auto const slice = *client.meta.new_slice(volume.root);
    WriteSliceRequest const write{
        .ino = file,
        .index = ChunkIndex{0},
        .slices = {{.pos = 4 * kBlock, .id = slice, .size = 10, .off = 0, .len = 10}},
        .mtime = volume.clock.wall()};
    EXPECT_EQ(number(client.meta.write_slice(volume.root, write)), EDQUOT);
    EXPECT_EQ(
        number(client.meta.copy_file_range(
            volume.root,
            {.in = file, .offset_in = 0, .out = file, .offset_out = 4 * kBlock, .length = 9})),
        EDQUOT);
    EXPECT_TRUE(is_usage(stored(client, dir_quota(dir)), 4 * kBlock, 1));

    // A limit that is below the use still lets a file become shorter.
    set_limits(volume, dir_quota(dir), {.space = kBlock});
    wait_for_heartbeat();
    ASSERT_TRUE(client.meta.truncate(volume.root, file, 2 * kBlock, false).ok());
    EXPECT_TRUE(is_usage(stored(client, dir_quota(dir)), 2 * kBlock, 1));
  });
}

TEST_P(QuotaRules, EveryQuotaAboveCounts) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const top = *make(client, FileType::directory, kRootIno, "top");
    auto const sub = *make(client, FileType::directory, top, "sub");
    set_limits(volume, dir_quota(kRootIno), {.inodes = 100});
    set_limits(volume, dir_quota(top), {.inodes = 2});
    set_limits(volume, dir_quota(sub), {.inodes = 100});
    wait_for_heartbeat();
    ASSERT_TRUE(make(client, FileType::regular, sub, "a").ok());
    ASSERT_TRUE(make(client, FileType::regular, sub, "b").ok());
    EXPECT_EQ(number(make(client, FileType::regular, sub, "c")), EDQUOT) << "the one in the middle";
    for (auto const dir : {kRootIno, top, sub}) {
      EXPECT_TRUE(is_usage(stored(client, dir_quota(dir)), 2 * kBlock, 2)) << dir.value;
    }
  });
}

TEST_P(QuotaRules, HardLinksCountOnceAName) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const a = *make(client, FileType::directory, kRootIno, "a");
    auto const b = *make(client, FileType::directory, kRootIno, "b");
    set_limits(volume, dir_quota(a), {.space = 100 * kBlock});
    set_limits(volume, dir_quota(b), {.space = 3 * kBlock, .inodes = 2});
    wait_for_heartbeat();
    auto const file = *make(client, FileType::regular, a, "f");
    ASSERT_TRUE(client.meta.link(volume.root, file, b, "one").ok());
    ASSERT_TRUE(client.meta.link(volume.root, file, b, "two").ok());
    EXPECT_EQ(number(client.meta.link(volume.root, file, b, "three")), EDQUOT);
    EXPECT_EQ(number(client.meta.truncate(volume.root, file, 2 * kBlock, false)), EDQUOT)
        << "two names of it are below b";
    ASSERT_TRUE(client.meta.unlink(volume.root, b, "two").ok());
    ASSERT_TRUE(client.meta.truncate(volume.root, file, 2 * kBlock, false).ok());
    EXPECT_TRUE(is_usage(stored(client, dir_quota(a)), 2 * kBlock, 1));
    EXPECT_TRUE(is_usage(stored(client, dir_quota(b)), 2 * kBlock, 1));
  });
}

TEST_P(QuotaRules, ATreeThatMovesTakesItsUseAlong) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const a = *make(client, FileType::directory, kRootIno, "a");
    auto const b = *make(client, FileType::directory, kRootIno, "b");
    auto const tree = *make(client, FileType::directory, a, "tree");
    auto const deep = *make(client, FileType::directory, tree, "deep");
    ASSERT_TRUE(make(client, FileType::regular, deep, "f").ok());
    set_limits(volume, dir_quota(a), {.inodes = 100});
    set_limits(volume, dir_quota(b), {.inodes = 2});
    std::array<std::pair<QuotaKey, Usage>, 1> const initial{
        std::pair(dir_quota(a), Usage{.space = 3 * kBlock, .inodes = 3})};
    ASSERT_TRUE(volume.engine->add_quota_usage(volume.root, initial).ok());
    wait_for_heartbeat();
    EXPECT_EQ(number(client.meta.rename(volume.root, move(a, "tree", b, "tree"))), EDQUOT);
    set_limits(volume, dir_quota(b), {.inodes = 3});
    wait_for_heartbeat();
    ASSERT_TRUE(client.meta.rename(volume.root, move(a, "tree", b, "tree")).ok());
    EXPECT_TRUE(is_usage(stored(client, dir_quota(a)), 0, 0));
    EXPECT_TRUE(is_usage(stored(client, dir_quota(b)), 3 * kBlock, 3));
    EXPECT_EQ(number(make(client, FileType::regular, deep, "g")), EDQUOT)
        << "what is below belongs to the new place";

    // Out of every quota, and exchanged back in for something smaller.
    ASSERT_TRUE(make(client, FileType::regular, a, "small").ok());
    ASSERT_TRUE(client.meta.rename(volume.root, move(a, "small", b, "tree", kRenameExchange)).ok());
    EXPECT_TRUE(is_usage(stored(client, dir_quota(a)), 3 * kBlock, 3));
    EXPECT_TRUE(is_usage(stored(client, dir_quota(b)), kBlock, 1));
    ASSERT_TRUE(client.meta.rename(volume.root, move(a, "small", kRootIno, "out")).ok());
    EXPECT_TRUE(is_usage(stored(client, dir_quota(a)), 0, 0));
  });
}

TEST_P(QuotaRules, MovesWithinOneQuotaAreFree) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const top = *make(client, FileType::directory, kRootIno, "top");
    set_limits(volume, dir_quota(top), {.inodes = 3});
    wait_for_heartbeat();
    auto const a = *make(client, FileType::directory, top, "a");
    ASSERT_TRUE(make(client, FileType::directory, top, "b").ok());
    ASSERT_TRUE(make(client, FileType::regular, a, "f").ok());
    auto const b = client.meta.lookup(volume.root, top, "b")->ino;
    ASSERT_TRUE(client.meta.rename(volume.root, move(a, "f", b, "f")).ok());
    ASSERT_TRUE(client.meta.rename(volume.root, move(top, "b", a, "b")).ok());
    EXPECT_TRUE(is_usage(stored(client, dir_quota(top)), 3 * kBlock, 3));
  });
}

TEST_P(QuotaRules, TheTrashIsOutsideOfDirectoryQuotas) {
  run_simulated([&] {
    Volume volume(engine(), make_setting(1));
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d");
    set_limits(volume, dir_quota(dir), {.inodes = 1});
    wait_for_heartbeat();
    ASSERT_TRUE(make(client, FileType::regular, dir, "f").ok());
    ASSERT_TRUE(client.meta.unlink(volume.root, dir, "f").ok());
    EXPECT_TRUE(is_usage(stored(client, dir_quota(dir)), 0, 0));
    ASSERT_TRUE(make(client, FileType::regular, dir, "f").ok());
    ASSERT_TRUE(client.meta.unlink(volume.root, dir, "f").ok());
    ASSERT_TRUE(client.meta.rmdir(volume.root, kRootIno, "d").ok());
    EXPECT_TRUE(is_usage(stored(client, dir_quota(dir)), -1, -1)) << "the record went with it";
  });
}

TEST_P(QuotaRules, UsersAndGroupsAreCountedAndLimited) {
  run_simulated([&] {
    Volume volume(engine(), owner_setting());
    Client client(volume);
    auto const user = as_user(7, 8);
    ASSERT_TRUE(create_as(client, user, kRootIno, "a").ok());
    EXPECT_TRUE(is_usage(stored(client, kUser7), kBlock, 1)) << "counted without limits";
    EXPECT_TRUE(is_usage(stored(client, kGroup8), kBlock, 1));
    set_limits(volume, kUser7, {.inodes = 2});
    wait_for_heartbeat();
    auto const b = create_as(client, user, kRootIno, "b");
    ASSERT_TRUE(b.ok());
    EXPECT_EQ(number(create_as(client, user, kRootIno, "c")), EDQUOT);
    EXPECT_TRUE(create_as(client, as_user(9, 8), kRootIno, "c").ok());
    set_limits(volume, kGroup8, {.space = 3 * kBlock});
    wait_for_heartbeat();
    EXPECT_EQ(number(create_as(client, as_user(9, 8), kRootIno, "d")), EDQUOT) << "the group";
    EXPECT_EQ(number(client.meta.truncate(user, b->ino, 2 * kBlock, false)), EDQUOT);
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "a").ok());
    EXPECT_TRUE(client.meta.truncate(user, b->ino, 2 * kBlock, false).ok());
    EXPECT_TRUE(is_usage(stored(client, kUser7), 2 * kBlock, 1));
    EXPECT_TRUE(is_usage(stored(client, kGroup8), 3 * kBlock, 2));
  });
}

TEST_P(QuotaRules, ChownMovesTheUse) {
  run_simulated([&] {
    Volume volume(engine(), owner_setting());
    Client client(volume);
    auto const file = create_as(client, as_user(7, 8), kRootIno, "f");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(client.meta.truncate(volume.root, file->ino, 2 * kBlock, false).ok());
    EXPECT_TRUE(is_usage(stored(client, kUser7), 2 * kBlock, 1));
    ASSERT_TRUE(client.meta.setattr(volume.root, {.ino = file->ino, .uid = 9}).ok());
    EXPECT_TRUE(is_usage(stored(client, kUser7), 0, 0));
    EXPECT_TRUE(is_usage(stored(client, kUser9), 2 * kBlock, 1));
    EXPECT_TRUE(is_usage(stored(client, kGroup8), 2 * kBlock, 1));
  });
}

TEST_P(QuotaRules, TheTrashStillBelongsToItsOwner) {
  run_simulated([&] {
    Volume volume(engine(), owner_setting(1));
    Client client(volume);
    ASSERT_TRUE(create_as(client, as_user(7, 8), kRootIno, "f").ok());
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "f").ok());
    EXPECT_TRUE(is_usage(stored(client, kUser7), kBlock, 1));
    ASSERT_TRUE(Loop::current()->sleep_for(volume.root, std::chrono::hours(28)).ok());
    while (client.meta.expire_trash(volume.root, 10)->size() > 0) {
    }
    EXPECT_TRUE(is_usage(stored(client, kUser7), 0, 0));
  });
}

TEST_P(QuotaRules, SustainedFilesAreTheirOwnersUntilTheLastClose) {
  run_simulated([&] {
    Volume volume(engine(), owner_setting());
    Client client(volume);
    auto const file = create_as(client, as_user(7, 8), kRootIno, "f");
    ASSERT_TRUE(client.meta.open(volume.root, file->ino, 0).ok());
    ASSERT_TRUE(client.meta.unlink(volume.root, kRootIno, "f").ok());
    EXPECT_TRUE(is_usage(stored(client, kUser7), kBlock, 1));
    ASSERT_TRUE(client.meta.close(volume.root, file->ino).ok());
    EXPECT_TRUE(is_usage(stored(client, kUser7), 0, 0));
  });
}

TEST_P(QuotaRules, ClientsSeeOneAnothersUseAfterAHeartbeat) {
  run_simulated([&] {
    Volume volume(engine());
    Client one(volume);
    Client two(volume);
    auto const dir = *make(one, FileType::directory, kRootIno, "d");
    set_limits(volume, dir_quota(dir), {.inodes = 4});
    wait_for_heartbeat();
    ASSERT_TRUE(make(one, FileType::regular, dir, "a").ok());
    ASSERT_TRUE(make(one, FileType::regular, dir, "b").ok());
    ASSERT_TRUE(make(two, FileType::regular, dir, "c").ok());
    wait_for_heartbeat();
    ASSERT_TRUE(make(two, FileType::regular, dir, "d").ok());
    EXPECT_EQ(number(make(two, FileType::regular, dir, "e")), EDQUOT);
    wait_for_heartbeat();
    EXPECT_EQ(number(make(one, FileType::regular, dir, "e")), EDQUOT);
    EXPECT_TRUE(is_usage(stored(one, dir_quota(dir)), 4 * kBlock, 4));
  });
}

TEST_P(QuotaRules, NothingIsCountedTwiceWhenLoadsAndFlushesMeet) {
  run_simulated([&] {
    Volume volume(engine(), owner_setting());
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d", 0777);
    set_limits(volume, dir_quota(dir), {.inodes = 1000});
    wait_for_heartbeat();
    Scope scope;
    for (int worker = 0; worker < 4; ++worker) {
      scope.spawn([&, worker] {
        for (int i = 0; i < 50; ++i) {
          auto const name = std::to_string(worker) + "-" + std::to_string(i);
          ASSERT_TRUE(create_as(client, as_user(7, 8), dir, name).ok());
          ASSERT_TRUE(Loop::current()->sleep_for(Context{}, std::chrono::milliseconds(100)).ok());
        }
      });
    }
    scope.spawn([&] {
      for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(client.meta.flush_stats(Context{}).ok());
        ASSERT_TRUE(Loop::current()->sleep_for(Context{}, std::chrono::milliseconds(70)).ok());
      }
    });
    scope.join();
    EXPECT_TRUE(is_usage(stored(client, dir_quota(dir)), 200 * kBlock, 200));
    EXPECT_TRUE(is_usage(stored(client, kUser7), 200 * kBlock, 200));
    wait_for_heartbeat();
    EXPECT_TRUE(is_usage(stored(client, kUser7), 200 * kBlock, 200));
  });
}

TEST_P(QuotaRules, StopWritesWhatIsPending) {
  run_simulated([&] {
    Volume volume(engine(), owner_setting());
    {
      Client client(volume);
      ASSERT_TRUE(create_as(client, as_user(7, 8), kRootIno, "f").ok());
    }
    Client reader(volume);
    EXPECT_TRUE(is_usage(stored(reader, kUser7), kBlock, 1));
  });
}

TEST_P(QuotaRules, StatfsShowsTheQuotasAbove) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const top = *make(client, FileType::directory, kRootIno, "top");
    auto const sub = *make(client, FileType::directory, top, "sub");
    set_limits(volume, dir_quota(top), {.space = 10 * kBlock});
    set_limits(volume, dir_quota(sub), {.space = 100 * kBlock, .inodes = 5});
    wait_for_heartbeat();
    auto const file = *make(client, FileType::regular, sub, "f");
    ASSERT_TRUE(client.meta.truncate(volume.root, file, 4 * kBlock, false).ok());
    for (auto const ino : {sub, file}) {
      auto const stat = client.meta.statfs(volume.root, ino);
      ASSERT_TRUE(stat.ok());
      EXPECT_EQ(stat->available_space, std::uint64_t{6 * kBlock}) << "the tighter one above";
      EXPECT_EQ(stat->total_space, std::uint64_t{10 * kBlock});
      EXPECT_EQ(stat->used_inodes, 1U);
      EXPECT_EQ(stat->available_inodes, 4U);
    }
    MetaConfig config;
    config.root = sub;
    Client mounted_below(volume, config);
    EXPECT_TRUE(client.meta.flush_stats(volume.root).ok());
    wait_for_heartbeat();
    EXPECT_EQ(mounted_below.meta.statfs(volume.root)->available_space, std::uint64_t{6 * kBlock});
    EXPECT_GT(client.meta.statfs(volume.root)->total_space, 1ULL << 40);
  });
}

TEST_P(QuotaRules, WithoutDirectoryStatisticsThereAreNoDirectoryQuotas) {
  run_simulated([&] {
    auto setting = make_setting(0);
    setting.dir_stats = false;
    Volume volume(engine(), setting);
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d");
    set_limits(volume, dir_quota(dir), {.inodes = 1});
    wait_for_heartbeat();
    ASSERT_TRUE(make(client, FileType::regular, dir, "a").ok());
    EXPECT_TRUE(make(client, FileType::regular, dir, "b").ok());
  });
}

TEST_P(QuotaRules, TheSizeOfATree) {
  run_simulated([&] {
    Volume volume(engine());
    Client client(volume);
    auto const top = *make(client, FileType::directory, kRootIno, "top");
    Ino at = top;
    for (int i = 0; i < 40; ++i) {
      at = *make(client, FileType::directory, at, "d");
      ASSERT_TRUE(make(client, FileType::regular, at, "f").ok());
    }
    for (int i = 0; i < 2500; ++i) {
      ASSERT_TRUE(make(client, FileType::regular, at, std::to_string(i)).ok());
    }
    auto const usage = tree_usage(volume.root, *volume.engine, top);
    ASSERT_TRUE(usage.ok());
    EXPECT_TRUE(is_usage(*usage, 2580 * kBlock, 2580));
  });
}

}  // namespace
}  // namespace zest::meta
