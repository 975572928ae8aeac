// Signature version 4 of AWS: how a request proves who sends it. Internal to s3/.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/bytes.h"
#include "zest/base/clock.h"
#include "zest/runtime/http/client.h"

namespace zest::s3 {

/// Who signs. An empty access key: nobody, requests go unsigned.
struct Credentials {
  std::string access_key;
  std::string secret_key;     ///< secret
  std::string session_token;  ///< secret; of temporary credentials
};

/// What stands for the body in a signature that doesn't cover it; for TLS only.
constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

/// SHA-256 of the concatenation, in hexadecimal digits. 0.5 to 2 GB/s.
std::string sha256_hex(std::span<ByteView const> parts);

/// The query as it is signed and sent: escaped, sorted.
std::string canonical_query(std::vector<http::Field> parameters);

struct Signing {
  std::string_view region;
  WallTime time;
  std::string_view payload;  ///< sha256_hex() of the body, or kUnsignedPayload
};

/// Adds X-Amz-Date, X-Amz-Content-Sha256, X-Amz-Security-Token and Authorization to the fields of
/// the request, whose path is escaped and whose query is canonical. Covers every field, and Host.
void sign(http::Request& request, Credentials const& credentials, Signing const& signing);

}  // namespace zest::s3
