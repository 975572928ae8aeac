// Encrypted objects: a fresh data key and nonce each, the key wrapped (format/07 §1.2).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "zest/base/bytes.h"
#include "zest/base/result.h"
#include "zest/object/encrypt/private_key.h"

namespace zest {

/// Immutable: may be used by several threads at once. seal() and open() use the CPU for
/// milliseconds and never suspend; they belong to a pool.
class Sealer {
 public:
  /// `algorithm` as in the Setting: "" (= aes256gcm-rsa), aes256gcm-rsa or chacha20-rsa. ENOTSUP
  /// for sm4gcm, EINVAL for what the format does not know.
  static Result<std::unique_ptr<Sealer>> create(std::unique_ptr<PrivateKey> key,
                                                std::string_view algorithm);

  /// Most bytes that sealing adds.
  [[nodiscard]] std::size_t overhead() const noexcept;
  /// The stored form of the concatenation of `parts`.
  [[nodiscard]] Result<std::string> seal(std::span<ByteView const> parts) const;
  /// Decrypts `object` in its own memory and returns the part of it that is plain. Corrupt when a
  /// bit differs from what was sealed; then nothing of it must be used.
  [[nodiscard]] Result<ByteSpan> open(ByteSpan object) const;

 private:
  Sealer(std::unique_ptr<PrivateKey> key, char const* cipher);
  std::unique_ptr<PrivateKey> key_;
  char const* cipher_;
};

}  // namespace zest
