// Goal: what people write for sizes, durations and bandwidths means what the manual says, and
// nothing else is accepted.
#include "zest/cli/units.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string_view>

namespace zest::cli {
namespace {

using namespace std::chrono_literals;

template <class T, class U>
void expect_value(Result<T> const& result, U const& expected, std::string_view text) {
  ASSERT_TRUE(result.ok()) << text << ": " << result.error().text();
  EXPECT_EQ(*result, expected) << text;
}

TEST(Units, SizesCountInTheDefaultUnitOrTheirOwn) {
  expect_value(parse_size("4", kKiB), 4096u, "4");
  expect_value(parse_size("0", kMiB), 0u, "0");
  expect_value(parse_size("300", kMiB), 300 * kMiB, "300");
  expect_value(parse_size("4M", kKiB), 4 * kMiB, "4M");
  expect_value(parse_size("64k", kGiB), 64 * kKiB, "64k");
  expect_value(parse_size("1.5G", 1), 3 * kGiB / 2, "1.5G");
  expect_value(parse_size("512B", kMiB), 512u, "512B");
  expect_value(parse_size("2MiB", 1), 2 * kMiB, "2MiB");
  expect_value(parse_size("2KB", 1), 2 * kKiB, "2KB");
  expect_value(parse_size("1T", 1), 1024 * kGiB, "1T");
  expect_value(parse_size("1P", 1), kMiB * kGiB, "1P");
  expect_value(parse_size("15E", 1), 15 * kGiB * kGiB, "15E");
}

TEST(Units, WhatIsNoSizeIsRefused) {
  for (auto const* text : {"", "M", "-1", "+1", "1e3", "1Q", "1 M", "1MM", "1Bi", "0x10", "1.2.3",
                           "16E", "99999999999E", "nan", "inf", "1BB", "."}) {
    auto const result = parse_size(text, 1);
    EXPECT_TRUE(failed_with(result, Errc::inval)) << text;
  }
}

TEST(Units, Durations) {
  expect_value(parse_duration("30"), Duration(30s), "30");
  expect_value(parse_duration("1.5"), Duration(1500ms), "1.5");
  expect_value(parse_duration("0"), Duration(0s), "0");
  expect_value(parse_duration("500ms"), Duration(500ms), "500ms");
  expect_value(parse_duration("1h30m"), Duration(90min), "1h30m");
  expect_value(parse_duration("7d"), Duration(7 * 24h), "7d");
  expect_value(parse_duration("1d12h"), Duration(36h), "1d12h");
  expect_value(parse_duration("2m"), Duration(2min), "2m");
  expect_value(parse_duration("1.5s"), Duration(1500ms), "1.5s");
  expect_value(parse_duration("10us"), Duration(10us), "10us");
  expect_value(parse_duration("7ns"), Duration(7ns), "7ns");
}

TEST(Units, WhatIsNoDurationIsRefused) {
  for (auto const* text : {"", "s", "-1s", "1x", "1h30", "1 h", "1hh", "300y", "4000000h", "1e9"}) {
    EXPECT_TRUE(failed_with(parse_duration(text), Errc::inval)) << text;
  }
}

TEST(Units, Bandwidths) {
  expect_value(parse_bandwidth("100"), 100, "100");
  expect_value(parse_bandwidth("100M"), 100, "100M");
  expect_value(parse_bandwidth("2.5G"), 2500, "2.5G");
  expect_value(parse_bandwidth("1t"), 1'000'000, "1t");
  for (auto const* text : {"", "K", "10K", "-5", "1GG", "9999999P"}) {
    EXPECT_TRUE(failed_with(parse_bandwidth(text), Errc::inval)) << text;
  }
}

TEST(Units, Octal) {
  expect_value(parse_octal("022", 0777), 022, "022");
  expect_value(parse_octal("0", 0777), 0, "0");
  expect_value(parse_octal("777", 0777), 0777, "777");
  for (auto const* text : {"", "8", "1000", "-1", "0x1", "22 "}) {
    EXPECT_TRUE(failed_with(parse_octal(text, 0777), Errc::inval)) << text;
  }
}

TEST(Units, SizesForPeople) {
  EXPECT_EQ(format_size(0), "0 Bytes");
  EXPECT_EQ(format_size(1023), "1023 Bytes");
  EXPECT_EQ(format_size(1536), "1.50 KiB");
  EXPECT_EQ(format_size(4 * kMiB), "4.00 MiB");
  EXPECT_EQ(format_size(1ULL << 60), "1.00 EiB");
}

}  // namespace
}  // namespace zest::cli
