// The encryption of the Setting's secrets (format/00 §4.1). Since the key is derived from the UUID
// in the same document this only keeps secrets from casual eyes; it exists for compatibility.
#include <algorithm>
#include <array>
#include <memory>

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "zest/format/setting.h"

namespace zest {

namespace {

constexpr std::size_t kNonceSize = 12;
constexpr std::size_t kTagSize = 16;
constexpr std::size_t kKeySize = 16;

using Key = std::array<unsigned char, kKeySize>;

struct FreeCipher {
  void operator()(EVP_CIPHER* cipher) const { EVP_CIPHER_free(cipher); }
};
struct FreeCipherContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Cipher = std::unique_ptr<EVP_CIPHER, FreeCipher>;
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, FreeCipherContext>;

unsigned char* raw(std::string& text) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): OpenSSL's bytes are unsigned.
  return reinterpret_cast<unsigned char*>(text.data());
}
unsigned char const* raw(std::string_view text) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): OpenSSL's bytes are unsigned.
  return reinterpret_cast<unsigned char const*>(text.data());
}

Error openssl_failed(std::string_view what) {
  return {Errc::io, Fault::bug, fmt::format("OpenSSL: {} failed", what)};
}

/// The cipher and key that a volume's algorithm and UUID ask for.
struct Scheme {
  Cipher cipher;
  Key key{};
};

Result<Scheme> scheme_of(Setting const& setting) {
  bool const sm4 = setting.encrypt_algo == "sm4gcm";
  Scheme scheme;
  scheme.cipher.reset(EVP_CIPHER_fetch(nullptr, sm4 ? "SM4-GCM" : "AES-128-GCM", nullptr));
  // SM3-KDF of one block: SM3(text || big-endian 1), cut to the key's size.
  auto material = setting.uuid;
  if (sm4) {
    material.append("\0\0\0\1", 4);
  }
  auto const* const digest = EVP_get_digestbyname(sm4 ? "SM3" : "MD5");
  if (!scheme.cipher || digest == nullptr) {
    return Error(Errc::notsup, Fault::semantic,
                 fmt::format("this build of OpenSSL has no {}, which encrypts the secrets of "
                             "volume {}: use OpenSSL 3.1 "
                             "or later",
                             sm4 ? "SM4-GCM" : "AES-128-GCM or MD5", setting.name));
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  if (EVP_Digest(material.data(), material.size(), hash.data(), nullptr, digest, nullptr) != 1) {
    return openssl_failed("hashing the UUID");
  }
  std::copy_n(hash.begin(), kKeySize, scheme.key.begin());
  return scheme;
}

std::string to_base64(std::string_view bytes) {
  // EVP_EncodeBlock writes a terminating NUL behind the text.
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  auto const size = EVP_EncodeBlock(raw(out), raw(bytes), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

/// Strict standard base64 with padding; false for anything else.
bool from_base64(std::string_view text, std::string& out) {
  auto const pad = text.ends_with("==") ? std::size_t{2} : text.ends_with('=') ? std::size_t{1} : 0;
  auto const body = text.substr(0, text.size() - pad);
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.empty() || text.size() % 4 != 0 ||
      body.find_first_not_of(kAlphabet) != std::string_view::npos) {
    return false;
  }
  out.assign(text.size() / 4 * 3, '\0');
  if (EVP_DecodeBlock(raw(out), raw(text), static_cast<int>(text.size())) < 0) {
    return false;
  }
  out.resize(out.size() - pad);
  return true;
}

Result<std::string> seal(Scheme const& scheme, std::string_view plain) {
  std::string nonce(kNonceSize, '\0');
  std::string body(plain.size(), '\0');
  std::string tag(kTagSize, '\0');
  CipherContext const context(EVP_CIPHER_CTX_new());
  int size = 0;
  bool const done = RAND_bytes(raw(nonce), static_cast<int>(kNonceSize)) == 1 && context &&
                    EVP_EncryptInit_ex2(context.get(), scheme.cipher.get(), scheme.key.data(),
                                        raw(nonce), nullptr) == 1 &&
                    EVP_EncryptUpdate(context.get(), raw(body), &size, raw(plain),
                                      static_cast<int>(plain.size())) == 1 &&
                    EVP_EncryptFinal_ex(context.get(), raw(tag), &size) == 1 &&
                    EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG,
                                        static_cast<int>(kTagSize), raw(tag)) == 1;
  if (!done) {
    return openssl_failed("encrypting a secret");
  }
  return to_base64(nonce + body + tag);
}

Result<std::string> open(Scheme const& scheme, std::string_view sealed, std::string_view field) {
  std::string bytes;
  bool valid = sealed != kRedactedSecret && from_base64(sealed, bytes) &&
               bytes.size() >= kNonceSize + kTagSize;
  std::string plain;
  if (valid) {
    auto const view = std::string_view(bytes);
    auto const body = view.substr(kNonceSize, view.size() - kNonceSize - kTagSize);
    std::string tag(view.substr(view.size() - kTagSize));
    plain.assign(body.size(), '\0');
    CipherContext const context(EVP_CIPHER_CTX_new());
    int size = 0;
    unsigned char nothing[1];
    valid = context &&
            EVP_DecryptInit_ex2(context.get(), scheme.cipher.get(), scheme.key.data(), raw(view),
                                nullptr) == 1 &&
            EVP_DecryptUpdate(context.get(), raw(plain), &size, raw(body),
                              static_cast<int>(body.size())) == 1 &&
            EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, static_cast<int>(kTagSize),
                                raw(tag)) == 1 &&
            EVP_DecryptFinal_ex(context.get(), nothing, &size) == 1;
  }
  if (!valid) {
    return Error(Errc::inval, Fault::semantic,
                 fmt::format("{} of the volume {}: set it again with `config`", field,
                             sealed == kRedactedSecret ? "was removed (as in every dump)"
                                                       : "does not decrypt under its UUID"));
  }
  return plain;
}

struct Secret {
  std::string Setting::* field;
  std::string_view name;
};
constexpr std::array<Secret, 3> kSecrets{{{&Setting::secret_key, "SecretKey"},
                                          {&Setting::session_token, "SessionToken"},
                                          {&Setting::encrypt_key, "EncryptKey"}}};

}  // namespace

Result<void> encrypt_secrets(Setting& setting) {
  auto const is_set = [&](Secret const& secret) { return !(setting.*secret.field).empty(); };
  if (setting.key_encrypted || std::ranges::none_of(kSecrets, is_set)) {
    return {};
  }
  ZEST_TRY(auto const scheme, scheme_of(setting));
  auto changed = setting;
  for (auto const& secret : kSecrets) {
    if (auto& text = changed.*secret.field; !text.empty()) {
      ZEST_TRY(text, seal(scheme, text));
    }
  }
  changed.key_encrypted = true;
  setting = std::move(changed);
  return {};
}

Result<void> decrypt_secrets(Setting& setting) {
  if (!setting.key_encrypted) {
    return {};
  }
  ZEST_TRY(auto const scheme, scheme_of(setting));
  auto changed = setting;
  for (auto const& secret : kSecrets) {
    if (auto& text = changed.*secret.field; !text.empty()) {
      ZEST_TRY(text, open(scheme, text, secret.name));
    }
  }
  changed.key_encrypted = false;
  setting = std::move(changed);
  return {};
}

}  // namespace zest
