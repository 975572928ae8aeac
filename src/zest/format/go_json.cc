#include "zest/format/go_json.h"

#include <cstdint>

#include <fmt/format.h>

namespace zest {

namespace {

struct Rune {
  std::uint32_t code = 0;
  std::size_t size = 0;  ///< 0: not valid UTF-8
};

bool continues(std::string_view text, std::size_t index) {
  return index < text.size() && (static_cast<unsigned char>(text[index]) & 0xC0U) == 0x80;
}

std::uint32_t low_bits(char byte, std::uint32_t mask) {
  return static_cast<unsigned char>(byte) & mask;
}

/// Decodes one character; refuses overlong forms, surrogates and what lies beyond U+10FFFF, as Go
/// does.
Rune decode_rune(std::string_view text) {
  auto const lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) {
    return {lead, 1};
  }
  if (lead >= 0xC2 && lead <= 0xDF && continues(text, 1)) {
    return {(low_bits(text[0], 0x1F) << 6) | low_bits(text[1], 0x3F), 2};
  }
  if ((lead & 0xF0U) == 0xE0 && continues(text, 1) && continues(text, 2)) {
    auto const code =
        (low_bits(text[0], 0x0F) << 12) | (low_bits(text[1], 0x3F) << 6) | low_bits(text[2], 0x3F);
    bool const valid = code >= 0x800 && (code < 0xD800 || code > 0xDFFF);
    return {code, valid ? std::size_t{3} : 0};
  }
  if (lead >= 0xF0 && lead <= 0xF4 && continues(text, 1) && continues(text, 2) &&
      continues(text, 3)) {
    auto const code = (low_bits(text[0], 0x07) << 18) | (low_bits(text[1], 0x3F) << 12) |
                      (low_bits(text[2], 0x3F) << 6) | low_bits(text[3], 0x3F);
    bool const valid = code >= 0x10000 && code <= 0x10FFFF;
    return {code, valid ? std::size_t{4} : 0};
  }
  return {};
}

void append_ascii(std::string& out, char c) {
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\b': out += "\\b"; return;
    case '\f': out += "\\f"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    default: break;
  }
  auto const code = static_cast<unsigned char>(c);
  if (code < 0x20 || c == '<' || c == '>' || c == '&') {
    fmt::format_to(std::back_inserter(out), "\\u{:04x}", code);
  } else {
    out.push_back(c);
  }
}

}  // namespace

void append_go_json_string(std::string& out, std::string_view text) {
  out.push_back('"');
  while (!text.empty()) {
    auto const rune = decode_rune(text);
    if (rune.size == 0) {
      out += "\\ufffd";
      text.remove_prefix(1);
      continue;
    }
    if (rune.size == 1) {
      append_ascii(out, text[0]);
    } else if (rune.code == 0x2028 || rune.code == 0x2029) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", rune.code);
    } else {
      out.append(text.substr(0, rune.size));
    }
    text.remove_prefix(rune.size);
  }
  out.push_back('"');
}

}  // namespace zest
