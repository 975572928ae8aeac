#include "zest/cli/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <limits>
#include <system_error>

namespace zest::cli {
namespace {

Error bad(std::string_view text, std::string_view expected) {
  return {Errc::inval, Fault::semantic, fmt::format("\"{}\" is not {}", text, expected)};
}

/// Splits off the number at the front of `text`; NaN when there is none. Only digits and a point:
/// no sign, no exponent.
double take_number(std::string_view& text) {
  auto const end = text.find_first_not_of("0123456789.");
  auto const digits = text.substr(0, end);
  double number = 0;
  auto const [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number,
                                             std::chars_format::fixed);
  if (error != std::errc() || stop != digits.data() + digits.size()) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  text.remove_prefix(digits.size());
  return number;
}

char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

/// Power of the unit at the front of `suffix` in `letters` ("BKMG…": B is 0), or -1.
int power_of(std::string_view suffix, std::string_view letters) {
  auto const at = letters.find(upper(suffix.front()));
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

struct TimeUnit {
  std::string_view name;
  double nanoseconds;
};
constexpr std::array kTimeUnits{
    TimeUnit{"ns", 1},   TimeUnit{"us", 1e3},   TimeUnit{"ms", 1e6},    TimeUnit{"s", 1e9},
    TimeUnit{"m", 60e9}, TimeUnit{"h", 3600e9}, TimeUnit{"d", 86400e9},
};

/// The longest unit name that `text` begins with, so that "ms" is not read as minutes.
TimeUnit const* take_time_unit(std::string_view& text) {
  TimeUnit const* found = nullptr;
  for (auto const& unit : kTimeUnits) {
    if (text.starts_with(unit.name) &&
        (found == nullptr || unit.name.size() > found->name.size())) {
      found = &unit;
    }
  }
  if (found != nullptr) {
    text.remove_prefix(found->name.size());
  }
  return found;
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text, std::uint64_t unit) {
  constexpr std::string_view kExpected = "a size such as 4096, 64K or 1.5G";
  auto rest = text;
  auto const number = take_number(rest);
  auto scale = static_cast<double>(unit);
  if (!rest.empty()) {
    auto const power = power_of(rest, "BKMGTPE");
    auto const tail = rest.substr(1);
    if (power < 0 ||
        !(tail.empty() || (power > 0 && (tail == "B" || tail == "iB" || tail == "b")))) {
      return bad(text, kExpected);
    }
    scale = std::ldexp(1.0, 10 * power);
  }
  auto const bytes = number * scale;
  // NaN fails both comparisons.
  if (!(bytes >= 0 && bytes < std::ldexp(1.0, 64))) {
    return bad(text, kExpected);
  }
  return static_cast<std::uint64_t>(bytes);
}

Result<Duration> parse_duration(std::string_view text) {
  constexpr std::string_view kExpected = "a duration such as 30, 500ms, 1h30m or 7d";
  auto rest = text;
  double total = take_number(rest);
  if (rest.empty()) {
    total *= 1e9;
  } else {
    auto number = total;
    total = 0;
    while (true) {
      auto const* unit = take_time_unit(rest);
      if (unit == nullptr) {
        return bad(text, kExpected);
      }
      total += number * unit->nanoseconds;
      if (rest.empty()) {
        break;
      }
      number = take_number(rest);
    }
  }
  // 2^63 ns are 292 years.
  if (!(total >= 0 && total < std::ldexp(1.0, 63))) {
    return bad(text, kExpected);
  }
  return Duration(static_cast<std::int64_t>(total));
}

Result<std::int64_t> parse_bandwidth(std::string_view text) {
  constexpr std::string_view kExpected = "a bandwidth in Mbps such as 100, or with a unit: 10G";
  auto rest = text;
  auto number = take_number(rest);
  if (!rest.empty()) {
    auto const power = power_of(rest, "MGTP");
    if (power < 0 || rest.size() > 1) {
      return bad(text, kExpected);
    }
    number *= std::pow(1000.0, power);
  }
  if (!(number >= 0 && number < 1e15)) {
    return bad(text, kExpected);
  }
  return static_cast<std::int64_t>(number);
}

Result<std::uint16_t> parse_octal(std::string_view text, std::uint16_t max) {
  std::uint16_t value = 0;
  auto const [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
  if (error != std::errc() || stop != text.data() + text.size() || value > max) {
    return bad(text, fmt::format("an octal number from 0 to {:o}", max));
  }
  return value;
}

std::string format_size(std::uint64_t bytes) {
  constexpr std::string_view kUnits = "KMGTPE";
  if (bytes < kKiB) {
    return fmt::format("{} Bytes", bytes);
  }
  auto value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1024) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.2f} {}iB", value, kUnits[unit]);
}

}  // namespace zest::cli
