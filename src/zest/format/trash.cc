#include "zest/format/trash.h"

#include <array>
#include <charconv>
#include <chrono>

#include <fmt/format.h>

#include "zest/format/types.h"

namespace zest {

namespace {

/// Takes a number and the dash behind it off the front of `text`.
bool take_number(std::string_view& text, std::uint64_t& value) {
  auto const* const end = text.data() + text.size();
  auto const [stop, failure] = std::from_chars(text.data(), end, value);
  if (failure != std::errc{} || stop == end || *stop != '-') {
    return false;
  }
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()) + 1);
  return true;
}

}  // namespace

std::string trash_dir_name(WallTime time) {
  auto const instant = std::chrono::sys_seconds(std::chrono::seconds(time.sec));
  auto const day = std::chrono::floor<std::chrono::days>(instant);
  std::chrono::year_month_day const date(day);
  auto const hour = std::chrono::floor<std::chrono::hours>(instant - day).count();
  return fmt::format("{:04}-{:02}-{:02}-{:02}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), hour);
}

Result<std::int64_t> parse_trash_dir_name(std::string_view name) {
  constexpr std::string_view kPattern = "dddd-dd-dd-dd";
  if (name.size() != kPattern.size()) {
    return Errc::inval;
  }
  std::array<int, 4> numbers{};
  std::size_t field = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    bool const digit = name[i] >= '0' && name[i] <= '9';
    if (digit != (kPattern[i] == 'd') || (!digit && name[i] != '-')) {
      return Errc::inval;
    }
    if (digit) {
      numbers[field] = numbers[field] * 10 + (name[i] - '0');
    } else {
      ++field;
    }
  }
  std::chrono::year_month_day const date{std::chrono::year(numbers[0]),
                                         std::chrono::month(static_cast<unsigned>(numbers[1])),
                                         std::chrono::day(static_cast<unsigned>(numbers[2]))};
  if (!date.ok() || numbers[3] > 23) {
    return Errc::inval;
  }
  return std::chrono::seconds(std::chrono::sys_days(date).time_since_epoch()).count() +
         std::int64_t{3600} * numbers[3];
}

std::string trash_entry_name(Ino parent, Ino ino, std::string_view name) {
  auto out = fmt::format("{}-{}-{}", parent.value, ino.value, name);
  if (out.size() > kNameMax) {
    out.resize(kNameMax);
  }
  return out;
}

Result<TrashEntryName> parse_trash_entry_name(std::string_view name) {
  TrashEntryName parsed;
  if (!take_number(name, parsed.parent.value) || !take_number(name, parsed.ino.value) ||
      name.empty()) {
    return Errc::inval;
  }
  parsed.name = name;
  return parsed;
}

}  // namespace zest
