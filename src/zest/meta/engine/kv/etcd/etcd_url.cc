#include "zest/meta/engine/kv/etcd/etcd_url.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <utility>

namespace zest::meta {

namespace {

constexpr std::string_view kScheme = "etcd://";

Error invalid(std::string_view what) {
  return {Errc::inval, Fault::semantic,
          fmt::format("{}; expected etcd://[USER:PASSWORD@]HOST[:PORT][,HOST…]/PREFIX", what)};
}

Result<std::string> decode(std::string_view text, std::string_view what) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    unsigned byte = 0;
    auto const* const begin = text.data() + i + 1;
    auto const enough = i + 2 < text.size();
    if (!enough || std::from_chars(begin, begin + 2, byte, 16).ptr != begin + 2) {
      return invalid(fmt::format("{} has a % without two hexadecimal digits", what));
    }
    out.push_back(static_cast<char>(byte));
    i += 2;
  }
  return out;
}

/// Splits at the first `separator`; the second part is absent without one.
std::pair<std::string_view, std::optional<std::string_view>> split(std::string_view text,
                                                                   char separator) {
  auto const at = text.find(separator);
  if (at == std::string_view::npos) {
    return {text, std::nullopt};
  }
  return {text.substr(0, at), text.substr(at + 1)};
}

Result<EtcdEndpoint> parse_endpoint(std::string_view text) {
  EtcdEndpoint endpoint;
  std::optional<std::string_view> port;
  if (text.starts_with('[')) {
    auto const end = text.find(']');
    if (end == std::string_view::npos || (end + 1 < text.size() && text[end + 1] != ':')) {
      return invalid(fmt::format("{:?} is no address", text));
    }
    endpoint.host = text.substr(1, end - 1);
    if (end + 1 < text.size()) {
      port = text.substr(end + 2);
    }
  } else {
    auto const [host, rest] = split(text, ':');
    endpoint.host = host;
    port = rest;
  }
  if (endpoint.host.empty()) {
    return invalid("a host has no name");
  }
  if (port) {
    auto const* const end = port->data() + port->size();
    auto const [ptr, error] = std::from_chars(port->data(), end, endpoint.port);
    if (error != std::errc() || ptr != end || endpoint.port == 0) {
      return invalid(fmt::format("{:?} is no port", *port));
    }
  }
  return endpoint;
}

Result<void> parse_option(EtcdUrl& url, std::string_view option) {
  auto const [name, encoded] = split(option, '=');
  ZEST_TRY(auto value, decode(encoded.value_or(""), name));
  if (name == "cacert") {
    url.tls.ca_file = std::move(value);
  } else if (name == "cert") {
    url.tls.cert_file = std::move(value);
  } else if (name == "key") {
    url.tls.key_file = std::move(value);
  } else if (name == "server-name") {
    url.tls.server_name = std::move(value);
  } else if (name == "insecure-skip-verify") {
    url.tls.skip_verify = !value.empty();
  } else if (!name.empty()) {
    url.ignored.emplace_back(name);
  }
  return {};
}

}  // namespace

Result<EtcdUrl> parse_etcd_url(std::string_view text) {
  if (!text.starts_with(kScheme)) {
    return invalid("the URL has another scheme");
  }
  text.remove_prefix(kScheme.size());
  EtcdUrl url;
  auto [address, options] = split(text, '?');
  // A password may hold a slash; the last @ ends it.
  if (auto const at = address.rfind('@'); at != std::string_view::npos) {
    auto const [user, password] = split(address.substr(0, at), ':');
    ZEST_TRY(url.user, decode(user, "the user"));
    ZEST_TRY(url.password, decode(password.value_or(""), "the password"));
    address.remove_prefix(at + 1);
  }
  auto const slash = std::min(address.find('/'), address.size());
  ZEST_TRY(url.path, decode(address.substr(slash), "the prefix"));
  for (auto hosts = std::optional(address.substr(0, slash)); hosts;) {
    auto const [host, rest] = split(*hosts, ',');
    ZEST_TRY(auto endpoint, parse_endpoint(host));
    url.endpoints.push_back(std::move(endpoint));
    hosts = rest;
  }
  while (options) {
    auto const [option, rest] = split(*options, '&');
    ZEST_CHECK(parse_option(url, option));
    options = rest;
  }
  if (url.tls.cert_file.empty() != url.tls.key_file.empty()) {
    return invalid("cert and key belong together");
  }
  return url;
}

}  // namespace zest::meta
