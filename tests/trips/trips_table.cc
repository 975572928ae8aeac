#include "tests/trips/trips_table.h"

#include <fmt/format.h>

#include <cstdlib>
#include <sstream>

namespace zest::meta::testing {
namespace {

constexpr std::string_view kHead =
    "# Round trips\n\n"
    "How often an operation of the metadata core asks its engine. *Cold*: the client has seen "
    "nothing of what the operation\n"
    "needs. *Warm*: it has looked the names up, as the kernel does before it calls. Each cell is "
    "`cold / warm`.\n\n"
    "A change that is warm is one commit: it decides on what this client remembers, and the "
    "commit's conditions find out\n"
    "whether that still holds ([architecture](architecture.md)). Inode numbers and slice ids come "
    "in batches, usage and\n"
    "statistics are flushed once a second, the hourly trash directory is made once an hour: none "
    "of that is counted here.\n\n"
    "`tests/trips` counts, and fails when this page says something else. Written by it with "
    "`ZEST_WRITE_ROUND_TRIPS=1`.\n\n";

std::vector<std::string> cells_of(std::string const& line) {
  std::vector<std::string> cells;
  std::istringstream in(line);
  std::string cell;
  std::getline(in, cell, '|');
  while (std::getline(in, cell, '|')) {
    auto const first = cell.find_first_not_of(' ');
    auto const last = cell.find_last_not_of(' ');
    cells.push_back(first == cell.npos ? std::string() : cell.substr(first, last - first + 1));
  }
  return cells;
}

}  // namespace

std::string to_markdown(Table const& table) {
  std::string out(kHead);
  if (table.empty()) {
    return out;
  }
  std::string rule = "| --- |";
  out += "| operation |";
  for (auto const& [engine, column] : table) {
    out += fmt::format(" {} |", engine);
    rule += " --- |";
  }
  out += "\n" + rule + "\n";
  auto const& operations = table.begin()->second;
  for (std::size_t row = 0; row < operations.size(); ++row) {
    out += fmt::format("| {} |", operations[row].first);
    for (auto const& [engine, column] : table) {
      out += fmt::format(" {} / {} |", column[row].second.cold, column[row].second.warm);
    }
    out += "\n";
  }
  return out;
}

Table from_markdown(std::string_view text) {
  Table table;
  std::vector<std::string> engines;
  std::istringstream in{std::string(text)};
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("| ") || line.starts_with("| ---")) {
      continue;
    }
    auto const cells = cells_of(line);
    if (engines.empty()) {
      engines.assign(cells.begin() + 1, cells.end());
      continue;
    }
    for (std::size_t i = 0; i < engines.size() && i + 1 < cells.size(); ++i) {
      char* rest = nullptr;
      Trips trips;
      trips.cold = std::strtoull(cells[i + 1].c_str(), &rest, 10);
      trips.warm = std::strtoull(rest + std::string_view(" / ").size(), nullptr, 10);
      table[engines[i]].emplace_back(cells[0], trips);
    }
  }
  return table;
}

}  // namespace zest::meta::testing
