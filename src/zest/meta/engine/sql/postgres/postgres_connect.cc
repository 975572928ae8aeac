#include "zest/meta/engine/sql/postgres/postgres_connect.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "zest/meta/engine/sql/postgres/postgres_error.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/socket.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/thread_name.h"

namespace zest::meta::sql {
namespace {

using Keywords = std::vector<std::pair<std::string, std::string>>;

struct FreeOptions {
  void operator()(PQconninfoOption* list) const noexcept { PQconninfoFree(list); }
};

bool is_unix_socket(std::string_view host) {
  return host.empty() || host.starts_with('/') || host.starts_with('@');
}

/// The hosts of the environment (PGHOST, PGPORT); one empty name for the library's unix socket.
/// Taken out of the library's hands, because it would resolve them, and block.
std::vector<PostgresHost> default_hosts() {
  std::unique_ptr<PQconninfoOption, FreeOptions> const known(PQconndefaults());
  std::string names;
  PostgresHost host;
  for (auto const* option = known.get(); option != nullptr && option->keyword != nullptr;
       ++option) {
    std::string_view const keyword = option->keyword;
    std::string const text = option->val == nullptr ? "" : option->val;
    if (keyword == "host") {
      names = text;
    } else if (keyword == "port" && !text.empty()) {
      host.port = static_cast<std::uint16_t>(std::strtoul(text.c_str(), nullptr, 10));
    }
  }
  std::vector<PostgresHost> hosts;
  for (std::size_t begin = 0; begin <= names.size();) {
    auto const end = std::min(names.find(',', begin), names.size());
    host.name = names.substr(begin, end - begin);
    hosts.push_back(host);
    begin = end + 1;
  }
  return hosts;
}

std::string numeric_address(Endpoint const& endpoint) {
  std::array<char, NI_MAXHOST> text{};
  auto const* address = reinterpret_cast<sockaddr const*>(&endpoint.address);
  int const failed =
      ::getnameinfo(address, endpoint.length, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST);
  return failed == 0 ? text.data() : "";
}

/// `-c name=value …`, as the server splits it: a backslash before blanks and backslashes.
std::string settings_option(PostgresOptions const& options) {
  std::string text;
  for (auto const& [name, setting] : options.settings) {
    text += text.empty() ? "-c " : " -c ";
    for (char const c : name + "=" + setting) {
      if (c == ' ' || c == '\\') {
        text += '\\';
      }
      text += c;
    }
  }
  return text;
}

/// What every address of the server is called with.
Keywords common_keywords(PostgresOptions const& options) {
  // Kerberos would look its servers up, and block. A server that vanished without a word is noticed
  // after about half a minute, idle or not.
  Keywords keywords{{"gssencmode", "disable"},  {"application_name", "zest"},
                    {"keepalives_idle", "20"},  {"keepalives_interval", "5"},
                    {"keepalives_count", "3"},  {"tcp_user_timeout", "30000"},
                    {"client_encoding", "UTF8"}};
  auto set = [&keywords](std::string_view name, std::string text) {
    auto const at = std::ranges::find(keywords, name, &Keywords::value_type::first);
    if (at == keywords.end()) {
      keywords.emplace_back(name, std::move(text));
    } else {
      at->second = std::move(text);
    }
  };
  auto settings = settings_option(options);
  for (auto const& [name, text] : options.keywords) {
    set(name, text);
    if (name == "options" && !settings.empty()) {
      settings = text + " " + settings;
    }
  }
  if (!settings.empty()) {
    set("options", std::move(settings));
  }
  for (auto const& [name, text] :
       {std::pair("user", options.user), std::pair("password", options.password),
        std::pair("dbname", options.database)}) {
    if (!text.empty()) {
      set(name, text);
    }
  }
  return keywords;
}

Error explain_failure(pg_conn* connection) {
  std::string_view const message = PQerrorMessage(connection);
  auto const state = sqlstate_in(message);
  if (!state.empty()) {
    return judge_failure({.sqlstate = state, .message = message, .several_hosts = true}).error;
  }
  // The library's own refusals have no code. What repetition cannot cure is told apart by its text;
  // anything else is a server that is away.
  constexpr std::array<std::string_view, 4> kFinal{
      "does not support SSL", "certificate verify failed", "root certificate file",
      "does not match host name"};
  bool const final = PQconnectionNeedsPassword(connection) != 0 ||
                     std::ranges::any_of(kFinal, [message](std::string_view text) {
                       return message.find(text) != std::string_view::npos;
                     });
  if (final) {
    return {Errc::acces, Fault::semantic, tidy_message(message)};
  }
  return Error::transient(Errc::io, tidy_message(message));
}

/// Waits in slices, because a stop cannot interrupt poll(2).
Result<void> wait_on_thread(Context const& ctx, int fd, short events) {
  constexpr int kSliceMs = 20;
  SystemClock const clock;
  for (;;) {
    if (ctx.stop.stop_requested()) {
      return Errc::intr;
    }
    if (ctx.deadline <= clock.now()) {
      return Errc::timedout;
    }
    pollfd descriptor{.fd = fd, .events = events, .revents = 0};
    int const ready = ::poll(&descriptor, 1, kSliceMs);
    if (ready > 0) {
      return {};
    }
    if (ready < 0 && errno != EINTR) {
      return Error::from_errno(errno, "waiting for a connection");
    }
  }
}

/// One address, until it is ready or has failed. On a thread.
Result<PostgresHandle> try_address(Context const& ctx, Keywords const& keywords) {
  std::vector<char const*> names;
  std::vector<char const*> texts;
  for (auto const& [name, text] : keywords) {
    names.push_back(name.c_str());
    texts.push_back(text.c_str());
  }
  names.push_back(nullptr);
  texts.push_back(nullptr);
  PostgresHandle handle(PQconnectStartParams(names.data(), texts.data(), 0));
  if (handle == nullptr) {
    return Errc::nomem;
  }
  // Otherwise failures have no SQLSTATE, and notices go to the standard error.
  PQsetErrorVerbosity(handle.get(), PQERRORS_VERBOSE);
  PQsetNoticeReceiver(handle.get(), [](void*, PGresult const*) {}, nullptr);
  auto status =
      PQstatus(handle.get()) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING) {
    // The socket changes from try to try (with and without TLS): it is asked for each time.
    ZEST_CHECK(wait_on_thread(ctx, PQsocket(handle.get()),
                              status == PGRES_POLLING_READING ? POLLIN : POLLOUT));
    status = PQconnectPoll(handle.get());
  }
  if (status != PGRES_POLLING_OK) {
    return explain_failure(handle.get());
  }
  PQsetErrorVerbosity(handle.get(), PQERRORS_DEFAULT);
  if (PQsetnonblocking(handle.get(), 1) != 0 || PQenterPipelineMode(handle.get()) != 1) {
    return explain_failure(handle.get());
  }
  return handle;
}

/// Tries an address on a thread of its own, for which the fiber waits: the password's hash (4,096
/// rounds) and TLS compute for milliseconds, and files are read.
Result<PostgresHandle> try_beside_loop(Context const& ctx, Keywords const& keywords) {
  std::optional<Result<PostgresHandle>> result;
  Event done;
  try {
    std::thread thread([&] {
      name_thread("zest-postgres");
      result.emplace(try_address(ctx, keywords));
      done.set();
    });
    done.wait();  // the thread keeps to the deadline
    thread.join();
  } catch (std::system_error const& error) {
    return Error::transient(Errc::io, fmt::format("no thread to connect on: {}", error.what()));
  }
  return *std::move(result);
}

/// Walks through hosts and their addresses.
class Search {
 public:
  Search(Context const& ctx, PostgresOptions const& options)
      : ctx_(ctx), options_(options), common_(common_keywords(options)) {}

