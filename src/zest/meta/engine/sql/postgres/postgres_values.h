// Statements, parameters and cells between the engine's form and the protocol's; pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/result.h"
#include "zest/meta/engine/sql/remote/session.h"

namespace zest::meta::sql {

/// A type's number in the server's catalogue, and an unsigned int of the client library.
using TypeId = unsigned int;

/// `?` → `$1`, `$2`, …
std::string number_placeholders(std::string_view text);

/// The parameters of one statement as the client library takes them; refers to the statement.
class BoundParameters {
 public:
  /// Keeps what it allocated for the next statement.
  void bind(std::vector<Parameter> const& parameters);

  [[nodiscard]] int count() const noexcept { return static_cast<int>(values_.size()); }
  /// 0, undetermined, for NULL: the server takes what the statement asks for.
  [[nodiscard]] TypeId const* types() const noexcept { return types_.data(); }
  [[nodiscard]] char const* const* values() const noexcept { return values_.data(); }
  [[nodiscard]] int const* lengths() const noexcept { return lengths_.data(); }
  /// All binary. (A text in text format would end at its first NUL byte; in binary the server
  /// refuses it.)
  [[nodiscard]] int const* formats() const noexcept { return formats_.data(); }

 private:
  std::vector<std::array<char, 8>> integers_;
  std::vector<TypeId> types_;
  std::vector<char const*> values_;
  std::vector<int> lengths_;
  std::vector<int> formats_;
};

/// One value in binary format. Integers, booleans and whole numerics (sums of bigint) are integers,
/// bytea and character types their bytes. Corrupt: a length that the type cannot have, a number out
/// of range or with a fraction, a type that no statement of the engine gives.
Result<Cell> decode_cell(TypeId type, std::string_view bytes);

}  // namespace zest::meta::sql
