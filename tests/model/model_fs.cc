#include "tests/model/model_fs.h"

#include <algorithm>
#include <cerrno>

namespace zest::model {
namespace {

constexpr std::uint32_t kRead = 4;
constexpr std::uint32_t kWrite = 2;
constexpr std::uint32_t kSearch = 1;
constexpr std::uint32_t kUser = 5;
constexpr int kNobody = -1;
constexpr std::uint32_t kNoReplace = 1;
constexpr std::uint32_t kExchange = 2;

Reply failure(int error) {
  Reply reply;
  reply.error = error;
  return reply;
}

bool is_dir(Node const& node) {
  return node.type == FileType::directory;
}

std::string trash_name(Ino dir, Ino ino, std::string const& name) {
  return std::to_string(dir.value) + "-" + std::to_string(ino.value) + "-" + name;
}

}  // namespace

ModelFs::ModelFs(bool trash) : trash_(trash) {
  Node root;
  root.type = FileType::directory;
  root.mode = 0777;
  root.nlink = 2;
  root.parent = kRootIno;
  nodes_[kRootIno] = root;
}

Reply ModelFs::apply(Op const& op, Ino fresh) {
  switch (op.kind) {
    case Kind::mkdir: return make(op, fresh, FileType::directory);
    case Kind::create: return make(op, fresh, FileType::regular);
    case Kind::symlink: return make(op, fresh, FileType::symlink);
    case Kind::link: return link(op);
    case Kind::unlink: return unlink(op);
    case Kind::rmdir: return rmdir(op);
    case Kind::rename: return rename(op);
    case Kind::lookup: return lookup(op);
    case Kind::getattr: return getattr(op);
    case Kind::chmod: return chmod(op);
    case Kind::truncate: return truncate(op);
    case Kind::write: return write(op);
    case Kind::read: return read(op);
    case Kind::copy: return copy(op);
    case Kind::open: return open(op);
    case Kind::close: return close(op);
  }
  return failure(ENOSYS);
}

Node* ModelFs::find(Ino ino) {
  auto const found = nodes_.find(ino);
  return found == nodes_.end() ? nullptr : &found->second;
}

bool ModelFs::may(Op const& op, Node const& node, std::uint32_t mask) {
  // The user is alone in its group, and root's group owns what root owns.
  auto const bits = node.owner == kUser ? node.mode >> 6 : node.mode;
  return op.root || (mask & ~static_cast<std::uint32_t>(bits)) == 0;
}

int ModelFs::search(Op const& op, Ino dir) {
  auto const* node = find(dir);
  if (node == nullptr) {
    return ENOENT;
  }
  if (!is_dir(*node)) {
    return ENOTDIR;
  }
  return may(op, *node, kSearch) ? 0 : EACCES;
}

bool ModelFs::sticky(Op const& op, Node const& dir, Node const& node) {
  return (dir.mode & 01000) != 0 && !op.root && dir.owner != kUser && node.owner != kUser;
}

Reply ModelFs::make(Op const& op, Ino fresh, FileType type) {
  if (auto const* dir = find(op.ino); dir != nullptr && is_dir(*dir) && dir->trashed) {
    return failure(ENOENT);
  }
  if (auto const error = search(op, op.ino)) {
    return failure(error);
  }
  auto& dir = nodes_.at(op.ino);
  if (!may(op, dir, kWrite)) {
    return failure(EACCES);
  }
  if (dir.entries.contains(op.name)) {
    return failure(EEXIST);
  }
  Node node;
  node.type = type;
  node.mode = type == FileType::symlink ? 0777 : static_cast<std::uint16_t>(op.flags);
  node.owner = op.root ? 0 : kUser;
  node.nlink = type == FileType::directory ? 2 : 1;
  node.parent = op.ino;
  node.cells.resize(kCells);
  dir.entries[op.name] = fresh;
  dir.nlink += type == FileType::directory ? 1 : 0;
  nodes_[fresh] = node;
  Reply reply;
  reply.ino = fresh;
  reply.mode = node.mode;
  return reply;
}

Reply ModelFs::link(Op const& op) {
  auto* node = find(op.ino);
  if (node == nullptr || node->nlink == 0) {
    return failure(ENOENT);
  }
  if (auto const* dir = find(op.other); dir != nullptr && is_dir(*dir) && dir->trashed) {
    return failure(ENOENT);
  }
  if (auto const error = search(op, op.other)) {
    return failure(error);
  }
  auto& dir = nodes_.at(op.other);
  if (!may(op, dir, kWrite)) {
    return failure(EACCES);
  }
  if (dir.entries.contains(op.name)) {
    return failure(EEXIST);
  }
  if (is_dir(*node)) {
    return failure(EPERM);
  }
  dir.entries[op.name] = op.ino;
  ++node->nlink;
  node->linked = true;
  node->trashed = false;
  Reply reply;
  reply.ino = op.ino;
  reply.nlink = node->nlink;
  return reply;
}

// True when the data are unused now.
bool ModelFs::drop_file(Op const& op, Ino dir, std::string const& name, Ino ino) {
  auto& node = nodes_.at(ino);
  auto const place = trash_name(dir, ino, name);
  if (trash_ && (node.nlink == 1 || !trash_names_.contains(place))) {
    trash_names_.insert(place);
    node.trashed = !node.linked;
    return false;
  }
  if (--node.nlink > 0) {
    return false;
  }
  auto const open = node.opens.find(op.client);
  if (node.type == FileType::regular && open != node.opens.end() && open->second > 0) {
    node.sustained_by = op.client;
    return false;
  }
  auto const regular = node.type == FileType::regular;
  nodes_.erase(ino);
  return regular;
}

void ModelFs::drop_dir(Ino dir, std::string const& name, Ino ino) {
  if (trash_) {
    trash_names_.insert(trash_name(dir, ino, name));
    nodes_.at(ino).trashed = true;
  } else {
    nodes_.erase(ino);
  }
}

Reply ModelFs::unlink(Op const& op) {
  if (auto const error = search(op, op.ino)) {
    return failure(error);
  }
  auto& dir = nodes_.at(op.ino);
  auto const entry = dir.entries.find(op.name);
  if (entry == dir.entries.end()) {
    return failure(ENOENT);
  }
  if (!may(op, dir, kWrite)) {
    return failure(EACCES);
  }
  auto const ino = entry->second;
  if (sticky(op, dir, nodes_.at(ino))) {
    return failure(EPERM);
  }
  if (is_dir(nodes_.at(ino))) {
    return failure(EISDIR);
  }
  dir.entries.erase(entry);
  Reply reply;
  reply.ino = ino;
  reply.data_unused = drop_file(op, op.ino, op.name, ino);
  return reply;
}

Reply ModelFs::rmdir(Op const& op) {
  if (auto const error = search(op, op.ino)) {
    return failure(error);
  }
  auto& dir = nodes_.at(op.ino);
  auto const entry = dir.entries.find(op.name);
  if (entry == dir.entries.end()) {
    return failure(ENOENT);
  }
  if (!may(op, dir, kWrite)) {
    return failure(EACCES);
  }
  auto const ino = entry->second;
  auto const& node = nodes_.at(ino);
  if (sticky(op, dir, node)) {
    return failure(EPERM);
  }
  if (!is_dir(node)) {
    return failure(ENOTDIR);
  }
  if (!node.entries.empty()) {
    return failure(ENOTEMPTY);
  }
  dir.entries.erase(entry);
  --dir.nlink;
  drop_dir(op.ino, op.name, ino);
  Reply reply;
  reply.ino = ino;
  return reply;
}

bool ModelFs::below(Ino dir, Ino above) {
  while (dir != above && dir != kRootIno) {
    dir = nodes_.at(dir).parent;
  }
  return dir == above;
}

int ModelFs::check_rename(Op const& op, Node& from, Node& to, Ino source, Ino target) {
  auto const exchange = op.flags == kExchange;
  auto const same = op.ino == op.other;
  if (op.flags == kNoReplace && target) {
    return EEXIST;
  }
  if (exchange && !target) {
    return ENOENT;
  }
  if (!may(op, from, kWrite)) {
    return EACCES;
  }
  if (to.trashed) {
    return ENOENT;
  }
  if (!may(op, to, kWrite)) {
    return EACCES;
  }
  auto const& moved = nodes_.at(source);
  if (sticky(op, from, moved)) {
    return EPERM;
  }
  if (is_dir(moved) && !same && !may(op, moved, kWrite)) {
    return EACCES;
  }
  if (!target) {
    return is_dir(moved) && !same && below(op.other, source) ? EINVAL : 0;
  }
  auto const& old = nodes_.at(target);
  if (sticky(op, to, old)) {
    return EPERM;
  }
  if (exchange && is_dir(old) && !same && !may(op, old, kWrite)) {
    return EACCES;
  }
  if (is_dir(moved) && !same && below(op.other, source)) {
    return EINVAL;
  }
  if (exchange) {
    return is_dir(old) && !same && below(op.ino, target) ? EINVAL : 0;
  }
  if (is_dir(moved) != is_dir(old)) {
    return is_dir(moved) ? ENOTDIR : EISDIR;
  }
  return is_dir(old) && !old.entries.empty() ? ENOTEMPTY : 0;
}

Reply ModelFs::rename(Op const& op) {
  if (find(op.ino) == nullptr || find(op.other) == nullptr) {
    return failure(ENOENT);
  }
  for (auto const dir : {op.ino, op.other}) {
    if (auto const error = search(op, dir)) {
      return failure(error);
    }
  }
  auto& from = nodes_.at(op.ino);
  auto& to = nodes_.at(op.other);
  auto const found = from.entries.find(op.name);
  if (found == from.entries.end()) {
    return failure(ENOENT);
  }
  auto const source = found->second;
  auto const old = to.entries.find(op.other_name);
  auto const target = old == to.entries.end() ? Ino{} : old->second;
  Reply reply;
  reply.ino = source;
  if (target == source && op.flags != kNoReplace) {
    return reply;
  }
  if (auto const error = check_rename(op, from, to, source, target)) {
    return failure(error);
  }
  auto const source_dir = is_dir(nodes_.at(source)) ? 1U : 0U;
  auto const target_dir = target && is_dir(nodes_.at(target)) ? 1U : 0U;
  from.nlink -= source_dir;
  to.nlink += source_dir;
  if (op.flags == kExchange) {
    from.entries[op.name] = target;
    to.nlink -= target_dir;
    from.nlink += target_dir;
    nodes_.at(target).parent = op.ino;
  } else {
    from.entries.erase(op.name);
    if (target) {
      to.nlink -= target_dir;
      if (target_dir != 0) {
        drop_dir(op.other, op.other_name, target);
      } else {
        reply.data_unused = drop_file(op, op.other, op.other_name, target);
      }
    }
  }
  to.entries[op.other_name] = source;
  nodes_.at(source).parent = op.other;
  return reply;
}

Reply ModelFs::lookup(Op const& op) {
  if (!op.root) {
    if (auto const error = search(op, op.ino)) {
      return failure(error);
    }
  }
  auto const* dir = find(op.ino);
  if (dir == nullptr || !dir->entries.contains(op.name)) {
    return failure(ENOENT);
  }
  Op of_child = op;
  of_child.ino = dir->entries.at(op.name);
  return getattr(of_child);
}

Reply ModelFs::getattr(Op const& op) {
  auto const* node = find(op.ino);
  if (node == nullptr) {
    return failure(ENOENT);
  }
  Reply reply;
  reply.ino = op.ino;
  reply.nlink = node->nlink;
  reply.mode = node->mode;
  reply.length = node->type == FileType::regular ? node->length * kCell : 0;
  return reply;
}

Reply ModelFs::chmod(Op const& op) {
  auto* node = find(op.ino);
  if (node == nullptr) {
    return failure(ENOENT);
  }
  if (node->trashed || (!op.root && node->owner != kUser)) {
    return failure(EPERM);
  }
  node->mode = static_cast<std::uint16_t>(op.flags);
  Reply reply;
  reply.mode = node->mode;
  return reply;
}

Reply ModelFs::truncate(Op const& op) {
  auto* node = find(op.ino);
  if (node == nullptr) {
    return failure(ENOENT);
  }
  if (node->type != FileType::regular) {
    return failure(is_dir(*node) ? EISDIR : EINVAL);
  }
  if (node->trashed) {
    return failure(EPERM);
  }
  if (!may(op, *node, kWrite)) {
    return failure(EACCES);
  }
  node->length = op.first;
  std::fill(node->cells.begin() + static_cast<std::ptrdiff_t>(op.first), node->cells.end(), Cell{});
  Reply reply;
  reply.length = node->length * kCell;
  return reply;
}

Reply ModelFs::write(Op const& op) {
  auto* node = find(op.ino);
  if (node == nullptr) {
    return failure(ENOENT);
  }
  if (node->type != FileType::regular) {
    return failure(EPERM);
  }
  for (std::size_t i = 0; i < op.count; ++i) {
    node->cells[op.first + i] = {op.slice, i};
  }
  node->length = std::max(node->length, op.first + op.count);
  Reply reply;
  reply.length = node->length * kCell;
  return reply;
}

Reply ModelFs::read(Op const& op) {
  auto const* node = find(op.ino);
  if (node == nullptr) {
    return failure(ENOENT);
  }
  if (node->type != FileType::regular) {
    return failure(EPERM);
  }
  Reply reply;
  auto const begin = node->cells.begin() + static_cast<std::ptrdiff_t>(op.first * kCellsPerChunk);
  reply.cells.assign(begin, begin + kCellsPerChunk);
  return reply;
}

Reply ModelFs::copy(Op const& op) {
  auto* in = find(op.ino);
  auto* out = find(op.other);
  if (in == nullptr || out == nullptr) {
    return failure(ENOENT);
  }
  for (auto const* node : {in, out}) {
    if (node->type != FileType::regular) {
      return failure(is_dir(*node) ? EISDIR : EINVAL);
    }
  }
  if (!may(op, *in, kRead) || !may(op, *out, kWrite)) {
    return failure(EACCES);
  }
  if (in == out && op.first < op.to + op.count && op.to < op.first + op.count) {
    return failure(EINVAL);
  }
  auto const end = std::min(in->length, op.first + op.count);
  Reply reply;
  for (auto at = op.first; at < end; ++at) {
    out->cells[op.to + (at - op.first)] = in->cells[at];
    out->length = std::max(out->length, op.to + (at - op.first) + 1);
  }
  reply.length = out->length * kCell;
  return reply;
}

Reply ModelFs::open(Op const& op) {
  auto* node = find(op.ino);
  if (node == nullptr) {
    return failure(ENOENT);
  }
  if (node->type != FileType::regular) {
    return failure(is_dir(*node) ? EISDIR : node->type == FileType::symlink ? ELOOP : ENXIO);
  }
  if (!may(op, *node, kRead)) {
    return failure(EACCES);
  }
  ++node->opens[op.client];
  return Reply{};
}

void ModelFs::close_later(Op const& op) {
  if (auto* node = find(op.ino); node != nullptr) {
    node->sustained_by = kNobody;
    --node->opens[op.client];
  }
}

bool ModelFs::close_left(Op const& op) {
  auto const* node = find(op.ino);
  if (node == nullptr || node->nlink > 0 || node->sustained_by != kNobody ||
      node->opens.at(op.client) != 1) {
    return false;
  }
  nodes_.erase(op.ino);
  return true;
}

Reply ModelFs::close(Op const& op) {
  Reply reply;
  auto* node = find(op.ino);
  if (node == nullptr) {
    return reply;  // Deleted by another client under this one.
  }
  if (--node->opens[op.client] == 0 && node->sustained_by == op.client) {
    nodes_.erase(op.ino);
    reply.data_unused = true;
  }
  return reply;
}

}  // namespace zest::model
