// Goal: sessions, usage, the change log and names in the trash are the peer's.
#include <gtest/gtest.h>

#include "zest/format/changelog.h"
#include "zest/format/session.h"
#include "zest/format/test_bytes.h"
#include "zest/format/trash.h"
#include "zest/format/types.h"
#include "zest/format/usage.h"

namespace zest {
namespace {

TEST(Session, RoundTrips) {
  SessionInfo const session{.version = "1.4.1",
                            .host_name = "h",
                            .ip_addrs = {"10.0.0.1", "::1"},
                            .mount_point = "/mnt/<x>",
                            .mount_time = "2026-11-23T06:30:34.5Z",
                            .process_id = 42};
  auto const json = encode_session(session);
  EXPECT_EQ(
      json,
      R"({"Version":"1.4.1","HostName":"h","IPAddrs":["10.0.0.1","::1"],"MountPoint":"/mnt/\u003cx\u003e",)"
      R"("MountTime":"2026-11-23T06:30:34.5Z","ProcessID":42})");
  auto const decoded = decode_session(json);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(encode_session(*decoded), json);
  EXPECT_EQ(encode_session({}),
            R"({"Version":"","HostName":"","MountPoint":"","MountTime":"","ProcessID":0})");
}

TEST(Session, WrongTypesAreCorrupt) {
  for (auto const* json : {"", "[]", R"({"Version":1})", R"({"ProcessID":"1"})",
                           R"({"IPAddrs":[1]})", R"({"IPAddrs":{}})"}) {
    EXPECT_FALSE(decode_session(json).ok()) << json;
  }
}

TEST(Session, TimesAreRfc3339) {
  EXPECT_EQ(format_rfc3339({1795415434, 507615000}), "2026-11-23T06:30:34.507615Z");
  EXPECT_EQ(format_rfc3339({0, 0}), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_rfc3339({-1, 1}), "1969-12-31T23:59:59.000000001Z");
}

TEST(Usage, HasThePeersBytes) {
  auto const bytes = from_hex("0000000004600006 0000000004604000 0000000000000005");
  EXPECT_EQ(*decode_dir_stat(bytes), (DirStat{0x04600006, 0x04604000, 5}));
  EXPECT_EQ(encode_dir_stat({0x04600006, 0x04604000, 5}), bytes);
  Quota const quota{-1, 10, 4096, 1};
  EXPECT_EQ(to_hex(encode_quota(quota)),
            "ffffffffffffffff000000000000000a00000000000010000000000000000001");
  EXPECT_EQ(*decode_quota(encode_quota(quota)), quota);
  EXPECT_EQ(encode_quota_limits(quota), encode_quota(quota).substr(0, 16));
  EXPECT_EQ(*decode_quota_limits(encode_quota_limits(quota)), (Quota{-1, 10, 0, 0}));
}

TEST(Usage, WrongSizesAreCorrupt) {
  for (std::size_t size = 0; size < 40; ++size) {
    std::string const bytes(size, '\0');
    EXPECT_EQ(decode_dir_stat(bytes).ok(), size == 24) << size;
    EXPECT_EQ(decode_quota(bytes).ok(), size == 32) << size;
    EXPECT_EQ(decode_quota_limits(bytes).ok(), size == 16) << size;
  }
}

TEST(Decimal, IsStrict) {
  EXPECT_EQ(*decode_decimal("-9223372036854775808"), INT64_MIN);
  for (auto const* bad : {"", " 1", "1 ", "+1", "1.0", "9223372036854775808", "x"}) {
    EXPECT_FALSE(decode_decimal(bad).ok()) << bad;
  }
}

TEST(ChangeLog, LinesAreThePeers) {
  EXPECT_EQ(
      Change("CREATE")
          .number(1027)
          .text("s%,x")
          .number(0)
          .number(0)
          .number(3)
          .number(511)
          .number(0)
          .text("a b(c)")
          .text("linux")
          .flag(false)
          .result(1028)
          .line({1795416574, 675692866}, SessionId{2}, 13),
      "1795416574.675692866|CREATE(1027,s%25%2Cx,0,0,3,511,0,a b%28c%29,linux,false):1028|(2,13)");
  EXPECT_EQ(Change("INIT_ENABLE_DIRSTATS").line({5, 7}, SessionId{0}, 1),
            "5.000000007|INIT_ENABLE_DIRSTATS()|(0,1)");
  EXPECT_EQ(
      Change("UNLINKBATCH").signed_number(-1).result(2).result(3).line({1, 0}, SessionId{1}, 2),
      "1.000000000|UNLINKBATCH(-1):2,3|(1,2)");
}

TEST(ChangeLog, EscapesEverySpecialByte) {
  for (int code = 0; code < 256; ++code) {
    std::string const text(1, static_cast<char>(code));
    auto const escaped = escape_change(text);
    bool const plain = code >= 32 && code < 127 &&
                       std::string_view(",%()\"\\").find(text) == std::string_view::npos;
    EXPECT_EQ(escaped.size(), plain ? 1U : 3U) << code;
    EXPECT_EQ(*unescape_change(escaped), text) << code;
  }
  EXPECT_EQ(escape_change("\xff\n"), "%FF%0A");
  for (auto const* bad : {"%", "%1", "%1G", "a%", "%-1"}) {
    EXPECT_FALSE(unescape_change(bad).ok()) << bad;
  }
}

TEST(Trash, NamesAreThePeers) {
  EXPECT_EQ(trash_dir_name({1795415434, 0}), "2026-11-23-06");
  EXPECT_EQ(trash_dir_name({-1, 0}), "1969-12-31-23");
  EXPECT_EQ(*parse_trash_dir_name("2026-11-23-06"), 1795413600);
  for (auto const* bad : {"", "2026-11-23", "2026-11-23-24", "2026-02-30-00", "2026-13-01-00",
                          "2026_11-23-06", "2026-11-23-6x", "2026-11-23-061"}) {
    EXPECT_TRUE(failed_with(parse_trash_dir_name(bad), Errc::inval)) << bad;
  }
  EXPECT_EQ(trash_entry_name(Ino{1}, Ino{5}, "del"), "1-5-del");
  auto const cut = trash_entry_name(Ino{1}, Ino{5}, std::string(255, 'x'));
  EXPECT_EQ(cut, "1-5-" + std::string(251, 'x'));
  auto const parsed = parse_trash_entry_name("1-5-a-b");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->parent, Ino{1});
  EXPECT_EQ(parsed->ino, Ino{5});
  EXPECT_EQ(parsed->name, "a-b");
  for (auto const* bad : {"", "1", "1-", "1-5", "1-5-", "x-5-a", "1-x-a", "-1-5-a"}) {
    EXPECT_TRUE(failed_with(parse_trash_entry_name(bad), Errc::inval)) << bad;
  }
}

}  // namespace
}  // namespace zest
