// Names that differ in case only, for case-insensitive mounts.
#pragma once

#include <string_view>

namespace zest::meta {

/// True when both names are the same by Unicode's simple case folding, character by character, as
/// the peer compares them. Bytes that are no UTF-8 equal only themselves.
bool equal_fold(std::string_view a, std::string_view b) noexcept;

}  // namespace zest::meta
