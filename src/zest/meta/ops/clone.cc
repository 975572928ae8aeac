// Copies of nodes that share their source's slices (format/05 §16).
#include <algorithm>

#include "zest/meta/ops/ops.h"
#include "zest/meta/rules.h"

namespace zest::meta::ops {
namespace {

ChunkKey chunk(Ino ino, std::uint64_t index) noexcept {
  return {ino, ChunkIndex{static_cast<std::uint32_t>(index)}};
}

// Chunks that a node's copy takes along in its own commit; more are copied afterwards, see
// clone_chunks.
constexpr std::uint64_t kChunksWithNode = 4;

std::uint64_t chunk_count(Attr const& node) noexcept {
  return node.type == FileType::regular ? (node.length + kChunkSize - 1) / kChunkSize : 0;
}

// The chunk's records as they are, with one more reference for each slice. The source is a
// condition: a compaction may be replacing slices whose last reference goes with them.
Result<void> copy_chunk(Txn& txn, ChunkKey const& from, ChunkKey const& to) {
  ZEST_TRY(auto slices, txn.get(from));
  txn.expect_unchanged(from);
  if (!slices.has_value()) {
    return {};
  }
  for (auto const& slice : *slices) {
    if (slice.id.value != 0) {
      txn.change(AddSliceRef{slice.id, slice.size, 1});
    }
  }
  txn.put(to, *std::move(slices));
  return {};
}

Attr copied_node(Txn const& txn, Attr const& node, CloneItem const& item) {
  auto const& caller = txn.caller();
  auto copy = node;
  copy.parent = item.parent;
  copy.nlink = node.type == FileType::directory ? 2 : 1;
  auto const foreign = caller.uid != 0 && caller.uid != node.uid;
  if (!item.preserve || foreign) {
    copy.uid = caller.uid;
    copy.gid = caller.gid;
  }
  if (foreign) {  // Nobody gets another's rights by a copy.
    copy.mode = static_cast<std::uint16_t>(copy.mode & ~(kModeSetuid | kModeSetgid));
  }
  if (!item.preserve) {
    copy.mode = static_cast<std::uint16_t>(copy.mode & ~item.umask);
    copy.atime = copy.mtime = copy.ctime = txn.now();
  }
  return copy;
}

std::vector<Key> keys_of(CloneItem const& item, Attr const& node) {
  std::vector<Key> keys;
  for (auto const& name : item.xattrs) {
    keys.emplace_back(XattrKey{item.from, name});
  }
  if (node.type == FileType::symlink) {
    keys.emplace_back(SymlinkKey{item.from});
  }
  if (chunk_count(node) <= kChunksWithNode) {
    for (std::uint64_t index = 0; index < chunk_count(node); ++index) {
      keys.emplace_back(chunk(item.from, index));
    }
  }
  return keys;
}

Result<void> copy_records(Txn& txn, CloneItem const& item, Attr const& node) {
  for (auto const& name : item.xattrs) {
    ZEST_TRY(auto value, txn.get(XattrKey{item.from, name}));
    if (value.has_value()) {
      txn.put(XattrKey{item.to, name}, *std::move(value));
    }
  }
  if (node.type == FileType::symlink) {
    ZEST_TRY(auto target, txn.get(SymlinkKey{item.from}));
    txn.put(SymlinkKey{item.to}, target.value_or(std::string()));
  }
  if (chunk_count(node) <= kChunksWithNode) {
    for (std::uint64_t index = 0; index < chunk_count(node); ++index) {
      ZEST_CHECK(copy_chunk(txn, chunk(item.from, index), chunk(item.to, index)));
    }
  }
  return {};
}

// The place of the copy: in a directory of the detached tree, which nobody else changes, or nowhere
// yet.
void place(Txn& txn, VolumeView const& view, CloneItem const& item, Attr const& copy) {
  if (item.detached) {
    txn.put(DetachedKey{item.to}, txn.now().sec);
    return;
  }
  txn.put(EdgeKey{item.parent, item.name}, Entry{copy.type, item.to});
  if (copy.type == FileType::directory) {
    txn.change(UpdateNode{.ino = item.parent, .add_nlink = 1});
  }
  count_entry(txn, view, item.parent, copy, true);
}

}  // namespace

/// Errors: EACCES (a node may not be read), EPERM (it lies in the trash), ENOSPC, EDQUOT. Nodes
/// that are gone are left out. Trips: 2 fetches, 1 commit for all items together.
Result<std::vector<ClonedNode>> clone_nodes(Txn& txn, VolumeView const& view,
                                            std::span<CloneItem const> items) {
  std::vector<Key> keys;
  for (auto const& item : items) {
    keys.emplace_back(NodeKey{item.from});
  }
  ZEST_CHECK(txn.fetch(keys));
  keys.clear();
  std::vector<std::optional<Attr>> nodes;
  for (auto const& item : items) {
    ZEST_TRY(auto const node, txn.get(NodeKey{item.from}));
    if (node.has_value()) {
      auto const more = keys_of(item, *node);
      keys.insert(keys.end(), more.begin(), more.end());
    }
    nodes.push_back(node);
  }
  ZEST_CHECK(txn.fetch(keys));
  std::vector<ClonedNode> cloned;
  Usage sum;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!nodes[i].has_value()) {
      continue;
    }
    auto const& item = items[i];
    auto const& node = *nodes[i];
    if (is_trash(item.from) || lies_in_trash(node)) {
      return Errc::perm;
    }
    auto const directory = node.type == FileType::directory;
    ZEST_CHECK(check_permission(txn, item.from, node, directory ? kRead | kExecute : 0U | kRead));
    auto const copy = copied_node(txn, node, item);
    Usage const added{.space = static_cast<std::int64_t>(align_4k(
                          node.type == FileType::regular ? node.length : std::uint64_t{0})),
                      .inodes = 1};
    sum.space += added.space;
    sum.inodes += added.inodes;
    ZEST_CHECK(check_growth(txn, view, {.dir = item.parent, .node = copy, .usage = sum}));
    txn.expect_node(item.from, kType | kMode | kOwner | kMtime | kLength | kParent);
    txn.put(NodeKey{item.to}, copy);
    if (directory && view.dir_stats) {
      txn.put(DirStatKey{item.to}, DirStat{});
    }
    ZEST_CHECK(copy_records(txn, item, node));
    place(txn, view, item, copy);
    txn.add_usage(added.space, added.inodes);
    txn.add_owner_usage(copy, added);
    cloned.push_back({.from = item.from,
                      .to = item.to,
                      .node = copy,
                      .more_chunks = chunk_count(node) > kChunksWithNode ? chunk_count(node) : 0});
  }
  return cloned;
}

