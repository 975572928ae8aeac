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
#include <vector>

#include "zest/format/object_name.h"
#include "zest/object/encrypt/encrypt_store.h"
#include "zest/object/encrypt/private_key.h"
#include "zest/object/encrypt/sealer.h"
#include "zest/object/make_store.h"
#include "zest/object/prefix_store.h"
#include "zest/object/shard_store.h"

namespace zest::cli {
namespace {

constexpr std::string_view kSqlite = "sqlite3";

/// Tier 0 is where new objects go (format/00 §4).
std::string storage_class_of(Setting const& setting) {
  auto const tier = setting.tiers.find(0);
  return tier != setting.tiers.end() && !tier->second.storage_class.empty()
             ? tier->second.storage_class
             : setting.storage_class;
}

Error not_supported(std::string message) {
  return {Errc::notsup, Fault::semantic, std::move(message)};
}

Result<std::unique_ptr<ObjectStore>> open_bucket(Setting const& setting, std::string bucket,
                                                 BlockingPool& pool) {
  return make_store({.scheme = setting.storage,
                     .bucket = std::move(bucket),
                     .access_key = setting.access_key,
                     .secret_key = setting.secret_key,
                     .session_token = setting.session_token,
                     .storage_class = storage_class_of(setting)},
                    pool);
}

/// The volume's bucket, or its shards as one.
Result<std::unique_ptr<ObjectStore>> open_buckets(Setting const& setting, BlockingPool& pool) {
  if (setting.shards <= 1) {
    return open_bucket(setting, setting.bucket, pool);
  }
  std::vector<std::unique_ptr<ObjectStore>> stores;
  for (std::int64_t shard = 0; shard < setting.shards; ++shard) {
    ZEST_TRY(auto bucket, shard_bucket(setting.bucket, static_cast<std::uint32_t>(shard)));
    ZEST_TRY(auto store, open_bucket(setting, std::move(bucket), pool));
    stores.push_back(std::move(store));
  }
  return make_shard_store(std::move(stores));
}

}  // namespace

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
  ZEST_TRY(auto store, open_buckets(setting, pool));
  store = make_prefix_store(std::move(store), setting.name + "/");
  if (setting.encrypt_key.empty()) {
    return store;
  }
  char const* const passphrase = std::getenv("JFS_RSA_PASSPHRASE");
  auto key = PrivateKey::parse(setting.encrypt_key, passphrase == nullptr ? "" : passphrase);
  if (!key.ok()) {
    return std::move(key).error().with("volume " + setting.name);
  }
  ZEST_TRY(auto sealer, Sealer::create(*std::move(key), setting.encrypt_algo));
  return make_encrypt_store(std::move(store), std::move(sealer), pool);
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
  ZEST_TRY(engine_, open_engine(url_, use, log_, metrics_, kPatienceOfCommands));
  return {};
}

std::uint64_t random_seed() {
  std::random_device source;
  return (std::uint64_t{source()} << 32) | source();
}

}  // namespace zest::cli
