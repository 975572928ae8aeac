#include "zest/meta/engine/redis/resp.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace zest::meta::redis {

namespace {

constexpr std::string_view kEnd = "\r\n";
/// Lines hold numbers and short messages; a longer one is no RESP.
constexpr std::size_t kLineMax = 64U << 10U;
/// Room for items is made as they come, whatever their announced number.
constexpr std::size_t kReserveMax = 1024;

Error broken(std::string_view what) {
  return Error::corrupt(fmt::format("a reply of the server is no RESP: {}", what));
}

void append_header(std::string& out, char type, std::size_t count) {
  char digits[24];
  auto const [end, error] = std::to_chars(std::begin(digits), std::end(digits), count);
  out.push_back(type);
  out.append(digits, end);
  out.append(kEnd);
}

template <class Arguments>
void append_array(std::string& out, Arguments const& arguments) {
  append_header(out, '*', arguments.size());
  for (auto const& argument : arguments) {
    append_header(out, '$', argument.size());
    out.append(argument);
    out.append(kEnd);
  }
}

}  // namespace

std::optional<std::int64_t> parse_integer(std::string_view text) noexcept {
  std::int64_t value = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

void append_command(std::string& out, std::span<std::string const> arguments) {
  append_array(out, arguments);
}
void append_command(std::string& out, std::initializer_list<std::string_view> arguments) {
  append_array(out, arguments);
}

void RespParser::feed(std::string_view bytes) {
  if (at_ == buffer_.size()) {
    buffer_.clear();
    at_ = 0;
  } else if (at_ > buffer_.size() / 2 && at_ > 4096) {
    buffer_.erase(0, at_);
    at_ = 0;
  }
  buffer_.append(bytes);
}

std::optional<std::string_view> RespParser::line() const noexcept {
  auto const end = buffer_.find(kEnd, at_);
  if (end == std::string::npos) {
    return std::nullopt;
  }
  return std::string_view(buffer_).substr(at_, end - at_);
}

Result<void> RespParser::account(std::size_t bytes) {
  used_ += bytes;
  if (used_ > limits_.reply_max) {
    return broken(fmt::format("longer than {} bytes", limits_.reply_max));
  }
  return {};
}

Result<RespParser::Step> RespParser::read_text(Reply& out, std::string_view count) {
  auto const size = parse_integer(count);
  if (!size || *size < -1) {
    return broken("a text without a length");
  }
  auto const begin = at_ + 1 + count.size() + kEnd.size();
  if (*size == -1) {
    at_ = begin;
    return Step::complete;
  }
  auto const length = static_cast<std::size_t>(*size);
  if (length > limits_.text_max) {
    return broken(fmt::format("a text of {} bytes", length));
  }
  if (buffer_.size() < begin + length + kEnd.size()) {
    return Step::incomplete;
  }
  if (std::string_view(buffer_).substr(begin + length, kEnd.size()) != kEnd) {
    return broken("a text longer than announced");
  }
  out.text.assign(buffer_, begin, length);
  at_ = begin + length + kEnd.size();
  return Step::complete;
}

Result<RespParser::Step> RespParser::open_array(Reply& out, char type, std::string_view count) {
  auto const number = parse_integer(count);
  if (!number || *number < -1) {
    return broken("an array without a length");
  }
  at_ += 1 + count.size() + kEnd.size();
  if (*number == -1) {
    out.kind = Reply::Kind::null;
    return Step::complete;
  }
  auto items = static_cast<std::size_t>(*number);
  if (items > limits_.items_max || open_.size() >= limits_.depth_max) {
    return broken("an array that is too long or too deep");
  }
  items *= type == '%' ? 2 : 1;
  out.kind = type == '>' ? Reply::Kind::push : Reply::Kind::array;
  if (items == 0) {
    return Step::complete;
  }
  out.items.reserve(std::min(items, kReserveMax));
  open_.push_back({.reply = std::move(out), .missing = items});
  return Step::opened;
}

Result<RespParser::Step> RespParser::read_value(Reply& out) {
  if (at_ == buffer_.size()) {
    return Step::incomplete;
  }
  auto const found = line();
  if (!found) {
    if (buffer_.size() - at_ > kLineMax) {
      return broken("a line without an end");
    }
    return Step::incomplete;
  }
  if (found->empty()) {
    return broken("an empty line");
  }
  char const type = found->front();
  auto const rest = found->substr(1);
  auto const finish = [&](Reply::Kind kind) {
    out.kind = kind;
    at_ += 1 + rest.size() + kEnd.size();
    return Step::complete;
  };
  switch (type) {
    case '$':
    case '=': {
      ZEST_TRY(auto const step, read_text(out, rest));
      out.kind = rest == "-1" ? Reply::Kind::null : Reply::Kind::text;
      if (type == '=' && out.text.size() >= 4) {
        out.text.erase(0, 4);  // "txt:" or "mkd:"
      }
      return step;
    }
    case '*':
    case '%':
    case '~':
    case '>': return open_array(out, type, rest);
    case '+':
    case ',':
    case '(': out.text = rest; return finish(Reply::Kind::text);
    case '-': out.text = rest; return finish(Reply::Kind::error);
    case ':': {
      auto const number = parse_integer(rest);
      if (!number) {
        return broken("an integer that is none");
      }
      out.integer = *number;
      return finish(Reply::Kind::integer);
    }
    case '#': out.integer = rest == "t" ? 1 : 0; return finish(Reply::Kind::integer);
    case '_': return finish(Reply::Kind::null);
    case '!': {
      ZEST_TRY(auto const step, read_text(out, rest));
      out.kind = Reply::Kind::error;
      return step;
    }
    default: return broken(fmt::format("a value of type {:?}", std::string_view(&type, 1)));
  }
}

bool RespParser::close_arrays(Reply& value) {
  while (!open_.empty()) {
    auto& top = open_.back();
    top.reply.items.push_back(std::move(value));
    if (--top.missing > 0) {
      return false;
    }
    value = std::move(top.reply);
    open_.pop_back();
  }
  return true;
}

Result<std::optional<Reply>> RespParser::next() {
  for (;;) {
    Reply value;
    ZEST_TRY(auto const step, read_value(value));
    if (step == Step::incomplete) {
      return std::optional<Reply>();
    }
    ZEST_CHECK(account(sizeof(Reply) + value.text.size()));
    if (step == Step::complete && close_arrays(value)) {
      used_ = 0;
      return std::optional(std::move(value));
    }
  }
}

}  // namespace zest::meta::redis
