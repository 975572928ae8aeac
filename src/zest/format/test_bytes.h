// Readable byte strings for tests.
#pragma once

#include <cctype>
#include <string>
#include <string_view>

namespace zest {

/// Bytes of hexadecimal digits; everything else is ignored, so that digits may be grouped.
inline std::string from_hex(std::string_view digits) {
  std::string out;
  int high = -1;
  for (char const c : digits) {
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) {
      continue;
    }
    int const value =
        std::isdigit(static_cast<unsigned char>(c)) != 0 ? c - '0' : (c | 0x20) - 'a' + 10;
    if (high < 0) {
      high = value;
    } else {
      out.push_back(static_cast<char>(high * 16 + value));
      high = -1;
    }
  }
  return out;
}

/// Lower-case hexadecimal digits of `bytes`.
inline std::string to_hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (char const c : bytes) {
    auto const value = static_cast<unsigned char>(c);
    out.push_back(kDigits[value >> 4]);
    out.push_back(kDigits[value & 15]);
  }
  return out;
}

}  // namespace zest
