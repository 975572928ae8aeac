#include "zest/admin/file_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <variant>

#include "zest/format/object_name.h"
#include "zest/format/slice.h"
#include "zest/meta/record.h"

namespace zest::admin {
namespace {

/// Deeper than any path that a kernel can name; stops walks in a damaged volume with a cycle.
constexpr std::size_t kDepthMax = 4096;

Result<std::optional<Attr>> fetch_attr(Context const& ctx, meta::Engine& engine, Ino ino) {
  std::array const keys{meta::Key(meta::NodeKey{ino})};
  ZEST_TRY(auto values, engine.fetch(ctx, keys));
  if (auto const* attr = std::get_if<Attr>(&values.front())) {
    return std::optional(*attr);
  }
  return std::optional<Attr>();
}

/// Calls `visit(entry)` for every entry of `dir`; it returns a Result<bool>, false ends the walk.
template <class Visit>
Result<void> for_each_entry(Context const& ctx, meta::Engine& engine, Ino dir, bool attrs,
                            Visit visit) {
  std::string from;
  while (true) {
    ZEST_TRY(auto page,
             engine.list_dir(ctx, {.dir = dir, .from = from, .limit = 1024, .attrs = attrs}));
    for (auto const& entry : page.entries) {
      ZEST_TRY(bool const more, visit(entry));
      if (!more) {
        return {};
      }
    }
    if (page.next.empty()) {
      return {};
    }
    from = std::move(page.next);
  }
}

Result<std::vector<std::string>> names_in(Context const& ctx, meta::Engine& engine, Ino dir,
                                          Ino child, std::int64_t count) {
  std::vector<std::string> names;
  ZEST_CHECK(
      for_each_entry(ctx, engine, dir, false, [&](meta::DirEntry const& entry) -> Result<bool> {
        if (entry.entry.ino == child) {
          names.push_back(entry.name);
        }
        return std::cmp_less(names.size(), count);
      }));
  return names;
}

/// Path of a directory: name by name up to the root or to the trash.
Result<std::string> directory_path(Context const& ctx, meta::Engine& engine, Ino dir) {
  std::string path;
  for (std::size_t depth = 0; dir != kRootIno; ++depth) {
    if (dir == kTrashIno) {
      return "/.trash" + path;
    }
    ZEST_TRY(auto const attr, fetch_attr(ctx, engine, dir));
    if (!attr || depth > kDepthMax) {
      return Error::corrupt(fmt::format("directory {} is not connected to the root", dir.value));
    }
    ZEST_TRY(auto const names, names_in(ctx, engine, attr->parent, dir, 1));
    if (names.empty()) {
      return Error::corrupt(
          fmt::format("directory {} is not in its parent {}", dir.value, attr->parent.value));
    }
    path.insert(0, "/" + names.front());
    dir = attr->parent;
  }
  return path;
}

Result<std::vector<std::string>> paths_of(Context const& ctx, meta::Engine& engine, Ino ino,
                                          Attr const& attr) {
  if (ino == kRootIno || ino == kTrashIno) {
    return std::vector<std::string>{ino == kRootIno ? "/" : "/.trash"};
  }
  if (attr.type == FileType::directory) {
    ZEST_TRY(auto path, directory_path(ctx, engine, ino));
    return std::vector<std::string>{std::move(path)};
  }
  meta::Parents parents{{attr.parent, 1}};
  if (attr.parent == Ino{}) {
    std::array const keys{meta::Key(meta::ParentsKey{ino})};
    ZEST_TRY(auto values, engine.fetch(ctx, keys));
    auto const* found = std::get_if<meta::Parents>(&values.front());
    parents = found != nullptr ? *found : meta::Parents{};
  }
  std::vector<std::string> paths;
  for (auto const& [parent, count] : parents) {
    ZEST_TRY(auto const dir, directory_path(ctx, engine, parent));
    ZEST_TRY(auto const names, names_in(ctx, engine, parent, ino, count));
    for (auto const& name : names) {
      paths.push_back(fmt::format("{}/{}", dir, name));
    }
  }
  std::ranges::sort(paths);
  return paths;
}

void count(FileInfo& info, Attr const& attr) {
  if (attr.type == FileType::directory) {
    ++info.dirs;
    info.size += align_4k(0);
    return;
  }
  ++info.files;
  auto const length = attr.type == FileType::regular ? attr.length : 0;
  info.length += length;
  info.size += align_4k(length);
}

Result<void> count_below(Context const& ctx, meta::Engine& engine, bool recursive, FileInfo& info) {
  std::vector<Ino> pending{info.ino};
  while (!pending.empty()) {
    auto const dir = pending.back();
    pending.pop_back();
    ZEST_CHECK(
        for_each_entry(ctx, engine, dir, true, [&](meta::DirEntry const& entry) -> Result<bool> {
          if (entry.attr) {
            count(info, *entry.attr);
          }
          if (recursive && entry.entry.type == FileType::directory) {
            pending.push_back(entry.entry.ino);
          }
          return true;
        }));
  }
  return {};
}

/// The blocks that hold `piece`, one row each.
void add_blocks(FileInfo& info, Setting const& setting, std::uint64_t chunk, Piece const& piece) {
  auto const block = setting.block_size_bytes();
  for (std::uint32_t done = 0; done < piece.len;) {
    auto const at = piece.off + done;
    auto const index = at / block;
    auto const size = block_length(piece.size, block, index);
    auto const offset = at % block;
    auto const length = std::min(size - offset, piece.len - done);
    info.objects.push_back(
        {.chunk = chunk,
         .object = setting.name + "/" + block_key(piece.id, index, size, setting.hash_prefix),
         .size = size,
         .offset = offset,
         .length = length,
         .pos = piece.pos + done});
    done += length;
  }
}

void add_chunk(FileInfo& info, Setting const& setting, std::uint64_t chunk,
               meta::Slices const& slices, bool raw) {
  if (raw) {
    for (auto const& record : slices) {
      info.objects.push_back({.chunk = chunk,
                              .object = fmt::format("{}", record.id.value),
                              .size = record.size,
                              .offset = record.off,
                              .length = record.len,
                              .pos = record.pos});
    }
    return;
  }
  for (auto const& piece : overlay(slices)) {
    if (piece.id == SliceId{}) {
      info.objects.push_back(
          {.chunk = chunk, .size = piece.len, .length = piece.len, .pos = piece.pos});
    } else {
      add_blocks(info, setting, chunk, piece);
    }
  }
}

Result<void> list_objects(Context const& ctx, meta::Engine& engine, Setting const& setting,
                          bool raw, FileInfo& info) {
  std::optional<meta::ChunkKey> from = meta::ChunkKey{info.ino, ChunkIndex{0}};
  while (from) {
    ZEST_TRY(auto page, engine.list_chunks(ctx, *from, 256));
    for (auto const& [key, slices] : page.chunks) {
      add_chunk(info, setting, key.index.value, slices, raw);
    }
    from = page.next;
  }
  return {};
}

}  // namespace

Result<FileInfo> file_info(Context const& ctx, meta::Engine& engine, Setting const& setting,
                           InfoRequest const& request) {
  ZEST_TRY(auto const attr, fetch_attr(ctx, engine, request.ino));
  if (!attr) {
    return Error(Errc::noent, Fault::semantic,
                 fmt::format("there is no inode {} in volume {}", request.ino.value, setting.name));
  }
  FileInfo info{.ino = request.ino, .attr = *attr};
  count(info, *attr);
  if (attr->type == FileType::directory) {
    ZEST_CHECK(count_below(ctx, engine, request.recursive, info));
  }
  ZEST_TRY(info.paths, paths_of(ctx, engine, request.ino, *attr));
  if (attr->type == FileType::regular) {
    ZEST_CHECK(list_objects(ctx, engine, setting, request.raw, info));
  }
  return info;
}

Result<std::optional<std::string>> path_of(Context const& ctx, meta::Engine& engine, Ino dir) {
  ZEST_TRY(auto const attr, fetch_attr(ctx, engine, dir));
  if (!attr) {
    return std::optional<std::string>();
  }
  ZEST_TRY(auto const paths, paths_of(ctx, engine, dir, *attr));
  return paths.empty() ? std::optional<std::string>() : std::optional(paths.front());
}

Result<Ino> resolve_path(Context const& ctx, meta::Engine& engine, std::string_view path) {
  Ino at = kRootIno;
  while (!path.empty()) {
    auto const end = std::min(path.find('/'), path.size());
    auto const name = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (name.empty()) {
      continue;
    }
    std::array const keys{meta::Key(meta::EdgeKey{at, std::string(name)})};
    ZEST_TRY(auto values, engine.fetch(ctx, keys));
    auto const* entry = std::get_if<Entry>(&values.front());
    if (entry == nullptr) {
      return Error(Errc::noent, Fault::semantic,
                   fmt::format("there is no \"{}\" in the volume's inode {}", name, at.value));
    }
    at = entry->ino;
  }
  return at;
}

}  // namespace zest::admin
