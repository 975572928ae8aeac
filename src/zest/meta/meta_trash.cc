// The facade: emptying the trash (format/06 §2), and copies of trees that got no name.
#include <chrono>
#include <utility>

#include "zest/format/trash.h"
#include "zest/meta/meta_impl.h"

namespace zest::meta {
namespace {

constexpr std::size_t kPage = 256;
// Directories in the trash are empty unless somebody rebuilt a tree there; PATH_MAX bounds it.
constexpr int kDepthMax = 2048;

// Empties directories of the trash until `limit` files' data wait for their deletion.
class TrashSweep {
 public:
  TrashSweep(Runner& runner, Engine& engine, OpenFiles& open_files, VolumeView view,
             std::size_t limit)
      : runner_(runner), engine_(engine), open_files_(open_files), view_(view), limit_(limit) {}

  // True when the directory is empty now.
  Result<bool> empty(Context const& ctx, Ino dir, int depth) {
    if (depth > kDepthMax) {
      return Error::corrupt("trash: directories are nested too deeply");
    }
    while (true) {
      ListDir const request{.dir = dir, .from = {}, .limit = kPage, .attrs = false};
      ZEST_TRY(auto const page, engine_.list_dir(ctx, request));
      if (page.entries.empty()) {
        return true;
      }
      for (auto const& entry : page.entries) {
        if (done()) {
          return false;
        }
        if (entry.entry.type == FileType::directory) {
          ZEST_TRY(auto const emptied, empty(ctx, entry.entry.ino, depth + 1));
          if (!emptied) {
            return false;
          }
        }
        ZEST_CHECK(purge(ctx, dir, entry.name));
      }
    }
  }

  Result<void> purge(Context const& ctx, Ino dir, std::string_view name) {
    OpenFiles::Deletion deletion(open_files_);
    auto reply = runner_.run(ctx, [&](Txn& txn) {
      return ops::purge(txn, view_, {.parent = dir, .name = name}, deletion);
    });
    if (failed_with(reply, Errc::noent) || failed_with(reply, Errc::notempty)) {
      return {};  // Somebody was faster, or put something in: the next run sees it.
    }
    if (!reply.ok()) {
      return std::move(reply).error();
    }
    open_files_.forget(reply->ino);
    if (reply->sustained && deletion.sustained()) {
      auto const session = view_.session;
      auto const ino = reply->ino;
      ZEST_TRY(*reply, runner_.run(ctx, [&](Txn& txn) {
        return ops::delete_sustained(txn, session, ino);
      }));
    }
    if (reply->data_unused) {
      unused_.push_back(*reply);
    }
    return {};
  }

  [[nodiscard]] bool done() const noexcept { return unused_.size() >= limit_; }
  [[nodiscard]] std::vector<UnlinkReply> take() { return std::move(unused_); }

 private:
  Runner& runner_;
  Engine& engine_;
  OpenFiles& open_files_;
  VolumeView view_;
  std::size_t limit_;
  std::vector<UnlinkReply> unused_;
};

}  // namespace

Result<std::vector<UnlinkReply>> Meta::expire_trash(Context const& ctx, std::size_t limit) {
  ZEST_CHECK(impl_->check_writable());
  auto const days = impl_->current_setting()->trash_days;
  // Two hours more than the days: one because the directory holds a whole hour, one for clocks.
  auto const edge = impl_->clock.wall().sec - (days * 24 + 2) * 3600;
  TrashSweep sweep(impl_->runner, impl_->engine, impl_->open_files, impl_->view(), limit);
  ListDir request{.dir = kTrashIno, .from = {}, .limit = kPage, .attrs = false};
  do {
    ZEST_TRY(auto page, impl_->engine.list_dir(ctx, request));
    for (auto const& entry : page.entries) {
      auto const hour = parse_trash_dir_name(entry.name);
      if (!hour.ok() || *hour >= edge) {
        continue;
      }
      ZEST_TRY(auto const emptied, sweep.empty(ctx, entry.entry.ino, 0));
      if (!emptied) {
        return sweep.take();
      }
      ZEST_CHECK(sweep.purge(ctx, kTrashIno, entry.name));
    }
    request.from = std::move(page.next);
  } while (!request.from.empty() && !sweep.done());
  return sweep.take();
}

Result<void> Meta::Impl::remove_detached(Context const& ctx, Ino ino) {
  ZEST_TRY(auto const node, runner.run(ctx, [&](Txn& txn) { return txn.get(NodeKey{ino}); }));
  if (node.has_value() && node->type == FileType::directory) {
    // What the sweep returns waits as deleted files for the hourly job.
    TrashSweep sweep(runner, engine, open_files, view(), SIZE_MAX);
    ZEST_CHECK(sweep.empty(ctx, ino, 0));
  }
  return runner.run(ctx, [&](Txn& txn) { return ops::drop_detached(txn, ino); });
}

Result<std::size_t> Meta::clean_detached(Context const& ctx, Duration age, std::size_t limit) {
  ZEST_CHECK(impl_->check_writable());
  auto const seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
  ZEST_TRY(auto const trees,
           impl_->engine.list_detached(ctx, impl_->clock.wall().sec - seconds, limit));
  for (auto const& tree : trees) {
    ZEST_CHECK(impl_->remove_detached(ctx, tree.ino));
  }
  return trees.size();
}

}  // namespace zest::meta
