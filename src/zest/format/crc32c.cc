#include "zest/format/crc32c.h"

#include <array>
#include <cstring>

#ifdef __x86_64__
#include <nmmintrin.h>
#endif

namespace zest {

namespace {

using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

/// Table k advances a byte's remainder by k further bytes, so that eight lookups consume eight
/// bytes ("slicing by 8").
constexpr Tables make_tables() {
  constexpr std::uint32_t kPolynomial = 0x82F63B78;  // Castagnoli, bits reversed
  Tables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    auto crc = byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    }
    tables[0][byte] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      auto const before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

#ifdef __x86_64__
__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(ByteView data,
                                                             std::uint32_t crc) noexcept {
  auto state = std::uint64_t{~crc};
  while (data.size() >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data.data(), 8);
    state = _mm_crc32_u64(state, word);
    data = data.subspan(8);
  }
  auto rest = static_cast<std::uint32_t>(state);
  for (auto const byte : data) {
    rest = _mm_crc32_u8(rest, static_cast<std::uint8_t>(byte));
  }
  return ~rest;
}
#endif

}  // namespace

std::uint32_t crc32c_portable(ByteView data, std::uint32_t crc) noexcept {
  auto state = ~crc;
  while (data.size() >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data.data(), 8);
    word ^= state;
    state = 0;
    for (std::size_t k = 0; k < 8; ++k) {
      state ^= kTables[7 - k][(word >> (8 * k)) & 0xFF];
    }
    data = data.subspan(8);
  }
  for (auto const byte : data) {
    state = (state >> 8) ^ kTables[0][(state ^ static_cast<std::uint8_t>(byte)) & 0xFF];
  }
  return ~state;
}

std::uint32_t crc32c(ByteView data, std::uint32_t crc) noexcept {
#ifdef __x86_64__
  if (__builtin_cpu_supports("sse4.2") != 0) {
    return crc32c_sse42(data, crc);
  }
#endif
  return crc32c_portable(data, crc);
}

}  // namespace zest
