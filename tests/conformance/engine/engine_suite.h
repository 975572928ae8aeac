// The conformance suite of metadata engines: what a test is given, and how an engine registers.
//
// A new engine adds its EngineCase to engine_cases() in engines.cc; its database may be a server
// that the case connects to (skip the case when there is none, by leaving it out).
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/meta/engine.h"

namespace zest::meta::testing {

/// One database for one test, empty at the begin.
class EngineFixture {
 public:
  virtual ~EngineFixture() = default;
  /// A client of the database; several may exist at once where `many_clients`. May suspend.
  virtual std::unique_ptr<Engine> connect() = 0;

  Logger log{LogConfig{.level = LogLevel::warn, .file = {}, .json = false, .color = false}};
  Registry metrics;
};

struct EngineCase {
  std::string name;
  std::function<std::unique_ptr<EngineFixture>()> make;
  /// What connect() returned may be dropped and the data are still there; clients see each other.
  bool many_clients = false;
  /// Most round trips of a call that the suite makes once.
  std::uint64_t trips_max = 1;
  /// Fails commits at random; the suite then retries.
  bool injects_conflicts = false;

  friend void PrintTo(EngineCase const& engine, std::ostream* out) { *out << engine.name; }
};

std::vector<EngineCase> engine_cases();

/// Runs each test on a fiber, with an initialised volume unless the test asks for an empty
/// database.
class EngineTest : public ::testing::TestWithParam<EngineCase> {
 protected:
  /// Runs `body` on a fiber; engine() is a volume.
  void run(std::function<void()> const& body);
  /// Runs `body` on a fiber; engine() is an empty database.
  void run_empty(std::function<void()> const& body);

  Engine& engine() { return *engine_; }
  EngineFixture& fixture() { return *fixture_; }
  /// Drops the client and connects anew.
  void reconnect();

  /// The record as the engine gives it; a failure fails the test.
  Value get(Key const& key) { return get_from(engine(), key); }
  static Value get_from(Engine& engine, Key const& key);
  /// Commits, and fails the test if that fails.
  void must_commit(Commit commit);
  /// True when the commit went through, false for a conflict; other failures fail the test.
  bool try_commit(Commit commit) { return try_commit_on(engine(), std::move(commit)); }
  static bool try_commit_on(Engine& engine, Commit commit);
  void put(Key key, Value value) {
    must_commit({.changes = {Put{std::move(key), std::move(value)}}});
  }

  Context ctx;

 private:
  std::unique_ptr<EngineFixture> fixture_;
  std::unique_ptr<Engine> engine_;
};

/// A node that differs from others in every field.
Attr some_attr(std::uint32_t seed);
/// The Setting document that run() writes.
inline constexpr std::string_view kSettingText = "{\n\"Name\": \"conformance\"\n}";
Attr root_attr();
Attr trash_attr();

/// The value of a Result, or a failed test and a default value.
template <class T>
T must(Result<T> result) {
  if (!result.ok()) {
    ADD_FAILURE() << result.error().text();
    return T{};
  }
  return *std::move(result);
}
inline void must(Result<void> result) {
  if (!result.ok()) {
    ADD_FAILURE() << result.error().text();
  }
}

}  // namespace zest::meta::testing
