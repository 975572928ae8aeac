// The protocol's codec, the URL's parser and the cursor of listings: no server.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "zest/meta/engine/redis/dir_cursor.h"
#include "zest/meta/engine/redis/redis.h"
#include "zest/meta/engine/redis/resp.h"
#include "zest/meta/engine/redis/server.h"

namespace zest::meta::redis {
namespace {

/// The replies in `bytes`, fed in pieces of `piece` bytes; a failure ends them.
std::vector<Reply> parse(std::string_view bytes, std::size_t piece, RespLimits const& limits = {}) {
  RespParser parser(limits);
  std::vector<Reply> replies;
  while (!bytes.empty()) {
    auto const now = bytes.substr(0, piece);
    bytes.remove_prefix(now.size());
    parser.feed(now);
    for (;;) {
      auto reply = parser.next();
      if (!reply.ok()) {
        EXPECT_EQ(reply.error().fault(), Fault::corrupt);
        replies.push_back({.kind = Reply::Kind::error, .text = "BROKEN"});
        return replies;
      }
      if (!*reply) {
        break;
      }
      replies.push_back(**std::move(reply));
    }
  }
  return replies;
}

bool same(Reply const& a, Reply const& b) {
  return a.kind == b.kind && a.text == b.text && a.integer == b.integer &&
         a.items.size() == b.items.size() &&
         std::equal(a.items.begin(), a.items.end(), b.items.begin(), same);
}

constexpr std::string_view kReplies =
    "+OK\r\n:42\r\n:-7\r\n$5\r\na\r\nbc\r\n$0\r\n\r\n$-1\r\n*-1\r\n_\r\n-ERR what\r\n"
    "*3\r\n:1\r\n*2\r\n$1\r\nx\r\n*0\r\n+y\r\n%1\r\n+mode\r\n+cluster\r\n~1\r\n,1.5\r\n#t\r\n"
    "=6\r\ntxt:ab\r\n>2\r\n+invalidate\r\n*1\r\n$2\r\ni1\r\n!3\r\nBAD\r\n("
    "123456789012345678901\r\n";

TEST(Resp, RepliesComeOutWhateverThePiecesAre) {
  auto const whole = parse(kReplies, kReplies.size());
  ASSERT_EQ(whole.size(), 17U);
  EXPECT_EQ(whole[3].text, "a\r\nbc");
  EXPECT_TRUE(whole[5].is_null() && whole[6].is_null() && whole[7].is_null());
  EXPECT_TRUE(whole[8].is_error());
  EXPECT_EQ(whole[9].items[1].items[0].text, "x");
  EXPECT_EQ(whole[10].items[1].text, "cluster");
  EXPECT_EQ(whole[11].items[0].text, "1.5");
  EXPECT_EQ(whole[12].integer, 1);
  EXPECT_EQ(whole[13].text, "ab");
  EXPECT_EQ(whole[14].kind, Reply::Kind::push);
  for (std::size_t piece = 1; piece < 40; ++piece) {
    auto const pieces = parse(kReplies, piece);
    ASSERT_EQ(pieces.size(), whole.size()) << piece;
    EXPECT_TRUE(std::equal(whole.begin(), whole.end(), pieces.begin(), same)) << piece;
  }
}

TEST(Resp, WhatIsNoRespIsRefused) {
  for (std::string_view const bytes :
       {"hello\r\n", "$x\r\n", "$-2\r\n", "*-5\r\n", ":1x\r\n", "\r\n", "$3\r\nabcde\r\n",
        "*99999999\r\n", "$99999999999\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"}) {
    EXPECT_EQ(parse(bytes, 3).back().text, "BROKEN") << bytes;
  }
  EXPECT_EQ(parse(std::string(100'000, '+'), 4096).back().text, "BROKEN")
      << "a line without an end";
  EXPECT_EQ(
      parse("*3\r\n$4\r\nabcd\r\n$4\r\nabcd\r\n$4\r\nabcd\r\n", 7, {.reply_max = 250}).back().text,
      "BROKEN");
}

TEST(Resp, CommandsAreArraysOfTexts) {
  std::string out;
  append_command(out, {"GET", "a\r\n", ""});
  EXPECT_EQ(out, "*3\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n$0\r\n\r\n");
}

TEST(RedisUrl, IsReadAsThePeerReadsIt) {
  using Topology = RedisOptions::Topology;
  auto const read = [](std::string_view url) {
    auto options = parse_redis_url(url);
    EXPECT_TRUE(options.ok()) << url << ": " << options.error().text();
    return options.ok() ? *std::move(options) : RedisOptions{};
  };
  auto one =
      read("redis://user:p%40%3A%2Fw@host:6380/3?read-timeout=1m30s&max_retries=4&pool_size=9");
  EXPECT_EQ(one.user, "user");
  EXPECT_EQ(one.password, "p@:/w");
  EXPECT_EQ(one.addresses, (std::vector<RedisAddress>{{"host", 6380}}));
  EXPECT_EQ(one.database, 3U);
  EXPECT_EQ(one.read_timeout, std::chrono::seconds(90));
  EXPECT_EQ(one.retries, 4U);
  EXPECT_EQ(one.ignored, std::vector<std::string>{"pool_size"});
  EXPECT_EQ(read("redis://:pw@host").password, "pw");
  EXPECT_EQ(read("redis://").addresses, (std::vector<RedisAddress>{{"localhost", 6379}}));
  EXPECT_EQ(read("redis://[::1]:7000/2").addresses, (std::vector<RedisAddress>{{"::1", 7000}}));

  auto const sentinel = read("redis://master,h1,h2:5000/2");
  EXPECT_EQ(sentinel.topology, Topology::sentinel);
  EXPECT_EQ(sentinel.master_name, "master");
  EXPECT_EQ(sentinel.addresses, (std::vector<RedisAddress>{{"h1", 5000}, {"h2", 5000}}));
  EXPECT_EQ(read("redis://m,h1,h2").addresses,
            (std::vector<RedisAddress>{{"h1", 26379}, {"h2", 26379}}));

  auto const cluster = read("redis://h1:7000,h2:7001,h3/4");
  EXPECT_EQ(cluster.topology, Topology::cluster);
  EXPECT_EQ(cluster.addresses,
            (std::vector<RedisAddress>{{"h1", 7000}, {"h2", 7001}, {"h3", 6379}}));

  auto const tls = read(
      "rediss://h/1?tls-ca-cert-file=/a&tls-cert-file=/b&tls-key-file=/c&insecure-skip-verify=1");
  EXPECT_TRUE(tls.tls && tls.tls_skip_verify);
  EXPECT_EQ(tls.tls_ca_cert_file, "/a");
  auto const local = read("unix://u:p@/run/redis.sock?db=5");
  EXPECT_EQ(local.unix_path, "/run/redis.sock");
  EXPECT_EQ(local.user, "u");
  EXPECT_EQ(local.database, 5U);
}

TEST(RedisUrl, MistakesAreNamedWithoutThePassword) {
  for (std::string_view const url :
       {"redis://:secret@host:x/1", "redis://:secret@host:99999", "redis://:secret@h/one",
        "redis://:secret@h?read-timeout=soon", "redis://:secret@h?max-retries=many",
        "redis://:secret@,h", "redis://:secret@[::1", "unix://:secret@", "mysql://:secret@h",
        "x"}) {
    auto const options = parse_redis_url(url);
    ASSERT_FALSE(options.ok()) << url;
    EXPECT_EQ(options.error().code(), Errc::inval);
    EXPECT_EQ(options.error().text().find("secret"), std::string::npos) << options.error().text();
  }
}

TEST(Cluster, SlotsAreThoseOfTheSpecification) {
  EXPECT_EQ(cluster_slot("123456789"), 0x31C3);
  EXPECT_EQ(cluster_slot(""), 0);
  EXPECT_EQ(cluster_slot("1"), 9842);
}

// ---- DirCursor

/// HSCAN as servers do it: buckets in the order of their reversed bits, over a table of any size.
class FakeTable {
 public:
  std::set<std::string> names;
  unsigned bits = 4;

  std::uint64_t step(std::uint64_t cursor, std::vector<std::string>& out) const {
    auto const mask = (std::uint64_t{1} << bits) - 1;
    for (auto const& name : names) {
      if ((std::hash<std::string>{}(name)&mask) == (cursor & mask)) {
        out.push_back(name);
      }
    }
    cursor |= ~mask;
    cursor = reverse(reverse(cursor) + 1);
    return cursor;
  }

 private:
  static std::uint64_t reverse(std::uint64_t value) {
    std::uint64_t out = 0;
    for (int i = 0; i < 64; ++i) {
      out = (out << 1U) | ((value >> static_cast<unsigned>(i)) & 1U);
    }
    return out;
  }
};

/// One page as list_dir() makes it, with steps of one bucket.
std::string page(FakeTable const& table, std::string const& from, std::size_t limit,
                 std::map<std::string, int>& seen) {
  auto cursor = DirCursor::parse(from, 7);
  EXPECT_TRUE(cursor.ok());
  std::size_t given = 0;
  for (;;) {
    std::vector<std::string> found;
    auto const next = table.step(std::stoull(cursor->position()), found);
    for (auto const& name : found) {
      if (given == limit) {
        cursor->stop_inside(next);
        return cursor->text();
      }
      if (cursor->take(name)) {
        ++seen[name];
        ++given;
      }
    }
    cursor->pass(next);
    if (next == 0) {
      return {};
    }
  }
}

TEST(DirCursor, NamesThatStayAreGivenOnceWhileTheTableGrowsAndShrinks) {
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    FakeTable table;
    for (int i = 0; i < 200; ++i) {
      table.names.insert("stays-" + std::to_string(i));
    }
    std::map<std::string, int> seen;
    std::string from;
    int steps = 0;
    do {
      from = page(table, from, 1 + random() % 20, seen);
      table.bits = static_cast<unsigned>(2 + random() % 9);
      for (int i = 0; i < 10; ++i) {
        table.names.insert("comes-" + std::to_string(random() % 1000));
        table.names.erase("comes-" + std::to_string(random() % 1000));
      }
      ASSERT_LT(++steps, 10'000);
    } while (!from.empty());
    for (int i = 0; i < 200; ++i) {
      ASSERT_EQ(seen["stays-" + std::to_string(i)], 1) << i;
    }
  }
}

TEST(DirCursor, StaysSmall) {
  FakeTable table;
  table.bits = 12;
  for (int i = 0; i < 20'000; ++i) {
    table.names.insert(std::to_string(i));
  }
  std::vector<std::string> unused;
  auto cursor = DirCursor::parse("", 7);
  for (int i = 0; i < 20'000; ++i) {
    cursor->take(std::to_string(i));
    cursor->pass(0x100);
  }
  EXPECT_LT(cursor->text().size(), 8 * (DirCursor::kRecent + 8));
}

TEST(DirCursor, ForeignTextsAreRefused) {
  for (std::string_view const text : {"x", "0123456789abcdef"}) {
    EXPECT_TRUE(failed_with(DirCursor::parse(text, 7), Errc::inval));
  }
}

}  // namespace
}  // namespace zest::meta::redis
