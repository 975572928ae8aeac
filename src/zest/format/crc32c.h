// CRC-32C (Castagnoli), as cache files and object metadata carry it (format/07 §1.5, §3.2).
#pragma once

#include <cstdint>

#include "zest/base/bytes.h"

namespace zest {

/// The checksum of `data`; `crc` is that of what stands before it. Measured: 3.6 GB/s with
/// SSE 4.2, 1.2 GB/s without.
std::uint32_t crc32c(ByteView data, std::uint32_t crc = 0) noexcept;

/// The same without special instructions; for tests.
std::uint32_t crc32c_portable(ByteView data, std::uint32_t crc = 0) noexcept;

}  // namespace zest
