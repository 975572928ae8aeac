#include "zest/meta/ops/steps.h"

#include <algorithm>

#include "zest/format/trash.h"
#include "zest/meta/statistics.h"

namespace zest::meta {
namespace {

// Where a length change spans more chunks than this, those with records are listed instead of
// naming every index.
constexpr std::uint64_t kChunksNamedMax = 64;
constexpr std::size_t kChunksPerPage = 1024;
// No path is deeper: PATH_MAX is 4096, and a damaged volume with a cycle must not hold us forever.
constexpr unsigned kDepthMax = 8192;

SliceRecord zeros(std::uint64_t pos, std::uint64_t length) noexcept {
  return {.pos = static_cast<std::uint32_t>(pos),
          .id = {},
          .size = 0,
          .off = 0,
          .len = static_cast<std::uint32_t>(length)};
}

ChunkKey chunk(Ino ino, std::uint64_t index) noexcept {
  return {ino, ChunkIndex{static_cast<std::uint32_t>(index)}};
}

// Whole chunks [first, last) get zeros where they have records.
Result<void> append_zero_chunks(Txn& txn, Ino ino, std::uint64_t first, std::uint64_t last) {
  if (last - first <= kChunksNamedMax) {
    for (auto index = first; index < last; ++index) {
      txn.change(AppendSlices{chunk(ino, index), {zeros(0, kChunkSize)}, true});
    }
    return {};
  }
  // A chunk that is written for the first time between this listing and the commit must fail the
  // commit: every write raises the file's mtime.
  txn.expect_node(ino, kMtime);
  auto from = chunk(ino, first);
  while (true) {
    ZEST_TRY(auto const page, txn.list_chunks(from, kChunksPerPage));
    for (auto const& [key, slices] : page.chunks) {
      if (key.index.value >= last) {
        return {};
      }
      txn.change(AppendSlices{key, {zeros(0, kChunkSize)}, true});
    }
    if (!page.next.has_value()) {
      return {};
    }
    from = *page.next;
  }
}

Result<void> check_dir_growth(Txn& txn, VolumeView const& view, Ino dir, Usage const& growth) {
  return view.quotas == nullptr ? Result<void>()
                                : view.quotas->check_dir(txn.context(), dir, growth);
}

bool is_special(Attr const& node) noexcept {
  return node.type != FileType::regular && node.type != FileType::directory;
}

// The name goes to the trash; the node keeps its link count.
void move_to_trash(Txn& txn, NameOf const& name, Ino trash) {
  auto const ino = name.entry.ino;
  UpdateNode update{.ino = ino, .raise_ctime = txn.now()};
  if (name.node.parent) {
    update.set = kParent;
    update.values.parent = trash;
  } else {
    txn.change(AddParent{ino, name.parent, -1});
    txn.change(AddParent{ino, trash, 1});
  }
  txn.change(std::move(update));
  txn.put(EdgeKey{trash, trash_entry_name(name.parent, ino, name.name)}, name.entry);
}

// The directory in the trash that this name goes to, 0 = it is deleted.
Result<Ino> trash_for(Txn& txn, VolumeView const& view, NameOf const& name) {
  if (!view.trash || is_trash(name.parent) || (name.node.flags & kFlagSkipTrash) != 0) {
    return Ino{};
  }
  if (name.node.nlink > 1) {
    // Two names of one file with the same parent and name can meet here after the first came back.
    EdgeKey const key{view.trash, trash_entry_name(name.parent, name.entry.ino, name.name)};
    ZEST_TRY(auto const taken, txn.get(key));
    if (taken.has_value()) {
      return Ino{};
    }
    txn.expect_unchanged(key);
  }
  return view.trash;
}

}  // namespace

void touch_dir(Txn& txn, Ino dir, std::int32_t add_nlink) {
  if (is_trash(dir)) {
    return;
  }
  txn.change(UpdateNode{
      .ino = dir, .add_nlink = add_nlink, .raise_mtime = txn.now(), .raise_ctime = txn.now()});
}

void count_entry(Txn& txn, VolumeView const& view, Ino dir, Attr const& node, bool added) {
  if (view.dir_stats) {
    auto const stat = dir_stat_of(node);
    txn.add_dir_stat(dir, added ? stat : negative(stat));
  }
}

Result<void> check_capacity(VolumeView const& view, std::int64_t space, std::int64_t inodes) {
  if ((space > 0 && space > view.space_left) || (inodes > 0 && inodes > view.inodes_left)) {
    return Errc::nospc;
  }
  return {};
}

Result<void> check_growth(Txn& txn, VolumeView const& view, Growth const& growth) {
  if (view.quotas != nullptr) {
    ZEST_CHECK(view.quotas->check_owner(
        {.uid = growth.node.uid, .gid = growth.node.gid, .usage = growth.usage}));
  }
  ZEST_CHECK(check_capacity(view, growth.usage.space, growth.usage.inodes));
  return check_dir_growth(txn, view, growth.dir, growth.usage);
}

Result<void> account_length(Txn& txn, VolumeView const& view, Ino ino, Attr const& node,
                            std::uint64_t new_length) {
  txn.expect_node(ino, kLength);
  if (new_length == node.length) {
    return {};
  }
  auto const space = static_cast<std::int64_t>(align_4k(new_length)) -
                     static_cast<std::int64_t>(align_4k(node.length));
  if (view.quotas != nullptr) {
    txn.expect_node(ino, kOwner);
    ZEST_CHECK(view.quotas->check_owner(
        {.uid = node.uid, .gid = node.gid, .usage = {.space = space, .inodes = 0}}));
    txn.add_owner_usage(node, {.space = space, .inodes = 0});
  }
  ZEST_CHECK(check_capacity(view, space, 0));
  txn.add_usage(space, 0);
  if (!view.dir_stats) {
    return {};
  }
  if (node.nlink == 0) {
    return {};  // Its last name took its length out of the statistics.
  }
  txn.expect_node(ino, kParent | kNlink);
  DirStat const delta{
      .length = static_cast<std::int64_t>(new_length - node.length), .space = space, .inodes = 0};
  if (node.parent) {
    ZEST_CHECK(check_dir_growth(txn, view, node.parent, {.space = space, .inodes = 0}));
    txn.add_dir_stat(node.parent, delta);
    return {};
  }
  // Every link, unlink and rename of the file raises its ctime: so the parents are those of the
  // commit.
  txn.expect_node(ino, kCtime);
  ZEST_TRY(auto const parents, txn.get(ParentsKey{ino}));
  for (auto const& [dir, names] : parents.value_or(Parents{})) {
    ZEST_CHECK(check_dir_growth(txn, view, dir, {.space = space * names, .inodes = 0}));
    txn.add_dir_stat(dir, {.length = delta.length * names, .space = delta.space * names});
  }
  return {};
}

void destroy_node(Txn& txn, Ino ino, Attr const& node) {
  if (node.type == FileType::regular) {
    txn.put(DelfileKey{ino, node.length}, DelfileRecord{.deleted_sec = txn.now().sec});
  }
  if (node.type == FileType::symlink) {
    txn.erase(SymlinkKey{ino});
  }
  if (node.type == FileType::directory) {
    txn.erase(DirStatKey{ino});
    txn.erase(dir_quota(ino));
  }
  txn.erase(NodeKey{ino});
  txn.change(EraseXattrs{ino});
  if (!node.parent) {
    txn.erase(ParentsKey{ino});
  }
  auto const length = node.type == FileType::regular ? node.length : 0;
  Usage const freed{.space = -static_cast<std::int64_t>(align_4k(length)), .inodes = -1};
  txn.add_usage(freed.space, freed.inodes);
  txn.add_owner_usage(node, freed);
}

Result<UnlinkReply> drop_file_name(Txn& txn, VolumeView const& view, NameOf const& name,
                                   OpenCheck& opens) {
  auto const ino = name.entry.ino;
  auto const& node = name.node;
  txn.expect_node(ino, kOwner | kFlags | kNlink | kParent | kLength);
  UnlinkReply reply{.ino = ino, .data_unused = false, .length = node.length};

  ZEST_TRY(auto const trash, trash_for(txn, view, name));
  count_entry(txn, view, name.parent, node, false);
  if (trash) {
    move_to_trash(txn, name, trash);
    count_entry(txn, view, trash, node, true);
    return reply;
  }
  if (node.nlink > 1) {
    txn.change(UpdateNode{.ino = ino, .add_nlink = -1, .raise_ctime = txn.now()});
    if (!node.parent) {
      txn.change(AddParent{ino, name.parent, -1});
    }
    return reply;
  }
  if (is_special(node)) {
    destroy_node(txn, ino, node);
    return reply;
  }
  ZEST_TRY(auto const keep, opens.keeps(txn.context(), ino));
  if (!keep || view.session.value == 0) {
    destroy_node(txn, ino, node);
    reply.data_unused = true;
    return reply;
  }
  UpdateNode update{.ino = ino, .set = kNlink, .raise_ctime = txn.now()};
  update.values.nlink = 0;
  txn.change(std::move(update));
  txn.change(EraseXattrs{ino});
  if (!node.parent) {
    txn.erase(ParentsKey{ino});
  }
  txn.fence(view.session);
  txn.put(SustainedKey{view.session, ino}, Present{});
  reply.sustained = true;
  return reply;
}

void drop_directory(Txn& txn, VolumeView const& view, NameOf const& name) {
  auto const ino = name.entry.ino;
  txn.expect_node(ino, kType | kOwner | kFlags);
  txn.expect_empty_dir(ino);
  count_entry(txn, view, name.parent, name.node, false);
  if (!view.trash || is_trash(name.parent) || (name.node.flags & kFlagSkipTrash) != 0) {
    destroy_node(txn, ino, name.node);
    return;
  }
  move_to_trash(txn, name, view.trash);
  txn.erase(DirStatKey{ino});
  txn.erase(dir_quota(ino));
  count_entry(txn, view, view.trash, name.node, true);
}

Result<void> append_zeros(Txn& txn, Ino ino, std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) {
    return {};
  }
  auto const first = begin / kChunkSize;
  auto const last = (end - 1) / kChunkSize;  // the chunk of the last byte
  if (first == last) {
    txn.change(AppendSlices{chunk(ino, first), {zeros(begin % kChunkSize, end - begin)}, false});
    return {};
  }
  txn.change(AppendSlices{
      chunk(ino, first), {zeros(begin % kChunkSize, kChunkSize - begin % kChunkSize)}, false});
  // A last chunk that is covered whole is one of those between.
  auto const between_end = end / kChunkSize;
  ZEST_CHECK(append_zero_chunks(txn, ino, first + 1, between_end));
  if (end % kChunkSize > 0) {
    txn.change(AppendSlices{chunk(ino, last), {zeros(0, end % kChunkSize)}, false});
  }
  return {};
}

Result<void> check_no_cycle(Txn& txn, Ino node, Ino dir, Ino known) {
  for (unsigned depth = 0; depth < kDepthMax; ++depth) {
    if (dir == node) {
      return Errc::inval;
    }
    if (dir == known || dir == kRootIno || is_trash(dir)) {
      return {};
    }
    ZEST_TRY(auto const attr, txn.node(dir));
    txn.expect_node(dir, kParent);
    dir = attr.parent;
  }
  return Error::corrupt("directory " + std::to_string(dir.value) + ": its parents form a cycle");
}

}  // namespace zest::meta
