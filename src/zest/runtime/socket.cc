#include "zest/runtime/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "zest/runtime/loop.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/thread_name.h"

namespace zest {
namespace {

// Connections that wait for accept(); the kernel caps it at net.core.somaxconn.
constexpr int kBacklog = 1024;

/// Failures of a peer or network, which a later try may not meet.
Error network_error(int number, std::string message) {
  auto error = Error::from_errno(number, std::move(message));
  return {error.code(), Fault::transient, error.text()};
}

/// On a foreign thread: poll(2) in slices, because a stop token can't interrupt it.
Result<void> block_until_ready(Context const& ctx, int fd, PollEvents events) {
  pollfd descriptor{.fd = fd, .events = 0, .revents = 0};
  descriptor.events =
      static_cast<short>((events.readable ? POLLIN : 0) | (events.writable ? POLLOUT : 0));
  for (;;) {
    constexpr Duration kSlice = std::chrono::milliseconds(50);
    if (ctx.stop.stop_requested()) {
      return Errc::intr;
    }
    auto slice = kSlice;
    if (ctx.deadline != kNever) {
      slice = std::min(slice, ctx.deadline - SystemClock().now());
      if (slice <= Duration::zero()) {
        return Errc::timedout;
      }
    }
    auto const slice_ms = std::chrono::ceil<std::chrono::milliseconds>(slice).count();
    int const ready = ::poll(&descriptor, 1, static_cast<int>(slice_ms));
    if (ready > 0) {
      return {};
    }
    if (ready < 0 && errno != EINTR) {
      return Error::from_errno(errno, "waiting for a descriptor");
    }
  }
}

Result<void> wait_ready(Context const& ctx, int fd, PollEvents events) {
  if (Loop::on_fiber()) {
    ZEST_CHECK(Loop::current()->wait_fd(ctx, fd, events));
    return {};
  }
  return block_until_ready(ctx, fd, events);
}

/// True when the call should be repeated after its descriptor became ready.
bool would_block(int number) noexcept {
  return number == EAGAIN || number == EWOULDBLOCK;
}

Result<UniqueFd> open_stream(int family) {
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    return Error::from_errno(errno, "socket");
  }
  return fd;
}

void set_option(int fd, int level, int name) noexcept {
  int const on = 1;
  ::setsockopt(fd, level, name, &on, sizeof on);  // an optimisation or a convenience each
}

Result<void> connect_fd(Context const& ctx, int fd, sockaddr const* address, socklen_t length,
                        std::string const& target) {
  if (::connect(fd, address, length) == 0) {
    return {};
  }
  int number = errno;
  if (number != EINPROGRESS && number != EINTR) {
    // EAGAIN of a unix socket means that its backlog is full, which no readiness will announce.
    return network_error(number, "connect to " + target);
  }
  ZEST_CHECK(wait_ready(ctx, fd, {.readable = false, .writable = true}));
  socklen_t size = sizeof number;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size) != 0) {
    number = errno;
  }
  if (number != 0) {
    return network_error(number, "connect to " + target);
  }
  return {};
}

