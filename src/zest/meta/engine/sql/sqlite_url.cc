#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <chrono>
#include <string>
#include <string_view>

#include "zest/meta/engine/sql/sqlite.h"

namespace zest::meta {

namespace {

constexpr std::string_view kScheme = "sqlite3://";

Error invalid(std::string_view what) {
  return {Errc::inval, Fault::semantic,
          fmt::format("{}; expected sqlite3://PATH[?table_prefix=NAME&_timeout=MS&…]", what)};
}

/// Names become part of table names, so nothing but what needs no quoting.
bool is_plain_name(std::string_view text) {
  return std::ranges::all_of(text,
                             [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

Result<void> set_journal(SqliteOptions& options, std::string_view value) {
  std::string mode(value);
  std::ranges::transform(mode, mode.begin(), [](unsigned char c) { return std::toupper(c); });
  constexpr std::array<std::string_view, 4> kModes{"WAL", "DELETE", "TRUNCATE", "PERSIST"};
  if (std::ranges::find(kModes, mode) == kModes.end()) {
    return invalid(
        fmt::format("journal mode {:?} loses data in a crash or is unknown; use WAL, "
                    "DELETE, TRUNCATE or PERSIST",
                    value));
  }
  options.journal = std::move(mode);
  return {};
}

Result<void> set_timeout(SqliteOptions& options, std::string_view value) {
  std::uint32_t milliseconds = 0;
  auto const [end, error] =
      std::from_chars(value.data(), value.data() + value.size(), milliseconds);
  if (error != std::errc() || end != value.data() + value.size()) {
    return invalid(fmt::format("_timeout={} is no number of milliseconds", value));
  }
  options.busy_timeout = std::chrono::milliseconds(milliseconds);
  return {};
}

Result<void> set_option(SqliteOptions& options, std::string_view name, std::string_view value) {
  if (name == "table_prefix") {
    if (!is_plain_name(value)) {
      return invalid(fmt::format("table_prefix {:?} may contain letters, digits and _", value));
    }
    options.table_prefix = value;
  } else if (name == "_journal" || name == "_journal_mode") {
    return set_journal(options, value);
  } else if (name == "_timeout" || name == "_busy_timeout") {
    return set_timeout(options, value);
  } else if (name == "mode" && value == "ro") {
    options.read_only = true;
  } else {
    options.ignored.emplace_back(name);
  }
  return {};
}

}  // namespace

Result<SqliteOptions> parse_sqlite_url(std::string_view url) {
  if (!url.starts_with(kScheme)) {
    return invalid(fmt::format("{:?} is no SQLite address", url));
  }
  auto rest = url.substr(kScheme.size());
  auto const question = rest.find('?');
  SqliteOptions options;
  options.path = rest.substr(0, question);
  if (options.path.empty()) {
    return invalid("the path is missing");
  }
  auto query = question == std::string_view::npos ? "" : rest.substr(question + 1);
  while (!query.empty()) {
    auto const end = std::min(query.find('&'), query.size());
    auto const option = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    auto const equals = std::min(option.find('='), option.size());
    if (!option.empty()) {
      ZEST_CHECK(set_option(options, option.substr(0, equals),
                            option.substr(std::min(equals + 1, option.size()))));
    }
  }
  return options;
}

}  // namespace zest::meta
