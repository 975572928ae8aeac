#include "zest/chunk/compress.h"

#include <lz4.h>
#include <zstd.h>

#include <string>

#include "zest/base/assert.h"

namespace zest {
namespace {

constexpr int kZstdLevel = 1;  // the peer's; part of the format only in so far as any level decodes

char const* chars(ByteView bytes) noexcept {
  return as_text(bytes).data();
}
char* chars(ByteSpan bytes) noexcept {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes and chars alias.
  return reinterpret_cast<char*>(bytes.data());
}

Error wrong_size(std::string_view kind, std::size_t expected) {
  return Error::corrupt(std::string(kind) + " block does not decompress to its " +
                        std::to_string(expected) + " bytes");
}

}  // namespace

Result<Compression> parse_compression(std::string_view name) {
  if (name.empty() || name == "none") {
    return Compression::none;
  }
  if (name == "lz4") {
    return Compression::lz4;
  }
  if (name == "zstd") {
    return Compression::zstd;
  }
  return Error(Errc::inval, Fault::semantic,
               "unknown compression \"" + std::string(name) + "\"; known are none, lz4, zstd");
}

std::size_t compress_bound(Compression kind, std::size_t size) noexcept {
  switch (kind) {
    case Compression::none: return size;
    case Compression::lz4:
      return static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(size)));
    case Compression::zstd: return ZSTD_compressBound(size);
  }
  return size;
}

Result<std::size_t> compress(Compression kind, ByteView plain, ByteSpan out) {
  ZEST_ASSERT(kind != Compression::none);
  if (kind == Compression::lz4) {
    int const n = LZ4_compress_default(chars(plain), chars(out), static_cast<int>(plain.size()),
                                       static_cast<int>(out.size()));
    ZEST_ASSERT(n > 0);  // fails only when `out` is smaller than the bound
    return static_cast<std::size_t>(n);
  }
  auto const n = ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), kZstdLevel);
  if (ZSTD_isError(n) != 0) {
    return Error::transient(Errc::nomem, std::string("zstd: ") + ZSTD_getErrorName(n));
  }
  return n;
}

Result<void> decompress(Compression kind, ByteView stored, ByteSpan out) {
  ZEST_ASSERT(kind != Compression::none);
  if (kind == Compression::lz4) {
    int const n = LZ4_decompress_safe(chars(stored), chars(out), static_cast<int>(stored.size()),
                                      static_cast<int>(out.size()));
    if (n < 0 || static_cast<std::size_t>(n) != out.size()) {
      return wrong_size("lz4", out.size());
    }
    return {};
  }
  auto const n = ZSTD_decompress(out.data(), out.size(), stored.data(), stored.size());
  if (ZSTD_isError(n) != 0 || n != out.size()) {
    return wrong_size("zstd", out.size());
  }
  return {};
}

}  // namespace zest
