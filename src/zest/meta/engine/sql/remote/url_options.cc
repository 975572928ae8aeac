#include "zest/meta/engine/sql/remote/url_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdint>

namespace zest::meta::sql {
namespace {

Error invalid(std::string message) {
  return {Errc::inval, Fault::semantic, std::move(message)};
}

/// The value of a hexadecimal digit, or -1.
int digit_of(char c) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  auto const at = kDigits.find(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

Result<std::uint32_t> parse_number(std::string_view name, std::string_view text) {
  std::uint32_t number = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return invalid(fmt::format("{}={} is no number", name, text));
  }
  return number;
}

/// Names become part of table names, so nothing but what needs no quoting.
bool is_plain_name(std::string_view text) {
  return std::ranges::all_of(text,
                             [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

/// False: not an option of the engine's.
Result<bool> take_option(UrlOptions& options, std::string_view name, std::string const& value) {
  if (name == "table_prefix") {
    if (!is_plain_name(value)) {
      return invalid(fmt::format("table_prefix={} may contain letters, digits and _", value));
    }
    options.table_prefix = value;
    return true;
  }
  constexpr std::array<std::string_view, 4> kNumbers{"max_open_conns", "max_idle_conns",
                                                     "max_idle_time", "max_life_time"};
  if (std::ranges::find(kNumbers, name) == kNumbers.end()) {
    return false;
  }
  if (value.empty()) {
    return true;  // the default, as without the option
  }
  ZEST_TRY(auto const number, parse_number(name, value));
  if (name == "max_open_conns") {
    options.connections_max = number;
  } else if (name == "max_idle_conns") {
    options.idle_max = number;
  } else if (name == "max_idle_time") {
    options.idle_time = std::chrono::seconds(number);
  } else {
    options.life_time = std::chrono::seconds(number);
  }
  return true;
}

}  // namespace

Result<std::string> url_decode(std::string_view text, bool plus_is_blank) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_blank) {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      int const high = i + 2 < text.size() ? digit_of(text[i + 1]) : -1;
      int const low = i + 2 < text.size() ? digit_of(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        // The text may be a password, so it is not shown.
        return invalid("a % that is not followed by two hexadecimal digits (write it as %25)");
      }
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return out;
}

Result<UrlQuery> parse_query(std::string_view query) {
  UrlQuery parsed;
  while (!query.empty()) {
    auto const end = std::min(query.find('&'), query.size());
    auto const option = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (option.empty()) {
      continue;
    }
    auto const equals = std::min(option.find('='), option.size());
    ZEST_TRY(auto name, url_decode(option.substr(0, equals), true));
    ZEST_TRY(auto text, url_decode(option.substr(std::min(equals + 1, option.size())), true));
    parsed.emplace_back(std::move(name), std::move(text));
  }
  return parsed;
}

Result<UrlOptions> take_url_options(UrlQuery& query) {
  UrlOptions options;
  UrlQuery others;
  for (auto& [name, text] : query) {
    ZEST_TRY(bool const taken, take_option(options, name, text));
    if (!taken) {
      others.emplace_back(std::move(name), std::move(text));
    }
  }
  query = std::move(others);
  return options;
}

}  // namespace zest::meta::sql
