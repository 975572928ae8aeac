// The layout of an encrypted object (format/07 §1.2); the ciphers are in the object module.
#pragma once

#include <string>
#include <string_view>

#include "zest/base/result.h"

namespace zest {

/// Bytes of the AEAD tag at the end of an encrypted object.
constexpr std::size_t kSealTagSize = 16;

/// The parts of an encrypted object; views into it.
struct SealedBlock {
  std::string_view wrapped_key;
  std::string_view nonce;
  std::string_view sealed;  ///< ciphertext and tag
};

/// What stands before the ciphertext: sizes, wrapped data key (at most 65535 bytes) and nonce (at
/// most 255).
std::string build_seal_header(std::string_view wrapped_key, std::string_view nonce);

/// Corrupt: too short for its own sizes, an empty key or nonce, no room for a tag.
Result<SealedBlock> parse_sealed_block(std::string_view object);

}  // namespace zest