Result<sockaddr_un> unix_address(std::string const& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error(Errc::nametoolong, Fault::semantic,
                 "a unix socket's path must have 1 to 107 bytes: " + path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// The socket interface wants every address as a sockaddr.
template <class Address>
sockaddr const* as_sockaddr(Address const& address) noexcept {
  return reinterpret_cast<sockaddr const*>(&address);
}

std::uint16_t port_of(Endpoint const& endpoint) noexcept {
  if (as_sockaddr(endpoint.address)->sa_family == AF_INET6) {
    return ntohs(reinterpret_cast<sockaddr_in6 const*>(&endpoint.address)->sin6_port);
  }
  return ntohs(reinterpret_cast<sockaddr_in const*>(&endpoint.address)->sin_port);
}

struct FreeAddresses {
  void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};

/// One blocking look-up; `flags` as of getaddrinfo.
Result<std::vector<Endpoint>> look_up(std::string const& host, std::uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  int const failed = ::getaddrinfo(host.empty() ? nullptr : host.c_str(),
                                   std::to_string(port).c_str(), &hints, &list);
  int const number = errno;
  std::unique_ptr<addrinfo, FreeAddresses> const owned(list);
  if (failed != 0) {
    auto message = "host name '" + host + "' can't be resolved: ";
    message += failed == EAI_SYSTEM ? std::strerror(number) : ::gai_strerror(failed);
    auto const fault = failed == EAI_NONAME ? Fault::semantic : Fault::transient;
    return Error(failed == EAI_NONAME ? Errc::noent : Errc::again, fault, std::move(message));
  }
  std::vector<Endpoint> endpoints;
  for (addrinfo const* each = list; each != nullptr; each = each->ai_next) {
    Endpoint endpoint;
    std::memcpy(&endpoint.address, each->ai_addr, each->ai_addrlen);
    endpoint.length = each->ai_addrlen;
    endpoints.push_back(endpoint);
  }
  return endpoints;
}

/// Shared by the fiber and its thread, because a fiber that gives up leaves the thread behind.
struct LookUp {
  std::string host;
  std::uint16_t port = 0;
  std::optional<Result<std::vector<Endpoint>>> answer;
  Event done;
};

}  // namespace

// --- resolving

Result<std::vector<Endpoint>> resolve(Context const& ctx, std::string const& host,
                                      std::uint16_t port) {
  if (auto numeric = look_up(host, port, AI_NUMERICHOST); numeric.ok()) {
    return numeric;
  }
  if (!Loop::on_fiber()) {
    return look_up(host, port, AI_ADDRCONFIG);
  }
  if (ctx.stop.stop_requested()) {
    return Errc::intr;  // no thread for what nobody wants any more
  }
  auto const shared = std::make_shared<LookUp>();
  shared->host = host;
  shared->port = port;
  try {
    // Detached, unlike everything else: getaddrinfo can't be interrupted and may take half a minute
    // when name servers are away, and neither a deadline nor the program's end should wait for it.
    // It touches only what it shares.
    std::thread([shared] {
      name_thread("zest-resolve");
      shared->answer.emplace(look_up(shared->host, shared->port, AI_ADDRCONFIG));
      shared->done.set();
      // tidy: allow(detach) see above
    }).detach();
  } catch (std::system_error const& error) {
    return network_error(error.code().value(),  // tidy: allow(value) of an error_code
                         "no thread to resolve '" + host + "'");
  }
  if (auto waited = shared->done.wait(ctx); !waited.ok()) {
    return std::move(waited).error().with("resolving '" + host + "'");
  }
  return std::move(*shared->answer);
}

// --- UniqueFd

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

UniqueFd::~UniqueFd() {
  reset();
}

void UniqueFd::reset() noexcept {
  if (fd_ >= 0) {
    ::close(release());
  }
}

// --- Socket

Socket::Socket(UniqueFd fd) noexcept : fd_(std::move(fd)) {
  int const flags = ::fcntl(fd_.get(), F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK) == 0) {
    ::fcntl(fd_.get(), F_SETFL, flags | O_NONBLOCK);
  }
}

Result<Socket> Socket::connect_tcp(Context const& ctx, std::string const& address,
                                   std::uint16_t port) {
  auto const target = address + " port " + std::to_string(port);
  ZEST_TRY(auto const endpoints, resolve(ctx, address, port));
  Error last(Errc::noent, Fault::semantic, "connect to " + target + ": the name has no address");
  for (auto const& endpoint : endpoints) {
    auto connected = connect_to(ctx, endpoint, target);
    if (connected.ok()) {
      return connected;
    }
    last = std::move(connected).error();
    if (last.code() == Errc::intr || ctx.stop.stop_requested()) {
      break;
    }
  }
  return last;
}

