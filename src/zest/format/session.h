// The record that a client keeps about its session (format/01 §9).
#pragma once

#include <string>
#include <string_view>

#include "zest/base/clock.h"
#include "zest/base/result.h"
#include "zest/format/types.h"

namespace zest {

/// The JSON text with the peer's fields in the peer's order.
std::string encode_session(SessionInfo const& session);

/// Corrupt: no JSON object, or a field of a wrong type. Missing fields are empty.
Result<SessionInfo> decode_session(std::string_view json);

/// `time` for SessionInfo::mount_time: RFC 3339 in UTC, nanoseconds without trailing zeros.
std::string format_rfc3339(WallTime time);

}  // namespace zest
