#include "zest/object/encrypt/private_key.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace zest {
namespace {

constexpr std::string_view kLabel = "keys";
/// A data key of 32 bytes and the 66 that OAEP with SHA-256 adds.
constexpr int kRsaBytesMin = 98;

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

unsigned char* raw(std::string& text) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): OpenSSL's bytes are unsigned.
  return reinterpret_cast<unsigned char*>(text.data());
}
unsigned char const* raw(std::string_view text) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): OpenSSL's bytes are unsigned.
  return reinterpret_cast<unsigned char const*>(text.data());
}

struct Passphrase {
  std::string_view text;
  bool asked = false;  ///< the key is encrypted
};

/// OpenSSL asks here; without a callback it would ask on the terminal.
int give_passphrase(char* out, int size, int /*writing*/, void* user) {
  auto& passphrase = *static_cast<Passphrase*>(user);
  passphrase.asked = true;
  if (passphrase.text.empty() || passphrase.text.size() > static_cast<std::size_t>(size)) {
    return -1;
  }
  std::ranges::copy(passphrase.text, out);
  return static_cast<int>(passphrase.text.size());
}

Error refused(Errc code, std::string message) {
  ERR_clear_error();
  return {code, Fault::semantic, std::move(message)};
}

Error not_readable(Passphrase const& passphrase) {
  if (!passphrase.asked) {
    return refused(
        Errc::inval,
        "the encryption key is no private key in PEM form: make one with openssl genrsa");
  }
  if (passphrase.text.empty()) {
    return refused(Errc::acces,
                   "the encryption key has a passphrase: set it in the variable "
                   "JFS_RSA_PASSPHRASE");
  }
  return refused(Errc::acces,
                 "the encryption key cannot be opened: the passphrase in JFS_RSA_PASSPHRASE is "
                 "wrong, or the key is damaged");
}

using Step = int (*)(EVP_PKEY_CTX*, unsigned char*, std::size_t*, unsigned char const*,
                     std::size_t);

bool use_oaep(EVP_PKEY_CTX* context) {
  if (EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) <= 0 ||
      EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) <= 0 ||
      EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) <= 0) {
    return false;
  }
  // The context takes the label over only when it accepts it.
  void* const label = OPENSSL_memdup(kLabel.data(), kLabel.size());
  if (label == nullptr ||
      EVP_PKEY_CTX_set0_rsa_oaep_label(context, label, static_cast<int>(kLabel.size())) <= 0) {
    OPENSSL_free(label);
    return false;
  }
  return true;
}

/// Empty when OpenSSL refuses.
std::string transform(EVP_PKEY* key, int (*init)(EVP_PKEY_CTX*), Step step, std::string_view in) {
  Owned<EVP_PKEY_CTX> const context(EVP_PKEY_CTX_new(key, nullptr));
  std::string out(static_cast<std::size_t>(EVP_PKEY_get_size(key)), '\0');
  auto size = out.size();
  if (!context || init(context.get()) <= 0 || !use_oaep(context.get()) ||
      step(context.get(), raw(out), &size, raw(in), in.size()) <= 0) {
    ERR_clear_error();
    OPENSSL_cleanse(out.data(), out.size());
    return {};
  }
  OPENSSL_cleanse(out.data() + size, out.size() - size);
  out.resize(size);
  return out;
}

}  // namespace

struct PrivateKey::Impl {
  Owned<EVP_PKEY> key;
};

PrivateKey::PrivateKey(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PrivateKey::~PrivateKey() = default;

Result<std::unique_ptr<PrivateKey>> PrivateKey::parse(std::string_view pem,
                                                      std::string_view passphrase) {
  if (pem.size() > std::numeric_limits<int>::max()) {
    return Errc::inval;
  }
  Owned<BIO> const text(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!text) {
    return Errc::nomem;
  }
  Passphrase given{.text = passphrase};
  auto impl = std::make_unique<Impl>();
  impl->key.reset(PEM_read_bio_PrivateKey(text.get(), nullptr, give_passphrase, &given));
  if (!impl->key) {
    return not_readable(given);
  }
  if (EVP_PKEY_get_base_id(impl->key.get()) != EVP_PKEY_RSA) {
    return refused(Errc::notsup, "the encryption key is no RSA key; other kinds are not supported");
  }
  if (EVP_PKEY_get_size(impl->key.get()) < kRsaBytesMin) {
    return refused(Errc::inval, "the encryption key is too short: use RSA with 2048 bits or more");
  }
  // The constructor is private because the object is usable only with a key.
  return std::unique_ptr<PrivateKey>(
      new PrivateKey(std::move(impl)));  // tidy: allow(new) private constructor
}

std::size_t PrivateKey::wrapped_size() const noexcept {
  return static_cast<std::size_t>(EVP_PKEY_get_size(impl_->key.get()));
}

Result<std::string> PrivateKey::wrap(std::string_view data_key) const {
  auto out = transform(impl_->key.get(), EVP_PKEY_encrypt_init, EVP_PKEY_encrypt, data_key);
  if (out.empty()) {
    return Error(Errc::io, Fault::bug, "OpenSSL: wrapping a data key failed");
  }
  return out;
}

Result<std::string> PrivateKey::unwrap(std::string_view wrapped) const {
  auto out = transform(impl_->key.get(), EVP_PKEY_decrypt_init, EVP_PKEY_decrypt, wrapped);
  if (out.empty()) {
    return Error::corrupt("its data key was not wrapped with this volume's encryption key");
  }
  return out;
}

}  // namespace zest
