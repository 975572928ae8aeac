// RESP, the wire protocol of Redis, versions 2 and 3: commands out, replies in.
//
// The types of version 3 are folded into those of version 2, so that callers need not know which
// one a server speaks: maps and sets become arrays, doubles and big numbers become text, booleans 0
// and 1.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/result.h"

namespace zest::meta::redis {

struct Reply {
  enum class Kind : std::uint8_t { null, text, integer, array, push, error };
  Kind kind = Kind::null;
  /// Bytes of a text, message of an error.
  std::string text;
  std::int64_t integer = 0;
  /// Of arrays and pushes; a map is key, value, key, value….
  std::vector<Reply> items;

  [[nodiscard]] bool is_null() const noexcept { return kind == Kind::null; }
  [[nodiscard]] bool is_text() const noexcept { return kind == Kind::text; }
  [[nodiscard]] bool is_integer() const noexcept { return kind == Kind::integer; }
  [[nodiscard]] bool is_array() const noexcept { return kind == Kind::array; }
  [[nodiscard]] bool is_error() const noexcept { return kind == Kind::error; }
};

/// Appends one command as a server reads it: an array of strings.
void append_command(std::string& out, std::span<std::string const> arguments);
void append_command(std::string& out, std::initializer_list<std::string_view> arguments);

/// Limits on what a server may make us keep; beyond them a connection is given up.
struct RespLimits {
  std::size_t text_max = 64U << 20U;
  std::size_t items_max = 1U << 22U;
  std::size_t depth_max = 8;
  /// Bytes of one whole reply, with those that keep its structure.
  std::size_t reply_max = 256U << 20U;
};

/// Takes bytes in pieces of any size and gives whole replies. Work is linear in the bytes: what was
/// read of an unfinished reply is kept.
class RespParser {
 public:
  explicit RespParser(RespLimits limits = {}) noexcept : limits_(limits) {}

  /// Adds what arrived.
  void feed(std::string_view bytes);
  /// The next whole reply, or nothing until more was fed. Corrupt: bytes that are not RESP, or too
  /// much of them; the parser is of no more use then.
  Result<std::optional<Reply>> next();

 private:
  struct Open {
    Reply reply;
    std::size_t missing = 0;
  };
  enum class Step : std::uint8_t { complete, opened, incomplete };

  Result<Step> read_value(Reply& out);
  Result<Step> read_text(Reply& out, std::string_view count);
  Result<Step> open_array(Reply& out, char type, std::string_view count);
  /// Puts a whole value into the arrays that are open; true when it (or the outermost array, then
  /// in `value`) is a whole reply.
  bool close_arrays(Reply& value);
  Result<void> account(std::size_t bytes);
  /// The rest of the line at the read position, without its end; nothing while that is missing.
  [[nodiscard]] std::optional<std::string_view> line() const noexcept;

  RespLimits limits_;
  std::string buffer_;
  std::size_t at_ = 0;
  std::vector<Open> open_;
  /// What the reply under construction has cost so far.
  std::size_t used_ = 0;
};

/// A decimal number, complete. Nothing for other texts and for what does not fit.
std::optional<std::int64_t> parse_integer(std::string_view text) noexcept;

}  // namespace zest::meta::redis
