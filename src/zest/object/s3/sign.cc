#include "zest/object/s3/sign.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <map>
#include <memory>
#include <utility>

#include "zest/base/assert.h"

namespace zest::s3 {
namespace {

using Digest = std::array<unsigned char, SHA256_DIGEST_LENGTH>;

unsigned char const* raw(std::string_view text) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): OpenSSL's bytes are unsigned.
  return reinterpret_cast<unsigned char const*>(text.data());
}
std::string_view text_of(Digest const& digest) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): OpenSSL's bytes are unsigned.
  return {reinterpret_cast<char const*>(digest.data()), digest.size()};
}

std::string hex(Digest const& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (auto const byte : digest) {
    out += kDigits[byte >> 4U];
    out += kDigits[byte & 15U];
  }
  return out;
}

Digest hmac(std::string_view key, std::string_view text) {
  Digest digest{};
  unsigned size = 0;
  auto const* const done = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), raw(text),
                                text.size(), digest.data(), &size);
  ZEST_ASSERT(done != nullptr && size == digest.size());
  return digest;
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 32) : c;
  });
  return out;
}

/// "20130524T000000Z"
std::string amz_date(WallTime time) {
  auto const seconds = static_cast<std::time_t>(time.sec);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  auto const size = std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &parts);
  return {text.data(), size};
}

}  // namespace

std::string sha256_hex(std::span<ByteView const> parts) {
  struct Free {
    void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> const context(EVP_MD_CTX_new());
  bool good = context != nullptr && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  for (auto const part : parts) {
    good = good && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
  }
  Digest digest{};
  good = good && EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1;
  ZEST_ASSERT(good);
  return hex(digest);
}

std::string canonical_query(std::vector<http::Field> parameters) {
  for (auto& parameter : parameters) {
    parameter.name = http::percent_encode(parameter.name, false);
    parameter.value = http::percent_encode(parameter.value, false);
  }
  std::ranges::sort(parameters, {}, [](auto const& p) { return std::pair(p.name, p.value); });
  std::string query;
  for (auto const& parameter : parameters) {
    query += query.empty() ? "" : "&";
    query += parameter.name + "=" + parameter.value;
  }
  return query;
}

void sign(http::Request& request, Credentials const& credentials, Signing const& signing) {
  auto const time = amz_date(signing.time);
  request.fields.push_back({"X-Amz-Content-Sha256", std::string(signing.payload)});
  request.fields.push_back({"X-Amz-Date", time});
  if (!credentials.session_token.empty()) {
    request.fields.push_back({"X-Amz-Security-Token", credentials.session_token});
  }
  std::map<std::string, std::string> sorted{{"host", request.url.authority()}};
  for (auto const& field : request.fields) {
    sorted[lower_case(field.name)] = field.value;
  }
  std::string canonical(request.method);
  canonical += "\n" + request.url.path + "\n" + request.url.query + "\n";
  std::string names;
  for (auto const& [name, value] : sorted) {
    canonical += name + ":" + value + "\n";
    names += (names.empty() ? "" : ";") + name;
  }
  canonical += "\n" + names + "\n";
  canonical += signing.payload;
  auto const date = time.substr(0, 8);
  auto const scope = date + "/" + std::string(signing.region) + "/s3/aws4_request";
  ByteView const whole[] = {as_bytes(canonical)};
  auto const to_sign = "AWS4-HMAC-SHA256\n" + time + "\n" + scope + "\n" + sha256_hex(whole);
  auto key = hmac("AWS4" + credentials.secret_key, date);
  for (auto const step :
       {signing.region, std::string_view("s3"), std::string_view("aws4_request")}) {
    key = hmac(text_of(key), step);
  }
  request.fields.push_back(
      {"Authorization", "AWS4-HMAC-SHA256 Credential=" + credentials.access_key + "/" + scope +
                            ",SignedHeaders=" + names +
                            ",Signature=" + hex(hmac(text_of(key), to_sign))});
}

}  // namespace zest::s3
