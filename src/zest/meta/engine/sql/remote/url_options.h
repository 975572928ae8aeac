// The options of a SQL server's META-URL that concern the engine and not the server (format/03 §1).
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zest/base/clock.h"
#include "zest/base/result.h"

namespace zest::meta::sql {

struct UrlOptions {
  /// Most sessions open at once; 0 = as many as the engine finds useful.
  std::size_t connections_max = 0;
  /// Most sessions kept open unused; 0 = as many as the engine finds useful.
  std::size_t idle_max = 0;
  /// Sessions unused for longer, and sessions older than this, are closed; zero = never.
  Duration idle_time = std::chrono::minutes(5);
  Duration life_time{};
  /// Tables are named jfs_{table_prefix}_… so that several volumes share a database.
  std::string table_prefix;
};

using UrlQuery = std::vector<std::pair<std::string, std::string>>;

/// `%41` → `A`; in a query `+` is a blank. EINVAL for a `%` without two hexadecimal digits.
Result<std::string> url_decode(std::string_view text, bool plus_is_blank);
/// Splits `a=1&b=2`, both decoded; a name without `=` has an empty value.
Result<UrlQuery> parse_query(std::string_view query);
/// Takes max_open_conns, max_idle_conns, max_idle_time, max_life_time (seconds) and table_prefix
/// out of `query`; others stay for the driver. EINVAL with a message for people.
Result<UrlOptions> take_url_options(UrlQuery& query);

}  // namespace zest::meta::sql
