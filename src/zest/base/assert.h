// Assertions, on in every build: for what only our own code can break.
#pragma once

namespace zest {

/// Prints the failed condition with its place and aborts.
[[noreturn]] void assert_failed(char const* condition, char const* file, int line) noexcept;

}  // namespace zest

#define ZEST_ASSERT(condition)                               \
  do {                                                       \
    if (!(condition)) [[unlikely]] {                         \
      ::zest::assert_failed(#condition, __FILE__, __LINE__); \
    }                                                        \
  } while (false)
