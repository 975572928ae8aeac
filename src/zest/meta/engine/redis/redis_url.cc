#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>

#include "zest/meta/engine/redis/redis.h"

namespace zest::meta {

namespace {

constexpr std::uint16_t kPort = 6379;
constexpr std::uint16_t kSentinelPort = 26379;

Error invalid(std::string_view what) {
  return {
      Errc::inval, Fault::semantic,
      fmt::format("{}; expected redis[s]://[[USER]:PASSWORD@]HOST[:PORT][/DB][?OPTION=VALUE&…], "
                  "the same with MASTER,HOST,… or HOST:PORT,…, or unix:///PATH[?db=N]",
                  what)};
}

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/// %41 → A; a % that begins no code stays.
std::string decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
        hex_digit(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

template <class Number>
bool parse_number(std::string_view text, Number& number) {
  auto const* const end = text.data() + text.size();
  auto const [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc{} && stop == end;
}

/// Durations as the peer's language writes them ("30s", "1m30s", "20ms"); a plain number is
/// seconds.
Result<Duration> parse_duration(std::string_view name, std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::int64_t>, 6> kUnits{
      {{"ns", 1},
       {"us", 1'000},
       {"ms", 1'000'000},
       {"s", 1'000'000'000},
       {"m", 60'000'000'000},
       {"h", 3'600'000'000'000}}};
  auto const bad = [&] { return invalid(fmt::format("{}={:?} is no duration", name, text)); };
  auto rest = text;
  double total = 0;
  while (!rest.empty()) {
    double number = 0;
    auto const [stop, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error != std::errc{} || number < 0) {
      return bad();
    }
    rest.remove_prefix(static_cast<std::size_t>(stop - rest.data()));
    auto const unit_end = std::min(rest.find_first_of("0123456789."), rest.size());
    auto const unit = rest.substr(0, unit_end);
    auto const* const known =
        std::ranges::find(kUnits, unit, &std::pair<std::string_view, std::int64_t>::first);
    if (known == kUnits.end() && !unit.empty()) {
      return bad();
    }
    total += number * static_cast<double>(unit.empty() ? 1'000'000'000 : known->second);
    rest.remove_prefix(unit_end);
  }
  constexpr double kMax = 1e18;
  if (text.empty() || total > kMax) {
    return bad();
  }
  return Duration(static_cast<std::int64_t>(total));
}

Result<void> set_duration(Duration& to, std::string_view name, std::string_view value) {
  ZEST_TRY(to, parse_duration(name, value));
  return {};
}

Result<void> set_count(std::uint32_t& to, std::string_view name, std::string_view value) {
  if (!parse_number(value, to)) {
    return invalid(fmt::format("{}={:?} is no number", name, value));
  }
  return {};
}

Result<void> set_option(RedisOptions& options, std::string_view given, std::string const& value) {
  std::string name(given);
  std::ranges::replace(name, '_', '-');
  constexpr std::array<std::pair<std::string_view, Duration RedisOptions::*>, 5> kDurations{
      {{"read-timeout", &RedisOptions::read_timeout},
       {"write-timeout", &RedisOptions::write_timeout},
       {"dial-timeout", &RedisOptions::connect_timeout},
       {"min-retry-backoff", &RedisOptions::min_retry_backoff},
       {"max-retry-backoff", &RedisOptions::max_retry_backoff}}};
  for (auto const& [known, member] : kDurations) {
    if (name == known) {
      return set_duration(options.*member, name, value);
    }
  }
  constexpr std::array<std::pair<std::string_view, std::string RedisOptions::*>, 4> kTexts{
      {{"tls-cert-file", &RedisOptions::tls_cert_file},
       {"tls-key-file", &RedisOptions::tls_key_file},
       {"tls-ca-cert-file", &RedisOptions::tls_ca_cert_file},
       {"tls-server-name", &RedisOptions::tls_server_name}}};
  for (auto const& [known, member] : kTexts) {
    if (name == known) {
      options.*member = value;
      return {};
    }
  }
  if (name == "db") {
    return set_count(options.database, name, value);
  }
  if (name == "max-retries") {
    return set_count(options.retries, name, value);
  }
  if (name == "client-cache") {
    options.client_cache = value != "false" && value != "0";
  } else if (name == "insecure-skip-verify") {
    options.tls_skip_verify = !value.empty();
  } else if (name == "wait-replicas") {
    std::uint32_t count = 0;
    ZEST_CHECK(set_count(count, name, value));
    options.wait_replicas = count;
  } else {
    options.ignored.emplace_back(given);
  }
  return {};
}

Result<void> set_query(RedisOptions& options, std::string_view query) {
  while (!query.empty()) {
    auto const end = std::min(query.find('&'), query.size());
    auto const option = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    auto const equals = std::min(option.find('='), option.size());
    if (!option.empty()) {
      ZEST_CHECK(set_option(options, option.substr(0, equals),
                            decoded(option.substr(std::min(equals + 1, option.size())))));
    }
  }
  return {};
}

/// `host`, `host:port`, `[address]:port`; port 0 where none is given.
Result<RedisAddress> parse_address(std::string_view text) {
  RedisAddress address{.host = {}, .port = 0};
  std::string_view port;
  if (text.starts_with('[')) {
    auto const close = text.find(']');
    if (close == std::string_view::npos) {
      return invalid("an IPv6 address without its ]");
    }
    address.host = text.substr(1, close - 1);
    port = text.substr(close + 1);
  } else {
    auto const colon = std::min(text.find(':'), text.size());
    address.host = text.substr(0, colon);
    port = text.substr(colon);
  }
  if (address.host.empty() || (!port.empty() && !port.starts_with(':'))) {
    return invalid(fmt::format("{:?} is no host", text));
  }
  if (port.size() > 1 && (!parse_number(port.substr(1), address.port) || address.port == 0)) {
    return invalid(fmt::format("{:?} has no valid port", text));
  }
  return address;
}

Result<void> set_hosts(RedisOptions& options, std::string_view hosts) {
  auto const comma = hosts.find(',');
  auto const sentinel = comma != std::string_view::npos && comma < hosts.find(':');
  if (sentinel) {
    options.topology = RedisOptions::Topology::sentinel;
    options.master_name = hosts.substr(0, comma);
    if (options.master_name.empty()) {
      return invalid("the name of Sentinel's master is missing");
    }
    hosts.remove_prefix(comma + 1);
  } else if (comma != std::string_view::npos) {
    options.topology = RedisOptions::Topology::cluster;
  }
  do {
    auto const end = std::min(hosts.find(','), hosts.size());
    ZEST_TRY(auto address, parse_address(hosts.substr(0, end)));
    options.addresses.push_back(std::move(address));
    hosts.remove_prefix(std::min(end + 1, hosts.size()));
  } while (!hosts.empty());
  // The last sentinel's port goes for those without one.
  auto const last = options.addresses.back().port;
  auto const port = sentinel ? (last == 0 ? kSentinelPort : last) : kPort;
  for (auto& address : options.addresses) {
    address.port = address.port == 0 ? port : address.port;
  }
  return {};
}

}  // namespace

Result<RedisOptions> parse_redis_url(std::string_view url) {
  auto const scheme_end = url.find("://");
  if (scheme_end == std::string_view::npos) {
    return invalid("the scheme is missing");
  }
  auto const scheme = url.substr(0, scheme_end);
  if (scheme != "redis" && scheme != "rediss" && scheme != "unix") {
    return invalid(fmt::format("{:?} is no scheme of Redis", scheme));
  }
  RedisOptions options;
  options.tls = scheme == "rediss";
  auto rest = url.substr(scheme_end + 3);
  auto const question = std::min(rest.find('?'), rest.size());
  ZEST_CHECK(set_query(options, rest.substr(std::min(question + 1, rest.size()))));
  rest = rest.substr(0, question);
  if (auto const at = rest.rfind('@'); at != std::string_view::npos) {
    auto const credentials = rest.substr(0, at);
    auto const colon = std::min(credentials.find(':'), credentials.size());
    options.user = decoded(credentials.substr(0, colon));
    options.password = decoded(credentials.substr(std::min(colon + 1, credentials.size())));
    rest = rest.substr(at + 1);
  }
  if (scheme == "unix") {
    options.unix_path = rest;
    return rest.empty() ? Result<RedisOptions>(invalid("the path of the socket is missing"))
                        : Result<RedisOptions>(std::move(options));
  }
  auto const slash = std::min(rest.find('/'), rest.size());
  auto const database = rest.substr(std::min(slash + 1, rest.size()));
  if (!database.empty() && !parse_number(database, options.database)) {
    return invalid("the database is no number");
  }
  auto const hosts = rest.substr(0, slash);
  ZEST_CHECK(set_hosts(options, hosts.empty() ? "localhost" : hosts));
  return options;
}

}  // namespace zest::meta
