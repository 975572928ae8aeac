// The value of a directory entry in Redis and KV volumes (format/01 §2).
#pragma once

#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/format/types.h"

namespace zest {

/// Nine bytes: type code, inode.
std::string encode_entry(Entry const& entry);

/// Corrupt: any length but nine, an unknown type, inode 0.
Result<Entry> decode_entry(std::string_view bytes);

}  // namespace zest