Result<Socket> Socket::connect_to(Context const& ctx, Endpoint const& endpoint,
                                  std::string const& target) {
  ZEST_TRY(auto fd, open_stream(as_sockaddr(endpoint.address)->sa_family));
  set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY);
  set_option(fd.get(), SOL_SOCKET, SO_KEEPALIVE);
  ZEST_CHECK(connect_fd(ctx, fd.get(), as_sockaddr(endpoint.address), endpoint.length, target));
  return Socket(std::move(fd));
}

Result<Socket> Socket::connect_unix(Context const& ctx, std::string const& path) {
  ZEST_TRY(auto const address, unix_address(path));
  ZEST_TRY(auto fd, open_stream(AF_UNIX));
  ZEST_CHECK(connect_fd(ctx, fd.get(), as_sockaddr(address), sizeof address, path));
  return Socket(std::move(fd));
}

Result<std::size_t> Socket::read_some(Context const& ctx, ByteSpan out) {
  for (;;) {
    auto const got = ::recv(fd_.get(), out.data(), out.size(), 0);
    if (got >= 0) {
      return static_cast<std::size_t>(got);
    }
    int const number = errno;
    if (would_block(number)) {
      ZEST_CHECK(wait_ready(ctx, fd_.get(), {.readable = true, .writable = false}));
    } else if (number != EINTR) {
      return network_error(number, "reading from a connection");
    }
  }
}

Result<void> Socket::read_exact(Context const& ctx, ByteSpan out) {
  while (!out.empty()) {
    ZEST_TRY(auto const got, read_some(ctx, out));
    if (got == 0) {
      return Error::transient(Errc::connreset, "the peer closed the connection early");
    }
    out = out.subspan(got);
  }
  return {};
}

Result<void> Socket::write_all(Context const& ctx, ByteView bytes) {
  while (!bytes.empty()) {
    // A peer that is gone is an error to report, not a signal to die of.
    auto const sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
      continue;
    }
    int const number = errno;
    if (would_block(number)) {
      ZEST_CHECK(wait_ready(ctx, fd_.get(), {.readable = false, .writable = true}));
    } else if (number != EINTR) {
      return network_error(number, "writing to a connection");
    }
  }
  return {};
}

void Socket::shutdown() noexcept {
  ::shutdown(fd_.get(), SHUT_RDWR);
}

// --- Listener

Result<Listener> Listener::listen_tcp(std::string const& address, std::uint16_t port) {
  auto const target = address + " port " + std::to_string(port);
  ZEST_TRY(auto const endpoints, look_up(address, port, AI_PASSIVE | AI_NUMERICHOST));
  auto const& endpoint = endpoints.front();
  ZEST_TRY(auto fd, open_stream(as_sockaddr(endpoint.address)->sa_family));
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR);
  if (::bind(fd.get(), as_sockaddr(endpoint.address), endpoint.length) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    return Error::from_errno(errno, "listen on " + target);
  }
  Endpoint bound;
  bound.length = sizeof bound.address;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound.address), &bound.length) != 0) {
    return Error::from_errno(errno, "listen on " + target);
  }
  return Listener(std::move(fd), port_of(bound));
}

Result<Listener> Listener::listen_unix(std::string const& path) {
  ZEST_TRY(auto const address, unix_address(path));
  ZEST_TRY(auto fd, open_stream(AF_UNIX));
  if (::bind(fd.get(), as_sockaddr(address), sizeof address) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    return Error::from_errno(errno, "listen on " + path);
  }
  return Listener(std::move(fd), 0);
}

Result<Socket> Listener::accept(Context const& ctx) {
  for (;;) {
    UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY);  // not on unix sockets, where nothing delays
      return Socket(std::move(fd));
    }
    int const number = errno;
    if (would_block(number)) {
      ZEST_CHECK(wait_ready(ctx, fd_.get(), {.readable = true, .writable = false}));
    } else if (number != EINTR && number != ECONNABORTED) {
      return network_error(number, "accepting a connection");
    }
  }
}

}  // namespace zest
