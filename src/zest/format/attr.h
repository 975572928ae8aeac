// The inode record of Redis and KV volumes (format/01 §1). SQL engines keep the fields in columns.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/format/types.h"

namespace zest {

/// Offsets inside an encoded attr at which records are patched in place.
constexpr std::size_t kAttrNlinkOffset = 47;
constexpr std::size_t kAttrLengthOffset = 51;
constexpr std::size_t kAttrParentOffset = 63;

/// The type of a stored code; nothing for a code that stands for no type.
std::optional<FileType> file_type_from_code(std::uint8_t code) noexcept;

/// The record as the peer writes it, with the trailing pad byte: 72 bytes, plus 8 with any ACL id,
/// plus 1 with a tier.
std::string encode_attr(Attr const& attr);

/// Reads a record, also those without parent, ACL ids, tier or pad byte that older clients wrote.
///
/// Corrupt: fewer than 63 bytes, an unknown type, a length above kFileSizeMax. Nanoseconds above
/// 999,999,999 (the peer's Java SDK stores such for times before 1970) and unknown tiers are kept,
/// so that a record survives a rewrite.
Result<Attr> decode_attr(std::string_view bytes);

}  // namespace zest
