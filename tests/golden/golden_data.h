// Reads the golden data: lines of blank-separated fields, escaped as in the change log; see
// README.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace zest {

using GoldenLine = std::vector<std::string>;

/// The whole file; aborts the test program when it is missing.
std::string golden_file(std::string_view name);

/// The file's lines, fields unescaped; a lone percent sign is an empty field.
std::vector<GoldenLine> golden_lines(std::string_view name);

}  // namespace zest
