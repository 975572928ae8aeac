// The trash: hourly directories, and taking their entries out for good.
#include "zest/meta/ops/ops.h"

namespace zest::meta::ops {

/// Errors: ENOENT when it is not there and may not be made (`fresh` 0). The trash root itself stays
/// as it is (format/05 §1.6). Trips: 1 fetch, 1 commit when it is made.
Result<Ino> trash_dir(Txn& txn, std::string_view name, Ino fresh) {
  EdgeKey const edge{kTrashIno, std::string(name)};
  ZEST_TRY(auto const found, txn.get(edge));
  if (found.has_value()) {
    return found->ino;
  }
  if (!fresh) {
    return Errc::noent;
  }
  Attr node;
  node.type = FileType::directory;
  node.mode = 0555;
  node.atime = node.mtime = node.ctime = txn.now();
  node.nlink = 2;
  node.length = 4096;
  node.parent = kTrashIno;
  txn.expect_unchanged(edge);
  txn.put(NodeKey{fresh}, node);
  txn.put(edge, Entry{FileType::directory, fresh});
  txn.put(DirStatKey{fresh}, DirStat{});
  Usage const added{.space = static_cast<std::int64_t>(align_4k(0)), .inodes = 1};
  txn.add_usage(added.space, added.inodes);
  txn.add_owner_usage(node, added);
  return fresh;
}

/// Errors: ENOENT, ENOTEMPTY. Trips: 1 fetch, 1 commit.
Result<UnlinkReply> purge(Txn& txn, VolumeView const& view, NameRequest const& request,
                          OpenCheck& opens) {
  ChildKey const key{request.parent, std::string(request.name)};
  ZEST_TRY(auto const child, txn.get(key));
  if (!child.has_value()) {
    return Errc::noent;
  }
  auto const ino = child->entry.ino;
  txn.expect_unchanged(key);
  txn.erase(EdgeKey{request.parent, std::string(request.name)});
  if (!child->attr.has_value()) {
    return UnlinkReply{.ino = ino};
  }
  NameOf const name{
      .parent = request.parent, .name = request.name, .entry = child->entry, .node = *child->attr};
  auto forever = view;
  forever.trash = Ino{};
  if (child->entry.type != FileType::directory) {
    return drop_file_name(txn, forever, name, opens);
  }
  ZEST_TRY(auto const has_entries, txn.get(HasEntriesKey{ino}));
  if (has_entries.value_or(false)) {
    return Errc::notempty;
  }
  if (request.parent == kTrashIno) {
    forever.dir_stats = false;  // The trash root has no statistics.
  } else {
    touch_dir(txn, request.parent, -1);
  }
  drop_directory(txn, forever, name);
  return UnlinkReply{.ino = ino};
}

}  // namespace zest::meta::ops
