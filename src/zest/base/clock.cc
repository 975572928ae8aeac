#include "zest/base/clock.h"

#include <ctime>
#include <limits>

namespace zest {
namespace {

/// Wide enough for any difference of seconds in nanoseconds; not in ISO C++, but in every compiler
/// we use.
__extension__ using Int128 = __int128;

}  // namespace

std::int64_t nanoseconds_between(WallTime a, WallTime b) noexcept {
  Int128 const total = (static_cast<Int128>(a.sec) - b.sec) * 1'000'000'000 +
                       (static_cast<std::int64_t>(a.nsec) - static_cast<std::int64_t>(b.nsec));
  using Limits = std::numeric_limits<std::int64_t>;
  if (total > Limits::max()) {
    return Limits::max();
  }
  if (total < Limits::min()) {
    return Limits::min();
  }
  return static_cast<std::int64_t>(total);
}

TimePoint SystemClock::now() const noexcept {
  return std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now());
}

WallTime SystemClock::wall() const noexcept {
  timespec ts{};
  clock_gettime(CLOCK_REALTIME, &ts);
  return {.sec = ts.tv_sec, .nsec = static_cast<std::uint32_t>(ts.tv_nsec)};
}

}  // namespace zest
