// Goal: what an administrator sets is stored with the use that is really there, a wrong use is
// found and repaired, and nothing that has limits is lost on the way.
#include "zest/admin/quota.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "zest/admin/make_directories.h"
#include "zest/meta/testing.h"

namespace zest::admin {
namespace {

using meta::QuotaKey;
using meta::testing::as_user;
using meta::testing::Client;
using meta::testing::make;
using meta::testing::make_setting;
using testing::run_simulated;

constexpr QuotaKey kUser7{.type = QuotaType::user, .id = 7};
constexpr QuotaKey kGroup8{.type = QuotaType::group, .id = 8};
constexpr std::int64_t kBlock = 4096;

struct Volume : meta::testing::Volume {
  explicit Volume(Setting with = make_setting(1))
      : meta::testing::Volume(meta::make_memory_engine({}), std::move(with)) {}
  Access access() {
    return {.engine = *engine,
            .open_store = [](Setting const&) -> Result<std::unique_ptr<ObjectStore>> {
              return Error(Errc::io, Fault::bug, "no store is needed here");
            },
            .rng = rng,
            .clock = clock};
  }
};

Ino create_as(Client& client, Context const& ctx, Ino parent, std::string_view name) {
  auto const made = client.meta.mknod(
      ctx, {.parent = parent, .name = name, .type = FileType::regular, .mode = 0666, .target = {}});
  EXPECT_TRUE(made.ok());
  return made.ok() ? made->ino : Ino{};
}

TEST(QuotaAdmin, TheFirstLimitOfADirectoryCountsWhatIsThere) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d");
    auto const sub = *make(client, FileType::directory, dir, "sub");
    auto const file = *make(client, FileType::regular, sub, "f");
    ASSERT_TRUE(client.meta.truncate(volume.root, file, 3 * kBlock, false).ok());
    auto const set = set_quota(volume.root, volume.access(), meta::dir_quota(dir),
                               {.max_space = 1 << 20, .max_inodes = {}});
    ASSERT_TRUE(set.ok()) << set.error().text();
    EXPECT_EQ(*set, (Quota{1 << 20, 0, 4 * kBlock, 2}));

    // The second changes one limit and leaves the rest.
    auto const again = set_quota(volume.root, volume.access(), meta::dir_quota(dir),
                                 {.max_space = {}, .max_inodes = 10});
    EXPECT_EQ(*again, (Quota{1 << 20, 10, 4 * kBlock, 2}));
    EXPECT_EQ(**get_quota(volume.root, *volume.engine, meta::dir_quota(dir)), *again);
    ASSERT_TRUE(delete_quota(volume.root, *volume.engine, meta::dir_quota(dir)).ok());
    EXPECT_FALSE(get_quota(volume.root, *volume.engine, meta::dir_quota(dir))->has_value());
    EXPECT_TRUE(delete_quota(volume.root, *volume.engine, meta::dir_quota(dir)).ok());
  });
}

TEST(QuotaAdmin, WhatCannotHaveAQuota) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f");
    auto const set = [&](Ino ino) {
      return set_quota(volume.root, volume.access(), meta::dir_quota(ino),
                       {.max_space = 1, .max_inodes = {}});
    };
    EXPECT_EQ(set(file).error().code(), Errc::notdir);
    EXPECT_EQ(set(kTrashIno).error().code(), Errc::perm);
    EXPECT_EQ(set(Ino{999}).error().code(), Errc::noent);
    EXPECT_TRUE(set(kRootIno).ok());

    auto setting = make_setting(0);
    setting.dir_stats = false;
    Volume bare(setting);
    EXPECT_EQ(set_quota(bare.root, bare.access(), meta::dir_quota(kRootIno),
                        {.max_space = 1, .max_inodes = {}})
                  .error()
                  .code(),
              Errc::notsup);
  });
}

