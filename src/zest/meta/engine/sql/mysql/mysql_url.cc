#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <chrono>
#include <limits>
#include <optional>

#include "zest/meta/engine/sql/mysql/mysql.h"

namespace zest::meta::sql {

namespace {

constexpr std::string_view kScheme = "mysql://";

Error invalid(std::string_view what) {
  return {Errc::inval, Fault::semantic,
          fmt::format("{}; expected mysql://user:password@(host:3306)/database[?option=value&…]",
                      what)};
}

/// Options of the peer's driver that change nothing here: how it represents values, what the client
/// may do to itself, and the isolation, which is the engine's.
constexpr std::array<std::string_view, 22> kIgnored{"allowAllFiles",
                                                    "allowCleartextPasswords",
                                                    "allowFallbackToPlaintext",
                                                    "allowNativePasswords",
                                                    "allowOldPasswords",
                                                    "charset",
                                                    "checkConnLiveness",
                                                    "clientFoundRows",
                                                    "collation",
                                                    "columnsWithAlias",
                                                    "compress",
                                                    "connectionAttributes",
                                                    "interpolateParams",
                                                    "loc",
                                                    "maxAllowedPacket",
                                                    "multiStatements",
                                                    "parseTime",
                                                    "rejectReadOnly",
                                                    "serverPubKey",
                                                    "timeTruncate",
                                                    "transaction_isolation",
                                                    "tx_isolation"};

/// `1m30s`, `500ms`: what the peer's driver calls a duration.
Result<Duration> parse_duration(std::string_view name, std::string_view text) {
  auto const whole = text;
  Duration sum{};
  while (!text.empty()) {
    std::uint32_t number = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) {
      return invalid(fmt::format("{}={} is no duration such as 10s", name, whole));
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    constexpr std::array<std::pair<std::string_view, Duration>, 4> kUnits{
        {{"ms", std::chrono::milliseconds(1)},
         {"s", std::chrono::seconds(1)},
         {"m", std::chrono::minutes(1)},
         {"h", std::chrono::hours(1)}}};
    auto const unit = std::ranges::find_if(
        kUnits, [&](auto const& each) { return text.starts_with(each.first); });
    if (unit == kUnits.end()) {
      return invalid(fmt::format("{}={} is no duration such as 10s", name, whole));
    }
    text.remove_prefix(unit->first.size());
    sum += number * unit->second;
  }
  return sum;
}

/// A name, a number or a quoted text: what may stand behind `SET name=` without being a statement.
bool is_setting(std::string_view name, std::string_view value) {
  auto const word = [](std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
    });
  };
  auto const quoted = value.size() >= 2 && value.front() == value.back() &&
                      (value.front() == '\'' || value.front() == '"') &&
                      value.substr(1, value.size() - 2).find_first_of("'\"\\?;") == value.npos;
  return word(name) && (word(value) || quoted);
}

Result<void> set_tls(MysqlOptions& options, std::string_view value) {
  if (value == "true" || value == "1") {
    options.tls = MysqlTls::verified;
  } else if (value == "skip-verify") {
    options.tls = MysqlTls::unverified;
  } else if (value == "preferred") {
    options.tls = MysqlTls::preferred;
  } else if (value == "false" || value == "0" || value.empty()) {
    options.tls = MysqlTls::off;
  } else {
    return invalid(fmt::format("tls={}: true, skip-verify, preferred or false", value));
  }
  return {};
}

Result<void> set_option(MysqlOptions& options, std::string const& name, std::string const& value) {
  if (name == "tls") {
    return set_tls(options, value);
  }
  if (name == "timeout") {
    ZEST_TRY(options.connect_timeout, parse_duration(name, value));
  } else if (name == "tls_ca") {
    options.ca_file = value;
  } else if (name == "readTimeout" || name == "writeTimeout" ||
             std::ranges::find(kIgnored, name) != kIgnored.end()) {
    options.ignored.push_back(name);
  } else if (is_setting(name, value)) {
    options.settings.emplace_back(name, value);
  } else {
    return invalid(fmt::format("{}={} is no value of a system variable", name, value));
  }
  return {};
}

