#include "zest/admin/restore.h"

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>

#include "zest/format/trash.h"
#include "zest/runtime/sync.h"

namespace zest::admin {
namespace {

constexpr std::size_t kPage = 1024;
constexpr std::uint64_t kProgressStep = 1000;

class Restorer {
 public:
  Restorer(Context const& ctx, meta::Meta& meta, RestoreRequest const& request, Ino hour)
      : ctx_(ctx),
        meta_(meta),
        request_(request),
        hour_(hour),
        slots_(std::max<std::uint64_t>(request.threads, 1)) {}

  /// Which directories were deleted in this hour.
  Result<void> find_directories() {
    return each_entry([this](meta::DirEntry const& entry) -> Result<void> {
      if (entry.entry.type == FileType::directory) {
        directories_.insert(entry.entry.ino.value);
      }
      return {};
    });
  }

  Result<void> move_entries() {
    auto listed = each_entry([this](meta::DirEntry const& entry) -> Result<void> {
      if (++report_.entries % kProgressStep == 0 && request_.progress) {
        request_.progress(report_);
      }
      auto origin = parse_trash_entry_name(entry.name);
      if (!origin.ok()) {
        stays(entry.name, origin.error());
        return {};
      }
      if (!request_.put_back && !directories_.contains(origin->parent.value)) {
        ++report_.left;
        return {};
      }
      ZEST_CHECK(slots_.acquire(ctx_));
      scope_.spawn([this, name = entry.name, target = *std::move(origin)] {
        move(name, target);
        slots_.release();
      });
      return failure_ ? Result<void>(failure_->clone()) : Result<void>();
    });
    scope_.join();
    if (listed.ok() && failure_) {
      return std::move(*failure_);
    }
    return listed;
  }

  [[nodiscard]] RestoreReport const& report() const noexcept { return report_; }

 private:
  template <class Fn>
  Result<void> each_entry(Fn const& fn) {
    meta::ListDir list{.dir = hour_, .from = {}, .limit = kPage, .attrs = false};
    do {
      ZEST_TRY(auto page, meta_.readdir(ctx_, list));
      for (auto const& entry : page.entries) {
        ZEST_CHECK(fn(entry));
      }
      list.from = std::move(page.next);
    } while (!list.from.empty());
    return {};
  }

  void move(std::string const& name, TrashEntryName const& target) {
    auto const moved = meta_.rename(ctx_, {.parent = hour_,
                                           .name = name,
                                           .new_parent = target.parent,
                                           .new_name = target.name,
                                           .flags = meta::kRenameNoReplace | meta::kRenameRestore});
    if (moved.ok()) {
      ++report_.restored;
    } else if (moved.error().fault() != Fault::semantic) {
      if (!failure_) {
        failure_ = moved.error().clone().with(name);
      }
    } else if (moved.error().code() == Errc::exist) {
      ++report_.conflicts;
      tell(name, moved.error());
    } else {
      stays(name, moved.error());
    }
  }

  void stays(std::string_view name, Error const& why) {
    ++report_.failed;
    tell(name, why);
  }
  void tell(std::string_view name, Error const& why) {
    if (request_.problem) {
      request_.problem(name, why);
    }
  }

  Context const& ctx_;
  meta::Meta& meta_;
  RestoreRequest const& request_;
  Ino hour_;
  // Only fibers of one loop touch these.
  std::unordered_set<std::uint64_t> directories_;
  RestoreReport report_;
  std::optional<Error> failure_;
  Semaphore slots_;
  Scope scope_;
};

}  // namespace

Result<RestoreReport> restore(Context const& ctx, meta::Meta& meta, RestoreRequest const& request) {
  if (ctx.caller.uid != 0) {
    return Error(Errc::perm, Fault::semantic, "only root can take files out of the trash");
  }
  if (auto const time = parse_trash_dir_name(request.hour); !time.ok()) {
    return Error(Errc::inval, Fault::semantic,
                 std::string(request.hour) + " is not an hour of the form YYYY-MM-DD-HH");
  }
  auto hour = meta.lookup(ctx, kTrashIno, request.hour);
  if (!hour.ok()) {
    return std::move(hour).error().with("the trash of " + std::string(request.hour));
  }
  Restorer restorer(ctx, meta, request, hour->ino);
  if (!request.put_back) {
    ZEST_CHECK(restorer.find_directories());
  }
  ZEST_CHECK(restorer.move_entries());
  ZEST_CHECK(meta.flush_stats(ctx));
  return restorer.report();
}

}  // namespace zest::admin
