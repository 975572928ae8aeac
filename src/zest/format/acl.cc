#include "zest/format/acl.h"

#include <fmt/format.h>

#include "zest/format/endian.h"

namespace zest {

namespace {

constexpr std::size_t kEntrySize = 6;
constexpr std::size_t kXattrHeaderSize = 4;
constexpr std::size_t kXattrEntrySize = 8;
constexpr std::uint32_t kXattrVersion = 2;
constexpr std::uint32_t kNoId = 0xFFFFFFFF;

/// Tags of the kernel's xattr form.
enum XattrTag : std::uint16_t {
  kOwner = 0x01,
  kNamedUser = 0x02,
  kGroup = 0x04,
  kNamedGroup = 0x08,
  kMask = 0x10,
  kOther = 0x20,
};

std::vector<AclEntry> read_entries(std::string_view bytes) {
  std::vector<AclEntry> entries;
  entries.reserve(bytes.size() / kEntrySize);
  ByteReader reader(bytes);
  while (reader.remaining() >= kEntrySize) {
    AclEntry entry;
    entry.id = reader.be<std::uint32_t>();
    entry.perm = reader.be<std::uint16_t>();
    entries.push_back(entry);
  }
  return entries;
}

/// A count and as many entries.
std::vector<AclEntry> read_counted_entries(ByteReader& reader) {
  auto const count = std::uint64_t{reader.be<std::uint32_t>()};
  return read_entries(reader.bytes(count * kEntrySize));
}

void append_xattr_entry(std::string& out, XattrTag tag, std::uint16_t perm,
                        std::uint32_t id = kNoId) {
  append_le(out, static_cast<std::uint16_t>(tag));
  append_le(out, perm);
  append_le(out, id);
}

/// Sets an entry that may occur once; false when it is there already.
bool set_once(std::uint16_t& field, std::uint16_t perm) {
  bool const absent = field == AclRule::kAbsent;
  field = perm;
  return absent;
}

bool add_xattr_entry(AclRule& rule, std::uint16_t tag, std::uint16_t perm, std::uint32_t id) {
  switch (tag) {
    case kOwner: return set_once(rule.owner, perm);
    case kNamedUser: rule.named_users.push_back({id, perm}); return true;
    case kGroup: return set_once(rule.group, perm);
    case kNamedGroup: rule.named_groups.push_back({id, perm}); return true;
    case kMask: return set_once(rule.mask, perm);
    case kOther: return set_once(rule.other, perm);
    default: return true;
  }
}

std::uint16_t owner_bits(std::uint16_t mode) {
  return (mode >> 6) & 7;
}
std::uint16_t group_bits(std::uint16_t mode) {
  return (mode >> 3) & 7;
}
std::uint16_t other_bits(std::uint16_t mode) {
  return mode & 7;
}

}  // namespace

std::string encode_acl_entries(std::span<AclEntry const> entries) {
  std::string out;
  out.reserve(entries.size() * kEntrySize);
  for (auto const& entry : entries) {
    append_be(out, entry.id);
    append_be(out, entry.perm);
  }
  return out;
}

Result<std::vector<AclEntry>> decode_acl_entries(std::string_view bytes) {
  if (bytes.size() % kEntrySize != 0) {
    return Error::corrupt(fmt::format("a list of ACL entries has {} bytes, not a multiple of {}",
                                      bytes.size(), kEntrySize));
  }
  return read_entries(bytes);
}

std::string encode_acl(AclRule const& rule) {
  std::string out;
  append_be(out, rule.owner);
  append_be(out, rule.group);
  append_be(out, rule.mask);
  append_be(out, rule.other);
  append_be(out, static_cast<std::uint32_t>(rule.named_users.size()));
  out += encode_acl_entries(rule.named_users);
  append_be(out, static_cast<std::uint32_t>(rule.named_groups.size()));
  out += encode_acl_entries(rule.named_groups);
  return out;
}

Result<AclRule> decode_acl(std::string_view bytes) {
  ByteReader reader(bytes);
  AclRule rule;
  rule.owner = reader.be<std::uint16_t>();
  rule.group = reader.be<std::uint16_t>();
  rule.mask = reader.be<std::uint16_t>();
  rule.other = reader.be<std::uint16_t>();
  rule.named_users = read_counted_entries(reader);
  rule.named_groups = read_counted_entries(reader);
  if (!reader.finished()) {
    return Error::corrupt(
        fmt::format("an ACL rule of {} bytes does not fit its counts", bytes.size()));
  }
  return rule;
}

std::string build_acl_xattr(AclRule const& rule) {
  std::string out;
  append_le(out, kXattrVersion);
  append_xattr_entry(out, kOwner, rule.owner);
  for (auto const& entry : rule.named_users) {
    append_xattr_entry(out, kNamedUser, entry.perm, entry.id);
  }
  append_xattr_entry(out, kGroup, rule.group);
  for (auto const& entry : rule.named_groups) {
    append_xattr_entry(out, kNamedGroup, entry.perm, entry.id);
  }
  if (rule.mask != AclRule::kAbsent) {
    append_xattr_entry(out, kMask, rule.mask);
  }
  append_xattr_entry(out, kOther, rule.other);
  return out;
}

Result<AclRule> parse_acl_xattr(std::string_view value) {
  if (value.size() % kXattrEntrySize != kXattrHeaderSize) {
    return Errc::inval;
  }
  ByteReader reader(value);
  // Like the peer, only the first byte of the version counts.
  if ((reader.le<std::uint32_t>() & 0xFF) != kXattrVersion) {
    return Errc::inval;
  }
  AclRule rule;
  while (reader.remaining() > 0) {
    auto const tag = reader.le<std::uint16_t>();
    auto const perm = reader.le<std::uint16_t>();
    auto const id = reader.le<std::uint32_t>();
    if (!add_xattr_entry(rule, tag, perm, id)) {
      return Errc::inval;
    }
  }
  if (rule.mask == AclRule::kAbsent && !is_minimal(rule)) {
    return Errc::inval;
  }
  return rule;
}

bool is_minimal(AclRule const& rule) noexcept {
  return rule.named_users.empty() && rule.named_groups.empty() && rule.mask == AclRule::kAbsent;
}

bool is_empty(AclRule const& rule) noexcept {
  return is_minimal(rule) && rule.owner == AclRule::kAbsent && rule.group == AclRule::kAbsent &&
         rule.other == AclRule::kAbsent;
}

std::uint16_t mode_of(AclRule const& rule) noexcept {
  auto const middle = is_minimal(rule) ? rule.group : rule.mask;
  return static_cast<std::uint16_t>(((rule.owner & 7) << 6) | ((middle & 7) << 3) |
                                    (rule.other & 7));
}

AclRule with_mode(AclRule rule, std::uint16_t mode) {
  auto& middle = is_minimal(rule) ? rule.group : rule.mask;
  rule.owner = owner_bits(mode);
  middle = group_bits(mode);
  rule.other = other_bits(mode);
  return rule;
}

AclRule fill_absent(AclRule rule, std::uint16_t mode) {
  if (rule.owner == AclRule::kAbsent) {
    rule.owner = owner_bits(mode);
  }
  if (rule.group == AclRule::kAbsent) {
    rule.group = group_bits(mode);
  }
  if (rule.other == AclRule::kAbsent) {
    rule.other = other_bits(mode);
  }
  return rule;
}

InheritedAcl inherit_acl(AclRule const& default_rule, std::uint16_t mode) {
  if (is_minimal(default_rule)) {
    return {.mode = static_cast<std::uint16_t>(mode & (0xFE00 | mode_of(default_rule))),
            .access = std::nullopt};
  }
  auto access = default_rule;
  access.owner = default_rule.owner & owner_bits(mode);
  access.mask = default_rule.mask & group_bits(mode);
  access.other = default_rule.other & other_bits(mode);
  auto const child_mode = static_cast<std::uint16_t>((mode & 0xFE00) | mode_of(access));
  return {.mode = child_mode, .access = std::move(access)};
}

bool acl_permits(AclRule const& rule, std::uint32_t uid, std::uint32_t gid, Caller const& caller,
                 std::uint8_t wanted) {
  auto const grants = [wanted](std::uint32_t perm) { return (perm & wanted) == wanted; };
  if (caller.uid == uid) {
    return grants(rule.owner);
  }
  for (auto const& user : rule.named_users) {
    if (user.id == caller.uid) {
      return grants(user.perm & rule.mask);
    }
  }
  bool matched = caller.in_group(gid);
  if (matched && grants(rule.group & rule.mask)) {
    return true;
  }
  for (auto const& group : rule.named_groups) {
    if (caller.in_group(group.id)) {
      if (grants(group.perm & rule.mask)) {
        return true;
      }
      matched = true;
    }
  }
  return !matched && grants(rule.other);
}

}  // namespace zest