Result<MysqlHost> parse_host(std::string_view text) {
  MysqlHost host;
  auto colon = text.rfind(':');
  if (text.starts_with('[')) {
    auto const close = text.find(']');
    if (close == text.npos) {
      return invalid(fmt::format("{}: an address in brackets has to end in ]", text));
    }
    host.name = text.substr(1, close - 1);
    colon = text.find(':', close);
  } else {
    host.name = text.substr(0, colon);
  }
  if (colon != text.npos) {
    auto const port = text.substr(colon + 1);
    auto const [end, error] = std::from_chars(port.data(), port.data() + port.size(), host.port);
    if (error != std::errc() || end != port.data() + port.size() || host.port == 0) {
      return invalid(fmt::format("{} is no port", port));
    }
  }
  if (host.name.empty()) {
    host.name = "127.0.0.1";
  }
  return host;
}

/// `(host:3306,host2)`, `tcp(host)`, `unix(/path)`, `host:3306`, or nothing.
Result<void> parse_address(MysqlOptions& options, std::string_view text) {
  auto const open = text.find('(');
  std::string_view protocol = "tcp";
  if (open != text.npos) {
    if (!text.ends_with(')')) {
      return invalid("the address has to end in )");
    }
    protocol = open == 0 ? protocol : text.substr(0, open);
    text = text.substr(open + 1, text.size() - open - 2);
  }
  if (protocol == "unix") {
    if (text.empty()) {
      return invalid("unix() needs a path");
    }
    options.socket = text;
    return {};
  }
  if (protocol != "tcp") {
    return invalid(fmt::format("{} is no kind of connection: tcp or unix", protocol));
  }
  do {
    auto const end = std::min(text.find(','), text.size());
    ZEST_TRY(auto host, parse_host(text.substr(0, end)));
    options.hosts.push_back(std::move(host));
    text.remove_prefix(std::min(end + 1, text.size()));
  } while (!text.empty());
  return {};
}

/// Percent-decoded where it can be: a password that was not encoded is taken as it is.
std::string decoded_password(std::string_view text) {
  if (text.find_first_of("/@#?[]") == text.npos) {
    if (auto decoded = url_decode(text, /*plus_is_blank=*/false); decoded.ok()) {
      return *std::move(decoded);
    }
  }
  return std::string(text);
}

}  // namespace

std::string MysqlOptions::target() const {
  std::string where = socket;
  for (auto const& host : hosts) {
    where += fmt::format("{}{}:{}", where.empty() ? "" : ",", host.name, host.port);
  }
  return fmt::format("{}@{}/{}", user, where, database);
}

Result<MysqlOptions> parse_mysql_url(std::string_view url) {
  if (!url.starts_with(kScheme)) {
    return invalid("this is no MySQL address");
  }
  auto rest = url.substr(kScheme.size());
  auto const question = std::min(rest.find('?'), rest.size());
  ZEST_TRY(auto query, parse_query(rest.substr(std::min(question + 1, rest.size()))));
  auto const base = rest.substr(0, question);
  // A password or the path of a socket may contain slashes, the name of a database doesn't.
  auto const slash = base.rfind('/');
  if (slash == base.npos || slash + 1 == base.size()) {
    return invalid("the name of the database is missing");
  }
  MysqlOptions options;
  options.database = base.substr(slash + 1);
  auto const left = base.substr(0, slash);
  auto const at = left.rfind('@');
  auto const who = at == left.npos ? std::string_view() : left.substr(0, at);
  auto const colon = std::min(who.find(':'), who.size());
  options.user = who.substr(0, colon);
  options.password = decoded_password(who.substr(std::min(colon + 1, who.size())));
  ZEST_CHECK(parse_address(options, at == left.npos ? left : left.substr(at + 1)));
  ZEST_TRY(options.engine, take_url_options(query));
  for (auto const& [name, value] : query) {
    ZEST_CHECK(set_option(options, name, value));
  }
  return options;
}

}  // namespace zest::meta::sql
