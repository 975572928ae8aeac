// POSIX ACLs: stored rules, the kernel's xattr form, inheritance and the access check (format/01
// §7).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/format/types.h"

namespace zest {

/// A rule as Redis and KV store it: 16 bytes and six a named entry.
std::string encode_acl(AclRule const& rule);

/// Corrupt: any length but the one that its counts announce.
Result<AclRule> decode_acl(std::string_view bytes);

/// Named entries as SQL stores them: six bytes each, without a count.
std::string encode_acl_entries(std::span<AclEntry const> entries);

/// Corrupt: a length that is no multiple of six.
Result<std::vector<AclEntry>> decode_acl_entries(std::string_view bytes);

/// The value of `system.posix_acl_access` and `…_default`: entries in the kernel's order of tags.
std::string build_acl_xattr(AclRule const& rule);

/// Reads such a value. EINVAL: a wrong size or version, an owner, group, mask or other entry twice,
/// named entries without a mask. Unknown tags are ignored; absent entries stay kAbsent.
Result<AclRule> parse_acl_xattr(std::string_view value);

/// No named entries and no mask: says no more than mode bits.
bool is_minimal(AclRule const& rule) noexcept;

/// Nothing at all is set: setting such a rule removes the ACL.
bool is_empty(AclRule const& rule) noexcept;

/// The nine permission bits that stat(2) shows with this rule: a mask stands in for the group.
std::uint16_t mode_of(AclRule const& rule) noexcept;

/// What chmod(2) makes of a rule: owner, other, and the mask (of a minimal rule: the group) from
/// `mode`.
AclRule with_mode(AclRule rule, std::uint16_t mode);

/// Fills absent owner, group and other entries from `mode`, as setting an incomplete rule does.
AclRule fill_absent(AclRule rule, std::uint16_t mode);

/// What a new child gets in a directory with a default ACL; its umask is ignored.
struct InheritedAcl {
  std::uint16_t mode = 0;
  std::optional<AclRule> access;  ///< none when the default rule is minimal
};
InheritedAcl inherit_acl(AclRule const& default_rule, std::uint16_t mode);

/// Whether `caller` gets all of `wanted` (4 read, 2 write, 1 execute) on a file of `uid` and `gid`
/// with this access rule. Knows no privileged user: uid 0 is the caller's business.
bool acl_permits(AclRule const& rule, std::uint32_t uid, std::uint32_t gid, Caller const& caller,
                 std::uint8_t wanted);

}  // namespace zest
