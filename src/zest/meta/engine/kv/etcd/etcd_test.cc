// The client of etcd without etcd: URLs, bytes on the wire, hostile replies, servers that are away
// or fall silent. What needs the real server is in the conformance suite.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "zest/base/bytes.h"
#include "zest/base/log.h"
#include "zest/meta/engine/kv/etcd/etcd_store.h"
#include "zest/meta/engine/kv/etcd/etcd_url.h"
#include "zest/meta/engine/kv/etcd/messages.h"
#include "zest/meta/engine/kv/etcd/proto.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/socket.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest::meta {
namespace {

using kv::etcd::ProtoReader;
using kv::etcd::ProtoWriter;

// ---- URLs

TEST(EtcdUrl, AllPartsAreUnderstood) {
  auto const url = parse_etcd_url(
      "etcd://me:p%40s%2Fs@h1:1234,h2,[::1]:99/a/b%20c?cacert=/ca.pem&server-name=x&other=1");
  ASSERT_TRUE(url.ok()) << url.error().text();
  EXPECT_EQ(url->user, "me");
  EXPECT_EQ(url->password, "p@s/s");
  EXPECT_EQ(url->endpoints, (std::vector<EtcdEndpoint>{{"h1", 1234}, {"h2", 2379}, {"::1", 99}}));
  EXPECT_EQ(url->path, "/a/b c");
  EXPECT_EQ(url->tls.ca_file, "/ca.pem");
  EXPECT_TRUE(url->tls.enabled());
  EXPECT_EQ(url->ignored, std::vector<std::string>{"other"});
}

TEST(EtcdUrl, ThePrefixMayBeMissing) {
  EXPECT_EQ(parse_etcd_url("etcd://h")->path, "");
  EXPECT_EQ(parse_etcd_url("etcd://h/")->path, "/");
}

TEST(EtcdUrl, NotVerifyingAloneIsNoTls) {
  auto const url = parse_etcd_url("etcd://h/?insecure-skip-verify=1");
  EXPECT_TRUE(url->tls.skip_verify);
  EXPECT_FALSE(url->tls.enabled());
}

TEST(EtcdUrl, NonsenseIsRefusedWithoutTellingThePassword) {
  for (auto const* text : {"redis://h/", "etcd:///v", "etcd://h1,,h2/v", "etcd://h:0/v",
                           "etcd://h:99999/v", "etcd://h:x/v", "etcd://[::1/v",
                           "etcd://u:sec%zzret@h/v", "etcd://h/%4", "etcd://h/?cert=a"}) {
    auto const url = parse_etcd_url(text);
    ASSERT_FALSE(url.ok()) << text;
    EXPECT_EQ(url.error().code(), Errc::inval);
    EXPECT_EQ(url.error().text().find("sec%zzret"), std::string::npos);
  }
}

// ---- wire

TEST(EtcdProto, FieldsComeBack) {
  auto const text = ProtoWriter()
                        .number(1, 300)
                        .number(2, 0)
                        .bytes(3, "abc")
                        .chosen_bytes(64, "")
                        .message(5, ProtoWriter().chosen_number(6, 0))
                        .take();
  EXPECT_EQ(text, std::string("\x08\xAC\x02\x1A\x03"
                              "abc\x82\x04\x00\x2A\x02\x30\x00",
                              15));
  ProtoReader reader(text);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.number(), 300U);
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.bytes(), "abc");
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.field(), 64U);
  ASSERT_TRUE(reader.next());
  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.failed());
}

TEST(EtcdProto, ForeignFieldsAreSkipped) {
  ProtoReader reader(
      std::string_view("\x09"
                       "12345678"
                       "\x15"
                       "1234"
                       "\x08\x01",
                       16));
  ASSERT_TRUE(reader.next());
  ASSERT_TRUE(reader.next());
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.number(), 1U);
}

