// Writing JSON exactly as Go's encoding/json does, so that documents stay byte-identical between
// clients.
#pragma once

#include <string>
#include <string_view>

namespace zest {

/// Appends `text` in quotes. Escapes what Go escapes: quotes, backslashes, control characters, < >
/// &, U+2028, U+2029; every byte that is not valid UTF-8 becomes \ufffd.
void append_go_json_string(std::string& out, std::string_view text);

}  // namespace zest
