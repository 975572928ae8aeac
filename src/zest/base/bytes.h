// Views of raw bytes and conversions between bytes and text views.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace zest {

using ByteView = std::span<std::byte const>;
using ByteSpan = std::span<std::byte>;

inline ByteView as_bytes(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(ByteView bytes) noexcept {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes and chars alias by
  // definition.
  return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}

}  // namespace zest
