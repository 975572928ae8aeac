// Several clients of a volume in memory against the model: the simulated loop draws the order of
// all trips from the seed, so every failure repeats.
//
// A failure is shrunk by leaving operations out and printed with its seed. ZEST_MODEL_SEED=n runs
// that seed alone; ZEST_MODEL_SECONDS=n runs each test on for that long (default 2).
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <utility>

#include "tests/model/run.h"
#include "zest/base/rng.h"
#include "zest/meta/engine/memory/memory.h"

namespace zest::model {
namespace {

/// Clients of one volume in memory.
class MemoryDatabase final : public Database {
 public:
  MemoryDatabase(meta::MemoryEngineOptions options, std::uint64_t seed) : rng_(seed) {
    options.rng = &rng_;
    engine_ = meta::make_memory_engine(std::move(options));
  }
  std::unique_ptr<meta::Engine> connect() override {
    return fault::make_faulty_engine(*engine_, nullptr);
  }

 private:
  Rng rng_;
  std::unique_ptr<meta::Engine> engine_;
};

RunOptions options_of(std::uint64_t seed, meta::MemoryEngineOptions memory = {}) {
  memory.usage_in_commit = seed % 2 == 0;
  memory.parents_stored = seed % 5 < 2;
  memory.ordered_listing = seed % 7 != 0;
  RunOptions options;
  options.seed = seed;
  options.trash = seed % 3 == 0;
  options.make_database = [memory, seed] { return std::make_unique<MemoryDatabase>(memory, seed); };
  return options;
}

template <class OptionsOf>
void check_seeds(OptionsOf const& options_of_seed, std::size_t steps) {
  if (auto const seed = number_from("ZEST_MODEL_SEED", 0); seed != 0) {
    check(options_of_seed(seed), steps);
    return;
  }
  auto const until =
      std::chrono::steady_clock::now() + std::chrono::seconds(number_from("ZEST_MODEL_SECONDS", 2));
  std::uint64_t seeds = 0;
  RunReport sum;
  while (std::chrono::steady_clock::now() < until && !testing::Test::HasFailure()) {
    auto const report = check(options_of_seed(++seeds), steps);
    sum.operations += report.operations;
    sum.refused += report.refused;
    sum.unknown += report.unknown;
  }
  std::printf(
      "%llu seeds, %llu operations, %llu refused, %llu of unknown outcome\n",
      static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(sum.operations),
      static_cast<unsigned long long>(sum.refused), static_cast<unsigned long long>(sum.unknown));
}

TEST(MetaModel, SeveralClientsBehaveLikeOnePlainFileSystem) {
  check_seeds([](std::uint64_t seed) { return options_of(seed); }, 300);
}

TEST(MetaModel, TheSameWithConflicts) {
  check_seeds([](std::uint64_t seed) { return options_of(seed, {.conflict_per_mille = 200}); },
              300);
}

// Of each commit's outcome the runner learns by asking the volume, so nobody hears of it.
TEST(MetaModel, RepliesOfCommitsMayGetLost) {
  check_seeds([](std::uint64_t seed) { return options_of(seed, {.lost_reply_per_mille = 100}); },
              300);
}

// Any call may be refused, lose its request or its reply, also those by which the runner asks.
TEST(MetaModel, EveryCallMayFail) {
  check_seeds(
      [](std::uint64_t seed) {
        auto options = options_of(seed);
        options.faults = {.refused = 30, .lost_reply = 60, .timed_out = 30};
        return options;
      },
      300);
}

// A database that is away most of the time.
TEST(MetaModel, MostCallsFail) {
  check_seeds(
      [](std::uint64_t seed) {
        auto options = options_of(seed);
        options.faults = {.refused = 200, .lost_reply = 200, .timed_out = 200};
        return options;
      },
      300);
}

// One call after the other, until there is none left; the call after it fails, too, by which the
// runner may ask for the outcome.
TEST(MetaModel, EachCallFailsInTurn) {
  for (auto const kind :
       {fault::Fault::refused, fault::Fault::lost_reply, fault::Fault::timed_out}) {
    std::uint64_t nth = 0;
    std::uint64_t injected = 1;
    while (injected > 0 && !HasFailure()) {
      auto options = options_of(6);  // With trash and links' parents.
      options.nth = ++nth;
      options.nth_fault = kind;
      injected = check(options, 60).injected;
    }
    EXPECT_GT(nth, 100U);
  }
}

}  // namespace
}  // namespace zest::model
