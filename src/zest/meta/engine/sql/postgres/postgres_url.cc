#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <memory>

#include "zest/meta/engine/sql/postgres/postgres.h"

namespace zest::meta::sql {
namespace {

Error invalid(std::string_view what) {
  return {
      Errc::inval, Fault::semantic,
      fmt::format("{}; expected postgres://USER:PASSWORD@HOST:5432/DATABASE[?sslmode=…&…]", what)};
}

Result<std::string> decode(std::string_view what, std::string_view text) {
  auto decoded = url_decode(text, false);
  if (!decoded.ok()) {
    return invalid(fmt::format("the {} contains {}", what, decoded.error().text()));
  }
  return decoded;
}

Result<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) {
    return invalid(fmt::format("{:?} is no port", text));
  }
  return port;
}

/// "host", "host:5432", "[::1]:5432" or "[::1]"; the port stays empty where none is named.
struct HostText {
  std::string name;
  std::string port;
};

Result<HostText> split_host(std::string_view text) {
  HostText host;
  auto rest = text;
  if (text.starts_with('[')) {
    auto const close = text.find(']');
    if (close == std::string_view::npos) {
      return invalid(fmt::format("the host {:?} has no closing bracket", text));
    }
    host.name = text.substr(1, close - 1);
    rest = text.substr(close + 1);
  } else {
    auto const colon = std::min(text.find(':'), text.size());
    ZEST_TRY(host.name, decode("host", text.substr(0, colon)));
    rest = text.substr(colon);
  }
  if (!rest.empty() && !rest.starts_with(':')) {
    return invalid(fmt::format("{:?} is no host and port", text));
  }
  host.port = rest.empty() ? "" : rest.substr(1);
  return host;
}

std::vector<std::string_view> split_commas(std::string_view text) {
  std::vector<std::string_view> parts;
  while (true) {
    auto const end = std::min(text.find(','), text.size());
    parts.push_back(text.substr(0, end));
    if (end == text.size()) {
      return parts;
    }
    text.remove_prefix(end + 1);
  }
}

/// Takes the last option of this name out of the query.
std::string take(UrlQuery& query, std::string_view name) {
  std::string text;
  std::erase_if(query, [&](auto const& option) {
    if (option.first != name) {
      return false;
    }
    text = option.second;
    return true;
  });
  return text;
}

/// Hosts and ports of the authority, or of the query, where that names some. A single port is
/// meant for all hosts.
Result<std::vector<PostgresHost>> parse_hosts(std::string_view authority, UrlQuery& query) {
  std::vector<HostText> hosts;
  for (auto const part : split_commas(authority)) {
    if (!part.empty()) {
      ZEST_TRY(auto host, split_host(part));
      hosts.push_back(std::move(host));
    }
  }
  auto const other_ports = take(query, "port");
  if (auto const other_hosts = take(query, "host"); !other_hosts.empty()) {
    auto const port = hosts.empty() ? std::string() : hosts.front().port;
    hosts.clear();
    for (auto const part : split_commas(other_hosts)) {
      hosts.push_back({.name = std::string(part), .port = port});
    }
  }
  if (!other_ports.empty()) {
    auto const ports = split_commas(other_ports);
    if (hosts.empty()) {
      return invalid("an option port needs a host");
    }
    if (ports.size() != 1 && ports.size() != hosts.size()) {
      return invalid(fmt::format("{} ports for {} hosts", ports.size(), hosts.size()));
    }
    for (std::size_t i = 0; i < hosts.size(); ++i) {
      hosts[i].port = ports[ports.size() == 1 ? 0 : i];
    }
  }
  std::vector<PostgresHost> parsed;
  for (auto& host : hosts) {
    PostgresHost one{.name = std::move(host.name)};
    if (!host.port.empty()) {
      ZEST_TRY(one.port, parse_port(host.port));
    }
    parsed.push_back(std::move(one));
  }
  return parsed;
}

/// A name that the server folds to lower case is quoted, because the peer quotes it, too.
std::string quoted_schema(std::string_view schema) {
  bool const plain = std::ranges::all_of(schema, [](unsigned char c) {
    return std::islower(c) != 0 || std::isdigit(c) != 0 || c == '_';
  });
  if (plain || schema.starts_with('"')) {
    return std::string(schema);
  }
  std::string quoted = "\"";
  for (char const c : schema) {
    quoted.append(c == '"' ? 2 : 1, c);
  }
  return quoted + '"';
}

Result<void> set_search_path(PostgresOptions& options, std::string const& schema) {
  if (schema.find(',') != std::string::npos) {
    return invalid(fmt::format("search_path={} names several schemas, one is supported", schema));
  }
  if (!schema.empty()) {
    options.settings.emplace_back("search_path", quoted_schema(schema));
  }
  return {};
}

Result<void> set_session_attributes(PostgresOptions& options, std::string const& text) {
  constexpr std::array<std::string_view, 6> kKnown{"any",     "read-write", "read-only",
                                                   "primary", "standby",    "prefer-standby"};
  if (std::ranges::find(kKnown, text) == kKnown.end()) {
    return invalid(fmt::format("target_session_attrs={} is unknown", text));
  }
  options.session_attributes = text;
  return {};
}

