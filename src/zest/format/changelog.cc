#include "zest/format/changelog.h"

#include <charconv>

#include <fmt/format.h>

namespace zest {

std::string escape_change(std::string_view text) {
  constexpr std::string_view kSpecial = ",%()\"\\";
  std::string out;
  out.reserve(text.size());
  for (char const c : text) {
    auto const code = static_cast<unsigned char>(c);
    if (code < 32 || code >= 127 || kSpecial.find(c) != std::string_view::npos) {
      fmt::format_to(std::back_inserter(out), "%{:02X}", code);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

Result<std::string> unescape_change(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    auto const digits = text.substr(i + 1, 2);
    unsigned code = 0;
    auto const [stop, failure] =
        std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (failure != std::errc{} || stop != digits.data() + 2) {
      return Error::corrupt("a text of the change log has a percent sign without two hex digits");
    }
    out.push_back(static_cast<char>(code));
    i += 2;
  }
  return out;
}

Change::Change(std::string_view operation) : arguments_(fmt::format("{}(", operation)) {}

void Change::add(std::string_view value) {
  if (has_arguments_) {
    arguments_.push_back(',');
  }
  has_arguments_ = true;
  arguments_ += value;
}

Change& Change::number(std::uint64_t value) {
  add(fmt::format("{}", value));
  return *this;
}

Change& Change::signed_number(std::int64_t value) {
  add(fmt::format("{}", value));
  return *this;
}

Change& Change::flag(bool value) {
  add(value ? "true" : "false");
  return *this;
}

Change& Change::text(std::string_view value) {
  add(escape_change(value));
  return *this;
}

Change& Change::result(std::uint64_t value) {
  fmt::format_to(std::back_inserter(results_), "{}{}", results_.empty() ? ':' : ',', value);
  return *this;
}

std::string Change::line(WallTime time, SessionId session, std::uint64_t transaction) const {
  return fmt::format("{}.{:09}|{}){}|({},{})", time.sec, time.nsec, arguments_, results_,
                     session.value, transaction);
}

}  // namespace zest
