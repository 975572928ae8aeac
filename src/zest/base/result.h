// Result<T>: a value or an Error. The only way functions of this project report failure.
//
//   ZEST_TRY(auto attr, meta.getattr(ctx, ino));   // declares attr, or returns the error
//   ZEST_CHECK(store.put(ctx, key, bytes));        // for Result<void>
//
// Both are statements that may return from the enclosing function: put braces around every if and
// loop body.
#pragma once

#include <expected>
#include <type_traits>
#include <utility>

#include "zest/base/error.h"

namespace zest {

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  // NOLINTBEGIN(google-explicit-constructor): `return value;` and `return Errc::noent;` are the
  // idiom.
  Result(T const& value)
    requires std::is_copy_constructible_v<T>
      : state_(value) {}
  Result(T&& value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::unexpected(std::move(error))) {}
  Result(Errc code) : state_(std::unexpected(Error(code))) {}
  // NOLINTEND(google-explicit-constructor)

  [[nodiscard]] bool ok() const noexcept { return state_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }

  /// The value; only after ok() was seen.
  T& operator*() & noexcept { return *state_; }
  T const& operator*() const& noexcept { return *state_; }
  T&& operator*() && noexcept { return *std::move(state_); }
  T* operator->() noexcept { return &*state_; }
  T const* operator->() const noexcept { return &*state_; }

  /// The error; only when not ok().
  Error& error() & noexcept { return state_.error(); }
  Error const& error() const& noexcept { return state_.error(); }
  Error&& error() && noexcept { return std::move(state_).error(); }

 private:
  std::expected<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  // NOLINTBEGIN(google-explicit-constructor)
  Result(Error error) : state_(std::unexpected(std::move(error))) {}
  Result(Errc code) : state_(std::unexpected(Error(code))) {}
  // NOLINTEND(google-explicit-constructor)

  [[nodiscard]] bool ok() const noexcept { return state_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  Error& error() & noexcept { return state_.error(); }
  Error const& error() const& noexcept { return state_.error(); }
  Error&& error() && noexcept { return std::move(state_).error(); }

 private:
  std::expected<void, Error> state_;
};

/// True when `result` failed with this errno.
template <class T>
[[nodiscard]] bool failed_with(Result<T> const& result, Errc code) noexcept {
  return !result.ok() && result.error().code() == code;
}

}  // namespace zest

#define ZEST_CONCAT_INNER(a, b) a##b
#define ZEST_CONCAT(a, b) ZEST_CONCAT_INNER(a, b)
#define ZEST_TRY_IMPL(temporary, declaration, expression) \
  auto temporary = (expression);                          \
  if (!temporary.ok()) [[unlikely]] {                     \
    return std::move(temporary).error();                  \
  }                                                       \
  declaration = *std::move(temporary)
/// Evaluates a Result<T>: declares or assigns its value, or returns its error from this function.
#define ZEST_TRY(declaration, ...) \
  ZEST_TRY_IMPL(ZEST_CONCAT(zest_try_, __COUNTER__), declaration, (__VA_ARGS__))
/// Evaluates a Result of any type for its error only.
#define ZEST_CHECK(...)                                                   \
  do {                                                                    \
    if (auto zest_check = (__VA_ARGS__); !zest_check.ok()) [[unlikely]] { \
      return std::move(zest_check).error();                               \
    }                                                                     \
  } while (false)
