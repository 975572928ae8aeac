#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "zest/base/assert.h"
#include "zest/base/bytes.h"
#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/error.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/base/rng.h"
#include "zest/base/types.h"

namespace zest {
namespace {

// --- errors and results

TEST(Error, PlainCodeHasTheErrnoTextAndIsSemantic) {
  Error const error = Errc::noent;
  EXPECT_EQ(error.number(), ENOENT);
  EXPECT_EQ(error.fault(), Fault::semantic);
  EXPECT_EQ(error.text(), "No such file or directory");
}

TEST(Error, ContextIsPrependedAndTheCodeKept) {
  auto error = Error::transient(Errc::timedout, "no answer").with("GET key").with("read of x");
  EXPECT_EQ(error.text(), "read of x: GET key: no answer");
  EXPECT_EQ(error.code(), Errc::timedout);
  EXPECT_EQ(error.fault(), Fault::transient);
}

TEST(Error, FromErrnoNamesTheReason) {
  EXPECT_EQ(Error::from_errno(EACCES, "open /x").text(), "open /x: Permission denied");
  EXPECT_EQ(Error::from_errno(ENOTSOCK, "x").number(), ENOTSOCK);
}

TEST(Error, CloneIsIndependent) {
  auto error = Error::corrupt("bad checksum");
  auto copy = error.clone();
  auto longer = std::move(copy).with("block 7");
  EXPECT_EQ(error.text(), "bad checksum");
  EXPECT_EQ(longer.text(), "block 7: bad checksum");
  EXPECT_EQ(longer.fault(), Fault::corrupt);
}

Result<int> half(int n) {
  if (n % 2 != 0) {
    return Errc::inval;
  }
  return n / 2;
}
Result<int> quarter(int n) {
  ZEST_TRY(auto h, half(n));
  ZEST_TRY(h, half(h));
  return h;
}
Result<void> is_even(int n) {
  ZEST_CHECK(half(n));
  return {};
}
Result<std::unique_ptr<int>> boxed(int n) {
  ZEST_CHECK(is_even(n));
  return std::make_unique<int>(n);
}

TEST(Result, TryTakesTheValueOrReturnsTheError) {
  auto good = quarter(12);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(*good, 3);
  EXPECT_TRUE(failed_with(quarter(6), Errc::inval));
  EXPECT_TRUE(failed_with(quarter(5), Errc::inval));
}

TEST(Result, CarriesValuesThatOnlyMove) {
  auto box = boxed(4);
  ASSERT_TRUE(box.ok());
  auto owned = *std::move(box);
  EXPECT_EQ(*owned, 4);
  EXPECT_TRUE(failed_with(boxed(3), Errc::inval));
}

TEST(Result, VoidIsOkByDefault) {
  EXPECT_TRUE(is_even(2).ok());
  EXPECT_TRUE(failed_with(is_even(1), Errc::inval));
}

TEST(AssertDeathTest, NamesConditionAndPlace) {
  EXPECT_DEATH(ZEST_ASSERT(1 > 2), "internal error: `1 > 2` is false at .*base_test.cc");
}

// --- clock, context, small types

TEST(WallTime, DifferencesAreExactAndSaturate) {
  EXPECT_EQ(nanoseconds_between({.sec = 5, .nsec = 1}, {.sec = 4, .nsec = 999'999'999}), 2);
  EXPECT_EQ(nanoseconds_between({.sec = -1, .nsec = 0}, {.sec = 1, .nsec = 5}), -2'000'000'005);
  auto const far = std::int64_t{1} << 62;
  EXPECT_EQ(nanoseconds_between({.sec = far}, {.sec = -far}), INT64_MAX);
  EXPECT_EQ(nanoseconds_between({.sec = -far}, {.sec = far}), INT64_MIN);
}

TEST(SystemClock, IsMonotonicAndAgreesWithTheWall) {
  SystemClock const clock;
  auto const first = clock.now();
  EXPECT_GE(clock.now(), first);
  EXPECT_LE(std::llabs(clock.wall().sec - ::time(nullptr)), 2);
}

TEST(Caller, LooksAtPrimaryAndSupplementaryGroups) {
  Caller caller;
  caller.gid = 7;
  caller.groups = {8, 9};
  EXPECT_TRUE(caller.in_group(7));
  EXPECT_TRUE(caller.in_group(9));
  EXPECT_FALSE(caller.in_group(10));
}

TEST(Bytes, TextAndBytesAreViewsOfTheSameMemory) {
  std::string const text = "abc";
  EXPECT_EQ(as_bytes(text).data(), static_cast<void const*>(text.data()));
  EXPECT_EQ(as_text(as_bytes(text)), "abc");
}

TEST(Rng, ReplaysFromItsSeedAndStaysBelowTheBound) {
  Rng a(42);
  Rng b(42);
  for (int i = 0; i < 1000; ++i) {
    auto const drawn = a.below(10);
    EXPECT_LT(drawn, 10U);
    EXPECT_EQ(drawn, b.below(10));
  }
}

// --- log

class LogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto pattern = (std::filesystem::temp_directory_path() / "zest-log-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] LogConfig config(LogLevel level, bool json) const {
    return {.level = level, .file = (folder_ / "log").string(), .json = json, .color = false};
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    std::ifstream in(folder_ / "log");
    std::vector<std::string> all;
    for (std::string line; std::getline(in, line);) {
      all.push_back(line);
    }
    return all;
  }
  std::filesystem::path folder_;
};

TEST_F(LogTest, TextQuotesOnlyWhatNeedsIt) {
  {
    Logger log(config(LogLevel::info, false));
    log.warn("read failed", {{"key", "chunks/0/1"},
                             {"why", "say \"no\"\nplease"},
                             {"empty", ""},
                             {"n", 3},
                             {"big", ~std::uint64_t{0}},
                             {"ratio", 0.5},
                             {"again", true}});
  }
  ASSERT_EQ(lines().size(), 1U);
  auto const line = lines()[0];
  EXPECT_NE(
      line.find("<warning>: read failed key=chunks/0/1 why=\"say \\\"no\\\"\\nplease\" empty=\"\" "
                "n=3 big=18446744073709551615 ratio=0.5 again=true"),
      std::string::npos)
      << line;
}

TEST_F(LogTest, JsonIsOneValidObjectALine) {
  {
    Logger log(config(LogLevel::debug, true));
    log.debug("bytes", {{"text", std::string_view("\xff\x01\"x")}, {"n", -1}, {"ok", false}});
    log.info("second");
  }
  ASSERT_EQ(lines().size(), 2U);
  auto const first = nlohmann::json::parse(lines()[0]);
  EXPECT_EQ(first.at("level"), "debug");
  EXPECT_EQ(first.at("message"), "bytes");
  EXPECT_EQ(first.at("n"), -1);
  EXPECT_EQ(first.at("ok"), false);
  EXPECT_TRUE(first.at("text").is_string());
  EXPECT_TRUE(first.at("time").is_string());
  EXPECT_EQ(nlohmann::json::parse(lines()[1]).at("message"), "second");
}

TEST_F(LogTest, LevelsFilterAndErrorsAreCounted) {
  {
    Logger log(config(LogLevel::warn, false));
    log.info("quiet");
    log.error("loud");
    EXPECT_FALSE(log.enabled(LogLevel::info));
    EXPECT_TRUE(log.enabled(LogLevel::error));
    EXPECT_EQ(log.error_count(), 1U);
  }
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_NE(lines()[0].find("loud"), std::string::npos);
}

TEST_F(LogTest, UnusableFileFallsBackToStandardError) {
  auto wrong = config(LogLevel::info, false);
  wrong.file = "/dev/null/nowhere";
  ::testing::internal::CaptureStderr();
  {
    Logger log(wrong);
    log.info("still here");
  }
  auto const text = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("/dev/null/nowhere"), std::string::npos);
  EXPECT_NE(text.find("still here"), std::string::npos);
}

// --- metrics

TEST(Metrics, PrometheusExpositionIsComplete) {
  Registry registry;
  registry.counter("ops_total", "Operations.", "method=\"GET\"").add(3);
  registry.counter("ops_total", "Operations.", "method=\"PUT\"").add();
  registry.gauge("memory", "Bytes\nin use.").set(-5);
  registry.gauge_fn("uptime", "Seconds.", [] { return 1.5; });
  auto& seconds = registry.histogram("latency", "Seconds.", {0.1, 1});
  seconds.observe(0.1);
  seconds.observe(0.5);
  seconds.observe(7);
  EXPECT_EQ(registry.prometheus("vol=\"x\""),
            "# HELP juicefs_latency Seconds.\n"
            "# TYPE juicefs_latency histogram\n"
            "juicefs_latency_bucket{vol=\"x\",le=\"0.1\"} 1\n"
            "juicefs_latency_bucket{vol=\"x\",le=\"1\"} 2\n"
            "juicefs_latency_bucket{vol=\"x\",le=\"+Inf\"} 3\n"
            "juicefs_latency_sum{vol=\"x\"} 7.6\n"
            "juicefs_latency_count{vol=\"x\"} 3\n"
            "# HELP juicefs_memory Bytes\\nin use.\n"
            "# TYPE juicefs_memory gauge\n"
            "juicefs_memory{vol=\"x\"} -5\n"
            "# HELP juicefs_ops_total Operations.\n"
            "# TYPE juicefs_ops_total counter\n"
            "juicefs_ops_total{vol=\"x\",method=\"GET\"} 3\n"
            "juicefs_ops_total{vol=\"x\",method=\"PUT\"} 1\n"
            "# HELP juicefs_uptime Seconds.\n"
            "# TYPE juicefs_uptime gauge\n"
            "juicefs_uptime{vol=\"x\"} 1.5\n");
}

TEST(Metrics, WithoutLabelsNoBraces) {
  Registry registry;
  registry.counter("a", "A.").add(2);
  EXPECT_EQ(registry.prometheus(""),
            "# HELP juicefs_a A.\n# TYPE juicefs_a counter\njuicefs_a 2\n");
}

TEST(Metrics, StatsFileShowsMethodAndErrnoInTheName) {
  Registry registry;
  registry.counter("errors", "E.", "disk=\"a\",method=\"GET\",errno=\"EIO\"").add(4);
  registry.counter("big", "B.").add(~std::uint64_t{0});
  registry.histogram("size", "S.", {1}).observe(2.5);
  EXPECT_EQ(registry.stats(),
            "juicefs_big 18446744073709551615\n"
            "juicefs_errors_GET_EIO 4\n"
            "juicefs_size_total 1\n"
            "juicefs_size_sum 2.5\n");
}

TEST(Metrics, TheSameNameIsTheSameInstrumentAndCountsFromAllThreads) {
  Registry registry;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&registry] {
      for (int i = 0; i < 1000; ++i) {
        registry.counter("n", "N.").add();
        registry.histogram("h", "H.", exponential_bounds(1, 2, 4)).observe(1);
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(registry.counter("n", "N.").value(), 4000U);
  EXPECT_EQ(registry.histogram("h", "H.", {}).count(), 4000U);
  EXPECT_EQ(registry.histogram("h", "H.", {}).sum(), 4000.0);
}

TEST(Metrics, ExponentialBounds) {
  EXPECT_EQ(exponential_bounds(1, 10, 3), (std::vector<double>{1, 10, 100}));
}

}  // namespace
}  // namespace zest
