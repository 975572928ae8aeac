#include "tests/model/drawing.h"

#include <algorithm>
#include <optional>
#include <random>
#include <sstream>
#include <string_view>
#include <tuple>

namespace zest::model {
namespace {

char const* kind_name(Kind kind) {
  constexpr std::array kNames{"mkdir",  "create", "symlink", "link",  "unlink",   "rmdir",
                              "rename", "lookup", "getattr", "chmod", "truncate", "write",
                              "read",   "copy",   "open",    "close"};
  return kNames[static_cast<std::size_t>(kind)];
}

}  // namespace

std::string describe(Op const& op, Reply const& reply) {
  std::ostringstream text;
  text << "client " << op.client << (op.root ? " root " : " user ") << kind_name(op.kind) << " ino "
       << op.ino.value << " '" << op.name << "' other " << op.other.value << " '" << op.other_name
       << "' flags " << std::oct << op.flags << std::dec << " cells " << op.first << '+' << op.count
       << ">" << op.to << " → errno " << reply.error << " ino " << reply.ino.value << " nlink "
       << reply.nlink << " length " << reply.length / kCell << " mode " << std::oct << reply.mode
       << std::dec << " unused " << reply.data_unused
       << (reply.text.empty() ? "" : " (" + reply.text + ")");
  for (auto const& cell : reply.cells) {
    text << ' ' << cell.slice << '.' << cell.index;
  }
  return text.str();
}

std::vector<Step> draw_steps(std::uint64_t seed, std::size_t count) {
  std::mt19937_64 random(seed);
  std::vector<Step> steps(count);
  for (auto& step : steps) {
    step.resize(1 + random() % 3);
    for (auto& draw : step) {
      for (auto& number : draw) {
        number = static_cast<std::uint32_t>(random());
      }
    }
  }
  return steps;
}

namespace {

// The client that has the file open which the operation opens, or takes a name from.
std::optional<int> opener_of(Op const& op, ModelFs const& model) {
  auto const child = [&](Ino dir, std::string const& name) {
    auto const node = model.nodes().find(dir);
    if (node == model.nodes().end() || !node->second.entries.contains(name)) {
      return Ino{};
    }
    return node->second.entries.at(name);
  };
  std::vector<Ino> files;
  if (op.kind == Kind::open) {
    files = {op.ino};
  } else if (op.kind == Kind::unlink) {
    files = {child(op.ino, op.name)};
  } else if (op.kind == Kind::rename) {
    files = {child(op.other, op.other_name)};
  }
  for (auto const file : files) {
    auto const node = model.nodes().find(file);
    if (node == model.nodes().end()) {
      continue;
    }
    for (auto const& [client, opens] : node->second.opens) {
      if (opens > 0) {
        return client;
      }
    }
  }
  return std::nullopt;
}

}  // namespace

// A file is deleted by a client that has it open, if any has: what becomes of one that is open
// elsewhere depends on when its reader looks, and has tests of its own (Unnamed).
std::vector<Op> resolve_step(Step const& step, ModelFs const& model, std::vector<Handle>& handles) {
  std::vector<Op> ops;
  std::optional<int> only;
  for (auto const& draw : step) {
    ops.push_back(resolve(draw, model, handles));
    auto& op = ops.back();
    op.client = op.kind == Kind::close ? op.client : opener_of(op, model).value_or(op.client);
    if (op.kind == Kind::open) {
      only = only.value_or(op.client);
    }
  }
  // Where files are open, one operation at a time takes names away: two could do it to a file that
  // none of them alone reaches. And none beside an open, which may fail after an unlink relied on
  // it.
  auto removers = only.has_value() ? 0 : handles.empty() ? kClients : 1;
  std::erase_if(ops, [&](Op const& op) {
    if (op.kind == Kind::unlink || op.kind == Kind::rename) {
      return removers-- <= 0;
    }
    return op.kind == Kind::open && op.client != only;
  });
  return ops;
}

Op resolve(Draw const& draw, ModelFs const& model, std::vector<Handle>& handles) {
  std::vector<Ino> all;
  std::vector<Ino> dirs;
  for (auto const& [ino, node] : model.nodes()) {
    if (!node.trashed) {
      all.push_back(ino);
      if (node.type == FileType::directory) {
        dirs.push_back(ino);
      }
    }
  }
  constexpr std::array kKinds{
      Kind::mkdir,  Kind::mkdir,  Kind::create, Kind::create, Kind::create,   Kind::symlink,
      Kind::link,   Kind::link,   Kind::unlink, Kind::unlink, Kind::rmdir,    Kind::rmdir,
      Kind::rename, Kind::rename, Kind::rename, Kind::rename, Kind::lookup,   Kind::getattr,
      Kind::chmod,  Kind::write,  Kind::write,  Kind::read,   Kind::truncate, Kind::copy,
      Kind::open,   Kind::open,   Kind::close,  Kind::close};
  constexpr std::array<std::string_view, 4> kNames{"a", "b", "c", "d"};
  constexpr std::array<std::uint32_t, 6> kModes{0777, 0755, 0777, 01777, 0700, 0777};
  Op op;
  op.kind = kKinds[draw[0] % kKinds.size()];
  op.client = static_cast<int>(draw[1] % kClients);
  op.root = draw[2] % 4 != 0;
  auto const on_name = op.kind <= Kind::lookup && op.kind != Kind::link;
  // Now and then a file where a directory is wanted.
  auto const& targets = on_name && draw[3] % 16 != 0 ? dirs : all;
  op.ino = targets[draw[4] % targets.size()];
  op.name = kNames[draw[5] % kNames.size()];
  auto const& others = op.kind == Kind::copy ? all : dirs;
  op.other = others[draw[6] % others.size()];
  op.other_name = kNames[draw[7] % kNames.size()];
  op.flags = op.kind == Kind::rename ? std::max(draw[8] % 5, 2U) - 2 : kModes[draw[8] % 6];
  op.first = draw[9] % kCells;
  op.count = 1 + draw[10] % 4;
  op.to = draw[11] % (kCells - 4);
  if (op.kind == Kind::write) {
    op.count = std::min(op.count, kCellsPerChunk - op.first % kCellsPerChunk);
    op.root = true;
  } else if (op.kind == Kind::read) {
    op.first %= 2;
  } else if (op.kind == Kind::close) {
    if (handles.empty()) {
      op.kind = Kind::getattr;
    } else {
      auto const handle = handles.begin() + static_cast<std::ptrdiff_t>(draw[4] % handles.size());
      std::tie(op.client, op.ino) = *handle;
      handles.erase(handle);
    }
  }
  return op;
}

}  // namespace zest::model
