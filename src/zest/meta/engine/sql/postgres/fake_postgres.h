// For tests: a server that says what it is told to, on a fiber of the same loop.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zest/runtime/loop.h"
#include "zest/runtime/socket.h"
#include "zest/runtime/sync.h"

namespace zest::meta::sql::testing {

/// The bytes of the server's messages.
namespace wire {

inline std::string int16(int number) {
  auto const net = htons(static_cast<std::uint16_t>(number));
  return {reinterpret_cast<char const*>(&net), sizeof net};
}
inline std::string int32(std::uint32_t number) {
  auto const net = htonl(number);
  return {reinterpret_cast<char const*>(&net), sizeof net};
}
inline std::string message(char type, std::string const& body) {
  return type + int32(static_cast<std::uint32_t>(body.size() + 4)) + body;
}
inline std::string parse_complete() {
  return message('1', "");
}
inline std::string bind_complete() {
  return message('2', "");
}
inline std::string no_data() {
  return message('n', "");
}
inline std::string command_complete(std::string_view tag) {
  return message('C', std::string(tag) + '\0');
}
inline std::string ready(char status) {
  return message('Z', std::string(1, status));
}
/// One column `c`.
inline std::string row_description(std::uint32_t type, int format) {
  return message('T', int16(1) + "c" + '\0' + int32(0) + int16(0) + int32(type) + int16(-1) +
                          int32(0xffffffff) + int16(format));
}
inline std::string data_row(std::vector<std::string> const& cells) {
  auto body = int16(static_cast<int>(cells.size()));
  for (auto const& cell : cells) {
    body += int32(static_cast<std::uint32_t>(cell.size())) + cell;
  }
  return message('D', body);
}
inline std::string error(std::string const& severity, std::string const& state) {
  return message('E', "S" + severity + '\0' + "V" + severity + '\0' + "C" + state + '\0' + "Mfake" +
                          '\0' + '\0');
}

}  // namespace wire

class FakePostgres {
 public:
  /// What the server answers to its n-th batch, which it has read up to the Sync before it writes
  /// the first byte. An empty answer: it says nothing and keeps the connection.
  using Answer = std::function<std::string(std::size_t batch, std::string const& asked)>;

  explicit FakePostgres(Answer answer) : answer_(std::move(answer)) {
    auto listener = Listener::listen_tcp("127.0.0.1", 0);
    EXPECT_TRUE(listener.ok());
    port_ = listener->port();
    scope_.spawn([this, socket = *std::move(listener)]() mutable { serve(socket); });
  }
  ~FakePostgres() {
    scope_.request_stop();
    scope_.join();
  }
  FakePostgres(FakePostgres const&) = delete;
  FakePostgres& operator=(FakePostgres const&) = delete;

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  /// Closes the connection after the answer number `batch`.
  void hang_up_after(std::size_t batch) { hang_up_after_ = batch; }

 private:
  void serve(Listener& listener) {
    Context ctx;
    ctx.stop = scope_.token();
    auto socket = listener.accept(ctx);
    if (!socket.ok() || read_block(ctx, *socket).empty()) {
      return;
    }
    auto const greeting = wire::message('R', wire::int32(0)) +
                          wire::message('S', std::string("server_version\0"
                                                         "15.0\0",
                                                         20)) +
                          wire::message('K', wire::int32(1) + wire::int32(2)) + wire::ready('I');
    if (!write(ctx, *socket, greeting)) {
      return;
    }
    for (std::size_t batch = 0;; ++batch) {
      auto const asked = read_batch(ctx, *socket);
      if (asked.empty() || !write(ctx, *socket, answer_(batch, asked)) || batch == hang_up_after_) {
        return;
      }
    }
  }

  static bool write(Context const& ctx, Socket& socket, std::string const& bytes) {
    return socket.write_all(ctx, std::as_bytes(std::span(bytes))).ok();
  }
  static std::string read(Context const& ctx, Socket& socket, std::size_t length) {
    std::string bytes(length, '\0');
    auto const got = socket.read_exact(ctx, std::as_writable_bytes(std::span(bytes)));
    return got.ok() ? bytes : "";
  }
  /// A length and what it says; empty at the end.
  static std::string read_block(Context const& ctx, Socket& socket) {
    auto const head = read(ctx, socket, 4);
    if (head.empty()) {
      return "";
    }
    std::uint32_t length = 0;
    std::memcpy(&length, head.data(), sizeof length);
    return head + read(ctx, socket, ntohl(length) - 4);
  }
  /// The types of all messages up to the Sync, such as "PBDES".
  static std::string read_batch(Context const& ctx, Socket& socket) {
    std::string types;
    while (!types.ends_with('S')) {
      auto const type = read(ctx, socket, 1);
      if (type.empty() || read_block(ctx, socket).empty()) {
        return "";
      }
      types += type;
    }
    return types;
  }

  Answer answer_;
  std::uint16_t port_ = 0;
  std::size_t hang_up_after_ = static_cast<std::size_t>(-1);
  Scope scope_;
};

}  // namespace zest::meta::sql::testing
