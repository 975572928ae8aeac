// Fixed-width integers in byte strings: big-endian almost everywhere, little-endian in KV counters
// (format/01, 04).
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "zest/base/result.h"

namespace zest {

static_assert(std::endian::native == std::endian::little,
              "only little-endian machines are supported");

/// `value` with its bytes reversed.
template <std::unsigned_integral Integer>
constexpr Integer swap_bytes(Integer value) noexcept {
  if constexpr (sizeof(Integer) == 1) {
    return value;
  } else if constexpr (sizeof(Integer) == 2) {
    return __builtin_bswap16(value);
  } else if constexpr (sizeof(Integer) == 4) {
    return __builtin_bswap32(value);
  } else {
    return __builtin_bswap64(value);
  }
}

/// Appends `value` to `out`, most significant byte first.
template <std::unsigned_integral Integer>
void append_be(std::string& out, Integer value) {
  auto const swapped = swap_bytes(value);
  char bytes[sizeof(Integer)];
  std::memcpy(bytes, &swapped, sizeof(Integer));
  out.append(bytes, sizeof(Integer));
}

/// Appends `value` to `out`, least significant byte first.
template <std::unsigned_integral Integer>
void append_le(std::string& out, Integer value) {
  char bytes[sizeof(Integer)];
  std::memcpy(bytes, &value, sizeof(Integer));
  out.append(bytes, sizeof(Integer));
}

/// Reads integers from the front of `bytes`, which must outlive the reader.
///
/// A read past the end yields zero and makes failed() true for good, so that a decoder reads all
/// its fields and tests once.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) noexcept : rest_(bytes) {}

  template <std::unsigned_integral Integer>
  Integer be() noexcept {
    return swap_bytes(le<Integer>());
  }
  template <std::unsigned_integral Integer>
  Integer le() noexcept {
    Integer value = 0;
    if (rest_.size() < sizeof(Integer)) {
      failed_ = true;
      rest_ = {};
      return value;
    }
    std::memcpy(&value, rest_.data(), sizeof(Integer));
    rest_.remove_prefix(sizeof(Integer));
    return value;
  }
  /// The next `count` bytes; empty when there are fewer.
  std::string_view bytes(std::size_t count) noexcept {
    if (rest_.size() < count) {
      failed_ = true;
      rest_ = {};
      return {};
    }
    auto const taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  [[nodiscard]] std::size_t remaining() const noexcept { return rest_.size(); }
  [[nodiscard]] std::string_view rest() const noexcept { return rest_; }
  [[nodiscard]] bool failed() const noexcept { return failed_; }
  /// True when everything was there and nothing is left over.
  [[nodiscard]] bool finished() const noexcept { return !failed_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool failed_ = false;
};

/// A KV counter or reference count: 8 bytes little-endian (format/01 §10).
std::string encode_counter_le(std::int64_t value);
/// A KV counter; any length but 8 is corrupt.
Result<std::int64_t> decode_counter_le(std::string_view bytes);

/// A KV lease or expiry time: 8 bytes big-endian (format/01 §10).
std::string encode_time_be(std::int64_t seconds);
/// A KV lease or expiry time; any length but 8 is corrupt.
Result<std::int64_t> decode_time_be(std::string_view bytes);

}  // namespace zest
