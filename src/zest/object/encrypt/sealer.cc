#include "zest/object/encrypt/sealer.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <array>
#include <limits>
#include <utility>

#include "zest/format/sealed_block.h"

namespace zest {
namespace {

constexpr std::size_t kKeySize = 32;
constexpr std::size_t kNonceSize = 12;

struct FreeCipherContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
struct FreeCipher {
  void operator()(EVP_CIPHER* cipher) const { EVP_CIPHER_free(cipher); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, FreeCipherContext>;
using Cipher = std::unique_ptr<EVP_CIPHER, FreeCipher>;

/// A data key that does not stay in memory.
struct DataKey {
  DataKey() = default;
  ~DataKey() { OPENSSL_cleanse(text.data(), text.size()); }
  DataKey(DataKey const&) = delete;
  DataKey& operator=(DataKey const&) = delete;
  std::string text;
};

// NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast): OpenSSL's bytes are unsigned.
template <class Bytes>
unsigned char const* raw(Bytes const& bytes) {
  return reinterpret_cast<unsigned char const*>(bytes.data());
}
unsigned char* raw_out(std::string& text, std::size_t at = 0) {
  return reinterpret_cast<unsigned char*>(text.data() + at);
}
// NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)

Error openssl_failed(std::string_view what) {
  ERR_clear_error();
  return {Errc::io, Fault::bug, "OpenSSL: " + std::string(what) + " failed"};
}

/// OpenSSL counts in int.
bool fits(std::size_t size) {
  return size <= std::numeric_limits<int>::max();
}

bool encrypt_parts(EVP_CIPHER_CTX* context, std::span<ByteView const> parts, std::string& out,
                   std::size_t at) {
  int size = 0;
  for (auto const& part : parts) {
    if (EVP_EncryptUpdate(context, raw_out(out, at), &size, raw(part),
                          static_cast<int>(part.size())) != 1) {
      return false;
    }
    at += static_cast<std::size_t>(size);
  }
  return EVP_EncryptFinal_ex(context, raw_out(out, at), &size) == 1 &&
         EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kSealTagSize, raw_out(out, at)) == 1;
}

}  // namespace

Sealer::Sealer(std::unique_ptr<PrivateKey> key, char const* cipher)
    : key_(std::move(key)), cipher_(cipher) {}

Result<std::unique_ptr<Sealer>> Sealer::create(std::unique_ptr<PrivateKey> key,
                                               std::string_view algorithm) {
  char const* cipher = nullptr;
  if (algorithm.empty() || algorithm == "aes256gcm-rsa") {
    cipher = "AES-256-GCM";
  } else if (algorithm == "chacha20-rsa") {
    cipher = "ChaCha20-Poly1305";
  } else {
    bool const of_the_format = algorithm == "sm4gcm";
    return Error(of_the_format ? Errc::notsup : Errc::inval, Fault::semantic,
                 std::string(of_the_format ? "unsupported" : "unknown") +
                     " encryption algorithm \"" + std::string(algorithm) +
                     "\"; supported are: aes256gcm-rsa, chacha20-rsa");
  }
  // The constructor is private because the algorithm has to be checked first.
  return std::unique_ptr<Sealer>(
      new Sealer(std::move(key), cipher));  // tidy: allow(new) private constructor
}

std::size_t Sealer::overhead() const noexcept {
  return 3 + key_->wrapped_size() + kNonceSize + kSealTagSize;
}

Result<std::string> Sealer::seal(std::span<ByteView const> parts) const {
  std::size_t plain = 0;
  for (auto const& part : parts) {
    plain += part.size();
  }
  if (!fits(plain)) {
    return Errc::fbig;
  }
  DataKey key;
  key.text.resize(kKeySize);
  std::string nonce(kNonceSize, '\0');
  if (RAND_priv_bytes(raw_out(key.text), kKeySize) != 1 ||
      RAND_bytes(raw_out(nonce), kNonceSize) != 1) {
    return openssl_failed("making a key");
  }
  ZEST_TRY(auto const wrapped, key_->wrap(key.text));
  auto out = build_seal_header(wrapped, nonce);
  auto const at = out.size();
  out.resize(at + plain + kSealTagSize);
  Cipher const cipher(EVP_CIPHER_fetch(nullptr, cipher_, nullptr));
  CipherContext const context(EVP_CIPHER_CTX_new());
  if (!cipher || !context ||
      EVP_EncryptInit_ex2(context.get(), cipher.get(), raw(key.text), raw(nonce), nullptr) != 1 ||
      !encrypt_parts(context.get(), parts, out, at)) {
    return openssl_failed("encrypting an object");
  }
  return out;
}

Result<ByteSpan> Sealer::open(ByteSpan object) const {
  ZEST_TRY(auto const block, parse_sealed_block(as_text(object)));
  if (block.nonce.size() != kNonceSize || !fits(block.sealed.size())) {
    return Error::corrupt("an impossible nonce or size");
  }
  DataKey key;
  ZEST_TRY(key.text, key_->unwrap(block.wrapped_key));
  if (key.text.size() != kKeySize) {
    return Error::corrupt("its data key has an impossible size");
  }
  auto const size = block.sealed.size() - kSealTagSize;
  auto const plain = object.subspan(object.size() - block.sealed.size(), size);
  auto tag = std::string(block.sealed.substr(size));
  Cipher const cipher(EVP_CIPHER_fetch(nullptr, cipher_, nullptr));
  CipherContext const context(EVP_CIPHER_CTX_new());
  if (!cipher || !context ||
      EVP_DecryptInit_ex2(context.get(), cipher.get(), raw(key.text), raw(block.nonce), nullptr) !=
          1) {
    return openssl_failed("preparing decryption");
  }
  int got = 0;
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): OpenSSL's bytes are unsigned.
  auto* const bytes = reinterpret_cast<unsigned char*>(plain.data());
  std::array<unsigned char, EVP_MAX_BLOCK_LENGTH> none{};
  if (EVP_DecryptUpdate(context.get(), bytes, &got, bytes, static_cast<int>(size)) != 1 ||
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kSealTagSize, raw_out(tag)) != 1 ||
      EVP_DecryptFinal_ex(context.get(), none.data(), &got) != 1) {
    ERR_clear_error();
    return Error::corrupt("its bytes differ from what was encrypted");
  }
  return plain;
}

}  // namespace zest
