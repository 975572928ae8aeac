// For tests: assertions about a Result that print its error.
#pragma once

#include <gtest/gtest.h>

#define ASSERT_OK(...)                                       \
  do {                                                       \
    auto const& assert_ok = (__VA_ARGS__);                   \
    ASSERT_TRUE(assert_ok.ok()) << assert_ok.error().text(); \
  } while (false)
#define ASSERT_ERRC(expression, expected)                                                          \
  do {                                                                                             \
    auto const& assert_errc = (expression);                                                        \
    ASSERT_FALSE(assert_errc.ok()) << "it should have failed with " << static_cast<int>(expected); \
    ASSERT_EQ(assert_errc.error().code(), expected) << assert_errc.error().text();                 \
  } while (false)
