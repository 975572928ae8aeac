// Where a bucket is: what the URLs of the S3-like storages of the format say. Internal to s3/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/runtime/http/client.h"

namespace zest::s3 {

struct Place {
  std::string scheme;  ///< of the Setting: "s3", "minio", …
  bool tls = true;
  bool aws = false;  ///< the host follows from the region
  std::string host;  ///< without the bucket; empty for AWS
  std::uint16_t port = 443;
  std::string bucket;
  std::string region;
  bool path_style = true;  ///< http://host/bucket/key rather than http://bucket.host/key
  bool checksum = true;    ///< objects get and are checked by their CRC-32C
  std::string encryption;  ///< of the server: "AES256", "aws:kms", or empty
  std::string kms_key;     ///< for "aws:kms"; empty = the server's own

  /// The URL of the bucket as it is in `of_region`: the path is "/" or "/bucket/".
  [[nodiscard]] http::Url url(std::string_view of_region) const;
  /// "s3://host/bucket/", for messages.
  [[nodiscard]] std::string describe() const;
};

/// Is this one of the storages that speak S3?
bool is_s3_scheme(std::string_view scheme) noexcept;

/// Reads the Setting's Bucket for a storage of that kind (format/07 §1.6). The query may say
/// `disable-checksum=true`, `region=` (minio), `sse=AES256|aws:kms` and `sse-kms-key-id=`.
/// EINVAL says what is wrong and how it should look.
Result<Place> parse_place(std::string_view scheme, std::string const& bucket,
                          http::Environment const& environment);

}  // namespace zest::s3
