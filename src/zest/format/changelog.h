// Lines of the change log (format/01 §11).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "zest/base/clock.h"
#include "zest/base/result.h"
#include "zest/base/types.h"

namespace zest {

/// `text` with bytes below 32, from 127 on, and any of , % ( ) " \ as %XX.
std::string escape_change(std::string_view text);

/// The inverse. Corrupt: a percent sign without two hex digits.
Result<std::string> unescape_change(std::string_view text);

/// Builds one line: `Change("LINK").number(ino)…`, then results, then line().
class Change {
 public:
  /// `operation` is one of the format's upper-case names and is not escaped.
  explicit Change(std::string_view operation);

  Change& number(std::uint64_t value);
  Change& signed_number(std::int64_t value);
  Change& flag(bool value);
  /// Escapes `value`.
  Change& text(std::string_view value);
  /// A number after the closing bracket; a second one follows a comma.
  Change& result(std::uint64_t value);

  /// The complete line, without a line end. `transaction` counts this client's entries.
  [[nodiscard]] std::string line(WallTime time, SessionId session, std::uint64_t transaction) const;

 private:
  void add(std::string_view value);

  std::string arguments_;
  std::string results_;
  bool has_arguments_ = false;
};

}  // namespace zest
