#include "tests/model/comparison.h"

#include <chrono>
#include <map>
#include <span>
#include <variant>
#include <vector>

#include "tests/model/execute.h"
#include "zest/format/trash.h"
#include "zest/meta/statistics.h"

namespace zest::model {
namespace {

std::string text_of(DirStat const* stat) {
  if (stat == nullptr) {
    return "missing";
  }
  return std::to_string(stat->length) + " bytes, space " + std::to_string(stat->space) + ", " +
         std::to_string(stat->inodes) + " inodes";
}

class Comparison {
 public:
  Comparison(meta::testing::Volume& volume, meta::Meta& meta, ModelFs const& model, bool exact)
      : volume_(volume), meta_(meta), model_(model), exact_(exact) {}

  std::optional<std::string> operator()() {
    for (auto const& [ino, node] : model_.nodes()) {
      check_node(ino, node);
    }
    if (exact_) {
      check_usage();
    }
    return failure_;
  }

 private:
  void fail(std::string const& what) {
    if (!failure_.has_value()) {
      failure_ = "at the end: " + what;
    }
  }
  void fail(Ino ino, std::string const& what) {
    fail("inode " + std::to_string(ino.value) + ": " + what);
  }

  void check_node(Ino ino, Node const& node) {
    auto const attr = patiently([&] { return meta_.getattr(volume_.root, ino); });
    if (!attr.ok()) {
      return fail(ino, attr.error().text());
    }
    if (attr->type != node.type || attr->mode != node.mode || attr->uid != node.owner ||
        attr->nlink != node.nlink) {
      fail(ino, "type, mode, owner or links: nlink " + std::to_string(attr->nlink) + ", model " +
                    std::to_string(node.nlink));
    }
    if (node.type == FileType::directory) {
      check_directory(ino, node, *attr);
    } else if (node.type == FileType::regular) {
      check_content(ino, node, *attr);
    }
  }

  void check_directory(Ino ino, Node const& node, Attr const& attr) {
    if (!node.trashed && attr.parent != node.parent) {
      fail(ino, "parent");
    }
    auto const page = patiently(
        [&] { return meta_.readdir(volume_.root, {.dir = ino, .from = {}, .limit = 100}); });
    if (!page.ok()) {
      return fail(ino, page.error().text());
    }
    std::map<std::string, Ino> entries;
    DirStat sum;
    for (auto const& entry : page->entries) {
      entries[entry.name] = entry.entry.ino;
      auto const child = patiently([&] { return meta_.getattr(volume_.root, entry.entry.ino); });
      if (child.ok()) {
        auto const stat = meta::dir_stat_of(*child);
        sum = {sum.length + stat.length, sum.space + stat.space, sum.inodes + stat.inodes};
      }
    }
    if (entries != node.entries) {
      fail(ino, "entries");
    }
    if (exact_ && !node.trashed) {  // A directory in the trash keeps no statistics.
      check_statistics(ino, sum);
    }
  }

  void check_statistics(Ino ino, DirStat const& sum) {
    meta::Key const key = meta::DirStatKey{ino};
    auto const stored = volume_.engine->fetch(volume_.root, std::span(&key, 1));
    auto const* stat = stored.ok() ? std::get_if<DirStat>(&stored->front()) : nullptr;
    if (stat == nullptr || *stat != sum) {
      fail(ino, "directory statistics are " + text_of(stat) + ", should be " + text_of(&sum));
    }
  }

  void check_content(Ino ino, Node const& node, Attr const& attr) {
    if (attr.length != node.length * kCell) {
      fail(ino, "length");
    }
    for (std::uint32_t chunk = 0; chunk < 2; ++chunk) {
      auto const slices =
          patiently([&] { return meta_.read_chunk(volume_.root, ino, ChunkIndex{chunk}); });
      auto const begin = node.cells.begin() + chunk * kCellsPerChunk;
      if (!slices.ok() || cells_of(*slices) != std::vector<Cell>(begin, begin + kCellsPerChunk)) {
        fail(ino, "content");
      }
    }
  }

  void check_usage() {
    std::int64_t inodes = 0;
    std::int64_t space = 0;
    for (auto const& [ino, node] : model_.nodes()) {
      auto const length = node.type == FileType::regular ? node.length * kCell : 0;
      inodes += ino == kRootIno ? 0 : 1;
      space += ino == kRootIno ? 0 : static_cast<std::int64_t>(align_4k(length));
    }
    auto const hours = count_trash_hours();
    inodes += hours;
    space += 4096 * hours;
    auto const usage = volume_.engine->read_usage(volume_.root);
    if (!usage.ok()) {
      return fail(usage.error().text());
    }
    if (usage->inodes != inodes || usage->space != space) {
      fail("usage is " + std::to_string(usage->inodes) + " inodes, " +
           std::to_string(usage->space) + " bytes; the model has " + std::to_string(inodes) +
           " inodes, " + std::to_string(space) + " bytes");
    }
  }

  // Hourly directories; one may have been made for an operation that failed then.
  std::int64_t count_trash_hours() {
    if (volume_.setting.trash_days == 0) {
      return 0;
    }
    auto const page =
        volume_.engine->list_dir(volume_.root, {.dir = kTrashIno, .from = {}, .limit = 100});
    return page.ok() ? static_cast<std::int64_t>(page->entries.size()) : 0;
  }

  meta::testing::Volume& volume_;
  meta::Meta& meta_;
  ModelFs const& model_;
  bool exact_;
  std::optional<std::string> failure_;
};

}  // namespace

std::optional<std::string> difference(meta::testing::Volume& volume, meta::Meta& meta,
                                      ModelFs const& model, bool exact) {
  return Comparison(volume, meta, model, exact)();
}

}  // namespace zest::model
