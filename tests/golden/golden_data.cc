#include "tests/golden/golden_data.h"

#include <fstream>
#include <iterator>
#include <sstream>

#include "zest/base/assert.h"
#include "zest/format/changelog.h"

namespace zest {

std::string golden_file(std::string_view name) {
  std::ifstream in(std::string(ZEST_GOLDEN_DIR "/").append(name), std::ios::binary);
  ZEST_ASSERT(in.good());
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<GoldenLine> golden_lines(std::string_view name) {
  std::vector<GoldenLine> lines;
  std::istringstream in(golden_file(name));
  for (std::string text; std::getline(in, text);) {
    GoldenLine line;
    std::istringstream fields(text);
    for (std::string field; fields >> field;) {
      auto value = unescape_change(field == "%" ? std::string_view() : field);
      ZEST_ASSERT(value.ok());
      line.push_back(*std::move(value));
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace zest
