// POSIX ACLs: the two attributes, inheritance, chmod, access checks, the cache of rules.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "zest/format/acl.h"
#include "zest/meta/acl_rules.h"
#include "zest/meta/meta_cases.h"

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

class Acls : public OnEngines {};
INSTANTIATE_TEST_SUITE_P(Engines, Acls, testing::engine_cases(), testing::case_name);

Setting acl_setting() {
  auto setting = make_setting(0);
  setting.enable_acl = true;
  return setting;
}

// u::rw-,u:1001:r--,g::r--,g:2001:rw-,m::rw-,o::---
AclRule named_rule() {
  return {.owner = 6,
          .group = 4,
          .mask = 6,
          .other = 0,
          .named_users = {{.id = 1001, .perm = 4}},
          .named_groups = {{.id = 2001, .perm = 6}}};
}

Result<void> set(Client& client, Context const& ctx, Ino ino, AclRule const& rule,
                 std::string_view name = kAccessAclXattr, std::uint32_t flags = 0) {
  return client.meta.setxattr(ctx, ino, name, build_acl_xattr(rule), flags);
}

// An absent or unreadable ACL is an empty rule.
AclRule get(Client& client, Ino ino, std::string_view name = kAccessAclXattr) {
  auto const value = client.meta.getxattr(Context{}, ino, name);
  if (!value.ok()) {
    EXPECT_EQ(value.error().code(), Errc::nodata) << value.error().text();
    return {};
  }
  auto const rule = parse_acl_xattr(*value);
  EXPECT_TRUE(rule.ok());
  return *rule;
}

std::uint16_t mode_of_node(Client& client, Ino ino) {
  return client.meta.getattr(Context{}, ino)->mode;
}

MknodRequest create(Ino parent, std::string_view name, FileType type, std::uint16_t mode) {
  return {.parent = parent,
          .name = name,
          .type = type,
          .mode = mode,
          .umask = 077,
          .target = type == FileType::symlink ? "t" : ""};
}

TEST_P(Acls, AnAccessAclSetsTheModeAndIsReadBack) {
  run_simulated([&] {
    Volume volume(engine(), acl_setting());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f", 0644);
    EXPECT_EQ(number(client.meta.getxattr(volume.root, file, kAccessAclXattr)), ENODATA);
    ASSERT_TRUE(set(client, volume.root, file, named_rule()).ok());
    EXPECT_EQ(get(client, file), named_rule());
    EXPECT_EQ(mode_of_node(client, file), 0660) << "the mask stands in for the group";
    EXPECT_EQ(*client.meta.listxattr(volume.root, file),
              std::vector<std::string>{std::string(kAccessAclXattr)});
    ASSERT_TRUE(client.meta.setxattr(volume.root, file, "user.a", "1", 0).ok());
    EXPECT_EQ(client.meta.listxattr(volume.root, file)->size(), 2U);

    ASSERT_TRUE(client.meta.removexattr(volume.root, file, kAccessAclXattr).ok());
    EXPECT_EQ(get(client, file), AclRule{});
    EXPECT_EQ(mode_of_node(client, file), 0660) << "the mode stays";
    EXPECT_TRUE(client.meta.removexattr(volume.root, file, kAccessAclXattr).ok())
        << "taking away what is not there is fine, as on Linux";
  });
}

TEST_P(Acls, AMinimalRuleIsJustAMode) {
  run_simulated([&] {
    Volume volume(engine(), acl_setting());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f", 04755);
    ASSERT_TRUE(set(client, volume.root, file, named_rule()).ok());
    ASSERT_TRUE(set(client, volume.root, file, {.owner = 7, .group = 5, .other = 4}).ok());
    EXPECT_EQ(get(client, file), AclRule{});
    EXPECT_EQ(client.meta.getattr(volume.root, file)->access_acl, 0U);
    EXPECT_EQ(mode_of_node(client, file), 04754);
  });
}

TEST_P(Acls, ErrorsOfSettingAnAcl) {
  run_simulated([&] {
    Volume volume(engine(), acl_setting());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f", 0644);
    EXPECT_EQ(number(set(client, as_user(7, 7), file, named_rule())), EPERM);
    EXPECT_EQ(number(client.meta.setxattr(volume.root, file, kAccessAclXattr, "x", 0)), EINVAL);
    EXPECT_EQ(number(set(client, volume.root, file, named_rule(), kDefaultAclXattr)), EACCES);
    EXPECT_EQ(number(set(client, volume.root, Ino{999}, named_rule())), ENOENT);
    auto const link = *make(client, FileType::symlink, kRootIno, "l");
    EXPECT_EQ(number(set(client, volume.root, link, named_rule())), ENOTSUP);
    ASSERT_TRUE(client.meta.setattr(volume.root, {.ino = file, .flags = kFlagImmutable}).ok());
    EXPECT_EQ(number(set(client, volume.root, file, named_rule())), EPERM);
  });
}

