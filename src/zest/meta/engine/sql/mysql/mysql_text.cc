#include "zest/meta/engine/sql/mysql/mysql_text.h"

#include <array>
#include <charconv>
#include <cstddef>
#include <string_view>
#include <variant>

#include "zest/base/assert.h"

namespace zest::meta::sql {

namespace {

void append_hex(std::string& out, std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  out += "x'";
  auto const begin = out.size();
  out.resize(begin + bytes.size() * 2);
  auto* to = out.data() + begin;
  for (char const c : bytes) {
    auto const byte = static_cast<unsigned char>(c);
    *to++ = kDigits[byte >> 4U];
    *to++ = kDigits[byte & 15U];
  }
  out += '\'';
}

void append_parameter(std::string& out, Parameter const& parameter) {
  if (auto const* number = std::get_if<std::int64_t>(&parameter)) {
    std::array<char, 24> digits{};
    auto const [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), *number);
    out.append(digits.data(), end);
  } else if (auto const* bytes = std::get_if<Bytes>(&parameter)) {
    append_hex(out, bytes->value);
  } else if (auto const* text = std::get_if<Text>(&parameter)) {
    out += "_utf8mb4 ";
    append_hex(out, text->value);
  } else {
    out += "NULL";
  }
}

}  // namespace

std::string batch_text(std::span<Statement const> statements) {
  std::string out;
  out.reserve(statements.size() * 192);
  for (auto const& statement : statements) {
    if (!out.empty()) {
      out += ';';
    }
    std::string_view text = statement.text;
    for (auto const& parameter : statement.parameters) {
      auto const mark = text.find('?');
      ZEST_ASSERT(mark != text.npos);
      out += text.substr(0, mark);
      append_parameter(out, parameter);
      text.remove_prefix(mark + 1);
    }
    ZEST_ASSERT(text.find('?') == text.npos);
    out += text;
  }
  return out;
}

}  // namespace zest::meta::sql
