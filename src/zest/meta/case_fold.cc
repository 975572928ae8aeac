#include "zest/meta/case_fold.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace zest::meta {
namespace {

struct FoldRange {
  char32_t first;
  char32_t last;
  std::uint32_t step;
  std::int32_t delta;
};
constexpr auto kFoldRanges = std::to_array<FoldRange>({
#include "zest/meta/case_fold.inc"
});

char32_t fold(char32_t c) noexcept {
  if (c < 0x80) {
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
  }
  // Ranges with a step lie inside of one another, so all that begin before are looked at.
  for (auto const& range : kFoldRanges) {
    if (range.first > c) {
      break;
    }
    if (c <= range.last && (c - range.first) % range.step == 0) {
      return static_cast<char32_t>(static_cast<std::int32_t>(c) + range.delta);
    }
  }
  return c;
}

// Takes one character from the front; a byte that begins none becomes a value that no character
// has.
char32_t next(std::string_view& text) noexcept {
  constexpr char32_t kNoCharacter = 0x110000;
  auto const lead = static_cast<unsigned char>(text.front());
  std::size_t const length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  constexpr std::array<unsigned char, 5> kLeadBits{0, 0x7F, 0x1F, 0x0F, 0x07};
  char32_t c = lead & kLeadBits.at(length);
  bool valid = (lead < 0x80 || lead >= 0xC2) && lead < 0xF5 && length <= text.size();
  for (std::size_t i = 1; valid && i < length; ++i) {
    auto const byte = static_cast<unsigned char>(text[i]);
    valid = (byte & 0xC0) == 0x80;
    c = (c << 6) | (byte & 0x3Fu);
  }
  text.remove_prefix(valid ? length : 1);
  return valid ? c : kNoCharacter + lead;
}

}  // namespace

bool equal_fold(std::string_view a, std::string_view b) noexcept {
  while (!a.empty() && !b.empty()) {
    if (fold(next(a)) != fold(next(b))) {
      return false;
    }
  }
  return a.empty() && b.empty();
}

}  // namespace zest::meta
