// Streams over TCP and unix sockets, and host names.
#include "zest/runtime/socket.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "zest/base/types.h"
#include "zest/runtime/loop_cases.h"

namespace zest {
namespace {

using std::chrono::milliseconds;

class SocketCase : public LoopCase {
 protected:
  void SetUp() override {
    LoopCase::SetUp();
    auto pattern = (std::filesystem::temp_directory_path() / "zest-socket-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  [[nodiscard]] std::string path() const { return folder_ / "s"; }

  std::filesystem::path folder_;
};
ZEST_REAL_LOOPS(SocketCase);

/// Sends back what comes until the peer closes.
void echo(Socket& socket) {
  std::vector<std::byte> bytes(65536);
  for (;;) {
    auto const got = socket.read_some({}, bytes);
    ASSERT_TRUE(got.ok());
    if (*got == 0) {
      return;
    }
    ASSERT_TRUE(socket.write_all({}, std::span(bytes).first(*got)).ok());
  }
}

std::vector<std::byte> pattern_of(std::size_t size, std::size_t seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(i * 31 + seed);
  }
  return bytes;
}

/// `n` connections through `listener`, each echoes 1 MiB in both directions at once.
void exchange(Listener& listener, std::function<Result<Socket>()> const& connect, std::size_t n) {
  Scope scope;
  scope.spawn([&] {
    for (std::size_t i = 0; i < n; ++i) {
      auto accepted = listener.accept({});
      ASSERT_TRUE(accepted.ok());
      scope.spawn([socket = *std::move(accepted)]() mutable { echo(socket); });
    }
  });
  for (std::size_t i = 0; i < n; ++i) {
    scope.spawn([&connect, i] {
      auto socket = connect();
      ASSERT_TRUE(socket.ok()) << socket.error().text();
      auto const sent = pattern_of(kMiB, i);
      std::vector<std::byte> received(sent.size());
      Scope writer;
      writer.spawn([&] { EXPECT_TRUE(socket->write_all({}, sent).ok()); });
      EXPECT_TRUE(socket->read_exact({}, received).ok());
      writer.join();
      EXPECT_EQ(sent, received);
    });
  }
  scope.join();
}

TEST_P(SocketCase, TcpCarriesManyConnectionsAtOnce) {
  run([] {
    auto listener = Listener::listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener.ok());
    ASSERT_NE(listener->port(), 0);
    exchange(*listener, [&] { return Socket::connect_tcp({}, "127.0.0.1", listener->port()); }, 10);
  });
}

TEST_P(SocketCase, UnixSocketsToo) {
  run([this] {
    auto listener = Listener::listen_unix(path());
    ASSERT_TRUE(listener.ok());
    exchange(*listener, [&] { return Socket::connect_unix({}, path()); }, 10);
    EXPECT_TRUE(failed_with(Listener::listen_unix(path()), static_cast<Errc>(EADDRINUSE)));
    EXPECT_TRUE(failed_with(Socket::connect_unix({}, std::string(200, 'x')), Errc::nametoolong));
  });
}

TEST_P(SocketCase, ConnectsToAHostName) {
  run([] {
    auto listener = Listener::listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener.ok());
    exchange(*listener, [&] { return Socket::connect_tcp({}, "localhost", listener->port()); }, 2);
  });
}

TEST_P(SocketCase, ResolveTakesNumericAddressesOfBothFamilies) {
  run([] {
    for (std::string const host : {"127.0.0.1", "::1"}) {
      auto const found = resolve({}, host, 80);
      ASSERT_TRUE(found.ok());
      EXPECT_EQ(found->size(), 1U);
    }
    Context stopped;
    std::stop_source stop;
    stop.request_stop();
    stopped.stop = stop.get_token();
    auto const given_up = resolve(stopped, "localhost", 80);
    EXPECT_TRUE(failed_with(given_up, Errc::intr));
  });
}

TEST_P(SocketCase, ARefusedConnectionIsTransientAndNamesItsTarget) {
  run([] {
    auto listener = Listener::listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener.ok());
    auto const port = listener->port();
    listener = Errc::badf;  // closes it
    auto const refused = Socket::connect_tcp({}, "127.0.0.1", port);
    ASSERT_TRUE(failed_with(refused, Errc::connrefused));
    EXPECT_EQ(refused.error().fault(), Fault::transient);
    EXPECT_NE(refused.error().text().find("127.0.0.1 port " + std::to_string(port)),
              std::string::npos)
        << refused.error().text();
  });
}

