#include "zest/admin/fsck.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "zest/admin/file_info.h"
#include "zest/format/object_name.h"
#include "zest/runtime/sync.h"

namespace zest::admin {
namespace {

constexpr std::size_t kPageSize = 1024;
constexpr std::uint64_t kRequestsMax = 32;
constexpr std::size_t kExamplesMax = 100;

class Checker {
 public:
  Checker(Context const& ctx, meta::Engine& engine, ObjectStore& store, Setting const& setting)
      : ctx_(ctx), engine_(engine), store_(store), setting_(setting) {}

  Result<void> run(FsckRequest const& request) {
    std::optional<meta::ChunkKey> from;
    do {
      ZEST_TRY(auto const page, engine_.list_all_chunks(ctx_, from, kPageSize));
      for (auto const& [key, slices] : page.chunks) {
        ++report_.chunks;
        for (auto const& record : slices) {
          ZEST_CHECK(check_slice(key, record));
        }
      }
      scope_.join();
      if (failure_) {
        return failure_->clone();
      }
      if (request.progress) {
        request.progress(report_);
      }
      from = page.next;
    } while (from);
    return {};
  }

  /// Waits for the requests under way; call before destruction, also after an error.
  void finish() { scope_.join(); }
  FsckReport take_report() { return std::move(report_); }

 private:
  Result<void> check_slice(meta::ChunkKey const& chunk, SliceRecord const& record) {
    if (record.id.value == 0) {
      return {};
    }
    ++report_.slices;
    auto const block_size = setting_.block_size_bytes();
    for (std::uint32_t i = 0; i < block_count(record.size, block_size); ++i) {
      auto const length = block_length(record.size, block_size, i);
      ++report_.blocks;
      report_.bytes += length;
      ZEST_CHECK(slots_.acquire(ctx_));
      scope_.spawn([this, chunk, record, length, i] {
        auto done = check_block(chunk, record, i, length);
        if (!done.ok() && !failure_) {
          failure_.emplace(std::move(done).error());
        }
        slots_.release();
      });
    }
    return {};
  }

  Result<void> check_block(meta::ChunkKey const& chunk, SliceRecord const& record,
                           std::uint32_t index, std::uint32_t length) {
    auto const key = block_key(record.id, index, length, setting_.hash_prefix);
    auto const found = store_.head(ctx_, key);
    std::string why;
    if (failed_with(found, Errc::noent)) {
      why = "missing";
    } else if (!found.ok()) {
      return found.error().clone().with("look at block " + key);
    } else if (plain() && found->size != length) {
      why = fmt::format("{} bytes instead of {}", found->size, length);
    } else {
      return {};
    }
    ZEST_TRY(bool const needed, still_named(chunk, record));
    if (needed) {
      ++report_.broken;
      if (report_.examples.size() < kExamplesMax) {
        report_.examples.push_back(
            {.ino = chunk.ino, .key = key, .why = std::move(why), .path = {}});
      }
    }
    return {};
  }

  /// True when an object holds exactly the block's bytes.
  [[nodiscard]] bool plain() const {
    return (setting_.compression.empty() || setting_.compression == "none") &&
           setting_.encrypt_key.empty();
  }

  /// Asks the metadata again: the file may have been deleted, or its chunk compacted, meanwhile.
  Result<bool> still_named(meta::ChunkKey const& chunk, SliceRecord const& record) {
    std::array const keys{meta::Key(meta::NodeKey{chunk.ino}), meta::Key(chunk)};
    ZEST_TRY(auto const values, engine_.fetch(ctx_, keys));
    auto const* slices = std::get_if<meta::Slices>(&values[1]);
    return std::holds_alternative<Attr>(values[0]) && slices != nullptr &&
           std::ranges::find(*slices, record) != slices->end();
  }

  Context const& ctx_;
  meta::Engine& engine_;
  ObjectStore& store_;
  Setting const& setting_;
  // Only fibers of one loop touch these.
  FsckReport report_;
  std::optional<Error> failure_;
  Semaphore slots_{kRequestsMax};
  Scope scope_;
};

/// Finds the path of each file; `blocks` is in the order of inodes.
Result<void> name_files(Context const& ctx, meta::Engine& engine, Setting const& setting,
                        std::vector<BrokenBlock>& blocks) {
  BrokenBlock const* before = nullptr;
  for (auto& block : blocks) {
    if (before != nullptr && before->ino == block.ino) {
      block.path = before->path;
    } else {
      auto info = file_info(ctx, engine, setting, {.ino = block.ino});
      if (info.ok() && !info->paths.empty()) {
        block.path = info->paths.front();
      } else if (!info.ok() && !failed_with(info, Errc::noent) &&
                 info.error().fault() != Fault::corrupt) {
        return std::move(info).error();
      }
    }
    before = &block;
  }
  return {};
}

}  // namespace

Result<FsckReport> check_blocks(Context const& ctx, meta::Engine& engine, ObjectStore& store,
                                Setting const& setting, FsckRequest const& request) {
  Checker checker(ctx, engine, store, setting);
  auto done = checker.run(request);
  checker.finish();
  if (!done.ok()) {
    return std::move(done).error();
  }
  auto report = checker.take_report();
  std::ranges::sort(report.examples, {},
                    [](BrokenBlock const& block) { return std::pair(block.ino, block.key); });
  ZEST_CHECK(name_files(ctx, engine, setting, report.examples));
  return report;
}

}  // namespace zest::admin