TEST_P(Acls, SetgidGoesForOutsidersOfTheGroup) {
  run_simulated([&] {
    Volume volume(engine(), acl_setting());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f", 02755);
    ASSERT_TRUE(client.meta.setattr(volume.root, {.ino = file, .uid = 7, .gid = 9}).ok());
    ASSERT_TRUE(client.meta.setattr(volume.root, {.ino = file, .mode = 02755}).ok());
    ASSERT_TRUE(set(client, as_user(7, 9), file, named_rule()).ok());
    EXPECT_EQ(mode_of_node(client, file), 02660);
    ASSERT_TRUE(set(client, as_user(7, 8), file, {.owner = 7, .group = 5, .other = 5}).ok());
    EXPECT_EQ(mode_of_node(client, file), 0755);

    ASSERT_TRUE(client.meta.setattr(volume.root, {.ino = file, .mode = 02755}).ok());
    ASSERT_TRUE(
        set(client, volume.root, file, named_rule(), kAccessAclXattr, kXattrKillSetgid).ok());
    EXPECT_EQ(mode_of_node(client, file), 0660) << "the kernel has said so";
  });
}

TEST_P(Acls, ChmodChangesTheRule) {
  run_simulated([&] {
    Volume volume(engine(), acl_setting());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f", 0644);
    ASSERT_TRUE(set(client, volume.root, file, named_rule()).ok());
    auto const changed = client.meta.setattr(volume.root, {.ino = file, .mode = 0741});
    ASSERT_TRUE(changed.ok());
    auto expected = named_rule();
    expected.owner = 7;
    expected.mask = 4;
    expected.other = 1;
    EXPECT_EQ(get(client, file), expected);
    EXPECT_EQ(mode_of_node(client, file), 0741);
    EXPECT_EQ(changed->access_acl, client.meta.getattr(volume.root, file)->access_acl);
  });
}

TEST_P(Acls, ChildrenInheritTheDefaultAcl) {
  run_simulated([&] {
    Volume volume(engine(), acl_setting());
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d", 0755);
    auto rule = named_rule();
    rule.owner = 7;
    rule.mask = 7;
    ASSERT_TRUE(set(client, volume.root, dir, rule, kDefaultAclXattr).ok());
    EXPECT_EQ(mode_of_node(client, dir), 0755) << "a default ACL changes no mode";

    auto const file = client.meta.mknod(volume.root, create(dir, "f", FileType::regular, 0666));
    ASSERT_TRUE(file.ok()) << file.error().text();
    EXPECT_EQ(file->attr.mode, 0660) << "the umask does not count";
    auto expected = rule;
    expected.owner = 6;
    expected.mask = 6;
    EXPECT_EQ(get(client, file->ino), expected);
    EXPECT_EQ(file->attr.default_acl, 0U);

    auto const sub = client.meta.mknod(volume.root, create(dir, "s", FileType::directory, 0777));
    ASSERT_TRUE(sub.ok());
    EXPECT_EQ(sub->attr.mode, 0770);
    EXPECT_EQ(get(client, sub->ino), rule);
    EXPECT_EQ(get(client, sub->ino, kDefaultAclXattr), rule);

    auto const link = client.meta.mknod(volume.root, create(dir, "l", FileType::symlink, 0777));
    ASSERT_TRUE(link.ok());
    EXPECT_EQ(link->attr.access_acl, 0U);
    EXPECT_EQ(link->attr.mode, 0777);
  });
}

TEST_P(Acls, AMinimalDefaultAclOnlyMasksTheMode) {
  run_simulated([&] {
    Volume volume(engine(), acl_setting());
    Client client(volume);
    auto const dir = *make(client, FileType::directory, kRootIno, "d", 0755);
    ASSERT_TRUE(
        set(client, volume.root, dir, {.owner = 7, .group = 5, .other = 0}, kDefaultAclXattr).ok());
    auto const file = client.meta.mknod(volume.root, create(dir, "f", FileType::regular, 0666));
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->attr.mode, 0640);
    EXPECT_EQ(file->attr.access_acl, 0U);
  });
}

