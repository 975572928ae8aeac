// Speed of an engine: mkdir-shaped commits and fetches by a number of fibers on one loop.
//   zest_engine_bench memory|sqlite3://PATH|redis://HOST/DB|mysql://…|postgres://…|etcd://…
//   [seconds] (empties the database)
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "zest/meta/engine/kv/etcd/etcd_store.h"
#include "zest/meta/engine/kv/etcd/etcd_url.h"
#include "zest/meta/engine/memory/memory.h"
#include "zest/meta/engine/redis/redis.h"
#include "zest/meta/engine/sql/mysql/mysql.h"
#include "zest/meta/engine/sql/postgres/postgres.h"
#include "zest/meta/engine/sql/remote/remote_engine.h"
#include "zest/meta/engine/sql/sqlite.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest::meta {

namespace {

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto const seconds = [](timeval t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double microseconds(Duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

/// Runs `operation(fiber, n)` on `fibers` fibers for a while and prints rate, latency and CPU.
template <class Operation>
void measure(std::string_view name, std::size_t fibers, double seconds,
             Operation const& operation) {
  auto& loop = *Loop::current();
  auto const end = loop.now() + std::chrono::milliseconds(static_cast<int>(seconds * 1000));
  std::vector<double> latencies;
  auto const cpu = cpu_seconds();
  auto const start = loop.now();
  Scope scope;
  for (std::size_t fiber = 0; fiber < fibers; ++fiber) {
    scope.spawn([&, fiber] {
      for (std::uint64_t n = 0; loop.now() < end; ++n) {
        auto const begin = loop.now();
        Result<void> const result = operation(fiber, n);
        if (!result.ok()) {
          fmt::print(stderr, "{}\n", result.error().text());
          std::exit(1);
        }
        latencies.push_back(microseconds(loop.now() - begin));
      }
    });
  }
  scope.join();
  auto const elapsed = microseconds(loop.now() - start) * 1e-6;
  auto const count = static_cast<double>(latencies.size());
  std::ranges::sort(latencies);
  fmt::print("{:<22} {:>3} fibers {:>9.0f}/s  p50 {:>7.1f} us  p99 {:>7.1f} us  CPU {:>6.1f} us\n",
             name, fibers, count / elapsed, latencies[latencies.size() / 2],
             latencies[latencies.size() * 99 / 100], (cpu_seconds() - cpu) / count * 1e6);
}

void run(Engine& engine, double seconds) {
  Context const ctx;
  Attr const root{.type = FileType::directory, .mode = 0777, .nlink = 2, .length = 4096};
  (void)engine.reset(ctx);
  (void)engine.initialize(ctx, "{}", root, std::nullopt);
  std::uint64_t next = 10;
  auto const mkdir = [&](std::size_t /*fiber*/, std::uint64_t /*n*/) -> Result<void> {
    Ino const ino{next++};
    auto name = fmt::format("dir{}", ino.value);
    return engine.commit(
        ctx, {.conditions = {ExpectNode{.ino = kRootIno, .fields = kType | kMode, .seen = root},
                             ExpectAbsent{EdgeKey{kRootIno, name}}},
              .changes = {Put{NodeKey{ino}, root},
                          Put{EdgeKey{kRootIno, name}, Entry{FileType::directory, ino}},
                          UpdateNode{.ino = kRootIno,
                                     .add_nlink = 1,
                                     .raise_mtime = WallTime{1'800'000'000, 0},
                                     .raise_ctime = WallTime{1'800'000'000, 0}}}});
  };
  auto const lookup = [&](std::size_t fiber, std::uint64_t n) -> Result<void> {
    Key const key = ChildKey{kRootIno, fmt::format("dir{}", 10 + (n * 16 + fiber) % (next - 10))};
    ZEST_CHECK(engine.fetch(ctx, std::span(&key, 1)));
    return {};
  };
  auto const durable = [&](std::size_t fiber, std::uint64_t n) -> Result<void> {
    ZEST_CHECK(mkdir(fiber, n));
    return engine.sync(ctx);
  };
  for (std::size_t const fibers : {1UL, 16UL}) {
    measure("mkdir commit", fibers, seconds, mkdir);
    measure("lookup fetch", fibers, seconds, lookup);
    measure("mkdir commit + sync", fibers, seconds, durable);
  }
}

Result<std::unique_ptr<Engine>> open_address(std::string const& address, Logger& log,
                                             Registry& metrics) {
  if (address.starts_with("redis")) {
    ZEST_TRY(auto options, parse_redis_url(address));
    return open_redis(std::move(options), log, metrics);
  }
  if (address.starts_with("mysql")) {
    ZEST_TRY(auto options, sql::parse_mysql_url(address));
    RemoteSqlOptions const engine{.url = options.engine};
    return make_remote_sql_engine(sql::make_mysql_connector(std::move(options)), engine, log,
                                  metrics);
  }
  if (address.starts_with("postgres")) {
    ZEST_TRY(auto options, sql::parse_postgres_url(address));
    RemoteSqlOptions const engine{.url = options.engine};
    return make_remote_sql_engine(sql::make_postgres_connector(std::move(options)), engine, log,
                                  metrics);
  }
  if (address.starts_with("etcd")) {
    EtcdOptions options;
    ZEST_TRY(options.url, parse_etcd_url(address));
    return open_etcd_engine(std::move(options), log, metrics);
  }
  ZEST_TRY(auto const options, parse_sqlite_url(address));
  return open_sqlite(options, log, metrics);
}

int run_program(int argc, char** argv) {
  std::string const address = argc > 1 ? argv[1] : "memory";
  double const seconds = argc > 2 ? std::atof(argv[2]) : 2;
  Logger log({.level = LogLevel::warn, .file = {}, .json = false, .color = false});
  Registry metrics;
  zest::testing::run_on_loop([&] {
    if (address == "memory") {
      run(*make_memory_engine({.yield = false}), seconds);
      return;
    }
    auto const engine = open_address(address, log, metrics);
    if (!engine.ok()) {
      fmt::print(stderr, "{}\n", engine.error().text());
      std::exit(1);
    }
    run(**engine, seconds);
  });
  fmt::print("{}", metrics.stats());
  return 0;
}

}  // namespace

/// The program; in the namespace so that it needs no using directive.
int engine_bench(int argc, char** argv) {
  return run_program(argc, argv);
}

}  // namespace zest::meta

int main(int argc, char** argv) {
  return zest::meta::engine_bench(argc, argv);
}
