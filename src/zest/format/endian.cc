#include "zest/format/endian.h"

#include <fmt/format.h>

namespace zest {

namespace {

Error wrong_size(std::size_t size) {
  return Error::corrupt(fmt::format("a counter has {} bytes, not 8", size));
}

}  // namespace

std::string encode_counter_le(std::int64_t value) {
  std::string out;
  append_le(out, static_cast<std::uint64_t>(value));
  return out;
}

Result<std::int64_t> decode_counter_le(std::string_view bytes) {
  if (bytes.size() != 8) {
    return wrong_size(bytes.size());
  }
  return static_cast<std::int64_t>(ByteReader(bytes).le<std::uint64_t>());
}

std::string encode_time_be(std::int64_t seconds) {
  std::string out;
  append_be(out, static_cast<std::uint64_t>(seconds));
  return out;
}

Result<std::int64_t> decode_time_be(std::string_view bytes) {
  if (bytes.size() != 8) {
    return wrong_size(bytes.size());
  }
  return static_cast<std::int64_t>(ByteReader(bytes).be<std::uint64_t>());
}

}  // namespace zest
