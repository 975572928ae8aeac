#include "zest/base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace zest {

void assert_failed(char const* condition, char const* file, int line) noexcept {
  std::fprintf(stderr, "zest: internal error: `%s` is false at %s:%d. Please report it.\n",
               condition, file, line);
  std::abort();
}

}  // namespace zest