  /// One round over all addresses; nothing, and last() says why, when none would do; an error when
  /// there is no sense in searching on.
  Result<std::optional<PostgresHandle>> round(std::vector<PostgresHost> const& hosts,
                                              std::string_view attributes) {
    for (auto const& host : hosts) {
      auto addresses = addresses_of(host);
      if (!addresses.ok()) {
        // Names come and go with their servers in some networks: as good as a server that is away.
        last_ = Error::transient(Errc::io, addresses.error().text());
        ZEST_CHECK(check_time());
        continue;
      }
      for (auto const& address : *addresses) {
        auto connected = attempt(host, address, attributes);
        if (connected.ok()) {
          return std::optional(*std::move(connected));
        }
        last_ = std::move(connected).error();
        ZEST_CHECK(check_time());
        if (last_.fault() != Fault::transient) {
          return std::move(last_);
        }
      }
    }
    return std::optional<PostgresHandle>();
  }

  Error last() { return std::move(last_); }

 private:
  /// The numeric addresses; one empty text for a unix socket.
  Result<std::vector<std::string>> addresses_of(PostgresHost const& host) {
    if (is_unix_socket(host.name)) {
      return std::vector<std::string>{""};
    }
    ZEST_TRY(auto const endpoints, resolve(limited(), host.name, host.port));
    std::vector<std::string> addresses;
    for (auto const& endpoint : endpoints) {
      if (auto text = numeric_address(endpoint); !text.empty()) {
        addresses.push_back(std::move(text));
      }
    }
    return addresses;
  }

  Result<PostgresHandle> attempt(PostgresHost const& host, std::string const& address,
                                 std::string_view attributes) {
    auto keywords = common_;
    keywords.emplace_back("target_session_attrs", attributes);
    keywords.emplace_back("port", std::to_string(host.port));
    if (!host.name.empty()) {
      keywords.emplace_back("host", host.name);  // for the password file and certificates
    }
    if (!address.empty()) {
      keywords.emplace_back("hostaddr", address);
    }
    auto connected = try_beside_loop(limited(), keywords);
    if (failed_with(connected, Errc::timedout)) {
      return Error::transient(
          Errc::io, fmt::format("no answer from {} port {} in time", host.name, host.port));
    }
    return connected;
  }

  [[nodiscard]] Context limited() const {
    Context limited;
    limited.stop = ctx_.stop;
    limited.deadline = std::min(ctx_.deadline, Loop::current()->now() + options_.connect_timeout);
    return limited;
  }

  /// Whether the caller still waits.
  Result<void> check_time() {
    if (ctx_.stop.stop_requested()) {
      return Errc::intr;
    }
    if (ctx_.deadline <= Loop::current()->now()) {
      return std::move(last_);
    }
    return {};
  }

  Context const& ctx_;
  PostgresOptions const& options_;
  Keywords common_;
  Error last_{Errc::io, Fault::transient, "the host name has no address"};
};

}  // namespace

void ClosePostgres::operator()(pg_conn* connection) const noexcept {
  PQfinish(connection);
}

Result<PostgresHandle> connect_postgres(Context const& ctx, PostgresOptions const& options) {
  auto const hosts = options.hosts.empty() ? default_hosts() : options.hosts;
  bool const prefers_standby = options.session_attributes == "prefer-standby";
  Search search(ctx, options);
  ZEST_TRY(auto found,
           search.round(hosts, prefers_standby ? "standby" : options.session_attributes));
  if (!found && prefers_standby) {
    ZEST_TRY(found, search.round(hosts, "any"));
  }
  if (!found) {
    return search.last();
  }
  return *std::move(found);
}

}  // namespace zest::meta::sql
