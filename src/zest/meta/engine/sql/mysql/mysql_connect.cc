// Opening a connection. Name resolution, TLS and the password's hash block or compute, so a thread
// does it and hands over a handle that is ready.
#include <fmt/format.h>
#include <mysql.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "zest/meta/engine/sql/mysql/mysql_session.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/thread_name.h"

namespace zest::meta::sql {

namespace {

constexpr unsigned kAnswerTimeoutSec = 60;
/// Longer waits for a lock are a stuck client's; the transaction is tried again.
constexpr std::string_view kLockWait = "innodb_lock_wait_timeout=10";

unsigned whole_seconds(Duration duration) {
  auto const seconds = std::chrono::ceil<std::chrono::seconds>(duration).count();
  return static_cast<unsigned>(std::clamp<std::int64_t>(seconds, 1, 3600));
}

Error connect_error(MYSQL* handle, MysqlOptions const& options, bool sent = false) {
  auto verdict = judge_mysql({.number = ::mysql_errno(handle),
                              .message = ::mysql_error(handle),
                              .statement = {},
                              .sent = sent});
  return std::move(verdict.error).with(fmt::format("connect to {}", options.target()));
}

void set_options(MYSQL* handle, MysqlOptions const& options) {
  my_bool const yes = 1;
  my_bool const no = 0;
  unsigned const local_files = 0;
  auto const connect_timeout = whole_seconds(options.connect_timeout);
  auto const answer_timeout = kAnswerTimeoutSec;
  ::mysql_options(handle, MYSQL_OPT_NONBLOCK, nullptr);
  ::mysql_options(handle, MYSQL_OPT_CONNECT_TIMEOUT, &connect_timeout);
  ::mysql_options(handle, MYSQL_OPT_READ_TIMEOUT, &answer_timeout);
  ::mysql_options(handle, MYSQL_OPT_WRITE_TIMEOUT, &answer_timeout);
  ::mysql_options(handle, MYSQL_SET_CHARSET_NAME, "utf8mb4");
  ::mysql_options(handle, MYSQL_OPT_LOCAL_INFILE, &local_files);
  if (options.tls == MysqlTls::off) {
    return;
  }
  auto const* ca =
      options.ca_file.empty() ? "/etc/ssl/certs/ca-certificates.crt" : options.ca_file.c_str();
  ::mysql_ssl_set(handle, nullptr, nullptr, options.tls == MysqlTls::verified ? ca : nullptr,
                  nullptr, nullptr);
  ::mysql_options(handle, MYSQL_OPT_SSL_ENFORCE, options.tls == MysqlTls::preferred ? &no : &yes);
  ::mysql_options(handle, MYSQL_OPT_SSL_VERIFY_SERVER_CERT,
                  options.tls == MysqlTls::verified ? &yes : &no);
}

/// Runs a statement, blocking; the first two columns of its rows.
Result<std::vector<std::pair<std::string, std::string>>> ask(MYSQL* handle, std::string const& text,
                                                             MysqlOptions const& options) {
  std::vector<std::pair<std::string, std::string>> rows;
  if (::mysql_real_query(handle, text.data(), text.size()) != 0) {
    return connect_error(handle, options);
  }
  auto* const result = ::mysql_store_result(handle);
  if (result == nullptr) {
    if (::mysql_field_count(handle) != 0) {
      return connect_error(handle, options);
    }
    return rows;
  }
  while (auto* const row = ::mysql_fetch_row(result)) {
    auto const text_of = [&](unsigned i) {
      return std::string(i < ::mysql_num_fields(result) && row[i] != nullptr ? row[i] : "");
    };
    rows.emplace_back(text_of(0), text_of(1));
  }
  ::mysql_free_result(result);
  return rows;
}

Result<void> set_up(MYSQL* handle, MysqlOptions const& options) {
  // Values that do not fit are errors, never cut.
  std::string set = fmt::format(
      "SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',autocommit=1,{}", kLockWait);
  ZEST_TRY(
      auto const galera,
      ask(handle, "SHOW STATUS WHERE Variable_name IN ('wsrep_ready','wsrep_local_state_comment')",
          options));
  bool is_node = false;
  for (auto const& [name, value] : galera) {
    if (name == "wsrep_ready" && !value.empty()) {
      ZEST_TRY(auto const on, ask(handle, "SHOW VARIABLES LIKE 'wsrep_on'", options));
      is_node = !on.empty() && on.front().second == "ON";
      if (is_node && value != "ON") {
        return Error::transient(Errc::io, fmt::format("connect to {}: the node is not part of its "
                                                      "cluster now",
                                                      options.target()));
      }
    }
  }
  if (is_node) {
    // A commit that returned is seen by every later statement, on other nodes too.
    set += ",wsrep_sync_wait=7";
  }
  for (auto const& [name, value] : options.settings) {
    set += fmt::format(",{}={}", name, value);
  }
  for (auto const& text :
       {set, std::string("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")}) {
    ZEST_CHECK(ask(handle, text, options));
  }
  return {};
}

Result<MysqlHandle> connect_host(MysqlOptions const& options, MysqlHost const* host) {
  MysqlHandle handle(::mysql_init(nullptr));
  if (handle == nullptr) {
    return Error::transient(Errc::nomem, "connect to the database: out of memory");
  }
  set_options(handle.get(), options);
  constexpr unsigned long kFlags = CLIENT_MULTI_STATEMENTS | CLIENT_FOUND_ROWS;
  auto const* connected = ::mysql_real_connect(
      handle.get(), host == nullptr ? nullptr : host->name.c_str(), options.user.c_str(),
      options.password.c_str(), options.database.c_str(), host == nullptr ? 0 : host->port,
      options.socket.empty() ? nullptr : options.socket.c_str(), kFlags);
  if (connected == nullptr) {
    return connect_error(handle.get(), options);
  }
  ZEST_CHECK(set_up(handle.get(), options));
  return handle;
}

/// Shared by the fiber and the thread, because a fiber that gives up leaves the thread behind.
struct Attempt {
  MysqlOptions options;
  std::optional<Result<MysqlHandle>> handle;
  Event done;
};

class MysqlConnector final : public Connector {
 public:
  explicit MysqlConnector(MysqlOptions options) : options_(std::move(options)) {}

