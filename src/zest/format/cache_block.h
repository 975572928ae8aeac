// Files of the disk cache: plain block, checksums, and for staged blocks of a tier a footer
// (format/07 §3.2, §3.3).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "zest/base/bytes.h"
#include "zest/base/result.h"

namespace zest {

/// One checksum covers this many bytes.
constexpr std::uint32_t kChecksumUnit = 32 * 1024;

/// What follows the block of `data` in its file: a CRC-32C a unit, big-endian.
std::string cache_checksums(ByteView data);

/// Size of the checksums of a block of `data_size` bytes.
std::uint32_t cache_checksums_size(std::uint32_t data_size) noexcept;

/// Compares `data`, which starts at unit `first_unit` of its block and ends at a unit's or the
/// block's end, with the block's `checksums`. Corrupt when they differ or are too short.
Result<void> verify_cache_checksums(ByteView data, std::uint32_t first_unit,
                                    std::string_view checksums);

/// Where the parts of a cache file are; the block is at 0, the checksums follow it, then the
/// footer.
struct CacheFileLayout {
  std::uint32_t data_size = 0;
  std::uint32_t checksums_size = 0;  ///< 0: not verifiable
  std::uint32_t footer_size = 0;     ///< 0: no footer, tier 0
  friend bool operator==(CacheFileLayout const&, CacheFileLayout const&) = default;
};

/// Tells the parts of a file by its size and that of its block (from the key). Corrupt: shorter
/// than block and checksums, or longer than any file.
Result<CacheFileLayout> cache_file_layout(std::uint64_t file_size, std::uint32_t data_size);

/// The footer of a staged block with a tier; its size tells whether checksums stand before it.
std::string encode_staging_footer(std::uint8_t tier, bool with_checksums);

/// The tier of a staged block; tiers above 3 read as 0. Corrupt: anything that is no footer of
/// exactly this size.
Result<std::uint8_t> decode_staging_footer(std::string_view footer);

}  // namespace zest
