#include "zest/format/cache_block.h"

#include <algorithm>

#include <fmt/format.h>

#include "zest/format/crc32c.h"
#include "zest/format/endian.h"

namespace zest {

namespace {

constexpr std::uint16_t kFooterMagic = 0x4653;
constexpr std::uint64_t kFooterSizeMax = 4 + 0xFFFF;
constexpr std::uint8_t kTierMax = 3;

// The few codes of MessagePack that a footer is made of.
constexpr std::uint8_t kMapOfTwo = 0x82;
constexpr std::uint8_t kMapMask = 0xF0;
constexpr std::uint8_t kMapBase = 0x80;
constexpr std::uint8_t kTextBase = 0xA0;
constexpr std::uint8_t kTextMask = 0xE0;
constexpr std::uint8_t kUint8 = 0xCC;
constexpr std::uint8_t kBin8 = 0xC4;

/// Takes a value off: a small or 8-bit number, or short binary, which reads as 0. False for
/// anything else.
bool take_value(ByteReader& reader, std::uint8_t& number) {
  auto const code = reader.be<std::uint8_t>();
  if (code < kMapBase) {
    number = code;
  } else if (code == kUint8) {
    number = reader.be<std::uint8_t>();
  } else if (code == kBin8) {
    number = 0;
    reader.bytes(reader.be<std::uint8_t>());
  } else {
    return false;
  }
  return !reader.failed();
}

bool parse_footer_map(std::string_view packed, std::uint8_t& tier) {
  ByteReader reader(packed);
  auto const head = reader.be<std::uint8_t>();
  if ((head & kMapMask) != kMapBase) {
    return false;
  }
  for (int left = head & 0x0F; left > 0; --left) {
    auto const code = reader.be<std::uint8_t>();
    auto const name = reader.bytes(code & 0x1FU);
    std::uint8_t number = 0;
    if ((code & kTextMask) != kTextBase || !take_value(reader, number)) {
      return false;
    }
    if (name == "tier") {
      tier = number;
    }
  }
  return reader.finished();
}

}  // namespace

std::uint32_t cache_checksums_size(std::uint32_t data_size) noexcept {
  return 4 * (data_size / kChecksumUnit + (data_size % kChecksumUnit != 0 ? 1 : 0));
}

std::string cache_checksums(ByteView data) {
  std::string out;
  out.reserve(4 * (data.size() / kChecksumUnit + 1));
  while (!data.empty()) {
    auto const unit = data.first(std::min<std::size_t>(data.size(), kChecksumUnit));
    append_be(out, crc32c(unit));
    data = data.subspan(unit.size());
  }
  return out;
}

Result<void> verify_cache_checksums(ByteView data, std::uint32_t first_unit,
                                    std::string_view checksums) {
  auto index = std::size_t{first_unit};
  for (; !data.empty(); ++index) {
    auto const unit = data.first(std::min<std::size_t>(data.size(), kChecksumUnit));
    if (checksums.size() / 4 <= index) {
      return Error::corrupt(fmt::format("a cached block has no checksum for its unit {}", index));
    }
    auto const expected = ByteReader(checksums.substr(4 * index, 4)).be<std::uint32_t>();
    if (auto const actual = crc32c(unit); actual != expected) {
      return Error::corrupt(fmt::format("unit {} of a cached block has checksum {:08x}, not {:08x}",
                                        index, actual, expected));
    }
    data = data.subspan(unit.size());
  }
  return {};
}

Result<CacheFileLayout> cache_file_layout(std::uint64_t file_size, std::uint32_t data_size) {
  auto const wrong = [&] {
    return Error::corrupt(
        fmt::format("a cache file of {} bytes cannot hold a block of {}", file_size, data_size));
  };
  if (file_size < data_size) {
    return wrong();
  }
  auto const extra = file_size - data_size;
  CacheFileLayout layout{.data_size = data_size};
  auto footer = extra;
  if (extra > 0 && extra % 4 == 0) {
    layout.checksums_size = cache_checksums_size(data_size);
    if (extra < layout.checksums_size) {
      return wrong();
    }
    footer = extra - layout.checksums_size;
  }
  if (footer > kFooterSizeMax) {
    return wrong();
  }
  layout.footer_size = static_cast<std::uint32_t>(footer);
  return layout;
}

std::string encode_staging_footer(std::uint8_t tier, bool with_checksums) {
  std::string packed;
  packed.push_back(static_cast<char>(kMapOfTwo));
  packed += "\xA4tier";
  packed.push_back(static_cast<char>(kUint8));
  packed.push_back(static_cast<char>(tier));
  packed += "\xA3pad";
  packed.push_back(static_cast<char>(kBin8));
  // Behind checksums the whole extra must be a multiple of 4 bytes, and without them it must not
  // be.
  std::size_t const pad = with_checksums ? 2 : 0;
  packed.push_back(static_cast<char>(pad));
  packed.append(pad, '\0');
  std::string out;
  append_be(out, kFooterMagic);
  append_be(out, static_cast<std::uint16_t>(packed.size()));
  return out + packed;
}

Result<std::uint8_t> decode_staging_footer(std::string_view footer) {
  ByteReader reader(footer);
  bool const magic = reader.be<std::uint16_t>() == kFooterMagic;
  auto const packed = reader.bytes(reader.be<std::uint16_t>());
  std::uint8_t tier = 0;
  if (!magic || !reader.finished() || !parse_footer_map(packed, tier)) {
    return Error::corrupt(
        fmt::format("{} bytes behind a staged block are no footer", footer.size()));
  }
  return tier > kTierMax ? std::uint8_t{0} : tier;
}

}  // namespace zest
