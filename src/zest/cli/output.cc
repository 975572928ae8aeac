#include "zest/cli/output.h"

#include <fmt/format.h>

#include <cstdio>
#include <string_view>

namespace zest::cli {

void print(std::string_view line) {
  fmt::print(stdout, "{}\n", line);
  std::fflush(stdout);
}

void note(std::string_view line) {
  fmt::print(stderr, "zest: {}\n", line);
}

int fail(std::string_view command, Error const& error) {
  fmt::print(stderr, "zest {}: {}\n", command, error.text());
  return kExitFailure;
}

}  // namespace zest::cli