TEST_P(SocketCase, AnEarlyEndIsAReset) {
  run([] {
    auto listener = Listener::listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener.ok());
    auto client = Socket::connect_tcp({}, "127.0.0.1", listener->port());
    ASSERT_TRUE(client.ok());
    {
      auto server = listener->accept({});
      ASSERT_TRUE(server.ok());
      EXPECT_TRUE(server->write_all({}, as_bytes("abc")).ok());
    }
    std::array<std::byte, 4> bytes{};
    EXPECT_TRUE(failed_with(client->read_exact({}, bytes), Errc::connreset));
    EXPECT_EQ(as_text(bytes).substr(0, 3), "abc");
    auto const end = client->read_some({}, bytes);
    ASSERT_TRUE(end.ok());
    EXPECT_EQ(*end, 0U);
    // Writing to a peer that is gone fails, and no signal ends the program.
    auto const much = pattern_of(kMiB, 0);
    Result<void> written;
    for (int i = 0; i < 10 && written.ok(); ++i) {
      written = client->write_all({}, much);
    }
    EXPECT_TRUE(failed_with(written, Errc::pipe) || failed_with(written, Errc::connreset));
  });
}

TEST_P(SocketCase, ReadsWritesAndAcceptsHonourDeadlineAndStop) {
  run([] {
    auto listener = Listener::listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener.ok());
    EXPECT_TRUE(failed_with(listener->accept(within(milliseconds(1))), Errc::timedout));
    auto client = Socket::connect_tcp({}, "127.0.0.1", listener->port());
    ASSERT_TRUE(client.ok());
    auto server = listener->accept({});
    ASSERT_TRUE(server.ok());
    std::array<std::byte, 4> bytes{};
    EXPECT_TRUE(failed_with(client->read_some(within(milliseconds(1)), bytes), Errc::timedout));
    auto const much = pattern_of(64 * kMiB, 0);
    EXPECT_TRUE(failed_with(client->write_all(within(milliseconds(20)), much), Errc::timedout));
    Scope scope;
    scope.spawn(
        [&] { EXPECT_TRUE(failed_with(client->read_some(stopped_by(scope), bytes), Errc::intr)); });
    scope.spawn([&] { EXPECT_TRUE(failed_with(listener->accept(stopped_by(scope)), Errc::intr)); });
    Loop::current()->yield();
    scope.request_stop();
    scope.join();
  });
}

TEST_P(SocketCase, ShutdownWakesAReader) {
  run([] {
    auto listener = Listener::listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener.ok());
    auto client = Socket::connect_tcp({}, "127.0.0.1", listener->port());
    ASSERT_TRUE(client.ok());
    Scope scope;
    scope.spawn([&] {
      std::array<std::byte, 4> bytes{};
      auto const got = client->read_some({}, bytes);
      ASSERT_TRUE(got.ok());
      EXPECT_EQ(*got, 0U);
    });
    EXPECT_TRUE(Loop::current()->sleep_for({}, milliseconds(1)).ok());
    client->shutdown();
    scope.join();
  });
}

TEST(Socket, WorksOnAForeignThreadByBlocking) {
  auto listener = Listener::listen_tcp("127.0.0.1", 0);
  ASSERT_TRUE(listener.ok());
  Context late;
  late.deadline = SystemClock().now() + milliseconds(5);
  EXPECT_TRUE(failed_with(listener->accept(late), Errc::timedout));
  std::thread server([&] {
    auto accepted = listener->accept({});
    ASSERT_TRUE(accepted.ok());
    echo(*accepted);
  });
  {
    auto client = Socket::connect_tcp({}, "localhost", listener->port());
    ASSERT_TRUE(client.ok()) << client.error().text();
    EXPECT_TRUE(client->write_all({}, as_bytes("hello")).ok());
    std::array<std::byte, 5> bytes{};
    EXPECT_TRUE(client->read_exact({}, bytes).ok());
    EXPECT_EQ(as_text(bytes), "hello");
  }
  server.join();
}

TEST(UniqueFd, ClosesOnceAndMoves) {
  std::array<int, 2> fds{};
  ASSERT_EQ(::pipe(fds.data()), 0);
  UniqueFd a(fds[0]);
  UniqueFd b(fds[1]);
  b = std::move(a);  // closes the write end
  EXPECT_FALSE(a);   // NOLINT(bugprone-use-after-move): empty is what it promises
  char byte = 0;
  EXPECT_EQ(::read(b.get(), &byte, 1), 0);
  auto& self = b;
  b = std::move(self);
  EXPECT_TRUE(b);
  int const number = b.get();
  b.reset();
  b.reset();
  EXPECT_EQ(::close(number), -1);
}

}  // namespace
}  // namespace zest