TEST(QuotaAdmin, TheFirstUserQuotaCountsTheVolume) {
  run_simulated([] {
    Volume volume;
    {
      Client client(volume);
      auto const dir = *make(client, FileType::directory, kRootIno, "d", 0777);
      auto const file = create_as(client, as_user(7, 8), dir, "f");
      ASSERT_TRUE(client.meta.truncate(volume.root, file, 2 * kBlock, false).ok());
      ASSERT_TRUE(client.meta.link(volume.root, file, kRootIno, "second").ok());
      ASSERT_TRUE(client.meta.link(volume.root, file, kRootIno, "third").ok());
      create_as(client, as_user(7, 9), dir, "trashed");
      ASSERT_TRUE(client.meta.unlink(volume.root, dir, "trashed").ok());
      auto const open = create_as(client, as_user(7, 9), dir, "open");
      ASSERT_TRUE(client.meta.open(volume.root, open, 0).ok());
      ASSERT_TRUE(client.meta.unlink(volume.root, dir, "open", true).ok());

      auto const set =
          set_quota(volume.root, volume.access(), kUser7, {.max_space = {}, .max_inodes = 100});
      ASSERT_TRUE(set.ok()) << set.error().text();
      EXPECT_EQ(*set, (Quota{-1, 100, 4 * kBlock, 3}))
          << "a file with three names, one in the trash, one that is open";
      EXPECT_EQ(**get_quota(volume.root, *volume.engine, kGroup8), (Quota{-1, -1, 2 * kBlock, 1}));
      auto const setting = load_setting(volume.root, *volume.engine);
      EXPECT_TRUE(setting->user_group_quota);

      // Clients count from their next heartbeat on, and agree with a new count then.
      ASSERT_TRUE(Loop::current()->sleep_for(volume.root, std::chrono::seconds(14)).ok());
      create_as(client, as_user(7, 8), dir, "more");
      ASSERT_TRUE(client.meta.close(volume.root, open).ok());
    }
    auto const checks = check_owner_quotas(volume.root, *volume.engine);
    ASSERT_TRUE(checks.ok());
    EXPECT_TRUE(std::ranges::all_of(*checks, &QuotaCheck::consistent));
    EXPECT_EQ(**get_quota(volume.root, *volume.engine, kUser7), (Quota{-1, 100, 4 * kBlock, 3}));
    // Deleting keeps the accounting; only limits are listed.
    EXPECT_EQ(list_quotas(volume.root, *volume.engine)->size(), 1U);
    ASSERT_TRUE(delete_quota(volume.root, *volume.engine, kUser7).ok());
    EXPECT_EQ(**get_quota(volume.root, *volume.engine, kUser7), (Quota{-1, -1, 4 * kBlock, 3}));
    EXPECT_TRUE(list_quotas(volume.root, *volume.engine)->empty());
  });
}

TEST(QuotaAdmin, AWrongUseIsFoundAndRepaired) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d");
    create_as(client, as_user(7, 8), kRootIno, "f");
    auto const key = meta::dir_quota(dir);
    ASSERT_TRUE(
        set_quota(volume.root, volume.access(), key, {.max_space = 9, .max_inodes = 9}).ok());
    ASSERT_TRUE(
        set_quota(volume.root, volume.access(), kUser7, {.max_space = 9, .max_inodes = 9}).ok());
    std::vector<std::pair<QuotaKey, meta::Usage>> const lies{
        {key, {.space = 5, .inodes = 5}},
        {kUser7, {.space = -5, .inodes = -5}},
        {{.type = QuotaType::user, .id = 1234}, {.space = 5, .inodes = 5}}};
    ASSERT_TRUE(volume.engine->add_quota_usage(volume.root, lies).ok());

    auto const check = check_directory_quota(volume.root, *volume.engine, dir);
    ASSERT_TRUE(check.ok());
    EXPECT_FALSE(check->consistent());
    ASSERT_TRUE(repair_quota(volume.root, *volume.engine, *check).ok());
    EXPECT_TRUE(check_directory_quota(volume.root, *volume.engine, dir)->consistent());
    EXPECT_EQ(**get_quota(volume.root, *volume.engine, key), (Quota{9, 9, 0, 0}));

    auto owners = check_owner_quotas(volume.root, *volume.engine);
    EXPECT_EQ(std::ranges::count_if(*owners, [](auto const& c) { return !c.consistent(); }), 2);
    for (auto const& owner : *owners) {
      ASSERT_TRUE(repair_quota(volume.root, *volume.engine, owner).ok());
    }
    owners = check_owner_quotas(volume.root, *volume.engine);
    EXPECT_TRUE(std::ranges::all_of(*owners, &QuotaCheck::consistent));
    EXPECT_EQ(**get_quota(volume.root, *volume.engine, kUser7), (Quota{9, 9, kBlock, 1}));
    EXPECT_EQ(check_directory_quota(volume.root, *volume.engine, kRootIno).error().code(),
              Errc::noent);
  });
}

TEST(QuotaAdmin, StatisticsStayOnWhileDirectoriesHaveQuotas) {
  run_simulated([] {
    Volume volume;
    ASSERT_TRUE(set_quota(volume.root, volume.access(), meta::dir_quota(kRootIno),
                          {.max_space = 1 << 20, .max_inodes = {}})
                    .ok());
    ConfigRequest request;
    request.force = true;
    request.changes.dir_stats = false;
    EXPECT_EQ(config_volume(volume.root, volume.access(), request).error().code(), Errc::busy);
    ASSERT_TRUE(delete_quota(volume.root, *volume.engine, meta::dir_quota(kRootIno)).ok());
    EXPECT_TRUE(config_volume(volume.root, volume.access(), request).ok());
  });
}

TEST(QuotaAdmin, MissingDirectoriesAreMade) {
  run_simulated([] {
    Volume volume;
    meta::testing::Volume& base = volume;
    Registry metrics;
    MetaParts const parts{.engine = *base.engine,
                          .setting = base.setting,
                          .clock = base.clock,
                          .rng = base.rng,
                          .log = base.log,
                          .metrics = metrics};
    auto const made = make_directories(volume.root, parts, "//a/b/");
    ASSERT_TRUE(made.ok()) << made.error().text();
    EXPECT_EQ(*make_directories(volume.root, parts, "/a/b"), *made);
    EXPECT_TRUE(base.engine->list_sessions(volume.root)->empty()) << "its session is gone again";
  });
}

}  // namespace
}  // namespace zest::admin
