#include "zest/cli/metrics_server.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <utility>

#include "zest/base/bytes.h"
#include "zest/base/context.h"
#include "zest/runtime/socket.h"

namespace zest::cli {
namespace {

/// A scrape that takes longer is given up, so that idle connections don't pile up.
constexpr auto kRequestTime = std::chrono::seconds(10);
constexpr std::size_t kHeadMax = 8192;
/// A scraper and a curious person or two; further ones are turned away.
constexpr std::size_t kConnectionsMax = 16;

struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};

Result<HostPort> parse_address(std::string const& text) {
  auto const colon = text.rfind(':');
  HostPort address;
  if (colon != std::string::npos) {
    auto const digits = std::string_view(text).substr(colon + 1);
    auto const [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), address.port);
    if (error == std::errc() && end == digits.data() + digits.size()) {
      address.host = text.substr(0, colon);
      if (address.host.starts_with('[') && address.host.ends_with(']')) {
        address.host = address.host.substr(1, address.host.size() - 2);
      }
      if (address.host.empty() || address.host == "localhost") {
        address.host = address.host.empty() ? "0.0.0.0" : "127.0.0.1";
      }
      return address;
    }
  }
  return Error(Errc::inval, Fault::semantic,
               fmt::format("\"{}\" is not an address like 127.0.0.1:9567", text));
}

Result<Listener> listen(HostPort const& address) {
  auto listener = Listener::listen_tcp(address.host, address.port);
  if (!listener.ok() && address.port != 0) {
    return Listener::listen_tcp(address.host, 0);
  }
  return listener;
}

std::string response(std::string_view status, std::string_view type, std::string_view body) {
  return fmt::format(
      "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
      status, type, body.size(), body);
}

/// The request's first line, once its head has come completely; empty when it is no HTTP.
Result<std::string> read_request(Context const& ctx, Socket& socket) {
  std::string head;
  std::array<std::byte, 1024> buffer{};
  while (head.find("\r\n\r\n") == std::string::npos && head.size() < kHeadMax) {
    ZEST_TRY(auto const n, socket.read_some(ctx, buffer));
    if (n == 0) {
      break;
    }
    head += as_text(ByteView(buffer).first(n));
  }
  return head.substr(0, head.find("\r\n"));
}

}  // namespace

struct MetricsServer::Impl {
  Impl(Listener l, std::string a, std::string lb, Loop& lp, Registry& m, Logger& lg)
      : listener(std::move(l)),
        address(std::move(a)),
        labels(std::move(lb)),
        loop(lp),
        metrics(m),
        log(lg) {}

  void serve() {
    Context ctx;
    ctx.stop = scope.token();
    while (!ctx.stop.stop_requested()) {
      auto socket = listener.accept(ctx);
      if (!socket.ok()) {
        if (socket.error().code() != Errc::intr) {
          log.warn("the metrics server stops", {{"error", socket.error().text()}});
        }
        return;
      }
      if (scope.running() <= kConnectionsMax) {
        scope.spawn([this, s = std::move(*socket)]() mutable { answer(s); });
      }
    }
  }

  void answer(Socket& socket) const {
    Context ctx;
    ctx.stop = scope.token();
    ctx.deadline = loop.now() + kRequestTime;
    auto const request = read_request(ctx, socket);
    if (!request.ok()) {
      return;
    }
    std::string reply;
    if (request->starts_with("GET /metrics ") || request->starts_with("GET /metrics?")) {
      reply = response("200 OK", "text/plain; version=0.0.4; charset=utf-8",
                       metrics.prometheus(labels));
    } else {
      reply = response("404 Not Found", "text/plain", "metrics are at /metrics\n");
    }
    // Whoever asked may have gone away; that is no problem of ours.
    static_cast<void>(socket.write_all(ctx, as_bytes(reply)));
  }

  Listener listener;
  std::string address;
  std::string labels;
  Loop& loop;
  Registry& metrics;
  Logger& log;
  Scope scope;
};

Result<std::unique_ptr<MetricsServer>> MetricsServer::start(std::string const& address,
                                                            std::string labels, Loop& loop,
                                                            Registry& metrics, Logger& log) {
  ZEST_TRY(auto const wanted, parse_address(address));
  ZEST_TRY(auto listener, listen(wanted));
  auto shown = fmt::format("{}:{}", wanted.host, listener.port());
  auto impl = std::make_unique<Impl>(std::move(listener), std::move(shown), std::move(labels), loop,
                                     metrics, log);
  impl->scope.spawn_on(loop, [i = impl.get()] { i->serve(); });
  // The constructor is private because the server has to be listening.
  return std::unique_ptr<MetricsServer>(
      new MetricsServer(std::move(impl)));  // tidy: allow(new) private constructor
}

MetricsServer::MetricsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

MetricsServer::~MetricsServer() {
  impl_->scope.request_stop();
  impl_->scope.join();
}

std::string const& MetricsServer::address() const noexcept {
  return impl_->address;
}

}  // namespace zest::cli