TEST(EtcdProto, BrokenMessagesEnd) {
  for (auto const text :
       {std::string_view("\x08", 1),
        std::string_view("\x0A\x05"
                         "abc",
                         5),
        std::string_view("\x00\x01", 2), std::string_view("\x0B", 1),
        std::string_view("\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 12)}) {
    ProtoReader reader(text);
    while (reader.next()) {
    }
    EXPECT_TRUE(reader.failed());
  }
}

TEST(EtcdMessages, RepliesThatDoNotFitAreCorrupt) {
  kv::Read const asked{.keys = {"k"}};
  auto const header = ProtoWriter().number(3, 7);
  auto const pair = [](std::string_view key, std::uint64_t revision) {
    return ProtoWriter().bytes(1, key).number(3, revision).bytes(5, "v");
  };
  auto const reply = [&](ProtoWriter const& range) {
    return ProtoWriter()
        .message(1, header)
        .number(2, 1)
        .message(3, ProtoWriter().message(1, range))
        .take();
  };
  auto const good = kv::etcd::decode_read(asked, reply(ProtoWriter().message(2, pair("k", 5))));
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->values[0], (kv::Versioned{.value = "v", .revision = 5}));
  EXPECT_EQ(good->revision, 7);
  for (auto const& bad :
       {std::string(), std::string("\x0A\x7F"), ProtoWriter().message(1, header).take(),
        reply(ProtoWriter().message(2, pair("other", 5))),
        reply(ProtoWriter().message(2, pair("k", 0))),
        reply(ProtoWriter().message(2, pair("k", 5)).message(2, pair("k", 5))),
        reply(ProtoWriter().bytes(2, "\x7F\x7F"))}) {
    auto const decoded = kv::etcd::decode_read(asked, bad);
    ASSERT_FALSE(decoded.ok());
    EXPECT_EQ(decoded.error().fault(), Fault::corrupt);
  }
}

TEST(EtcdMessages, ManyWritesAreNested) {
  kv::Transaction transaction;
  for (int i = 0; i < 100; ++i) {
    transaction.writes.emplace_back(kv::PutPair{.key = std::to_string(i), .value = "v"});
  }
  auto const message = kv::etcd::encode_transaction(transaction);
  ProtoReader reader(message);
  std::size_t operations = 0;
  while (reader.next()) {
    EXPECT_EQ(reader.field(), 2U);
    ++operations;
  }
  EXPECT_EQ(operations, 4U);
}

// ---- servers

class EtcdServerTest : public ::testing::Test {
 protected:
  static Result<std::unique_ptr<kv::Store>> open(std::uint16_t port, Logger& log) {
    EtcdOptions options;
    options.url.endpoints = {{.host = "127.0.0.1", .port = port}};
    options.request_timeout = std::chrono::milliseconds(300);
    options.patience = std::chrono::milliseconds(600);
    return open_etcd(std::move(options), log);
  }
  /// A server that does `serve` with each connection, and a store that uses it.
  void run(std::function<void(Socket&)> const& serve, std::function<void(kv::Store&)> const& body) {
    zest::testing::run_on_loop([&] {
      auto listener = Listener::listen_tcp("127.0.0.1", 0);
      ASSERT_TRUE(listener.ok());
      Scope server;
      server.spawn([&] {
        Context stoppable;
        stoppable.stop = server.token();
        for (;;) {
          auto socket = listener->accept(stoppable);
          if (!socket.ok()) {
            return;
          }
          serve(*socket);
        }
      });
      {
        auto store = open(listener->port(), log);
        ASSERT_TRUE(store.ok());
        body(**store);
      }
      server.request_stop();
      server.join();
    });
  }
  static kv::Transaction write() { return {.writes = {kv::PutPair{.key = "k", .value = "v"}}}; }

  Context ctx;
  Logger log{LogConfig{.level = LogLevel::warn, .file = {}, .json = false, .color = false}};
};

TEST_F(EtcdServerTest, NobodyListens) {
  zest::testing::run_on_loop([&] {
    std::uint16_t port = 0;
    {
      auto const listener = Listener::listen_tcp("127.0.0.1", 0);
      port = listener->port();
    }
    auto store = open(port, log);
    ASSERT_TRUE(store.ok());
    auto const result = (*store)->commit(ctx, write());
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().fault(), Fault::transient);
    EXPECT_NE(result.error().code(), Errc::timedout) << "nothing was sent, so nothing is unknown";
    EXPECT_NE(result.error().text().find("127.0.0.1"), std::string::npos);
  });
}

TEST_F(EtcdServerTest, AServerThatDiesWithTheRequestLeavesTheOutcomeUnknown) {
  run(
      [&](Socket& socket) {
        std::array<std::byte, 4096> buffer{};
        EXPECT_TRUE(socket.read_some(ctx, buffer).ok());
      },
      [&](kv::Store& store) {
        EXPECT_TRUE(failed_with(store.commit(ctx, write()), Errc::timedout));
        EXPECT_EQ(store.trips(), 1U) << "not sent again";
      });
}

TEST_F(EtcdServerTest, ASilentServerIsGivenUp) {
  run(
      [&](Socket& socket) {
        std::array<std::byte, 4096> buffer{};
        for (auto open = true; open;) {
          auto const got = socket.read_some(ctx, buffer);
          open = got.ok() && *got > 0;
        }
      },
      [&](kv::Store& store) {
        auto const begin = Loop::current()->now();
        EXPECT_TRUE(failed_with(store.commit(ctx, write()), Errc::timedout));
        EXPECT_LT(Loop::current()->now() - begin, std::chrono::seconds(5));
      });
}

TEST_F(EtcdServerTest, ReadsAreRepeatedUntilThePatienceEnds) {
  run(
      [&](Socket& socket) {
        std::array<std::byte, 4096> buffer{};
        EXPECT_TRUE(socket.read_some(ctx, buffer).ok());
      },
      [&](kv::Store& store) {
        EXPECT_FALSE(store.read(ctx, {.keys = {"k"}}).ok());
        EXPECT_GT(store.trips(), 1U);
      });
}

TEST_F(EtcdServerTest, AnotherProtocolIsSaidSo) {
  run(
      [&](Socket& socket) {
        static_cast<void>(socket.write_all(ctx, as_bytes("HTTP/1.1 400 Bad Request\r\n\r\n")).ok());
      },
      [&](kv::Store& store) {
        auto const result = store.read(ctx, {.keys = {"k"}});
        ASSERT_FALSE(result.ok());
        EXPECT_EQ(result.error().fault(), Fault::transient);
      });
}

TEST_F(EtcdServerTest, ATlsFileThatIsNoneIsNamed) {
  EtcdOptions options;
  options.url.endpoints = {{.host = "h"}};
  options.url.tls.ca_file = "/nonexistent/ca.pem";
  auto const store = open_etcd(std::move(options), log);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code(), Errc::inval);
  EXPECT_NE(store.error().text().find("/nonexistent/ca.pem"), std::string::npos);
}

}  // namespace
}  // namespace zest::meta
