#include "zest/base/clock.h"

#include <ctime>
#include <limits>

namespace zest {

std::int64_t nanoseconds_between(WallTime a, WallTime b) noexcept {
  __int128 const total = (static_cast<__int128>(a.sec) - b.sec) * 1'000'000'000 +
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
