#include "zest/meta/engine/sql/stored_time.h"

namespace zest::meta {

namespace {
constexpr std::int64_t kMicrosPerSec = 1'000'000;
constexpr std::int64_t kNanosPerMicro = 1'000;
constexpr std::int64_t kNanosPerSec = 1'000'000'000;
}  // namespace

StoredTime to_stored(WallTime time) noexcept {
  return {.microseconds = time.sec * kMicrosPerSec + time.nsec / kNanosPerMicro,
          .nanoseconds = time.nsec % kNanosPerMicro};
}

WallTime from_stored(StoredTime time) noexcept {
  auto sec = time.microseconds / kMicrosPerSec;
  auto nsec = (time.microseconds % kMicrosPerSec) * kNanosPerMicro + time.nanoseconds;
  if (nsec < 0) {
    sec -= 1;
    nsec += kNanosPerSec;
  }
  return {.sec = sec + nsec / kNanosPerSec,
          .nsec = static_cast<std::uint32_t>(nsec % kNanosPerSec)};
}

}  // namespace zest::meta
