#include "zest/runtime/http/message.h"

#include <algorithm>
#include <charconv>
#include <system_error>

namespace zest::http {
namespace {

constexpr std::string_view kHex = "0123456789ABCDEF";

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool is_token(std::string_view text) noexcept {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return c > ' ' && c < 127 &&
           std::string_view("\"(),/:;<=>?@[\\]{}").find(c) == std::string_view::npos;
  });
}
std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
    text.remove_prefix(1);
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) {
    text.remove_suffix(1);
  }
  return text;
}
template <class Number>
std::optional<Number> number_of(std::string_view text, int base = 10) noexcept {
  Number number{};
  auto const* const end = text.data() + text.size();
  auto const [stop, problem] = std::from_chars(text.data(), end, number, base);
  if (text.empty() || problem != std::errc{} || stop != end || text.front() == '-') {
    return std::nullopt;
  }
  return number;
}
Error bad_url(std::string_view why) {
  return {Errc::inval, Fault::semantic, "not a URL: " + std::string(why)};
}
Error bad_reply(std::string_view why) {
  return Error::transient(Errc::io, "not an HTTP reply: " + std::string(why));
}
int digit_of(char c) noexcept {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
/// Does a list of words like "keep-alive, Upgrade" have this one?
bool has_word(std::string_view list, std::string_view word) noexcept {
  while (!list.empty()) {
    auto const comma = std::min(list.find(','), list.size());
    if (same_name(trimmed(list.substr(0, comma)), word)) {
      return true;
    }
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

}  // namespace

std::string Url::authority() const {
  auto text = host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != (tls ? 443 : 80)) {
    text += ":" + std::to_string(port);
  }
  return text;
}

Result<Url> parse_url(std::string_view text) {
  auto const colon = text.find("://");
  if (colon == std::string_view::npos) {
    return bad_url("it has no \"http://\" or \"https://\"");
  }
  auto const scheme = text.substr(0, colon);
  if (!same_name(scheme, "http") && !same_name(scheme, "https")) {
    return bad_url("its scheme is neither http nor https");
  }
  Url url;
  url.tls = scheme.size() == 5;
  text.remove_prefix(colon + 3);
  text = text.substr(0, text.find('#'));
  auto const cut = std::min(text.find_first_of("/?"), text.size());
  auto place = text.substr(0, cut);
  auto const rest = text.substr(cut);
  if (std::ranges::any_of(text, [](char c) { return c >= 0 && c <= ' '; })) {
    return bad_url("it has blanks or control characters");
  }
  auto const question = std::min(rest.find('?'), rest.size());
  url.path = question == 0 ? "/" : rest.substr(0, question);
  url.query = question < rest.size() ? rest.substr(question + 1) : "";
  if (auto const at = place.rfind('@'); at != std::string_view::npos) {
    url.user = place.substr(0, at);
    place.remove_prefix(at + 1);
  }
  auto host = place;
  std::string_view port;
  if (place.starts_with('[')) {
    auto const end = place.find(']');
    if (end == std::string_view::npos) {
      return bad_url("an address has no \"]\"");
    }
    host = place.substr(1, end - 1);
    port = place.substr(end + 1);
  } else if (auto const at = place.find(':'); at != std::string_view::npos) {
    host = place.substr(0, at);
    port = place.substr(at);
  }
  if (host.empty()) {
    return bad_url("it names no host");
  }
  auto const given = port.size() < 2 ? std::nullopt : number_of<std::uint16_t>(port.substr(1));
  if (!port.empty() && (port.front() != ':' || !given || *given == 0)) {
    return bad_url("its port is no number from 1 to 65535");
  }
  url.port = given ? *given : url.tls ? 443 : 80;
  url.host.resize(host.size());
  std::ranges::transform(host, url.host.begin(), lower);
  return url;
}

std::string percent_encode(std::string_view text, bool keep_slash) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  for (char const c : text) {
    bool const plain = (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~' || (c == '/' && keep_slash);
    if (plain) {
      out += c;
    } else {
      auto const byte = static_cast<unsigned char>(c);
      out += '%';
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    }
  }
  return out;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_blank) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i] == '+' && plus_is_blank ? ' ' : text[i];
      continue;
    }
    bool const whole = i + 2 < text.size();
    int const high = whole ? digit_of(text[i + 1]) : -1;
    int const low = whole ? digit_of(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      return std::nullopt;
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

bool same_name(std::string_view a, std::string_view b) noexcept {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

std::string const* Head::find(std::string_view name) const noexcept {
  auto const found =
      std::ranges::find_if(fields, [&](Field const& f) { return same_name(f.name, name); });
  return found == fields.end() ? nullptr : &found->value;
}

std::size_t head_size(std::string_view text) noexcept {
  for (auto at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    auto const rest = text.substr(at + 1);
    if (rest.starts_with('\n')) {
      return at + 2;
    }
    if (rest.starts_with("\r\n")) {
      return at + 3;
    }
  }
  return 0;
}

Result<Head> parse_head(std::string_view text) {
  auto const next_line = [&text] {
    auto const end = std::min(text.find('\n'), text.size());
    auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    return line;
  };
  auto const first = next_line();
  if (!first.starts_with("HTTP/1.") || first.size() < 12 || first[8] != ' ') {
    return bad_reply("its first line is no status line of HTTP/1");
  }
  Head head;
  auto const status = number_of<int>(first.substr(9, 3));
  bool const ends = first.size() == 12 || first[12] == ' ';
  if (!status || *status < 100 || !ends || (first[7] != '0' && first[7] != '1')) {
    return bad_reply("its status is no number from 100 to 999");
  }
  head.status = *status;
  head.minor_version = first[7] - '0';
  while (!text.empty()) {
    auto const line = next_line();
    if (line.empty()) {
      break;
    }
    auto const colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
      return bad_reply("a line of its head is no field");
    }
    if (head.fields.size() == kFieldsMax) {
      return bad_reply("its head has too many fields");
    }
    auto const text_of = trimmed(line.substr(colon + 1));
    if (text_of.find('\0') != std::string_view::npos ||
        text_of.find('\r') != std::string_view::npos) {
      return bad_reply("a field has control characters");
    }
    head.fields.push_back({std::string(line.substr(0, colon)), std::string(text_of)});
  }
  return head;
}

Result<BodyFrame> frame_of(Head const& head, std::string_view method) {
  BodyFrame frame;
  bool coded = false;
  std::optional<std::uint64_t> length;
  frame.keep_alive = head.minor_version >= 1;
  for (auto const& field : head.fields) {
    if (same_name(field.name, "Transfer-Encoding")) {
      if (coded || !same_name(field.value, "chunked")) {
        return bad_reply("its transfer encoding is not just \"chunked\"");
      }
      coded = true;
    } else if (same_name(field.name, "Content-Length")) {
      auto const number = number_of<std::uint64_t>(field.value);
      if (!number || (length && *length != *number)) {
        return bad_reply("its Content-Length is no number, or two of them");
      }
      length = number;
    } else if (same_name(field.name, "Connection")) {
      if (has_word(field.value, "close")) {
        frame.keep_alive = false;
      } else if (head.minor_version == 0 && has_word(field.value, "keep-alive")) {
        frame.keep_alive = true;
      }
    }
  }
  if (method == "HEAD" || head.status < 200 || head.status == 204 || head.status == 304) {
    return frame;
  }
  if (coded) {
    frame.framing = Framing::chunked;
    // Both is how requests are smuggled: what follows on this connection cannot be trusted.
    frame.keep_alive = frame.keep_alive && !length;
  } else if (length) {
    frame.framing = Framing::length;
    frame.length = *length;
  } else {
    frame.framing = Framing::until_close;
    frame.keep_alive = false;
  }
  return frame;
}

std::optional<std::uint64_t> chunk_size(std::string_view line) noexcept {
  return number_of<std::uint64_t>(trimmed(line.substr(0, line.find(';'))), 16);
}

}  // namespace zest::http
