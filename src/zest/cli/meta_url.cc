#include "zest/cli/meta_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace zest::cli {
namespace {

struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// Where the password of `url` is; begin = end when it has none. A password may contain `/`, `:`
/// and `@`, as drivers that take raw text allow: it reaches to the last @ before the query.
Span password_span(std::string_view url) {
  auto const scheme_end = url.find("://");
  if (scheme_end == std::string_view::npos || url.starts_with("sqlite3:")) {
    return {};
  }
  auto const begin = scheme_end + 3;
  auto const query = std::min(url.find('?', begin), url.size());
  auto const at = url.substr(0, query).rfind('@');
  if (at == std::string_view::npos || at < begin) {
    return {};
  }
  auto const colon = url.find(':', begin);
  if (colon >= at) {
    return {};
  }
  return {.begin = colon + 1, .end = at};
}

bool is_redis(std::string_view scheme) {
  return scheme == "redis" || scheme == "rediss" || scheme == "unix";
}

/// `text` as it stands in the user part of an URL that is decoded when it's read.
std::string percent_encoded(std::string_view text) {
  std::string out;
  for (char const each : text) {
    auto const c = static_cast<unsigned char>(each);
    if (std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '~') {
      out.push_back(each);
    } else {
      out += fmt::format("%{:02X}", c);
    }
  }
  return out;
}

std::string scheme_of(std::string_view text) {
  auto const end = text.find("://");
  std::string scheme(end == std::string_view::npos ? "redis" : text.substr(0, end));
  std::ranges::transform(scheme, scheme.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return scheme;
}

/// The URL with `password` where it belongs: behind the user, or in front of the host.
std::string insert_password(std::string url, std::string_view password) {
  auto const begin = url.find("://") + 3;
  auto const at = url.find('@', begin);
  if (at == std::string::npos) {
    return url.insert(begin, fmt::format(":{}@", password));
  }
  if (url.find(':', begin) >= at) {
    return url.insert(at, fmt::format(":{}", password));
  }
  return url;
}

}  // namespace

Result<MetaUrl> parse_meta_url(std::string_view text, std::string_view password) {
  if (text.empty()) {
    return Error(Errc::inval, Fault::semantic, "the META-URL is empty");
  }
  MetaUrl url;
  url.text = text.find("://") == std::string_view::npos ? fmt::format("redis://{}", text)
                                                        : std::string(text);
  url.scheme = scheme_of(url.text);
  auto const has = password_span(url.text);
  if (!password.empty() && has.begin == has.end && url.scheme != "sqlite3") {
    url.text = insert_password(std::move(url.text), is_redis(url.scheme) ? percent_encoded(password)
                                                                         : std::string(password));
  }
  url.redacted = redact_url(url.text);
  return url;
}

Result<std::string> password_from_environment(std::string_view url) {
  // Read once at start, before there are threads that could change the environment.
  if (is_redis(scheme_of(url))) {
    if (char const* own = std::getenv("REDIS_PASSWORD"); own != nullptr && *own != '\0') {
      return std::string(own);
    }
  }
  if (char const* direct = std::getenv("META_PASSWORD"); direct != nullptr && *direct != '\0') {
    return std::string(direct);
  }
  char const* path = std::getenv("META_PASSWORD_FILE");
  if (path == nullptr || *path == '\0') {
    return std::string();
  }
  std::ifstream file(path);
  std::string line;
  if (!file || !(std::getline(file, line) || file.eof())) {
    return Error::from_errno(errno == 0 ? EIO : errno,
                             fmt::format("read the password file {} (META_PASSWORD_FILE)", path));
  }
  if (line.ends_with('\r')) {
    line.pop_back();
  }
  return line;
}

std::string redact_url(std::string_view url) {
  auto const span = password_span(url);
  if (span.begin == span.end) {
    return std::string(url);
  }
  return fmt::format("{}****{}", url.substr(0, span.begin), url.substr(span.end));
}

void hide_passwords(int argc, char** argv) noexcept {
  for (int i = 1; i < argc; ++i) {
    auto const span = password_span(argv[i]);
    std::memset(argv[i] + span.begin, '*', span.end - span.begin);
  }
}

}  // namespace zest::cli