TEST_P(Acls, RightsComeFromTheRule) {
  run_simulated([&] {
    Volume volume(engine(), acl_setting());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f", 0600);
    EXPECT_EQ(number(client.meta.open(as_user(1001, 1), file, O_RDONLY)), EACCES);
    ASSERT_TRUE(set(client, volume.root, file, named_rule()).ok());
    ASSERT_TRUE(client.meta.open(as_user(1001, 1), file, O_RDONLY).ok());
    ASSERT_TRUE(client.meta.close(volume.root, file).ok());
    EXPECT_EQ(number(client.meta.open(as_user(1001, 1), file, O_RDWR)), EACCES);
    EXPECT_EQ(number(client.meta.access(as_user(1001, 1), file, 4)), 0);
    EXPECT_EQ(number(client.meta.access(as_user(1001, 1), file, 6)), EACCES);
    EXPECT_EQ(number(client.meta.truncate(as_user(1002, 2001), file, 10, false)), 0);
    EXPECT_EQ(number(client.meta.truncate(as_user(1001, 1), file, 10, false)), EACCES);
    EXPECT_EQ(number(client.meta.setattr(as_user(1002, 2001), {.ino = file, .mtime_now = true})),
              0);
    EXPECT_EQ(number(client.meta.setattr(as_user(1001, 1), {.ino = file, .mtime_now = true})),
              EACCES);
    EXPECT_EQ(number(client.meta.access(as_user(1003, 1), file, 4)), EACCES);

    // In a directory: make, find, rename and remove.
    auto const dir = *make(client, FileType::directory, kRootIno, "d", 0700);
    auto rule = named_rule();
    rule.mask = 7;
    rule.named_users = {{.id = 1001, .perm = 7}};
    auto const user = as_user(1001, 1);
    EXPECT_EQ(number(client.meta.mknod(user, create(dir, "x", FileType::regular, 0600))), EACCES);
    ASSERT_TRUE(set(client, volume.root, dir, rule).ok());
    EXPECT_EQ(number(client.meta.mknod(user, create(dir, "x", FileType::regular, 0600))), 0);
    EXPECT_EQ(number(client.meta.lookup(user, dir, "x")), 0);
    EXPECT_EQ(number(client.meta.lookup(as_user(1002, 2001), dir, "x")), EACCES);
    EXPECT_EQ(number(client.meta.readdir(user, {.dir = dir})), 0);
    EXPECT_EQ(number(client.meta.rename(
                  user, {.parent = dir, .name = "x", .new_parent = dir, .new_name = "y"})),
              0);
    EXPECT_EQ(number(client.meta.unlink(as_user(1002, 2001), dir, "y")), EACCES);
    EXPECT_EQ(number(client.meta.unlink(user, dir, "y")), 0);
  });
}

TEST_P(Acls, TwoClientsShareRules) {
  run_simulated([&] {
    Volume volume(engine(), acl_setting());
    Client first(volume);
    Client second(volume);
    auto const a = *make(first, FileType::regular, kRootIno, "a");
    auto const b = *make(first, FileType::regular, kRootIno, "b");
    ASSERT_TRUE(set(first, volume.root, a, named_rule()).ok());
    ASSERT_TRUE(set(second, volume.root, b, named_rule()).ok());
    EXPECT_EQ(get(second, a), named_rule());
    EXPECT_EQ(first.meta.getattr(volume.root, a)->access_acl,
              first.meta.getattr(volume.root, b)->access_acl);
    EXPECT_EQ(volume.engine->list_acls(volume.root, 0)->size(), 1U);
  });
}

TEST_P(Acls, AMissingRuleIsCorrupt) {
  run_simulated([&] {
    Volume volume(engine(), acl_setting());
    Client client(volume);
    auto const file = *make(client, FileType::regular, kRootIno, "f", 0664);
    auto node = *client.meta.getattr(volume.root, file);
    node.access_acl = 77;
    Commit commit;
    commit.changes.emplace_back(Put{NodeKey{file}, node});
    while (!volume.engine->commit(volume.root, commit).ok()) {
    }
    auto const value = client.meta.getxattr(volume.root, file, kAccessAclXattr);
    ASSERT_FALSE(value.ok());
    EXPECT_EQ(value.error().fault(), Fault::corrupt);
    EXPECT_EQ(number(client.meta.open(as_user(7, 7), file, O_RDONLY)), EIO);
    EXPECT_EQ(number(client.meta.setattr(volume.root, {.ino = file, .mode = 0600})), EIO);
    // What replaces the rule heals the inode.
    EXPECT_TRUE(set(client, volume.root, file, named_rule()).ok());
    EXPECT_EQ(get(client, file), named_rule());
  });
}

TEST(AclRules, ForgetsAtItsLimitAndFindsAgain) {
  run_simulated([&] {
    auto const engine = make_memory_engine({});
    AclRules rules(*engine);
    Context const ctx;
    AclRule rule;
    rule.owner = 7;
    rule.named_users.push_back({.id = 0, .perm = 4});
    for (std::uint32_t i = 0; i <= AclRules::kRulesMax; ++i) {
      rule.named_users[0].id = i;
      ASSERT_TRUE(rules.store(ctx, rule).ok());
    }
    auto const first = rules.find(ctx, 1);
    ASSERT_TRUE(first.ok()) << first.error().text();
    EXPECT_EQ(first->named_users[0].id, 0U);
  });
}

}  // namespace
}  // namespace zest::meta
