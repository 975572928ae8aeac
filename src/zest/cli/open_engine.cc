// META-URLs and the engines that they name.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "zest/cli/environment.h"
#include "zest/meta/engine/kv/etcd/etcd_store.h"
#include "zest/meta/engine/kv/etcd/etcd_url.h"
#include "zest/meta/engine/redis/redis.h"
#include "zest/meta/engine/sql/mysql/mysql.h"
#include "zest/meta/engine/sql/postgres/postgres.h"
#include "zest/meta/engine/sql/remote/remote_engine.h"
#include "zest/meta/engine/sql/sqlite.h"

namespace zest::cli {
namespace {

/// Engines of the format (format/08 §1) that this version cannot open yet.
constexpr std::array<std::string_view, 4> kLater{"tikv", "badger", "fdb", "memkv"};
constexpr std::string_view kSupported =
    "sqlite3://PATH, redis://HOST[:PORT]/DB (also rediss:// and unix://), "
    "mysql://USER@(HOST:PORT)/DATABASE, postgres://USER@HOST:PORT/DATABASE and "
    "etcd://HOST[:PORT]/PREFIX";

using Opened = Result<std::unique_ptr<meta::Engine>>;

/// What every opener is given.
struct Request {
  /// The URL with its scheme in lower case.
  std::string url;
  EngineUse use;
  Logger& log;
  Registry& metrics;
  Duration patience;
};

void warn_of(std::vector<std::string> const& ignored, Logger& log) {
  for (auto const& name : ignored) {
    log.warn("an option of the META-URL has no effect here", {{"option", name}});
  }
}

Opened open_sqlite_url(Request const& request) {
  ZEST_TRY(auto options, meta::parse_sqlite_url(request.url));
  options.create = request.use == EngineUse::create;
  options.read_only = options.read_only || request.use == EngineUse::read_only;
  warn_of(options.ignored, request.log);
  return meta::open_sqlite(options, request.log, request.metrics);
}

Opened open_redis_url(Request const& request) {
  ZEST_TRY(auto options, meta::parse_redis_url(request.url));
  if (char const* password = std::getenv("SENTINEL_PASSWORD"); password != nullptr) {
    options.sentinel_password = password;
  }
  warn_of(options.ignored, request.log);
  return meta::open_redis(std::move(options), request.log, request.metrics);
}

/// On a server that is not asked yet.
template <class Options>
Opened open_remote(Options options, Request const& request,
                   std::unique_ptr<meta::sql::Connector> (*make_connector)(Options)) {
  warn_of(options.ignored, request.log);
  meta::RemoteSqlOptions const engine{.url = options.engine,
                                      .read_only = request.use == EngineUse::read_only,
                                      .loops = std::max(1U, std::thread::hardware_concurrency()),
                                      .patience = request.patience};
  return meta::make_remote_sql_engine(make_connector(std::move(options)), engine, request.log,
                                      request.metrics);
}

Opened open_mysql_url(Request const& request) {
  ZEST_TRY(auto options, meta::sql::parse_mysql_url(request.url));
  return open_remote(std::move(options), request, meta::sql::make_mysql_connector);
}

Opened open_postgres_url(Request const& request) {
  ZEST_TRY(auto options, meta::sql::parse_postgres_url(request.url));
  return open_remote(std::move(options), request, meta::sql::make_postgres_connector);
}

Opened open_etcd_url(Request const& request) {
  meta::EtcdOptions options;
  ZEST_TRY(options.url, meta::parse_etcd_url(request.url));
  options.seed = random_seed();
  options.patience = std::min(options.patience, request.patience);
  warn_of(options.url.ignored, request.log);
  return meta::open_etcd_engine(std::move(options), request.log, request.metrics);
}

struct Engine {
  std::string_view scheme;
  Opened (*open)(Request const&);
};
constexpr std::array<Engine, 8> kEngines{{{"sqlite3", open_sqlite_url},
                                          {"redis", open_redis_url},
                                          {"rediss", open_redis_url},
                                          {"unix", open_redis_url},
                                          {"mysql", open_mysql_url},
                                          {"postgres", open_postgres_url},
                                          {"postgresql", open_postgres_url},
                                          {"etcd", open_etcd_url}}};

}  // namespace

Result<std::unique_ptr<meta::Engine>> open_engine(MetaUrl const& url, EngineUse use, Logger& log,
                                                  Registry& metrics, Duration patience) {
  auto const* const engine = std::ranges::find(kEngines, url.scheme, &Engine::scheme);
  if (engine != kEngines.end()) {
    auto opened = engine->open({.url = url.scheme + url.text.substr(url.text.find("://")),
                                .use = use,
                                .log = log,
                                .metrics = metrics,
                                .patience = patience});
    if (!opened.ok()) {
      return std::move(opened).error().with("open " + url.redacted);
    }
    return opened;
  }
  if (std::ranges::find(kLater, url.scheme) != kLater.end()) {
    return Error(Errc::notsup, Fault::semantic,
                 fmt::format("open {}: the metadata engine \"{}\" is not supported by this "
                             "version yet; supported are {}",
                             url.redacted, url.scheme, kSupported));
  }
  return Error(Errc::inval, Fault::semantic,
               fmt::format("open {}: unknown metadata engine \"{}\"; supported are {}",
                           url.redacted, url.scheme, kSupported));
}

}  // namespace zest::cli
