// Goal: ACL rules have the peer's bytes in both forms; inheritance and checks follow POSIX.1e as
// format/01 §7.3 says.
#include <gtest/gtest.h>

#include "zest/format/acl.h"
#include "zest/format/test_bytes.h"

namespace zest {
namespace {

// u::rw-, u:1000:rw-, g::r--, g:2000:r--, m::rw-, o::r-- of format/01 §13.2.
AclRule example() {
  return {.owner = 6,
          .group = 4,
          .mask = 6,
          .other = 4,
          .named_users = {{1000, 6}},
          .named_groups = {{2000, 4}}};
}

Caller caller(std::uint32_t uid, std::uint32_t gid, std::vector<std::uint32_t> groups = {}) {
  return {.uid = uid, .gid = gid, .groups = std::move(groups)};
}

TEST(Acl, HasThePeersBytes) {
  auto const bytes = from_hex("0006 0004 0006 0004 00000001 000003e8 0006 00000001 000007d0 0004");
  auto const rule = decode_acl(bytes);
  ASSERT_TRUE(rule.ok());
  EXPECT_EQ(*rule, example());
  EXPECT_EQ(encode_acl(*rule), bytes);
}

TEST(Acl, ImpossibleRulesAreCorrupt) {
  auto const bytes = encode_acl(example());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_acl(bytes.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(decode_acl(bytes + '\0').ok());
  EXPECT_FALSE(decode_acl(from_hex("0006 0004 0006 0004 ffffffff 000003e8 0006")).ok());
}

TEST(Acl, SqlListsHaveNoCount) {
  std::vector<AclEntry> const entries{{1000, 7}, {0xFFFFFFFE, 0}};
  EXPECT_EQ(to_hex(encode_acl_entries(entries)), "000003e80007fffffffe0000");
  EXPECT_EQ(*decode_acl_entries(encode_acl_entries(entries)), entries);
  EXPECT_FALSE(decode_acl_entries("12345").ok());
}

TEST(AclXattr, IsTheKernelsForm) {
  auto const value = from_hex(
      "02000000 01000600ffffffff 02000600e8030000 04000400ffffffff 08000400d0070000 "
      "10000600ffffffff 20000400ffffffff");
  EXPECT_EQ(to_hex(build_acl_xattr(example())), to_hex(value));
  auto const rule = parse_acl_xattr(value);
  ASSERT_TRUE(rule.ok());
  EXPECT_EQ(*rule, example());
}

TEST(AclXattr, RefusesWhatThePeerRefuses) {
  for (auto const* digits :
       {"", "020000", "01000000", "02000000 01", "02000000 0100060000000000 0100060000000000",
        "02000000 02000600e8030000",  // a named user without a mask
        "02000000 10000600ffffffff 10000600ffffffff"}) {
    EXPECT_TRUE(failed_with(parse_acl_xattr(from_hex(digits)), Errc::inval)) << digits;
  }
  auto const empty = parse_acl_xattr(from_hex("02000000 4000060000000000"));
  ASSERT_TRUE(empty.ok()) << "unknown tags are ignored";
  EXPECT_TRUE(is_empty(*empty));
}

TEST(AclMode, MaskStandsInForTheGroup) {
  EXPECT_EQ(mode_of(example()), 0664);
  AclRule const minimal{.owner = 7, .group = 5, .other = 1};
  EXPECT_TRUE(is_minimal(minimal));
  EXPECT_EQ(mode_of(minimal), 0751);
  auto const changed = with_mode(example(), 0717);
  EXPECT_EQ(changed.mask, 1);
  EXPECT_EQ(changed.group, 4);
  EXPECT_EQ(with_mode(minimal, 0604).group, 0);
  AclRule const partial{.mask = 7, .named_users = {{1, 7}}};
  EXPECT_EQ(mode_of(fill_absent(partial, 0750)), 0770);
}

TEST(AclInheritance, OfTheWorkedExample) {
  // format/01 §13.2: default ACL u:1000:rwx on the directory, child created with mode 0666.
  AclRule const default_rule{
      .owner = 7, .group = 5, .mask = 7, .other = 5, .named_users = {{1000, 7}}};
  auto const child = inherit_acl(default_rule, 0666);
  EXPECT_EQ(child.mode, 0664);
  ASSERT_TRUE(child.access);
  EXPECT_EQ(*child.access,
            (AclRule{.owner = 6, .group = 5, .mask = 6, .other = 4, .named_users = {{1000, 7}}}));
  EXPECT_EQ(inherit_acl(default_rule, 04666).mode, 04664) << "setuid is kept";
}

TEST(AclInheritance, OfAMinimalRuleOnlyMasksTheMode) {
  AclRule const default_rule{.owner = 7, .group = 5, .other = 0};
  auto const child = inherit_acl(default_rule, 02666);
  EXPECT_EQ(child.mode, 02640);
  EXPECT_FALSE(child.access);
}

TEST(AclCheck, TakesTheFirstClassThatMatches) {
  AclRule const rule{.owner = 4,
                     .group = 2,
                     .mask = 6,
                     .other = 7,
                     .named_users = {{10, 7}},
                     .named_groups = {{20, 5}}};
  auto const permits = [&](Caller const& who, std::uint8_t wanted) {
    return acl_permits(rule, 1, 2, who, wanted);
  };
  EXPECT_TRUE(permits(caller(1, 99), 4));
  EXPECT_FALSE(permits(caller(1, 20), 2)) << "the owner gets no more from a group";
  EXPECT_TRUE(permits(caller(10, 99), 6));
  EXPECT_FALSE(permits(caller(10, 99), 1)) << "masked";
  EXPECT_TRUE(permits(caller(5, 2), 2));
  EXPECT_FALSE(permits(caller(5, 2), 4)) << "a matching group that grants nothing denies";
  EXPECT_TRUE(permits(caller(5, 2, {20}), 4)) << "any group suffices";
  EXPECT_FALSE(permits(caller(5, 2, {20}), 6)) << "but one has to grant all";
  EXPECT_TRUE(permits(caller(5, 99), 7));
  AclRule const minimal{.owner = 0, .group = 7, .other = 0};
  EXPECT_TRUE(acl_permits(minimal, 1, 2, caller(5, 2), 7)) << "an absent mask masks nothing";
}

}  // namespace
}  // namespace zest
