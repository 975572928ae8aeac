// What several operations have in common: the snapshot they decide with, accounting, and taking
// away a name.
#pragma once

#include <cstdint>
#include <string_view>

#include "zest/base/result.h"
#include "zest/meta/meta.h"
#include "zest/meta/open_files.h"
#include "zest/meta/txn.h"

namespace zest::meta {

/// What a body knows beside the records: taken once before the first attempt, so that a repeated
/// body decides alike.
struct VolumeView {
  SessionId session;
  bool dir_stats = false;
  /// The hourly trash directory; 0 where names do not go to the trash.
  Ino trash;
  /// What the volume's capacity leaves, as far as this client knows (approximate, like the peer's).
  std::int64_t space_left = INT64_MAX;
  std::int64_t inodes_left = INT64_MAX;
  /// Null when nothing is limited or counted.
  Quotas* quotas = nullptr;
  /// A rename that quotas notice: what lies below the directory that moves, and below the one that
  /// it is exchanged with.
  Usage source_tree;
  Usage target_tree;
};

/// What create-like operations read of the directory for their decision.
constexpr std::uint32_t kAddEntryFields = kType | kMode | kOwner | kFlags | kParent;
/// The same for operations that take an entry away.
constexpr std::uint32_t kTakeEntryFields = kType | kMode | kOwner | kFlags;

/// The node as the caller's permissions see it: where an access ACL decides, its mode bits say
/// whether `mask` is granted (AclRules::judge). Only where permissions are ours to check; expects
/// what that hung on. For the rules that look at mode bits; no other use.
Result<Attr> judged(Txn& txn, Ino ino, Attr const& node, std::uint32_t mask);
/// check_access() by mode bits or the node's access ACL.
Result<void> check_permission(Txn& txn, Ino ino, Attr const& node, std::uint32_t mask);
/// Mode and ACLs of a new node in a directory with a default ACL; `mode` is what was asked for,
/// without the umask.
Result<void> inherit_acls(Txn& txn, Attr const& dir, std::uint16_t mode, Attr& node);

/// A directory's times and link count after one of its entries changed; nothing for trash
/// directories (format/05 §4, §5). Needs no read of the directory.
void touch_dir(Txn& txn, Ino dir, std::int32_t add_nlink = 0);
/// Adds an entry with this node to a directory's statistics, or takes it away.
void count_entry(Txn& txn, VolumeView const& view, Ino dir, Attr const& node, bool added);

/// What a new inode, or a longer file, needs in the volume and in one directory.
struct Growth {
  Ino dir;
  Attr const& node;  ///< its owners
  Usage usage;
};
/// The checks of format/05 §1.8 in their order: EDQUOT (user, group), ENOSPC (volume), EDQUOT (a
/// directory quota). Shrinking is always allowed. May suspend.
Result<void> check_growth(Txn& txn, VolumeView const& view, Growth const& growth);

/// ENOSPC when the volume's capacity does not allow this growth; shrinking is always allowed.
Result<void> check_capacity(VolumeView const& view, std::int64_t space, std::int64_t inodes);

/// Accounts for a file's new length: quotas (EDQUOT), capacity (ENOSPC), usage of the volume and of
/// the owners, and the statistics of every directory with a name of it. Expects the fields that
/// this hangs on to be as read.
Result<void> account_length(Txn& txn, VolumeView const& view, Ino ino, Attr const& node,
                            std::uint64_t new_length);

/// One name of a node, with what was read of it.
struct NameOf {
  Ino parent;
  std::string_view name;
  Entry entry;
  Attr node;
};

/// Takes one name of a file or special file away (format/05 §4): to the trash, one link less, a
/// sustained inode, or deletion. The caller changes the edge itself and the directory's times.
Result<UnlinkReply> drop_file_name(Txn& txn, VolumeView const& view, NameOf const& name,
                                   OpenCheck& opens);
/// The same for an empty directory: to the trash or deleted. Expects it to be empty. The caller
/// changes the edge and the parent's link count.
void drop_directory(Txn& txn, VolumeView const& view, NameOf const& name);

/// Deletes a node that has no name left: its records go, a regular file's data wait as a delfile.
void destroy_node(Txn& txn, Ino ino, Attr const& node);

/// Zeros in `[begin, end)` of a file as records (format/05 §9): at both ends always, in whole
/// chunks between only where there are records.
Result<void> append_zeros(Txn& txn, Ino ino, std::uint64_t begin, std::uint64_t end);

/// Expects the chain of directories from `dir` upwards not to contain `node`, so that moving `node`
/// into `dir` makes no cycle: EINVAL. `known` is a parent of `node`: the walk ends there. One trip
/// a level.
Result<void> check_no_cycle(Txn& txn, Ino node, Ino dir, Ino known);

}  // namespace zest::meta
