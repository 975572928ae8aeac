// rename(2) with NOREPLACE and EXCHANGE, and the restore from the trash.
//
// The source and destination entries are conditions, so are the rights on both directories. A
// directory that changes its parent must not end up below itself: the chain of parents above the
// destination is read, and each link of it is a condition. So two clients that move two directories
// into one another at the same time cannot both succeed, wherever they are.
#include <utility>

#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"
#include "zest/meta/statistics.h"

namespace zest::meta::ops {
namespace {

constexpr std::uint32_t kWhiteout = 4;

// Everything that a rename has read.
struct Move {
  RenameRequest const& request;
  Attr from_dir;
  Attr to_dir;
  Child source;
  std::optional<Child> target;

  [[nodiscard]] bool exchange() const noexcept { return (request.flags & kRenameExchange) != 0; }
  [[nodiscard]] bool restore() const noexcept { return (request.flags & kRenameRestore) != 0; }
  [[nodiscard]] bool same_dir() const noexcept { return request.parent == request.new_parent; }
  [[nodiscard]] EdgeKey from() const { return {request.parent, std::string(request.name)}; }
  [[nodiscard]] EdgeKey to() const { return {request.new_parent, std::string(request.new_name)}; }
};

bool is_dir(Child const& child) noexcept {
  return child.entry.type == FileType::directory;
}

Result<void> check_flags(std::uint32_t flags) {
  switch (flags) {
    case 0:
    case kRenameNoReplace:
    case kRenameExchange:
    case kRenameNoReplace | kRenameRestore: return {};
    case kWhiteout:
    case kWhiteout | kRenameNoReplace: return Errc::notsup;
    default: return Errc::inval;
  }
}

// `.` and `..` as source or destination are EBUSY on Linux.
Result<void> check_names(RenameRequest const& request) {
  for (auto const name : {request.name, request.new_name}) {
    if (name == "." || name == "..") {
      return Errc::busy;
    }
  }
  ZEST_CHECK(check_old_name(request.parent, request.name));
  return check_new_name(request.new_parent, request.new_name);
}

Result<Move> read_move(Txn& txn, RenameRequest const& request) {
  ChildKey const from{request.parent, std::string(request.name)};
  ChildKey const to{request.new_parent, std::string(request.new_name)};
  ZEST_CHECK(txn.fetch({NodeKey{request.parent}, NodeKey{request.new_parent}, from, to}));
  ZEST_TRY(auto const from_dir, txn.node(request.parent));
  ZEST_TRY(auto const to_dir, txn.node(request.new_parent));
  for (auto const& [ino, dir] :
       {std::pair(request.parent, &from_dir), std::pair(request.new_parent, &to_dir)}) {
    if (dir->type != FileType::directory) {
      return Errc::notdir;
    }
    ZEST_CHECK(check_permission(txn, ino, *dir, kExecute));
  }
  ZEST_TRY(auto const source, txn.get(from));
  ZEST_TRY(auto const target, txn.get(to));
  if (!source.has_value()) {
    return Errc::noent;
  }
  return Move{request, from_dir, to_dir, *source, target};
}

// A node that is about to get another name (and maybe parent): sticky bit, flags, and for a
// directory the right to change its "..".
Result<void> check_moved(Txn& txn, Attr const& dir, Child const& child, bool same_dir) {
  if (!child.attr.has_value()) {
    return {};
  }
  ZEST_CHECK(check_take_node(txn.caller(), dir, *child.attr));
  if (is_dir(child) && !same_dir) {
    ZEST_CHECK(check_permission(txn, child.entry.ino, *child.attr, kWrite));
  }
  return {};
}

Result<void> check_types(Move const& move) {
  if (!move.target.has_value() || move.exchange()) {
    return {};
  }
  if (is_dir(move.source) && !is_dir(*move.target)) {
    return Errc::notdir;
  }
  if (!is_dir(move.source) && is_dir(*move.target)) {
    return Errc::isdir;
  }
  return {};
}

Result<void> check_move(Txn& txn, Move const& move) {
  auto const& request = move.request;
  if ((request.flags & kRenameNoReplace) != 0 && move.target.has_value()) {
    return Errc::exist;
  }
  if (move.exchange() && !move.target.has_value()) {
    return Errc::noent;
  }
  if (request.parent == kTrashIno) {
    return Errc::perm;
  }
  constexpr std::uint32_t kChange = kWrite | kExecute;
  ZEST_TRY(auto const from_dir, judged(txn, request.parent, move.from_dir, kChange));
  ZEST_TRY(auto const to_dir, judged(txn, request.new_parent, move.to_dir, kChange));
  ZEST_CHECK(check_take_entry(txn.caller(), request.parent, from_dir));
  ZEST_CHECK(check_add_entry(txn.caller(), request.new_parent, to_dir, move.restore()));
  ZEST_CHECK(check_moved(txn, move.from_dir, move.source, move.same_dir()));
  if (move.target.has_value()) {
    ZEST_CHECK(check_node_flags(move.to_dir));
    ZEST_CHECK(check_moved(txn, move.to_dir, *move.target, move.same_dir() || !move.exchange()));
  }
  // Linux asks for cycles before it looks at the target's type.
  if (!move.same_dir() && is_dir(move.source)) {
    ZEST_CHECK(check_no_cycle(txn, move.source.entry.ino, request.new_parent, request.parent));
  }
  if (!move.same_dir() && move.exchange() && is_dir(*move.target)) {
    ZEST_CHECK(check_no_cycle(txn, move.target->entry.ino, request.parent, request.new_parent));
  }
  return check_types(move);
}

// The moved node's own record: ctime, and its parent when that changed.
void change_moved(Txn& txn, VolumeView const& view, Child const& child, Ino from, Ino to) {
  if (!child.attr.has_value()) {
    return;
  }
  auto const ino = child.entry.ino;
  UpdateNode update{.ino = ino, .raise_ctime = txn.now()};
  txn.expect_node(ino, kOwner | kFlags | kParent);
  if (from != to) {
    if (child.attr->parent) {
      update.set = kParent;
      update.values.parent = to;
    } else {
      txn.change(AddParent{ino, from, -1});
      txn.change(AddParent{ino, to, 1});
    }
    if (view.dir_stats) {
      txn.expect_node(ino, kLength);
      count_entry(txn, view, from, *child.attr, false);
      count_entry(txn, view, to, *child.attr, true);
    }
  }
  txn.change(std::move(update));
}

Usage usage_of(Child const& child, Usage const& below) {
  auto const stat = dir_stat_of(child.attr.value_or(Attr{}));
  return {.space = stat.space + below.space, .inodes = stat.inodes + below.inodes};
}

// Directory quotas (format/05 §6): what both sides gain, then what each gets of the trees. The
// entries themselves are counted with the statistics.
Result<void> count_trees(Txn& txn, VolumeView const& view, Move const& move) {
  if (view.quotas == nullptr || move.same_dir()) {
    return {};
  }
  auto const [from, to] = std::pair(move.request.parent, move.request.new_parent);
  auto const coming = usage_of(move.source, view.source_tree);
  Usage leaving;
  if (move.target.has_value()) {
    leaving = usage_of(*move.target, view.target_tree);
  }
  Usage const gain{.space = coming.space - leaving.space, .inodes = coming.inodes - leaving.inodes};
  ZEST_CHECK(view.quotas->check_move(txn.context(), {.from = from, .to = to}, gain));
  Usage below{.space = view.source_tree.space, .inodes = view.source_tree.inodes};
  if (move.exchange()) {
    Usage const back{.space = -gain.space, .inodes = -gain.inodes};
    ZEST_CHECK(view.quotas->check_move(txn.context(), {.from = to, .to = from}, back));
    below.space -= view.target_tree.space;
    below.inodes -= view.target_tree.inodes;
  }
  txn.add_tree_usage(from, {.space = -below.space, .inodes = -below.inodes});
  txn.add_tree_usage(to, below);
  return {};
}

// Times and link counts of both directories; `from_dirs` and `to_dirs` is how many subdirectories
// each gains.
void touch_both(Txn& txn, Move const& move, std::int32_t from_dirs, std::int32_t to_dirs) {
  if (move.same_dir()) {
    touch_dir(txn, move.request.new_parent, from_dirs + to_dirs);
    return;
  }
  touch_dir(txn, move.request.parent, from_dirs);
  touch_dir(txn, move.request.new_parent, to_dirs);
}

Result<std::optional<UnlinkReply>> replace_target(Txn& txn, VolumeView const& view,
                                                  Move const& move, OpenCheck& opens) {
  auto const& target = *move.target;
  if (!target.attr.has_value()) {
    return std::optional(UnlinkReply{.ino = target.entry.ino});
  }
  NameOf const name{.parent = move.request.new_parent,
                    .name = move.request.new_name,
                    .entry = target.entry,
                    .node = *target.attr};
  if (!is_dir(target)) {
    ZEST_TRY(auto const reply, drop_file_name(txn, view, name, opens));
    return std::optional(reply);
  }
  ZEST_TRY(auto const has_entries, txn.get(HasEntriesKey{target.entry.ino}));
  if (has_entries.value_or(false)) {
    return Errc::notempty;
  }
  drop_directory(txn, view, name);
  return std::optional(UnlinkReply{.ino = target.entry.ino});
}

void expect_move(Txn& txn, Move const& move) {
  txn.expect_node(move.request.parent, kTakeEntryFields);
  txn.expect_node(move.request.new_parent, kAddEntryFields);
  txn.expect_unchanged(move.from());
  txn.expect_unchanged(move.to());
}

void exchange(Txn& txn, VolumeView const& view, Move const& move) {
  auto const& request = move.request;
  txn.put(move.from(), move.target->entry);
  txn.put(move.to(), move.source.entry);
  change_moved(txn, view, move.source, request.parent, request.new_parent);
  change_moved(txn, view, *move.target, request.new_parent, request.parent);
  auto const to_dirs = (is_dir(move.source) ? 1 : 0) - (is_dir(*move.target) ? 1 : 0);
  touch_both(txn, move, -to_dirs, to_dirs);
}

}  // namespace

/// rename(2), renameat2(2).
///
/// Errors, in this order: EINVAL / ENOTSUP (flags), EBUSY (`.`, `..`), names as unlink and mknod,
/// ENOENT / ENOTDIR / EACCES (directories), ENOENT (source); success when both names are one file;
/// EEXIST (NOREPLACE), ENOENT (EXCHANGE without target), EPERM / EACCES / ENOENT (directories,
/// trash), EPERM (sticky, flags), EACCES ("..": write access to a directory that is moved), EINVAL
/// (into itself), ENOTDIR, EISDIR, EDQUOT (a directory quota above the destination), ENOTEMPTY.
/// Trips: 1 fetch, 1 commit; a directory over another: 1 more; into another directory: 1 a level
/// above the destination.
Result<RenameReply> rename(Txn& txn, VolumeView const& view, RenameRequest const& request,
                           OpenCheck& opens) {
  ZEST_CHECK(check_flags(request.flags));
  ZEST_CHECK(check_names(request));
  ZEST_TRY(auto move, read_move(txn, request));
  RenameReply reply{.ino = move.source.entry.ino,
                    .attr = move.source.attr.value_or(Attr{}),
                    .replaced = std::nullopt};
  auto const same_node = move.target.has_value() && move.target->entry.ino == reply.ino;
  if (same_node && (request.flags & kRenameNoReplace) == 0) {
    return reply;  // Two names of one file, or one name: nothing to do, says POSIX.
  }
  ZEST_CHECK(check_move(txn, move));
  ZEST_CHECK(count_trees(txn, view, move));

  expect_move(txn, move);
  if (move.exchange()) {
    exchange(txn, view, move);
  } else {
    if (move.target.has_value()) {
      ZEST_TRY(reply.replaced, replace_target(txn, view, move, opens));
    }
    txn.erase(move.from());
    txn.put(move.to(), move.source.entry);
    change_moved(txn, view, move.source, request.parent, request.new_parent);
    auto const moved_dir = is_dir(move.source) ? 1 : 0;
    auto const replaced_dir = move.target.has_value() && is_dir(*move.target) ? 1 : 0;
    touch_both(txn, move, -moved_dir, moved_dir - replaced_dir);
  }
  reply.attr.ctime = raise_time(reply.attr.ctime, txn.now());
  if (reply.attr.parent) {
    reply.attr.parent = request.new_parent;
  }
  return reply;
}

}  // namespace zest::meta::ops
