// Typed, total access to the fields of a JSON object; hides the JSON library.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/result.h"

namespace zest {

/// Reads fields one by one and remembers the first problem, so that a decoder checks once, with
/// finish(), at its end. Missing and null fields leave `out` as it is. Messages name the field,
/// never its value.
class JsonFields {
 public:
  /// Parses one JSON object of at most `size_max` bytes; corrupt otherwise. `what` ("the Setting")
  /// begins every message.
  static Result<JsonFields> parse(std::string_view text, std::string_view what,
                                  std::size_t size_max);
  JsonFields(JsonFields&&) noexcept;
  JsonFields& operator=(JsonFields&&) noexcept;
  JsonFields(JsonFields const&) = delete;
  JsonFields& operator=(JsonFields const&) = delete;
  ~JsonFields();

  void read(char const* name, std::string& out);
  void read(char const* name, bool& out);
  void read(char const* name, std::int64_t& out);
  void read(char const* name, std::uint64_t& out);
  void read(char const* name, std::vector<std::string>& out);
  /// Calls `each` with the key and the fields of every object in the object `name`.
  void read_objects(char const* name,
                    std::function<void(std::string_view, JsonFields&)> const& each);

  /// Notes that `name` is not what was `expected`, unless something failed before.
  void fail(std::string_view name, std::string_view expected);
  /// The first problem, as a corrupt error.
  [[nodiscard]] Result<void> finish() const;

 private:
  struct Impl;
  explicit JsonFields(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest
