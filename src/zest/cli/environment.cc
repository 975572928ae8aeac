#include "zest/cli/environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "zest/meta/engine/redis/redis.h"
#include "zest/meta/engine/sql/sqlite.h"
#include "zest/object/make_store.h"
#include "zest/object/prefix_store.h"

namespace zest::cli {
namespace {

constexpr std::string_view kSqlite = "sqlite3";
/// Engines of the format (format/08 §1) that this version cannot open yet.
constexpr std::array<std::string_view, 7> kLater{"mysql",  "postgres", "tikv", "etcd",
                                                 "badger", "fdb",      "memkv"};
constexpr std::array<std::string_view, 3> kRedis{"redis", "rediss", "unix"};
constexpr std::string_view kSupported = "sqlite3://PATH, redis://HOST[:PORT][/DB]";

Error not_supported(std::string message) {
  return {Errc::notsup, Fault::semantic, std::move(message)};
}

Result<std::unique_ptr<meta::Engine>> open_sqlite_url(MetaUrl const& url, EngineUse use,
                                                      Logger& log, Registry& metrics) {
  ZEST_TRY(auto options, meta::parse_sqlite_url(url.text));
  options.create = use == EngineUse::create;
  options.read_only = options.read_only || use == EngineUse::read_only;
  for (auto const& name : options.ignored) {
    log.warn("an option of the META-URL has no effect here", {{"option", name}});
  }
  return meta::open_sqlite(options, log, metrics);
}

Result<std::unique_ptr<meta::Engine>> open_redis_url(MetaUrl const& url, Logger& log,
                                                     Registry& metrics) {
  ZEST_TRY(auto options, meta::parse_redis_url(url.text));
  if (char const* password = std::getenv("SENTINEL_PASSWORD"); password != nullptr) {
    options.sentinel_password = password;
  }
  for (auto const& name : options.ignored) {
    log.warn("an option of the META-URL has no effect here", {{"option", name}});
  }
  return meta::open_redis(std::move(options), log, metrics);
}

bool is_redis(MetaUrl const& url) {
  return std::ranges::find(kRedis, url.scheme) != kRedis.end();
}

}  // namespace

Result<std::unique_ptr<meta::Engine>> open_engine(MetaUrl const& url, EngineUse use, Logger& log,
                                                  Registry& metrics) {
  if (url.scheme == kSqlite || is_redis(url)) {
    auto engine =
        is_redis(url) ? open_redis_url(url, log, metrics) : open_sqlite_url(url, use, log, metrics);
    if (!engine.ok()) {
      return std::move(engine).error().with("open " + url.redacted);
    }
    return engine;
  }
  if (std::ranges::find(kLater, url.scheme) != kLater.end()) {
    return not_supported(
        fmt::format("open {}: the metadata engine \"{}\" is not supported by this "
                    "version yet; supported are {}",
                    url.redacted, url.scheme, kSupported));
  }
  return Error(Errc::inval, Fault::semantic,
               fmt::format("open {}: unknown metadata engine \"{}\"; supported are {}",
                           url.redacted, url.scheme, kSupported));
}

MetaUrl absolute_url(MetaUrl url) {
  if (url.scheme != kSqlite) {
    return url;
  }
  auto const begin = url.text.find("://") + 3;
  auto const query = std::min(url.text.find('?', begin), url.text.size());
  std::error_code failed;
  auto const path = std::filesystem::absolute(url.text.substr(begin, query - begin), failed);
  if (!failed) {
    url.text =
        fmt::format("{}://{}{}", kSqlite, path.lexically_normal().string(), url.text.substr(query));
    url.redacted = url.text;
  }
  return url;
}

Result<std::unique_ptr<ObjectStore>> open_store(Setting const& setting, BlockingPool& pool) {
  if (!setting.encrypt_key.empty()) {
    return not_supported(
        "the volume's data are encrypted (EncryptKey), which this version does not support yet");
  }
  if (setting.shards > 1) {
    return not_supported(fmt::format(
        "the volume is spread over {} buckets (Shards), which this version does not support yet",
        setting.shards));
  }
  ZEST_TRY(auto store, make_store({.scheme = setting.storage,
                                   .bucket = setting.bucket,
                                   .access_key = setting.access_key,
                                   .secret_key = setting.secret_key,
                                   .session_token = setting.session_token},
                                  pool));
  return make_prefix_store(std::move(store), setting.name + "/");
}

Result<void> check_features(Setting const& setting, bool read_only) {
  auto refuse = [&setting](std::string_view feature, std::string_view why) -> Result<void> {
    return not_supported(
        fmt::format("volume {} uses {}, which this version does not support yet: {}", setting.name,
                    feature, why));
  };
  if (read_only) {
    return {};
  }
  if (setting.change_log) {
    return refuse("a change log (ChangeLog)",
                  "its changes would be missing there; a --read-only mount works");
  }
  return {};
}

Workshop::Workshop(LogConfig const& log)
    : log_(log), rng_(random_seed()), pool_({.name = "files", .threads = 4}, metrics_) {}

Workshop::~Workshop() = default;

Result<std::unique_ptr<Workshop>> Workshop::create(LogConfig const& log) {
  // The constructor is private because the object is usable only with its loops.
  std::unique_ptr<Workshop> shop(new Workshop(log));  // tidy: allow(new) private constructor
  ZEST_TRY(shop->loops_, LoopGroup::create({.kind = LoopKind::epoll, .loops = 1}, shop->log_));
  return shop;
}

Result<void> Workshop::open(std::string_view meta_url, EngineUse use) {
  ZEST_TRY(auto const password, password_from_environment(meta_url));
  ZEST_TRY(url_, parse_meta_url(meta_url, password));
  ZEST_TRY(engine_, open_engine(url_, use, log_, metrics_));
  return {};
}

std::uint64_t random_seed() {
  std::random_device source;
  return (std::uint64_t{source()} << 32) | source();
}

}  // namespace zest::cli