Result<void> set_connect_timeout(PostgresOptions& options, std::string const& text) {
  std::int32_t seconds = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size()) {
    return invalid(fmt::format("connect_timeout={} is no number of seconds", text));
  }
  if (seconds > 0) {  // 0 and less: no limit, for the client library; here the default stays
    options.connect_timeout = std::chrono::seconds(seconds);
  }
  return {};
}

struct FreeOptions {
  void operator()(PQconninfoOption* list) const noexcept { PQconninfoFree(list); }
};

/// True for what the client library itself knows, so that a newer one takes more.
bool is_keyword(std::string_view name) {
  std::unique_ptr<PQconninfoOption, FreeOptions> const known(PQconndefaults());
  for (auto const* option = known.get(); option != nullptr && option->keyword != nullptr;
       ++option) {
    if (name == option->keyword) {
      return true;
    }
  }
  return false;
}

Result<void> set_option(PostgresOptions& options, std::string const& name,
                        std::string const& text) {
  // Of the peer's driver alone, or of client libraries newer than this one.
  constexpr std::array<std::string_view, 8> kIgnored{"krbspn",
                                                     "servicefile",
                                                     "sslnegotiation",
                                                     "min_protocol_version",
                                                     "require_auth",
                                                     "max_protocol_version",
                                                     "statement_cache_capacity",
                                                     "description_cache_capacity"};
  // What the driver depends on.
  constexpr std::array<std::string_view, 4> kOurs{"hostaddr", "replication", "client_encoding",
                                                  "load_balance_hosts"};
  if (name == "search_path") {
    return set_search_path(options, text);
  }
  if (name == "target_session_attrs") {
    return set_session_attributes(options, text);
  }
  if (name == "connect_timeout") {
    return set_connect_timeout(options, text);
  }
  if (name == "dbname" || name == "database") {
    options.database = text;
  } else if (name == "user") {
    options.user = text;
  } else if (name == "password") {
    options.password = text;
  } else if (std::ranges::find(kOurs, name) != kOurs.end() || name == "default_query_exec_mode") {
    options.ignored.push_back(name);
  } else if (is_keyword(name)) {
    options.keywords.emplace_back(name, text);
  } else if (std::ranges::find(kIgnored, name) != kIgnored.end()) {
    options.ignored.push_back(name);
  } else {
    options.settings.emplace_back(name, text);
  }
  return {};
}

Result<void> parse_user(PostgresOptions& options, std::string_view info) {
  auto const colon = std::min(info.find(':'), info.size());
  ZEST_TRY(options.user, decode("user", info.substr(0, colon)));
  ZEST_TRY(options.password, decode("password", info.substr(std::min(colon + 1, info.size()))));
  return {};
}

}  // namespace

std::string PostgresOptions::target() const {
  std::string where;
  for (auto const& host : hosts) {
    bool const brackets = host.name.find(':') != std::string::npos;
    where += fmt::format("{}{}{}{}:{}", where.empty() ? "" : ",", brackets ? "[" : "", host.name,
                         brackets ? "]" : "", host.port);
  }
  return fmt::format("{}@{}/{}", user, where, database);
}

bool PostgresOptions::commits_lazily() const {
  constexpr std::array<std::string_view, 4> kOff{"off", "false", "no", "0"};
  bool lazily = false;
  for (auto const& [name, setting] : settings) {
    if (name == "synchronous_commit") {  // the last one counts
      lazily = std::ranges::find(kOff, setting) != kOff.end();
    }
  }
  return lazily;
}

Result<PostgresOptions> parse_postgres_url(std::string_view url) {
  auto const scheme_end = url.find("://");
  auto const scheme = url.substr(0, std::min(scheme_end, url.size()));
  if (scheme != "postgres" && scheme != "postgresql") {
    return invalid("this is no PostgreSQL address");
  }
  auto rest = url.substr(scheme_end + 3);
  auto const question = std::min(rest.find('?'), rest.size());
  ZEST_TRY(auto query, parse_query(rest.substr(std::min(question + 1, rest.size()))));
  rest = rest.substr(0, question);
  auto const slash = std::min(rest.find('/'), rest.size());
  auto authority = rest.substr(0, slash);
  PostgresOptions options;
  if (auto const at = authority.rfind('@'); at != std::string_view::npos) {
    ZEST_CHECK(parse_user(options, authority.substr(0, at)));
    authority.remove_prefix(at + 1);
  }
  ZEST_TRY(options.hosts, parse_hosts(authority, query));
  ZEST_TRY(options.database, decode("database", rest.substr(std::min(slash + 1, rest.size()))));
  ZEST_TRY(options.engine, take_url_options(query));
  for (auto const& [name, text] : query) {
    ZEST_CHECK(set_option(options, name, text));
  }
  return options;
}

}  // namespace zest::meta::sql
