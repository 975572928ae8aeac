// Sizes, durations and bandwidths as people write them (format/08 §1).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "zest/base/clock.h"
#include "zest/base/result.h"
#include "zest/base/types.h"

namespace zest::cli {

/// Bytes of `text`: a number (decimals allowed) and optionally B, K, M, G, T, P or E (powers of
/// 1024, either case, also as KiB or KB). A number alone counts in `unit` bytes. EINVAL, also for
/// what does not fit into 64 bits.
Result<std::uint64_t> parse_size(std::string_view text, std::uint64_t unit);

/// A number alone is seconds (decimals allowed); otherwise Go's syntax: numbers with ns, us, ms, s,
/// m, h, and d for days, such as `1d12h` or `500ms`. Never negative. EINVAL.
Result<Duration> parse_duration(std::string_view text);

/// Mbps of a number (decimals allowed), optionally with M, G, T or P (powers of 1000); rounded
/// down. EINVAL.
Result<std::int64_t> parse_bandwidth(std::string_view text);

/// Permission bits in octal, at most `max`. EINVAL.
Result<std::uint16_t> parse_octal(std::string_view text, std::uint16_t max);

/// `1536` → "1.50 KiB".
std::string format_size(std::uint64_t bytes);

}  // namespace zest::cli
