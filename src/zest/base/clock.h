// Time as a dependency: real programs use the system's, the simulated loop its own.
#pragma once

#include <chrono>
#include <cstdint>

namespace zest {

using Duration = std::chrono::nanoseconds;
/// Monotonic time, for deadlines and durations. Under the simulated loop it is virtual.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;
constexpr TimePoint kNever = TimePoint::max();

/// Wall-clock time as stored in volumes: whole seconds (may be negative) and 0…999,999,999 ns.
struct WallTime {
  std::int64_t sec = 0;
  std::uint32_t nsec = 0;
  friend auto operator<=>(WallTime const&, WallTime const&) = default;
};

/// Nanoseconds from `b` to `a`; saturates at the ends of int64.
std::int64_t nanoseconds_between(WallTime a, WallTime b) noexcept;

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual TimePoint now() const noexcept = 0;
  [[nodiscard]] virtual WallTime wall() const noexcept = 0;
};

/// The kernel's clocks. Thread-safe, no state.
class SystemClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override;
  [[nodiscard]] WallTime wall() const noexcept override;
};

}  // namespace zest
