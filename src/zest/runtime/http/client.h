// An HTTP/1.1 client on fibers. The body of a reply is read from the socket straight into the
// caller's buffer, that of a request is sent from where it lies.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/bytes.h"
#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/runtime/http/message.h"
#include "zest/runtime/stream.h"

namespace zest::http {

/// Looks up a variable of the environment; nullptr when it is not set. Injected, for tests.
using Environment = std::function<char const*(char const*)>;

/// Which proxy leads where. Nothing set: none.
struct ProxyOptions {
  std::string http;      ///< URL of the proxy for http://
  std::string https;     ///< URL of the proxy for https://, asked to CONNECT
  std::string no_proxy;  ///< hosts, domains or "*", separated by commas
};
/// HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in either case.
ProxyOptions proxies_from(Environment const& environment);
/// The proxy's URL for this one; empty = none. This machine's own addresses never have one.
std::string proxy_for(ProxyOptions const& options, Url const& url);

/// How long each step may take, within the deadline of the request.
struct Timeouts {
  Duration resolve = std::chrono::seconds(10);
  Duration connect = std::chrono::seconds(5);      ///< to one address; there may be several
  Duration handshake = std::chrono::seconds(10);   ///< of TLS, and of CONNECT with a proxy
  Duration first_byte = std::chrono::seconds(60);  ///< of the reply, after the request was sent
  Duration idle = std::chrono::seconds(30);        ///< without a byte moving, either way
  Duration keep_alive = std::chrono::seconds(30);  ///< an idle connection is kept so long
};

struct ClientOptions {
  ProxyOptions proxies;
  std::shared_ptr<TlsContext const> tls;  ///< null: https is refused
  std::string user_agent = "zest";
  /// Connections to one endpoint from one loop, idle ones included; requests beyond wait.
  std::size_t connections_max = 128;
  Timeouts timeouts;
};

struct Request {
  std::string_view method = "GET";
  Url url;                    ///< path and query are sent as they are
  std::vector<Field> fields;  ///< without Host, Content-Length and Connection
  std::span<ByteView const> body;
  /// Where the body of a reply with status 200 to 299 goes. Empty: into Reply::text, as the
  /// bodies of all other replies.
  ByteSpan into;
  bool straight = false;            ///< use `into`, even if it is empty
  std::size_t text_max = 1u << 20;  ///< most bytes of Reply::text; a longer body is an error
};

struct Reply {
  Head head;
  std::size_t size = 0;  ///< bytes put into Request::into
  bool more = false;     ///< the body was longer than Request::into; the rest was not read
  std::string text;
};

/// Any loop; thread-safe. Connections stay with the loop that opened them.
class Client {
 public:
  explicit Client(ClientOptions options);
  ~Client();
  Client(Client const&) = delete;
  Client& operator=(Client const&) = delete;

  /// Sends a request and reads the whole reply, whatever its status. May suspend.
  ///
  /// A request whose pooled connection turns out to be dead before a byte of the reply came is sent
  /// once more on a new one, unless it is a POST. Errors are transient (connect, time-out, end of
  /// the stream inside of a reply, nonsense) but: EACCES for a certificate, EINTR and ETIMEDOUT of
  /// the context. Messages name the host.
  Result<Reply> send(Context const& ctx, Request const& request);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zest::http
