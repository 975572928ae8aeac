// Compression of whole blocks as volumes store them (format/07 §1.1). CPU-bound: a block takes
// milliseconds, so it runs on the cpu pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "zest/base/bytes.h"
#include "zest/base/result.h"

namespace zest {

enum class Compression : std::uint8_t {
  none,
  lz4,   ///< one raw LZ4 block: no frame, no size
  zstd,  ///< one frame, level 1
};

/// "", "none", "lz4", "zstd"; EINVAL with a message otherwise.
Result<Compression> parse_compression(std::string_view name);

/// Most bytes that compress() writes for `size` bytes.
std::size_t compress_bound(Compression kind, std::size_t size) noexcept;

/// Compresses `plain` into `out` (at least compress_bound() long); returns the compressed size.
/// `kind` is not none. Blocks.
Result<std::size_t> compress(Compression kind, ByteView plain, ByteSpan out);

/// Decompresses `stored` into `out`, whose size is the block's; corrupt when the content is damaged
/// or of another size. Blocks.
Result<void> decompress(Compression kind, ByteView stored, ByteSpan out);

}  // namespace zest
