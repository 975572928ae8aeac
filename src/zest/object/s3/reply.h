// What an S3 server answers: XML documents, times, and errors. Pure; input is hostile. Internal to
// s3/.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/object/store.h"
#include "zest/runtime/http/message.h"

namespace zest::s3 {

/// "2026-11-26T16:44:36.123Z" or "Thu, 26 Nov 2026 16:44:36 GMT".
std::optional<WallTime> parse_time(std::string_view text);

/// A page of ListObjectsV2 with encoded keys. EIO (transient) when it is no such document, or when
/// its keys don't ascend, or are not what `request` asked for.
Result<ObjectPage> parse_list(std::string_view xml, ListObjects const& request);

/// The text of the element `name` below the root; empty when it isn't there.
std::string parse_element(std::string_view xml, std::string_view root, std::string_view name);

/// What a reply says when it is no success.
struct Refusal {
  int status = 0;
  std::string code;  ///< "NoSuchKey"; made from the status where the reply has no body
  std::string message;
  std::string request_id;
  std::string region;  ///< where the bucket is, when the server says so
};
/// nullopt for a success. A 200 may hide an error in its body (copies, completed uploads).
std::optional<Refusal> parse_refusal(http::Head const& head, std::string_view body);

/// The error for it: ENOENT for objects and uploads that are not there, EACCES, EINVAL, EFBIG,
/// EDQUOT, ENOSPC, ENOTSUP as definite answers; transient for what may pass.
Error error_of(Refusal const& refusal);

}  // namespace zest::s3
