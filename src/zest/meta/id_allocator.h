// Hands out ids from batches, so that an operation rarely waits for the counter (format/00 §3).
#pragma once

#include <cstdint>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/runtime/sync.h"

namespace zest::meta {

/// Thread-safe. Ids left at the end are lost, which is normal.
class IdAllocator {
 public:
  IdAllocator(Engine& engine, IdKind kind, std::uint64_t batch)
      : engine_(engine), kind_(kind), batch_(batch) {}
  IdAllocator(IdAllocator const&) = delete;
  IdAllocator& operator=(IdAllocator const&) = delete;

  /// A fresh id; suspends for one trip when the batch is used up.
  Result<std::uint64_t> next(Context const& ctx);
  /// An id that was not used after all, for the next caller. Does not suspend for long.
  void give_back(std::uint64_t id);

 private:
  // More unused ids than this are dropped: they only come from failed operations.
  static constexpr std::size_t kReturnedMax = 1024;

  Engine& engine_;
  IdKind kind_;
  std::uint64_t batch_;
  FiberMutex mutex_;
  IdRange range_;
  std::vector<std::uint64_t> returned_;
};

}  // namespace zest::meta
