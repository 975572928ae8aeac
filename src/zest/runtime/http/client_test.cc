#include "zest/runtime/http/client.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "zest/runtime/http/scripted_server.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/testing.h"

namespace zest::http {
namespace {

using Server = testing::ScriptedServer;

Result<Reply> get(Client& client, Url const& url, ByteSpan into = {}) {
  Context const ctx;
  return client.send(ctx, {.url = url, .into = into});
}

TEST(HttpClient, BodiesOfAllKinds) {
  zest::testing::run_on_loop([] {
    Server server({{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
                   {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
                    "chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n"},
                   {"HTTP/1.1 200 OK\r\n\r\nhello", true}});
    Client client({});
    for (int i = 0; i < 3; ++i) {
      std::vector<std::byte> room(100);
      auto const reply = get(client, server.url(), room);
      ASSERT_TRUE(reply.ok()) << reply.error().text();
      EXPECT_EQ(as_text(ByteView(room).first(reply->size)), "hello");
      EXPECT_FALSE(reply->more);
    }
    EXPECT_EQ(server.connections, 1);
    EXPECT_EQ(server.requests[0].substr(0, 17), "GET /x HTTP/1.1\r\n");
    EXPECT_EQ(server.requests[0].find("Expect"), std::string::npos);
  });
}

TEST(HttpClient, ErrorBodiesAreTextAndRequestBodiesAreConcatenated) {
  zest::testing::run_on_loop([] {
    Server server({{"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\ngone"}});
    Client client({});
    std::vector<std::byte> room(100);
    std::string const big(300'000, 'q');
    ByteView const parts[] = {as_bytes("ab"), as_bytes(""), as_bytes(big)};
    Context const ctx;
    auto const reply = client.send(ctx, {.method = "PUT",
                                         .url = server.url(),
                                         .fields = {{"X-A", "b"}},
                                         .body = parts,
                                         .into = room});
    ASSERT_TRUE(reply.ok()) << reply.error().text();
    EXPECT_EQ(reply->head.status, 404);
    EXPECT_EQ(reply->text, "gone");
    EXPECT_TRUE(server.requests[0].ends_with("\r\n\r\nab" + big));
  });
}

TEST(HttpClient, ALongBodyFillsTheBufferAndEndsTheConnection) {
  zest::testing::run_on_loop([] {
    Server server({{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}});
    Client client({});
    std::vector<std::byte> room(3);
    for (int i = 1; i <= 2; ++i) {
      auto const reply = get(client, server.url(), room);
      ASSERT_TRUE(reply.ok());
      EXPECT_EQ(reply->size, 3u);
      EXPECT_TRUE(reply->more);
      EXPECT_EQ(server.connections, i);
    }
  });
}

// Goal: whatever a server does wrong is a clear, transient error, soon.
TEST(HttpClient, WrongServers) {
  struct Row {
    Server::Script script;
    std::string_view message;
  };
  std::string const endless = "HTTP/1.1 200 OK\r\nX: " + std::string(70'000, 'x');
  for (auto const& row : {
           Row{{"", true}, "closed the connection before a reply"},
           Row{{"HTTP/1.1 200 OK\r\nContent", true}, "inside of a reply's head"},
           Row{{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell", true}, "after 4 of 9 bytes"},
           Row{{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", true},
               "after 3 of 5"},
           Row{{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n"},
               "longer than it says"},
           Row{{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"}, "no size"},
           Row{{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"},
               "Content-Length"},
           Row{{"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"}, "Content-Length"},
           Row{{"SSH-2.0-OpenSSH\r\n"}, "does not begin with HTTP/1"},
           Row{{endless}, "has no end"},
           Row{{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell", false, true}, "stopped inside"},
           Row{{"", false, true}, "sends nothing"},
       }) {
    SCOPED_TRACE(row.message);
    zest::testing::run_on_loop([&] {
      Server server({row.script});
      Client client({.timeouts = {.first_byte = std::chrono::milliseconds(100),
                                  .idle = std::chrono::milliseconds(100)}});
      std::vector<std::byte> room(100);
      auto const reply = get(client, server.url(), room);
      ASSERT_FALSE(reply.ok());
      EXPECT_EQ(reply.error().fault(), Fault::transient);
      EXPECT_NE(reply.error().text().find(row.message), std::string::npos) << reply.error().text();
    });
  }
}

TEST(HttpClient, ADeadPooledConnectionIsReplacedOnceButNotForPosts) {
  zest::testing::run_on_loop([] {
    Server::Script const good{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
    Server::Script const dead{"", true};
    Context const ctx;
    {
      Server server({good, dead, good});
      Client client({});
      ASSERT_TRUE(get(client, server.url()).ok());
      ASSERT_TRUE(get(client, server.url()).ok());
      EXPECT_EQ(server.connections, 2);
    }
    {
      Server server({good, dead});
      Client client({});
      ASSERT_TRUE(get(client, server.url()).ok());
      EXPECT_FALSE(get(client, server.url()).ok());
      EXPECT_EQ(server.requests.size(), 3u);
    }
    {
      Server server({good, dead});
      Client client({});
      ASSERT_TRUE(get(client, server.url()).ok());
      EXPECT_FALSE(client.send(ctx, {.method = "POST", .url = server.url()}).ok());
      EXPECT_EQ(server.requests.size(), 2u);
    }
  });
}

TEST(HttpClient, DeadlineAndStopOfTheCaller) {
  zest::testing::run_on_loop([] {
    Server server({{"", false, true}});
    Client client({});
    Context ctx;
    ctx.deadline = Loop::current()->now() + std::chrono::milliseconds(50);
    auto reply = client.send(ctx, {.url = server.url()});
    ASSERT_FALSE(reply.ok());
    EXPECT_EQ(reply.error().code(), Errc::timedout);
    std::stop_source stop;
    stop.request_stop();
    Context stopped;
    stopped.stop = stop.get_token();
    reply = client.send(stopped, {.url = server.url()});
    ASSERT_FALSE(reply.ok());
    EXPECT_EQ(reply.error().code(), Errc::intr);
  });
}

TEST(HttpClient, ConnectionsAreBounded) {
  zest::testing::run_on_loop([] {
    Server server({{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}});
    Client client({.connections_max = 3});
    Scope scope;
    for (int i = 0; i < 30; ++i) {
      scope.spawn([&] { EXPECT_TRUE(get(client, server.url()).ok()); });
    }
    scope.join();
    EXPECT_EQ(server.requests.size(), 30u);
    EXPECT_LE(server.connections, 3);
  });
}

// Goal: http goes to the proxy with the whole URL; NO_PROXY and this machine go straight.
TEST(HttpClient, Proxies) {
  std::map<std::string, std::string> variables{{"HTTP_PROXY", "me:p%20w@127.0.0.1:3128"},
                                               {"no_proxy", "example.com, .corp,10.0.0.1"}};
  auto const options = proxies_from([&](char const* name) -> char const* {
    auto const found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
  auto const to = [&](std::string host) { return proxy_for(options, {.host = std::move(host)}); };
  EXPECT_EQ(to("s3.net"), "http://me:p%20w@127.0.0.1:3128");
  for (auto const* host :
       {"example.com", "a.example.com", "x.corp", "10.0.0.1", "127.0.0.1", "localhost"}) {
    EXPECT_EQ(to(host), "") << host;
  }
  EXPECT_EQ(proxy_for(options, {.tls = true, .host = "s3.net"}), "");
  zest::testing::run_on_loop([] {
    Server proxy({{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}});
    auto const place = "http://me:pw@127.0.0.1:" + std::to_string(proxy.url().port);
    Client client({.proxies = {.http = place, .https = place}});
    auto const reply =
        get(client, {.host = "b.s3.test", .port = 9000, .path = "/k", .query = "a=b"});
    ASSERT_TRUE(reply.ok()) << reply.error().text();
    EXPECT_EQ(reply->text, "ok");
    EXPECT_TRUE(proxy.requests[0].starts_with("GET http://b.s3.test:9000/k?a=b HTTP/1.1\r\n"));
    EXPECT_NE(proxy.requests[0].find("Proxy-Authorization: Basic bWU6cHc=\r\n"), std::string::npos);
    auto const secure = get(client, {.tls = true, .host = "b.s3.test", .port = 443});
    ASSERT_FALSE(secure.ok());
    EXPECT_TRUE(proxy.requests[1].starts_with("CONNECT b.s3.test:443 HTTP/1.1\r\n"));
  });
}

TEST(HttpMessage, Urls) {
  auto const url = parse_url("HTTPS://u:p@Host.NET:9000/a%20b/c?x=1&y#f");
  ASSERT_TRUE(url.ok());
  EXPECT_TRUE(url->tls);
  EXPECT_EQ(url->host, "host.net");
  EXPECT_EQ(url->authority(), "host.net:9000");
  EXPECT_EQ(url->path, "/a%20b/c");
  EXPECT_EQ(url->query, "x=1&y");
  EXPECT_EQ(url->user, "u:p");
  auto const bare = parse_url("http://[::1]");
  ASSERT_TRUE(bare.ok());
  EXPECT_EQ(bare->host, "::1");
  EXPECT_EQ(bare->authority(), "[::1]");
  EXPECT_EQ(bare->path, "/");
  for (auto const* text : {"x", "ftp://a", "http://", "http://a:0", "http://a:99999", "http://a:x",
                           "http://[::1", "http://a b", "http://:80"}) {
    auto const wrong = parse_url(text);
    ASSERT_FALSE(wrong.ok()) << text;
    EXPECT_EQ(wrong.error().code(), Errc::inval);
  }
}

TEST(HttpMessage, Escapes) {
  EXPECT_EQ(percent_encode("a/b c+\xC3\xA9~", true), "a/b%20c%2B%C3%A9~");
  EXPECT_EQ(percent_encode("a/b", false), "a%2Fb");
  EXPECT_EQ(percent_decode("a%2fb+c", true), "a/b c");
  EXPECT_EQ(percent_decode("a+b", false), "a+b");
  EXPECT_EQ(percent_decode("%41", false), "A");
  for (auto const* text : {"%", "%4", "%zz", "a%"}) {
    EXPECT_EQ(percent_decode(text, false), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace zest::http
