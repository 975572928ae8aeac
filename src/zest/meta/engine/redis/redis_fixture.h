// For tests with servers of their own: engines, commits, and what they should see.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "zest/meta/engine/redis/redis.h"
#include "zest/meta/engine/redis/test_server.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest::meta::redis::testing {

class RedisTest : public ::testing::Test {
 protected:
  static constexpr Ino kFile{5};

  std::unique_ptr<Engine> open(std::string const& url) {
    auto options = parse_redis_url(url);
    EXPECT_TRUE(options.ok()) << url;
    return open_with(options.ok() ? *std::move(options) : RedisOptions{});
  }
  std::unique_ptr<Engine> open_with(RedisOptions options) {
    auto engine = open_redis(std::move(options), log, metrics);
    EXPECT_TRUE(engine.ok()) << engine.error().text();
    return engine.ok() ? *std::move(engine) : nullptr;
  }
  static void run(std::function<void()> const& body) { zest::testing::run_on_loop(body); }

  /// Ends `after` from now.
  static Context within(Duration after) {
    Context limited;
    limited.deadline = Loop::current()->now() + after;
    return limited;
  }
  static Result<Value> get(Engine& engine, Key const& key, Context const& context = {}) {
    ZEST_TRY(auto values, engine.fetch(context, std::span(&key, 1)));
    return std::move(values[0]);
  }
  static Result<void> put(Engine& engine, Key key, Value value, Context const& context = {}) {
    return engine.commit(context, {.changes = {Put{std::move(key), std::move(value)}}});
  }
  static Attr file_attr() {
    return {.type = FileType::regular, .mode = 0644, .nlink = 1, .length = 1, .parent = kRootIno};
  }
  static Attr dir_attr() {
    return {
        .type = FileType::directory, .mode = 0777, .nlink = 2, .length = 4096, .parent = kRootIno};
  }
  static void expect_ok(Result<void> const& result) {
    EXPECT_TRUE(result.ok()) << result.error().text();
  }

  Context ctx;
  Logger log{LogConfig{.level = LogLevel::error, .file = {}, .json = false, .color = false}};
  Registry metrics;
};

}  // namespace zest::meta::redis::testing
