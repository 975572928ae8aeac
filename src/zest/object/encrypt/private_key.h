// The RSA key of an encrypted volume: it wraps the data key of every object (format/07 §1.2).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "zest/base/result.h"

namespace zest {

/// An RSA private key. Immutable: may be used by several threads at once. Its calls take up to some
/// milliseconds of CPU and never suspend; they belong to a pool.
class PrivateKey {
 public:
  /// Reads PEM text: PKCS#1 or PKCS#8, plain or encrypted under `passphrase`, which a plain key
  /// does not need. Errors never show the key or the passphrase: EACCES where the passphrase is
  /// missing or wrong, EINVAL for what is no private key or too short, ENOTSUP for one that is
  /// not RSA.
  static Result<std::unique_ptr<PrivateKey>> parse(std::string_view pem,
                                                   std::string_view passphrase);
  ~PrivateKey();
  PrivateKey(PrivateKey const&) = delete;
  PrivateKey& operator=(PrivateKey const&) = delete;

  /// Bytes of a wrapped key.
  [[nodiscard]] std::size_t wrapped_size() const noexcept;
  /// RSA-OAEP with SHA-256 and the format's label; another text each time.
  [[nodiscard]] Result<std::string> wrap(std::string_view data_key) const;
  /// Corrupt when `wrapped` was not made with this key.
  [[nodiscard]] Result<std::string> unwrap(std::string_view wrapped) const;

 private:
  struct Impl;
  explicit PrivateKey(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest
