// What `zest restore` does: brings back what was deleted in one hour (format/05 §17).
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "zest/base/context.h"
#include "zest/base/error.h"
#include "zest/base/result.h"
#include "zest/meta/meta.h"

namespace zest::admin {

struct RestoreReport {
  std::uint64_t entries = 0;   ///< looked at
  std::uint64_t restored = 0;  ///< moved to where they belong
  std::uint64_t left =
      0;  ///< their directory was not deleted in this hour: only put_back moves them
  std::uint64_t conflicts = 0;  ///< something else has the name now
  std::uint64_t failed = 0;
};

struct RestoreRequest {
  /// The hourly directory in the trash: YYYY-MM-DD-HH (UTC).
  std::string_view hour;
  /// Moves every entry to its original directory. Otherwise only those whose directory was deleted
  /// in the same hour: so trees are put together again, inside of the trash.
  bool put_back = false;
  /// Entries moved at once.
  std::uint64_t threads = 10;
  /// Called on the calling fiber or another of its loop, now and then.
  std::function<void(RestoreReport const&)> progress;
  /// Called with each entry that stayed, and why.
  std::function<void(std::string_view name, Error const& why)> problem;
};

/// Moves the entries of an hour, streaming; memory is bounded by the directories among them. Other
/// clients may work meanwhile. ENOENT without such an hour, EINVAL for another text, EPERM unless
/// the caller is root; a damaged volume's or the engine's errors end it. May suspend; one loop.
Result<RestoreReport> restore(Context const& ctx, meta::Meta& meta, RestoreRequest const& request);

}  // namespace zest::admin
