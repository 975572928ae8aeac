// Quotas, ACL rules, delayed slices, detached trees, and the fence of a commit, on every engine.
#include <algorithm>
#include <limits>
#include <set>

#include "tests/conformance/engine/engine_suite.h"

namespace zest::meta::testing {
namespace {

constexpr QuotaKey kUser{.type = QuotaType::user, .id = 1000};
constexpr QuotaKey kGroup{.type = QuotaType::group, .id = 1000};
constexpr Quota kLimits{
    .max_space = 1LL << 40, .max_inodes = 5000, .used_space = 8192, .used_inodes = 2};

class AccountsTest : public EngineTest {
 protected:
  void add(QuotaKey const& key, Usage const& delta) {
    std::vector<std::pair<QuotaKey, Usage>> const deltas{{key, delta}};
    must(engine().add_quota_usage(ctx, deltas));
  }
};

TEST_P(AccountsTest, QuotasAreStoredChangedAndErased) {
  run([&] {
    auto const key = dir_quota(Ino{7});
    EXPECT_EQ(get(key), Value());
    must(engine().set_quota(ctx, key, kLimits));
    EXPECT_EQ(get(key), Value(kLimits));

    // New limits leave the use alone.
    must(engine().set_quota(ctx, key, {.max_space = 4096, .max_inodes = 0}));
    EXPECT_EQ(get(key), Value(Quota{4096, 0, 8192, 2}));

    put(key, kLimits);
    EXPECT_EQ(get(key), Value(kLimits));
    must_commit({.changes = {Erase{key}}});
    EXPECT_EQ(get(key), Value());
  });
}

TEST_P(AccountsTest, UseIsAddedWhereThereIsAQuota) {
  run([&] {
    auto const key = dir_quota(Ino{7});
    add(key, {.space = 4096, .inodes = 1});
    EXPECT_EQ(get(key), Value()) << "a directory without a quota stays without one";

    must(engine().set_quota(ctx, key, kLimits));
    add(key, {.space = -4096, .inodes = -1});
    EXPECT_EQ(get(key), Value(Quota{kLimits.max_space, kLimits.max_inodes, 4096, 1}));

    add(kUser, {.space = 4096, .inodes = 1});
    add(kUser, {.space = 4096, .inodes = 1});
    EXPECT_EQ(get(kUser), Value(Quota{-1, -1, 8192, 2})) << "users are counted without limits";
    EXPECT_EQ(get(kGroup), Value()) << "users and groups of one number are two records";
  });
}

TEST_P(AccountsTest, ErasingAUsersQuotaKeepsItsUse) {
  run([&] {
    must(engine().set_quota(ctx, kGroup, kLimits));
    must_commit({.changes = {Erase{kGroup}}});
    EXPECT_EQ(get(kGroup), Value(Quota{-1, -1, kLimits.used_space, kLimits.used_inodes}));
  });
}

TEST_P(AccountsTest, AllQuotasAreListed) {
  run([&] {
    must(engine().set_quota(ctx, dir_quota(Ino{7}), kLimits));
    must(engine().set_quota(ctx, kUser, kLimits));
    must(engine().set_quota(ctx, kGroup, {.max_space = 1, .max_inodes = 2}));
    auto quotas = must(engine().list_quotas(ctx));
    std::ranges::sort(quotas, {}, &QuotaEntry::key);
    ASSERT_EQ(quotas.size(), 3U);
    EXPECT_EQ(quotas[0].key, dir_quota(Ino{7}));
    EXPECT_EQ(quotas[1].key, kUser);
    EXPECT_EQ(quotas[1].quota, kLimits);
    EXPECT_EQ(quotas[2].key, kGroup);
    EXPECT_EQ(quotas[2].quota, (Quota{.max_space = 1, .max_inodes = 2}));
  });
}

TEST_P(AccountsTest, AclRulesGetIds) {
  run([&] {
    AclRule const named{.owner = 7,
                        .group = 5,
                        .mask = 7,
                        .other = 0,
                        .named_users = {{.id = 1001, .perm = 6}, {.id = 1002, .perm = 4}},
                        .named_groups = {{.id = 4'000'000'000U, .perm = 1}}};
    AclRule const minimal{.owner = 6, .group = 4, .mask = AclRule::kAbsent, .other = 4};
    auto const first = must(engine().insert_acl(ctx, named));
    auto const second = must(engine().insert_acl(ctx, minimal));
    EXPECT_GT(first, 0U);
    EXPECT_GT(second, first);
    EXPECT_EQ(get(AclKey{first}), Value(named));
    EXPECT_EQ(get(AclKey{second}), Value(minimal));
    EXPECT_EQ(get(AclKey{second + 100}), Value());

    auto const all = must(engine().list_acls(ctx, 0));
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].id, first);
    EXPECT_EQ(all[0].rule, named);
    auto const later = must(engine().list_acls(ctx, first));
    ASSERT_EQ(later.size(), 1U);
    EXPECT_EQ(later[0].id, second);
  });
}

TEST_P(AccountsTest, DelayedSlicesWaitForTheirTime) {
  run([&] {
    std::vector<DelayedSlice> const slices{{SliceId{5}, 4096}, {SliceId{6}, 100}};
    must_commit({.changes = {DelaySlices{SliceId{50}, 1000, slices},
                             DelaySlices{SliceId{51}, 2000, {{SliceId{7}, 1}}}}});
    EXPECT_TRUE(must(engine().list_delayed_slices(ctx, 1000, 10)).empty());
    auto const due = must(engine().list_delayed_slices(ctx, 1001, 10));
    ASSERT_EQ(due.size(), 1U);
    EXPECT_EQ(due[0].key, (DelayedSlicesKey{SliceId{50}, 1000}));
    EXPECT_EQ(due[0].slices, slices);
    EXPECT_EQ(must(engine().list_delayed_slices(ctx, 9999, 1)).size(), 1U);

    EXPECT_EQ(get(due[0].key), Value(slices));
    must_commit({.conditions = {ExpectEqual{due[0].key, slices}}, .changes = {Erase{due[0].key}}});
    EXPECT_FALSE(try_commit(
        {.conditions = {ExpectEqual{due[0].key, slices}}, .changes = {Erase{due[0].key}}}));
    auto const rest = must(engine().list_delayed_slices(ctx, 9999, 10));
    ASSERT_EQ(rest.size(), 1U);
    EXPECT_EQ(rest[0].key.compacted_into, SliceId{51});
  });
}

// gc asks for all of them: a page of the engine's own must not end the list.
TEST_P(AccountsTest, ListsWithoutALimitAreWhole) {
  run([&] {
    constexpr std::size_t kAll = std::numeric_limits<std::int64_t>::max();
    constexpr std::uint64_t kCount = 600;
    constexpr std::uint64_t kStep = 20;  // etcd takes few changes at once
    for (std::uint64_t first = 0; first < kCount; first += kStep) {
      Commit commit;
      for (auto i = first; i < first + kStep; ++i) {
        commit.changes.emplace_back(
            DelaySlices{SliceId{1000 + i}, 1000, {{SliceId{5000 + i}, 10}}});
        commit.changes.emplace_back(NewSlice{.id = SliceId{9000 + i}, .size = 7});
        commit.changes.emplace_back(AddSliceRef{.id = SliceId{9000 + i}, .size = 7, .delta = -1});
        commit.changes.emplace_back(Put{DelfileKey{Ino{3000 + i}, 10}, DelfileRecord{500}});
      }
      must_commit(commit);
    }
    std::set<std::uint64_t> delayed;
    for (auto const& entry : must(engine().list_delayed_slices(ctx, 9999, kAll))) {
      EXPECT_TRUE(delayed.insert(entry.key.compacted_into.value).second);
    }
    EXPECT_EQ(delayed.size(), kCount);
    EXPECT_EQ(must(engine().list_delayed_slices(ctx, 9999, 300)).size(), 300U);
    std::set<std::uint64_t> garbage;
    for (auto const& slice : must(engine().list_garbage_slices(ctx, kAll))) {
      EXPECT_TRUE(garbage.insert(slice.id.value).second);
    }
    EXPECT_EQ(garbage.size(), kCount);
    EXPECT_EQ(must(engine().list_delfiles(ctx, 9999, kAll)).size(), kCount);
  });
}

TEST_P(AccountsTest, DetachedTreesAreListedByAge) {
  run([&] {
    put(DetachedKey{Ino{20}}, std::int64_t{500});
    put(DetachedKey{Ino{21}}, std::int64_t{600});
    EXPECT_EQ(get(DetachedKey{Ino{20}}), Value(std::int64_t{500}));
    auto const old = must(engine().list_detached(ctx, 600, 10));
    ASSERT_EQ(old.size(), 1U);
    EXPECT_EQ(old[0].ino, Ino{20});
    EXPECT_EQ(old[0].added_sec, 500);
    must_commit({.changes = {Erase{DetachedKey{Ino{20}}}}});
    EXPECT_TRUE(must(engine().list_detached(ctx, 600, 10)).empty());
  });
}

TEST_P(AccountsTest, ALostSessionCannotCommit) {
  run([&] {
    SessionId const session{77};
    auto const write = [&] {
      return engine().commit(
          ctx, {.changes = {Put{SymlinkKey{Ino{9}}, std::string("target")}}, .fence = session});
    };
    auto const expect_fenced = [&](std::string_view when) {
      auto const result = write();
      ASSERT_FALSE(result.ok()) << when;
      EXPECT_EQ(result.error().code(), Errc::stale) << when;
      EXPECT_EQ(result.error().fault(), Fault::semantic) << when;
      EXPECT_EQ(get(SymlinkKey{Ino{9}}), Value()) << when;
    };
    expect_fenced("without a record");
    put(SessionKey{session}, SessionRecord{.expire_sec = 0, .info = "{}"});
    expect_fenced("marked by a cleanup");
    put(SessionKey{session}, SessionRecord{.expire_sec = 1'800'000'000, .info = "{}"});
    must(write());
    EXPECT_EQ(get(SymlinkKey{Ino{9}}), Value(std::string("target")));
    must_commit({.changes = {Erase{SymlinkKey{Ino{9}}}, Erase{SessionKey{session}}}});
    expect_fenced("erased");
  });
}

INSTANTIATE_TEST_SUITE_P(Engines, AccountsTest, ::testing::ValuesIn(engine_cases()),
                         [](auto const& case_info) { return case_info.param.name; });

}  // namespace
}  // namespace zest::meta::testing