/// Trips: 1 listing, 1 fetch, 1 commit.
Result<std::optional<ChunkIndex>> clone_chunks(Txn& txn, CloneChunks const& request) {
  ZEST_TRY(auto const page,
           txn.list_chunks_below({request.from, request.first}, request.end, request.limit));
  std::vector<Key> keys;
  for (auto const& [key, slices] : page.chunks) {
    keys.emplace_back(key);
  }
  ZEST_CHECK(txn.fetch(keys));
  for (auto const& [key, slices] : page.chunks) {
    if (key.index.value >= request.end) {
      return std::optional<ChunkIndex>();  // Cut off by a truncation, and not part of the file.
    }
    ZEST_CHECK(copy_chunk(txn, key, {request.to, key.index}));
  }
  return page.next.has_value() ? std::optional(page.next->index) : std::optional<ChunkIndex>();
}

/// Gives the top of a finished copy its name. Errors: as mknod; ENOENT when the copy was cleaned up
/// meanwhile. Trips: 1 fetch, 1 commit.
Result<EntryReply> attach(Txn& txn, VolumeView const& view, AttachRequest const& request) {
  ZEST_CHECK(check_new_name(request.parent, request.name));
  EdgeKey const edge{request.parent, std::string(request.name)};
  DetachedKey const detached{request.ino};
  ZEST_CHECK(txn.fetch({NodeKey{request.parent}, edge, NodeKey{request.ino}, detached}));
  ZEST_TRY(auto const dir, txn.node(request.parent));
  ZEST_TRY(auto const seen, judged(txn, request.parent, dir, kWrite | kExecute));
  ZEST_CHECK(check_add_entry(txn.caller(), request.parent, seen));
  ZEST_TRY(auto const taken, txn.get(edge));
  if (taken.has_value()) {
    return Errc::exist;
  }
  ZEST_TRY(auto const node, txn.node(request.ino));
  ZEST_TRY(auto const waiting, txn.get(detached));
  if (!waiting.has_value()) {
    return Errc::noent;
  }
  txn.expect_node(request.parent, kAddEntryFields);
  txn.expect_node(request.ino, kType | kNlink);
  txn.expect_unchanged(edge);
  txn.expect_unchanged(detached);
  txn.erase(detached);
  txn.put(edge, Entry{node.type, request.ino});
  touch_dir(txn, request.parent, node.type == FileType::directory ? 1 : 0);
  count_entry(txn, view, request.parent, node, true);
  return EntryReply{request.ino, node};
}

/// Removes the empty top of a copy that got no name. Trips: 1 fetch, 1 commit.
Result<void> drop_detached(Txn& txn, Ino ino) {
  DetachedKey const detached{ino};
  ZEST_CHECK(txn.fetch({NodeKey{ino}, detached}));
  ZEST_TRY(auto const waiting, txn.get(detached));
  if (!waiting.has_value()) {
    return {};  // It was attached, or somebody else cleaned it up.
  }
  ZEST_TRY(auto const node, txn.get(NodeKey{ino}));
  txn.expect_unchanged(detached);
  txn.erase(detached);
  if (node.has_value()) {
    txn.expect_node(ino, kType | kLength);
    if (node->type == FileType::directory) {
      txn.expect_empty_dir(ino);
    }
    destroy_node(txn, ino, *node);
  }
  return {};
}

}  // namespace zest::meta::ops
