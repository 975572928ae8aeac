// docs/round-trips.md: the table of trips, read and written.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace zest::meta::testing {

struct Trips {
  std::uint64_t cold = 0;
  std::uint64_t warm = 0;
  friend bool operator==(Trips const&, Trips const&) = default;
};
/// Operation → trips, in the order in which they are shown.
using Column = std::vector<std::pair<std::string, Trips>>;
/// Engine → its column.
using Table = std::map<std::string, Column>;

std::string to_markdown(Table const& table);
/// What to_markdown wrote; other lines are skipped.
Table from_markdown(std::string_view text);

}  // namespace zest::meta::testing
