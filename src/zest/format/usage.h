// Usage records: directory statistics and quotas (format/01 §5, §6).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/format/types.h"

namespace zest {

/// What a quota counts; the values are stored by SQL.
enum class QuotaType : std::uint8_t { directory = 0, user = 1, group = 2 };

/// Limits at or below 0 limit nothing; −1 is what is stored for "unlimited". Space is in bytes,
/// align_4k a file.
struct Quota {
  std::int64_t max_space = 0;
  std::int64_t max_inodes = 0;
  std::int64_t used_space = 0;
  std::int64_t used_inodes = 0;
  friend bool operator==(Quota const&, Quota const&) = default;
};

/// KV: 24 bytes.
std::string encode_dir_stat(DirStat const& stat);
/// Corrupt: any length but 24.
Result<DirStat> decode_dir_stat(std::string_view bytes);

/// KV: 32 bytes.
std::string encode_quota(Quota const& quota);
/// Corrupt: any length but 32.
Result<Quota> decode_quota(std::string_view bytes);

/// Redis: the limits only, 16 bytes; the use is in decimal fields of other hashes.
std::string encode_quota_limits(Quota const& quota);
/// A quota with nothing used yet. Corrupt: any length but 16.
Result<Quota> decode_quota_limits(std::string_view bytes);

/// A decimal number as Redis keeps counters and usage. Corrupt: anything else.
Result<std::int64_t> decode_decimal(std::string_view text);

}  // namespace zest
