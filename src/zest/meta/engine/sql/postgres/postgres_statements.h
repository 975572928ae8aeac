// The prepared statements of one session, by text and kinds of parameters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "zest/meta/engine/sql/remote/session.h"

namespace zest::meta::sql {

struct PreparedStatement {
  std::string name;
  /// One letter a parameter: i(nteger), b(ytes), t(ext), n(ull).
  std::string kinds;
  enum class State : std::uint8_t { absent, queued, ready } state = State::absent;
};

class PreparedStatements {
 public:
  /// The statement for this text, whose parameters it fits; absent ones get their name here. NULL
  /// fits any parameter; a statement prepared for NULL fits NULL only, because the server chose
  /// the parameter's type.
  PreparedStatement& find(Statement const& statement);
  /// The text as the server takes it.
  std::string const& numbered_text(Statement const& statement);

  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  void clear();

 private:
  struct Text {
    std::string numbered;
    std::deque<PreparedStatement> variants;  ///< references stay valid
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>()(text);
    }
  };
  Text& text_of(Statement const& statement);

  std::unordered_map<std::string, Text, Hash, std::equal_to<>> texts_;
  std::size_t count_ = 0;
  std::uint64_t names_ = 0;
};

}  // namespace zest::meta::sql
