#include "zest/meta/engine/node_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <type_traits>

namespace zest::meta {

bool same_fields(Attr const& a, Attr const& b, std::uint32_t mask) noexcept {
  auto const same = [mask](NodeField field, bool equal) { return (mask & field) == 0 || equal; };
  return same(kType, a.type == b.type) && same(kMode, a.mode == b.mode) &&
         same(kOwner, a.uid == b.uid && a.gid == b.gid) && same(kFlags, a.flags == b.flags) &&
         same(kAtime, a.atime == b.atime) && same(kMtime, a.mtime == b.mtime) &&
         same(kCtime, a.ctime == b.ctime) && same(kNlink, a.nlink == b.nlink) &&
         same(kLength, a.length == b.length) && same(kRdev, a.rdev == b.rdev) &&
         same(kParent, a.parent == b.parent) && same(kAccessAcl, a.access_acl == b.access_acl) &&
         same(kDefaultAcl, a.default_acl == b.default_acl) && same(kTier, a.tier == b.tier);
}

namespace {

void set_fields(Attr& attr, Attr const& values, std::uint32_t mask) noexcept {
  auto const set = [mask](NodeField field, auto& to, auto const& from) {
    if ((mask & field) != 0) {
      to = from;
    }
  };
  set(kType, attr.type, values.type);
  set(kMode, attr.mode, values.mode);
  set(kOwner, attr.uid, values.uid);
  set(kOwner, attr.gid, values.gid);
  set(kFlags, attr.flags, values.flags);
  set(kAtime, attr.atime, values.atime);
  set(kMtime, attr.mtime, values.mtime);
  set(kCtime, attr.ctime, values.ctime);
  set(kNlink, attr.nlink, values.nlink);
  set(kLength, attr.length, values.length);
  set(kRdev, attr.rdev, values.rdev);
  set(kParent, attr.parent, values.parent);
  set(kAccessAcl, attr.access_acl, values.access_acl);
  set(kDefaultAcl, attr.default_acl, values.default_acl);
  set(kTier, attr.tier, values.tier);
}

}  // namespace

void apply_update(Attr& attr, UpdateNode const& update) noexcept {
  set_fields(attr, update.values, update.set);
  attr.nlink = static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(std::int64_t{attr.nlink} + update.add_nlink, 0, UINT32_MAX));
  if (update.grow_length) {
    attr.length = std::max(attr.length, *update.grow_length);
  }
  if (update.raise_mtime) {
    attr.mtime = raise_time(attr.mtime, *update.raise_mtime);
  }
  if (update.raise_ctime) {
    attr.ctime = raise_time(attr.ctime, *update.raise_ctime);
  }
}

Value normalized(Value value) {
  auto const empty = std::visit(
      [](auto const& record) {
        using T = std::remove_cvref_t<decltype(record)>;
        if constexpr (std::is_same_v<T, Slices> || std::is_same_v<T, Parents> ||
                      std::is_same_v<T, Flocks> || std::is_same_v<T, Plocks> ||
                      std::is_same_v<T, std::vector<LockRange>> ||
                      std::is_same_v<T, std::vector<DelayedSlice>>) {
          return record.empty();
        } else {
          return false;
        }
      },
      value);
  return empty ? Value() : std::move(value);
}

namespace {

std::string quoted(std::string const& name) {
  return fmt::format("{:?}", std::string_view(name).substr(0, 64));
}

}  // namespace

std::string describe(Key const& key) {
  return std::visit(
      Overloaded{
          [](NodeKey const& k) { return fmt::format("node {}", k.ino.value); },
          [](EdgeKey const& k) {
            return fmt::format("entry {} of directory {}", quoted(k.name), k.parent.value);
          },
          [](ChildKey const& k) {
            return fmt::format("entry {} of directory {}", quoted(k.name), k.parent.value);
          },
          [](SymlinkKey const& k) { return fmt::format("symlink {}", k.ino.value); },
          [](XattrKey const& k) {
            return fmt::format("xattr {} of node {}", quoted(k.name), k.ino.value);
          },
          [](ChunkKey const& k) {
            return fmt::format("chunk {} of node {}", k.index.value, k.ino.value);
          },
          [](ParentsKey const& k) { return fmt::format("parents of node {}", k.ino.value); },
          [](HasEntriesKey const& k) { return fmt::format("entries of node {}", k.ino.value); },
          [](SliceRefKey const& k) { return fmt::format("references of slice {}", k.id.value); },
          [](FlocksKey const& k) { return fmt::format("flocks of node {}", k.ino.value); },
          [](FlockKey const& k) {
            return fmt::format("flock of session {} on node {}", k.session.value, k.ino.value);
          },
          [](PlocksKey const& k) { return fmt::format("POSIX locks of node {}", k.ino.value); },
          [](PlockKey const& k) {
            return fmt::format("POSIX lock of session {} on node {}", k.session.value, k.ino.value);
          },
          [](SessionKey const& k) { return fmt::format("session {}", k.session.value); },
          [](SustainedKey const& k) {
            return fmt::format("sustained node {} of session {}", k.ino.value, k.session.value);
          },
          [](DelfileKey const& k) { return fmt::format("deleted file {}", k.ino.value); },
          [](DirStatKey const& k) {
            return fmt::format("statistics of directory {}", k.ino.value);
          },
          [](QuotaKey const& k) {
            constexpr std::array<std::string_view, 3> kWhose{"directory", "user", "group"};
            return fmt::format("quota of {} {}", kWhose[static_cast<std::size_t>(k.type)], k.id);
          },
          [](AclKey const& k) { return fmt::format("ACL rule {}", k.id); },
          [](DetachedKey const& k) { return fmt::format("detached tree {}", k.ino.value); },
          [](DelayedSlicesKey const& k) {
            return fmt::format("slices replaced by slice {}", k.compacted_into.value);
          },
      },
      key);
}

Error conflict(Key const& key) {
  return {Errc::again, Fault::conflict,
          fmt::format("{} was changed by somebody else", describe(key))};
}

Error fenced(SessionId session) {
  return {Errc::stale, Fault::semantic,
          fmt::format("session {} was ended by another client's cleanup", session.value)};
}

Error misuse(std::string_view what, Key const& key) {
  return {Errc::io, Fault::bug, fmt::format("{}: {}", describe(key), what)};
}

Result<void> check_put(Put const& put) {
  return std::visit(
      [&put](auto const& key) -> Result<void> {
        using K = std::remove_cvref_t<decltype(key)>;
        if constexpr (std::is_same_v<K, ChildKey> || std::is_same_v<K, ParentsKey> ||
                      std::is_same_v<K, HasEntriesKey> || std::is_same_v<K, AclKey> ||
                      std::is_same_v<K, DelayedSlicesKey>) {
          return misuse("this kind of record cannot be put", put.key);
        } else if (record_of(key, put.value) == nullptr) {
          return misuse("put with a value of another type", put.key);
        } else {
          return {};
        }
      },
      put.key);
}

Result<void> check_erase(Key const& key) {
  if (std::holds_alternative<ChildKey>(key) || std::holds_alternative<AclKey>(key)) {
    return misuse("this kind of record cannot be erased", key);
  }
  return {};
}

}  // namespace zest::meta