  [[nodiscard]] Dialect const& dialect() const noexcept override { return dialect_; }
  [[nodiscard]] std::string_view name() const noexcept override { return "mysql"; }

  Result<std::unique_ptr<Session>> connect(Context const& ctx) override {
    auto const attempt = std::make_shared<Attempt>();
    attempt->options = options_;
    try {
      // Detached, unlike everything else: the library's connect can't be interrupted, and neither a
      // deadline nor the program's end should wait for it. It touches only what it shares.
      std::thread([attempt] {
        name_thread("zest-mysql");
        attempt->handle.emplace(connect_mysql(attempt->options));
        attempt->done.set();
        ::mysql_thread_end();
        // tidy: allow(detach) see above
      }).detach();
    } catch (std::system_error const& error) {
      return Error::transient(Errc::again, fmt::format("connect to {}: no thread: {}",
                                                       options_.target(), error.what()));
    }
    if (auto waited = attempt->done.wait(ctx); !waited.ok()) {
      if (waited.error().code() == Errc::timedout) {
        return Error::transient(Errc::io,
                                fmt::format("connect to {}: no answer in time", options_.target()));
      }
      return std::move(waited).error();
    }
    if (!attempt->handle->ok()) {
      return std::move(*attempt->handle).error();
    }
    return make_mysql_session(**std::move(attempt->handle), options_);
  }

 private:
  MysqlOptions options_;
  Dialect dialect_{.product = Dialect::Product::mysql};
};

}  // namespace

Result<MysqlHandle> connect_mysql(MysqlOptions const& options) {
  if (!options.socket.empty()) {
    return connect_host(options, nullptr);
  }
  std::optional<Error> last;
  for (auto const& host : options.hosts) {
    auto handle = connect_host(options, &host);
    if (handle.ok() || handle.error().fault() != Fault::transient) {
      return handle;
    }
    last = std::move(handle).error();
  }
  if (!last) {
    return Error(Errc::inval, Fault::semantic, "no host to connect to");
  }
  return *std::move(last);
}

std::unique_ptr<Connector> make_mysql_connector(MysqlOptions options) {
  return std::make_unique<MysqlConnector>(std::move(options));
}

}  // namespace zest::meta::sql
