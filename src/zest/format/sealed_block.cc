#include "zest/format/sealed_block.h"

#include <fmt/format.h>

#include "zest/base/assert.h"
#include "zest/format/endian.h"

namespace zest {

std::string build_seal_header(std::string_view wrapped_key, std::string_view nonce) {
  ZEST_ASSERT(wrapped_key.size() <= 0xFFFF && nonce.size() <= 0xFF);
  std::string out;
  out.reserve(3 + wrapped_key.size() + nonce.size());
  append_be(out, static_cast<std::uint16_t>(wrapped_key.size()));
  append_be(out, static_cast<std::uint8_t>(nonce.size()));
  out += wrapped_key;
  out += nonce;
  return out;
}

Result<SealedBlock> parse_sealed_block(std::string_view object) {
  ByteReader reader(object);
  auto const key_size = reader.be<std::uint16_t>();
  auto const nonce_size = reader.be<std::uint8_t>();
  SealedBlock block;
  block.wrapped_key = reader.bytes(key_size);
  block.nonce = reader.bytes(nonce_size);
  block.sealed = reader.rest();
  if (reader.failed() || key_size == 0 || nonce_size == 0 || block.sealed.size() < kSealTagSize) {
    return Error::corrupt(
        fmt::format("an object of {} bytes is no encrypted block", object.size()));
  }
  return block;
}

}  // namespace zest
