// Stream sockets on fibers: non-blocking underneath, blocking in appearance.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include "zest/base/bytes.h"
#include "zest/base/context.h"
#include "zest/base/result.h"

namespace zest {

/// Owns a file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd();
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept {
    int const fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset() noexcept;
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// A numeric address with its port, as bind(2) and connect(2) take it.
struct Endpoint {
  sockaddr_storage address{};
  socklen_t length = 0;
};

/// The addresses of a host, in the order to try them; a numeric `host` is taken as it is. Blocks no
/// loop: getaddrinfo runs on a thread of its own, which is left behind when the deadline or a stop
/// comes first. May suspend. Errors: ENOENT (no such host), EAGAIN (name servers away), EINTR,
/// ETIMEDOUT.
Result<std::vector<Endpoint>> resolve(Context const& ctx, std::string const& host,
                                      std::uint16_t port);

/// A connected stream. One fiber reads and one writes at a time.
class Socket {
 public:
  explicit Socket(UniqueFd fd) noexcept;
  /// Connects to a numeric address or to a host name (resolved on a thread of its own; see
  /// resolve()).
  static Result<Socket> connect_tcp(Context const& ctx, std::string const& address,
                                    std::uint16_t port);
  /// Connects to one address; `target` names it in messages.
  static Result<Socket> connect_to(Context const& ctx, Endpoint const& endpoint,
                                   std::string const& target);
  static Result<Socket> connect_unix(Context const& ctx, std::string const& path);

  /// Reads what is there, at least one byte; 0 = the peer closed.
  Result<std::size_t> read_some(Context const& ctx, ByteSpan out);
  /// Fills `out` or fails (ECONNRESET when the stream ends early).
  Result<void> read_exact(Context const& ctx, ByteSpan out);
  Result<void> write_all(Context const& ctx, ByteView bytes);
  void shutdown() noexcept;
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  UniqueFd fd_;
};

/// A listening socket.
class Listener {
 public:
  /// Port 0 takes any free one; see port().
  static Result<Listener> listen_tcp(std::string const& address, std::uint16_t port);
  static Result<Listener> listen_unix(std::string const& path);
  Result<Socket> accept(Context const& ctx);
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

 private:
  Listener(UniqueFd fd, std::uint16_t port) noexcept : fd_(std::move(fd)), port_(port) {}
  UniqueFd fd_;
  std::uint16_t port_ = 0;
};

}  // namespace zest
