// Goal: an URL is understood as the peer understands it, and its password never shows.
#include "zest/cli/meta_url.h"

#include <gtest/gtest.h>

#include <string>

namespace zest::cli {
namespace {

TEST(MetaUrl, SchemeIsRedisWhenThereIsNone) {
  auto const url = parse_meta_url("localhost:6379/1", "");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->scheme, "redis");
  EXPECT_EQ(url->text, "redis://localhost:6379/1");
}

TEST(MetaUrl, SchemeIsLowerCase) {
  auto const url = parse_meta_url("SQLite3://a.db", "");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->scheme, "sqlite3");
}

TEST(MetaUrl, EmptyIsRefused) {
  EXPECT_TRUE(failed_with(parse_meta_url("", ""), Errc::inval));
}

TEST(MetaUrl, PasswordIsRedacted) {
  EXPECT_EQ(redact_url("redis://:secret@host/1"), "redis://:****@host/1");
  EXPECT_EQ(redact_url("mysql://user:a@b/c:d@(host:3306)/db?x=y@z"),
            "mysql://user:****@(host:3306)/db?x=y@z");
  EXPECT_EQ(redact_url("postgres://user@host:5432/db"), "postgres://user@host:5432/db");
  EXPECT_EQ(redact_url("redis://host:6379/1"), "redis://host:6379/1");
  EXPECT_EQ(redact_url("sqlite3:///a:b@c.db"), "sqlite3:///a:b@c.db");
  EXPECT_EQ(redact_url("postgres://u:s@h/db?user=a&password=secret&sslpassword=x&sslmode=disable"),
            "postgres://u:****@h/db?user=a&password=****&sslpassword=****&sslmode=disable");
}

TEST(MetaUrl, PasswordFromOutsideIsPutIn) {
  auto text = [](char const* url) {
    auto const parsed = parse_meta_url(url, "pw");
    return parsed.ok() ? parsed->text : parsed.error().text();
  };
  EXPECT_EQ(text("redis://host/1"), "redis://:pw@host/1");
  EXPECT_EQ(text("postgres://user@host/db"), "postgres://user:pw@host/db");
  EXPECT_EQ(text("redis://:own@host/1"), "redis://:own@host/1");
  EXPECT_EQ(text("sqlite3://a.db"), "sqlite3://a.db");
}

TEST(MetaUrl, PasswordFromOutsideIsEncodedWhereUrlsAreDecoded) {
  auto text = [](char const* url) {
    auto const parsed = parse_meta_url(url, "p%4@/é");
    return parsed.ok() ? parsed->text : parsed.error().text();
  };
  EXPECT_EQ(text("postgres://user@host/db"), "postgres://user:p%254%40%2F%C3%A9@host/db");
  EXPECT_EQ(text("mysql://user@(host)/db"), "mysql://user:p%254%40%2F%C3%A9@(host)/db");
  EXPECT_EQ(text("redis://host/1"), "redis://:p%254%40%2F%C3%A9@host/1");
}

TEST(MetaUrl, PasswordsLeaveTheArguments) {
  std::string program = "zest";
  std::string url = "redis://:secret@host/1";
  std::string path = "/mnt";
  char* argv[] = {program.data(), url.data(), path.data(), nullptr};
  hide_passwords(3, argv);
  EXPECT_EQ(url, "redis://:******@host/1");
  EXPECT_EQ(path, "/mnt");
  std::string query = "postgres://u:ab@h/db?password=secret";
  argv[1] = query.data();
  hide_passwords(3, argv);
  EXPECT_EQ(query, "postgres://u:**@h/db?password=******");
}

}  // namespace
}  // namespace zest::cli
