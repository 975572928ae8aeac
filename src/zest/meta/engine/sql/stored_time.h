// Time stamps as the peer's SQL tables hold them (format/03 §2.1).
#pragma once

#include <cstdint>

#include "zest/base/clock.h"

namespace zest::meta {

/// Whole microseconds and the rest of a time stamp.
struct StoredTime {
  std::int64_t microseconds = 0;
  std::int64_t nanoseconds = 0;
};
StoredTime to_stored(WallTime time) noexcept;
/// `nanoseconds` may be anything up to a second: some clients store so for times before 1970.
WallTime from_stored(StoredTime time) noexcept;

}  // namespace zest::meta
