#include "zest/meta/id_allocator.h"

#include <mutex>

namespace zest::meta {

Result<std::uint64_t> IdAllocator::next(Context const& ctx) {
  ZEST_CHECK(mutex_.lock(ctx));
  std::unique_lock const owner(mutex_, std::adopt_lock);
  if (!returned_.empty()) {
    auto const id = returned_.back();
    returned_.pop_back();
    return id;
  }
  if (range_.count == 0) {
    ZEST_TRY(range_, engine_.allocate_ids(ctx, kind_, batch_));
  }
  --range_.count;
  return range_.first++;
}

void IdAllocator::give_back(std::uint64_t id) {
  std::unique_lock const owner(mutex_);
  if (returned_.size() < kReturnedMax) {
    returned_.push_back(id);
  }
}

}  // namespace zest::meta
