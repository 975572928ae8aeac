// The engines that take part, and what their tests share.
#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp
#include <unistd.h>

#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include "tests/conformance/engine/engine_suite.h"
#include "zest/format/kv_key.h"
#include "zest/meta/engine/kv/etcd/etcd_store.h"
#include "zest/meta/engine/kv/etcd/etcd_url.h"
#include "zest/meta/engine/kv/kv_engine.h"
#include "zest/meta/engine/kv/memory_kv.h"
#include "zest/meta/engine/memory/memory.h"
#include "zest/meta/engine/redis/redis.h"
#include "zest/meta/engine/sql/mysql/mysql.h"
#include "zest/meta/engine/sql/postgres/postgres.h"
#include "zest/meta/engine/sql/remote/remote_engine.h"
#include "zest/meta/engine/sql/sqlite.h"
#include "zest/runtime/testing.h"

namespace zest::meta::testing {

namespace {

class MemoryFixture final : public EngineFixture {
 public:
  explicit MemoryFixture(MemoryEngineOptions options) : options_(std::move(options)) {}
  std::unique_ptr<Engine> connect() override { return make_memory_engine(options_); }

 private:
  MemoryEngineOptions options_;
};

class SqliteFixture final : public EngineFixture {
 public:
  explicit SqliteFixture(std::string prefix) : prefix_(std::move(prefix)) {
    auto pattern = (std::filesystem::temp_directory_path() / "zest-engine-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~SqliteFixture() override { std::filesystem::remove_all(folder_); }
  std::unique_ptr<Engine> connect() override {
    return must(
        open_sqlite({.path = folder_ / "volume.db", .table_prefix = prefix_}, log, metrics));
  }

 private:
  std::string prefix_;
  std::filesystem::path folder_;
};

/// A database of a server that the environment names; emptied for each test.
class RedisFixture final : public EngineFixture {
 public:
  explicit RedisFixture(std::string url) : url_(std::move(url)) {
    Context const ctx;
    must(connect()->reset(ctx));
  }
  std::unique_ptr<Engine> connect() override {
    return must(open_redis(must(parse_redis_url(url_)), log, metrics));
  }

 private:
  std::string url_;
};

class MemoryKvFixture final : public EngineFixture {
 public:
  std::unique_ptr<Engine> connect() override {
    return make_kv_engine(kv::make_memory_kv(data_), {.prefix = kv_prefix("/test")}, metrics);
  }

 private:
  std::shared_ptr<kv::MemoryKvData> data_ = kv::make_memory_kv_data();
};

/// A part of its own of the etcd that ZEST_TEST_ETCD names.
class EtcdFixture final : public EngineFixture {
 public:
  explicit EtcdFixture(std::string const& url) {
    static std::atomic<int> number = 0;
    options_.url = must(parse_etcd_url(url));
    options_.url.path += "/" + std::to_string(getpid()) + "-" + std::to_string(++number);
  }
  ~EtcdFixture() override { must(connect()->reset(Context())); }
  std::unique_ptr<Engine> connect() override {
    return must(open_etcd_engine(options_, log, metrics));
  }

 private:
  EtcdOptions options_;
};

/// A database of its own on the server that an environment variable names.
class MysqlFixture final : public EngineFixture {
 public:
  MysqlFixture(std::string url, std::string prefix) : prefix_(std::move(prefix)) {
    server_ = must(sql::parse_mysql_url(url));
    static int number = 0;
    database_ = fmt::format("zest_test_{}_{}", ::getpid(), number++);
    on_server("CREATE DATABASE " + database_);
  }
  ~MysqlFixture() override { on_server("DROP DATABASE " + database_); }

  std::unique_ptr<Engine> connect() override {
    auto options = server_;
    options.database = database_;
    options.engine.table_prefix = prefix_;
    auto const url_options = options.engine;
    return make_remote_sql_engine(sql::make_mysql_connector(std::move(options)),
                                  {.url = url_options}, log, metrics);
  }

 private:
  void on_server(std::string text) {
    Context const ctx;
    auto const connector = sql::make_mysql_connector(server_);
    auto const session = must(connector->connect(ctx));
    sql::Statement const statement{.text = std::move(text), .parameters = {}};
    if (session != nullptr) {
      must(session->run(ctx, std::span(&statement, 1)));
    }
  }

  sql::MysqlOptions server_;
  std::string prefix_;
  std::string database_;
};

/// A schema of its own on the server that an environment variable names.
class PostgresFixture final : public EngineFixture {
 public:
  /// `defaults`: options of the server process, which settings of the session override.
  PostgresFixture(std::string url, std::string prefix, std::string defaults)
      : prefix_(std::move(prefix)), defaults_(std::move(defaults)) {
    server_ = must(sql::parse_postgres_url(url));
    static int number = 0;
    schema_ = fmt::format("zest_test_{}_{}", ::getpid(), number++);
    on_server("CREATE SCHEMA " + schema_);
  }
  ~PostgresFixture() override { on_server(fmt::format("DROP SCHEMA {} CASCADE", schema_)); }

  std::unique_ptr<Engine> connect() override {
    auto options = server_;
    options.settings.emplace_back("search_path", schema_);
    options.keywords.emplace_back("options", defaults_);
    if (!defaults_.empty()) {
      options.settings.emplace_back("synchronous_commit", "off");
    }
    options.engine.table_prefix = prefix_;
    auto const url_options = options.engine;
    return make_remote_sql_engine(sql::make_postgres_connector(std::move(options)),
                                  {.url = url_options}, log, metrics);
  }

 private:
  void on_server(std::string text) {
    Context const ctx;
    auto const connector = sql::make_postgres_connector(server_);
    auto const session = must(connector->connect(ctx));
    sql::Statement const statement{.text = std::move(text), .parameters = {}};
    if (session != nullptr) {
      must(session->run(ctx, std::span(&statement, 1)));
    }
  }

  sql::PostgresOptions server_;
  std::string prefix_;
  std::string defaults_;
  std::string schema_;
};

EngineCase memory_case(std::string name, MemoryEngineOptions const& options) {
  return {.name = std::move(name),
          .make = [options] { return std::make_unique<MemoryFixture>(options); }};
}

EngineCase sqlite_case(std::string name, std::string const& prefix) {
  return {.name = std::move(name),
          .make = [prefix] { return std::make_unique<SqliteFixture>(prefix); },
          .many_clients = true};
}

EngineCase memory_kv_case() {
  return {.name = "MemoryKv",
          .make = [] { return std::make_unique<MemoryKvFixture>(); },
          .many_clients = true,
          .trips_max = 2};
}

EngineCase etcd_case(std::string const& url) {
  return {.name = "Etcd",
          .make = [url] { return std::make_unique<EtcdFixture>(url); },
          .many_clients = true,
          .trips_max = 2};
}

EngineCase mysql_case(std::string name, std::string const& url, std::string const& prefix) {
  return {.name = std::move(name),
          .make = [url, prefix] { return std::make_unique<MysqlFixture>(url, prefix); },
          .many_clients = true};
}

EngineCase postgres_case(std::string name, std::string const& url, std::string const& prefix,
                         std::string const& defaults) {
  return {.name = std::move(name),
          .make = [=] { return std::make_unique<PostgresFixture>(url, prefix, defaults); },
          .many_clients = true,
          // Allocated ids are waited for where commits are lazy.
          .trips_max = defaults.empty() ? 1U : 2U};
}

}  // namespace

std::vector<EngineCase> engine_cases() {
  std::vector<EngineCase> cases{
      memory_case("Memory", {}),
      memory_case("MemoryLikeRedis",
                  {.usage_in_commit = true, .ordered_listing = false, .parents_stored = true}),
      sqlite_case("Sqlite", ""),
      sqlite_case("SqlitePrefixed", "second_volume"),
      memory_kv_case(),
  };
  for (auto const& [variable, name] : {std::pair("ZEST_TEST_REDIS", "Redis"),
                                       std::pair("ZEST_TEST_REDIS_SENTINEL", "RedisSentinel"),
                                       std::pair("ZEST_TEST_REDIS_CLUSTER", "RedisCluster")}) {
    if (char const* url = std::getenv(variable); url != nullptr && *url != '\0') {
      cases.push_back({.name = name,
                       .make = [url] { return std::make_unique<RedisFixture>(url); },
                       .many_clients = true});
    }
  }
  if (char const* etcd = std::getenv("ZEST_TEST_ETCD")) {
    cases.push_back(etcd_case(etcd));
  }
  if (char const* url = std::getenv("ZEST_TEST_MYSQL"); url != nullptr && *url != '\0') {
    cases.push_back(mysql_case("Mysql", url, ""));
    cases.push_back(mysql_case("MysqlPrefixed", url, "Second"));
  }
  if (char const* url = std::getenv("ZEST_TEST_POSTGRES"); url != nullptr && *url != '\0') {
    cases.push_back(postgres_case("Postgres", url, "", ""));
    // An administrator may have made another isolation the default of server, database or user;
    // with lazy commits, sync() and ids take a way of their own.
    cases.push_back(postgres_case("PostgresPrefixed", url, "Second",
                                  "-c default_transaction_isolation=serializable"));
  }
  return cases;
}

void EngineTest::run(std::function<void()> const& body) {
  run_empty([&] {
    must(engine().initialize(ctx, kSettingText, root_attr(), trash_attr()));
    body();
  });
}

void EngineTest::run_empty(std::function<void()> const& body) {
  zest::testing::run_on_loop([&] {
    fixture_ = GetParam().make();
    engine_ = fixture_->connect();
    if (engine_ == nullptr) {
      ADD_FAILURE() << "no connection to the database";
      return;
    }
    body();
    EXPECT_EQ(fixture_->log.error_count(), 0U);
    engine_.reset();
    fixture_.reset();
  });
}

void EngineTest::reconnect() {
  engine_.reset();
  engine_ = fixture_->connect();
}

Value EngineTest::get_from(Engine& engine, Key const& key) {
  Context const ctx;
  auto values = must(engine.fetch(ctx, std::span(&key, 1)));
  EXPECT_EQ(values.size(), 1U);
  return values.empty() ? Value() : std::move(values.front());
}

void EngineTest::must_commit(Commit commit) {
  Context const context;
  must(engine().commit(context, commit));
}

bool EngineTest::try_commit_on(Engine& engine, Commit commit) {
  Context const ctx;
  auto const result = engine.commit(ctx, commit);
  if (result.ok()) {
    return true;
  }
  EXPECT_EQ(result.error().fault(), Fault::conflict) << result.error().text();
  return false;
}

Attr some_attr(std::uint32_t seed) {
  return {.flags = static_cast<std::uint8_t>(seed % 64),
          .type = FileType::regular,
          .mode = static_cast<std::uint16_t>(seed & 07777U),
          .uid = 1000 + seed,
          .gid = 2000 + seed,
          .atime = {.sec = 1'700'000'000 + seed, .nsec = 123'456'789},
          .mtime = {.sec = 1'700'000'100 + seed, .nsec = 999'999'999},
          .ctime = {.sec = 1'700'000'200 + seed, .nsec = 1},
          .nlink = 1 + seed % 7,
          .length = std::uint64_t{seed} << 30U,
          .rdev = seed + 5,
          .parent = Ino{seed + 1},
          .access_acl = seed % 3,
          .default_acl = seed % 5,
          .tier = static_cast<std::uint8_t>(seed % 4)};
}

Attr root_attr() {
  Attr attr = some_attr(0);
  attr.type = FileType::directory;
  attr.mode = 0777;
  attr.uid = 0;
  attr.gid = 0;
  attr.nlink = 2;
  attr.length = 4096;
  attr.parent = kRootIno;
  return attr;
}

Attr trash_attr() {
  Attr attr = root_attr();
  attr.mode = 0555;
  return attr;
}

}  // namespace zest::meta::testing
