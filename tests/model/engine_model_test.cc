// The model test on every engine with a real database: each client has a connection of its own, the
// engine's threads and the server run as they like.
//
// Which engines take part is up to tests/conformance/engine/engines.cc, that is, to the servers
// that tests/services/with.py names in the environment. ZEST_MODEL_SEED=n runs that seed alone;
// ZEST_MODEL_SECONDS=n runs each test on for that long (default 4).
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "tests/conformance/engine/engine_suite.h"
#include "tests/model/run.h"
#include "zest/runtime/loop.h"

namespace zest::model {
namespace {

using meta::testing::EngineCase;
using meta::testing::EngineFixture;

class ServerDatabase final : public Database {
 public:
  explicit ServerDatabase(std::unique_ptr<EngineFixture> fixture) : fixture_(std::move(fixture)) {}
  std::unique_ptr<meta::Engine> connect() override { return fixture_->connect(); }

 private:
  std::unique_ptr<EngineFixture> fixture_;
};

class EngineModel : public testing::TestWithParam<EngineCase> {
 protected:
  RunOptions options_of(std::uint64_t seed) const {
    RunOptions options;
    options.seed = seed;
    options.trash = seed % 3 == 0;
    options.simulated = false;
    options.make_database = [make = GetParam().make] {
      return std::make_unique<ServerDatabase>(make());
    };
    return options;
  }

  /// Seeds until the time is over; what the operations met, together.
  RunReport check_seeds(std::size_t steps, std::function<void(RunOptions&)> const& adjust) {
    auto const only = number_from("ZEST_MODEL_SEED", 0);
    auto const until = std::chrono::steady_clock::now() +
                       std::chrono::seconds(number_from("ZEST_MODEL_SECONDS", 4));
    RunReport sum;
    auto seed = only == 0 ? 1 : only;
    do {
      auto options = options_of(seed++);
      adjust(options);
      auto const report = check(options, steps, 3);
      sum.operations += report.operations;
      sum.refused += report.refused;
      sum.unknown += report.unknown;
    } while (only == 0 && std::chrono::steady_clock::now() < until && !HasFailure());
    std::printf("%llu seeds, %llu operations, %llu refused, %llu of unknown outcome\n",
                static_cast<unsigned long long>(only == 0 ? seed - 1 : 1),
                static_cast<unsigned long long>(sum.operations),
                static_cast<unsigned long long>(sum.refused),
                static_cast<unsigned long long>(sum.unknown));
    return sum;
  }
};

TEST_P(EngineModel, SeveralClientsBehaveLikeOnePlainFileSystem) {
  auto const sum = check_seeds(60, [](RunOptions&) {});
  EXPECT_EQ(sum.refused + sum.unknown, 0U);
}

TEST_P(EngineModel, EveryCallMayFail) {
  auto const sum = check_seeds(60, [](RunOptions& options) {
    options.faults = {.refused = 30, .lost_reply = 60, .timed_out = 30};
  });
  EXPECT_GT(sum.refused, 0U);
}

// ZEST_TEST_PROXY names the file whose existence makes tests/fault/proxy.py cut connections, before
// or after it has forwarded a request.
TEST_P(EngineModel, ConnectionsAreCut) {
  auto const* control = std::getenv("ZEST_TEST_PROXY");
  if (control == nullptr) {
    GTEST_SKIP() << "no proxy: run by tests/services/with.py --proxy";
  }
  auto const cut = [path = std::string(control)](bool on) {
    if (on) {
      std::ofstream(path) << "on";
      return;
    }
    static_cast<void>(std::remove(path.c_str()));
    // What was forwarded before a cut is done by the server soon, if at all.
    static_cast<void>(Loop::current()->sleep_for(Context{}, std::chrono::milliseconds(20)).ok());
  };
  check_seeds(60, [&](RunOptions& options) { options.disturb = cut; });
}

// ZEST_TEST_RESTART is a command that kills the server and starts it again.
TEST_P(EngineModel, TheServerIsKilledAndStartsAgain) {
  auto const* command = std::getenv("ZEST_TEST_RESTART");
  if (command == nullptr) {
    GTEST_SKIP() << "no server that may be killed: run by tests/services/with.py --own";
  }
  constexpr int kEvery = 8;  // steps
  int step = 0;
  std::thread restarter;
  auto const restart = [&](bool on) {
    if (on && ++step % kEvery == 0) {
      restarter = std::thread([&] { EXPECT_EQ(std::system(command), 0); });
    } else if (!on && restarter.joinable()) {
      restarter.join();
    }
  };
  check_seeds(40, [&](RunOptions& options) { options.disturb = restart; });
}

std::vector<EngineCase> databases() {
  auto cases = meta::testing::engine_cases();
  std::erase_if(cases, [](EngineCase const& engine) { return !engine.many_clients; });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Engines, EngineModel, testing::ValuesIn(databases()),
                         [](auto const& tested) { return tested.param.name; });

}  // namespace
}  // namespace zest::model
