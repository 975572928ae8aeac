// Goal: Prometheus gets its text over plain HTTP, others get a polite no, and a port that is taken
// is no failure.
#include "zest/cli/metrics_server.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "zest/base/bytes.h"
#include "zest/runtime/loop_group.h"
#include "zest/runtime/socket.h"

namespace zest::cli {
namespace {

class MetricsServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loops = LoopGroup::create({.kind = LoopKind::epoll, .loops = 1}, log_);
    ASSERT_TRUE(loops.ok()) << loops.error().text();
    loops_ = *std::move(loops);
  }
  std::unique_ptr<MetricsServer> start(std::string const& address) {
    auto server = MetricsServer::start(address, "mp=\"/m\"", loops_->loop(0), metrics_, log_);
    EXPECT_TRUE(server.ok()) << server.error().text();
    return server.ok() ? *std::move(server) : nullptr;
  }
  std::string ask(MetricsServer const& server, std::string_view request) {
    auto const& address = server.address();
    auto const port = std::stoi(address.substr(address.rfind(':') + 1));
    return loops_->call(0, [&]() -> std::string {
      Context const ctx;
      auto socket = Socket::connect_tcp(ctx, "127.0.0.1", static_cast<std::uint16_t>(port));
      if (!socket.ok() || !socket->write_all(ctx, as_bytes(request)).ok()) {
        return "no connection";
      }
      std::string reply;
      std::array<std::byte, 4096> buffer{};
      for (auto n = socket->read_some(ctx, buffer); n.ok() && *n > 0;
           n = socket->read_some(ctx, buffer)) {
        reply += as_text(ByteView(buffer).first(*n));
      }
      return reply;
    });
  }

  Logger log_{LogConfig{.level = LogLevel::off}};
  Registry metrics_;
  std::unique_ptr<LoopGroup> loops_;
};

TEST_F(MetricsServerTest, ServesTheRegistryWithItsLabels) {
  metrics_.counter("some_total", "Some").add(3);
  auto const server = start("127.0.0.1:0");
  ASSERT_NE(server, nullptr);
  auto const reply = ask(*server, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 200 OK\r\n")) << reply;
  EXPECT_NE(reply.find("juicefs_some_total{mp=\"/m\"} 3"), std::string::npos) << reply;
}

TEST_F(MetricsServerTest, OtherPathsAreNotFound) {
  auto const server = start("127.0.0.1:0");
  ASSERT_NE(server, nullptr);
  EXPECT_TRUE(ask(*server, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(ask(*server, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
}

TEST_F(MetricsServerTest, ATakenPortIsReplacedByAFreeOne) {
  auto const first = start("127.0.0.1:0");
  ASSERT_NE(first, nullptr);
  auto const second = start(first->address());
  ASSERT_NE(second, nullptr);
  EXPECT_NE(first->address(), second->address());
  EXPECT_TRUE(ask(*second, "GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

TEST_F(MetricsServerTest, BadAddressesAreRefused) {
  for (auto const* address : {"", "9567", "host:", ":x", "127.0.0.1:70000"}) {
    auto const server = MetricsServer::start(address, "", loops_->loop(0), metrics_, log_);
    EXPECT_FALSE(server.ok()) << address;
  }
}

}  // namespace
}  // namespace zest::cli
