// Connections are kept per loop and endpoint: a descriptor is waited for on one loop only. A
// semaphore of each such pool bounds them. Idle ones are dropped when they are found to be old or
// closed, at the next use of the pool.
#include "zest/runtime/http/client.h"

#include <openssl/evp.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>
#include <type_traits>
#include <utility>

#include "zest/runtime/http/connection.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/mutex.h"
#include "zest/runtime/sync.h"

namespace zest::http {
namespace {

TimePoint now() noexcept {
  return Loop::on_fiber() ? Loop::current()->now() : SystemClock().now();
}

std::string base64(std::string_view text) {
  // EVP_EncodeBlock writes a terminating NUL behind the text.
  std::string out((text.size() + 2) / 3 * 4 + 1, '\0');
  auto const size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                    reinterpret_cast<unsigned char const*>(text.data()),
                                    static_cast<int>(text.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

/// One step with a time of its own, within the request's.
template <class Fn>
auto step(Context const& ctx, Duration limit, std::string_view slow, Fn&& fn)
    -> std::invoke_result_t<Fn, Context const&> {
  Context const inner{
      .caller = {}, .deadline = std::min(ctx.deadline, now() + limit), .stop = ctx.stop};
  auto result = fn(inner);
  if (failed_with(result, Errc::timedout) && now() < ctx.deadline) {
    return Error::transient(Errc::timedout, std::string(slow));
  }
  return result;
}

/// Does an entry of NO_PROXY ("example.com", ".example.com", "10.0.0.1", "host:port") match?
bool exempts(std::string_view entry, Url const& url) {
  if (entry == "*") {
    return true;
  }
  if (entry == url.host || entry == url.host + ":" + std::to_string(url.port)) {
    return true;
  }
  if (entry.starts_with("*.")) {
    entry.remove_prefix(1);
  }
  auto const domain = entry.starts_with('.') ? std::string(entry) : "." + std::string(entry);
  return !entry.empty() && url.host.ends_with(domain);
}

struct Pool {
  explicit Pool(std::size_t connections_max) : free(connections_max) {}
  Semaphore free;
  Mutex mutex;
  std::vector<std::unique_ptr<Connection>> idle;  ///< guarded by mutex; the newest last
};

using PoolKey = std::tuple<Loop*, bool, std::string, std::uint16_t>;

}  // namespace

ProxyOptions proxies_from(Environment const& environment) {
  auto const get = [&](char const* lower, char const* upper) -> std::string {
    for (auto const* name : {lower, upper}) {
      if (char const* found = environment(name); found != nullptr && *found != '\0') {
        std::string url = found;
        return url;
      }
    }
    return {};
  };
  ProxyOptions options{.http = get("http_proxy", "HTTP_PROXY"),
                       .https = get("https_proxy", "HTTPS_PROXY"),
                       .no_proxy = get("no_proxy", "NO_PROXY")};
  for (auto* url : {&options.http, &options.https}) {
    if (!url->empty() && url->find("://") == std::string::npos) {
      url->insert(0, "http://");
    }
  }
  return options;
}

std::string proxy_for(ProxyOptions const& options, Url const& url) {
  auto const& proxy = url.tls ? options.https : options.http;
  if (proxy.empty() || url.host == "localhost" || url.host == "::1" ||
      url.host.starts_with("127.")) {
    return {};
  }
  std::string_view rest = options.no_proxy;
  while (!rest.empty()) {
    auto const comma = std::min(rest.find(','), rest.size());
    auto entry = rest.substr(0, comma);
    while (entry.starts_with(' ')) {
      entry.remove_prefix(1);
    }
    while (entry.ends_with(' ')) {
      entry.remove_suffix(1);
    }
    if (exempts(entry, url)) {
      return {};
    }
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return proxy;
}

struct Client::Impl {
  explicit Impl(ClientOptions o) : options(std::move(o)) {}

  std::shared_ptr<Pool> pool_of(Url const& url) {
    PoolKey key{Loop::on_fiber() ? Loop::current() : nullptr, url.tls, url.host, url.port};
    std::lock_guard const lock(mutex);
    auto& pool = pools[std::move(key)];
    if (!pool) {
      pool = std::make_shared<Pool>(options.connections_max);
    }
    return pool;
  }

  /// A kept connection that still lives, or nullptr. Drops those that don't.
  std::unique_ptr<Connection> take(Pool& pool) const {
    std::vector<std::unique_ptr<Connection>> dead;  // closed outside of the mutex
    std::lock_guard const lock(pool.mutex);
    auto const oldest = now() - options.timeouts.keep_alive;
    auto const first = std::ranges::find_if(
        pool.idle, [&](auto const& each) { return each->idle_since >= oldest; });
    dead.assign(std::make_move_iterator(pool.idle.begin()), std::make_move_iterator(first));
    pool.idle.erase(pool.idle.begin(), first);
    while (!pool.idle.empty()) {
      auto connection = std::move(pool.idle.back());
      pool.idle.pop_back();
      if (!connection->hung_up()) {
        return connection;
      }
      dead.push_back(std::move(connection));
    }
    return nullptr;
  }

  void keep(Pool& pool, std::unique_ptr<Connection> connection) const {
    connection->idle_since = now();
    std::lock_guard const lock(pool.mutex);
    pool.idle.push_back(std::move(connection));
  }

  Result<std::unique_ptr<Stream>> open_tcp(Context const& ctx, Url const& url) const {
    auto endpoints = step(ctx, options.timeouts.resolve, "the name servers do not answer",
                          [&](Context const& inner) { return resolve(inner, url.host, url.port); });
    if (failed_with(endpoints, Errc::noent)) {
      // ENOENT is what a missing object is; a host without an address is something else.
      return Error::transient(Errc::nxio, endpoints.error().text());
    }
    ZEST_TRY(auto const addresses, std::move(endpoints));
    auto const target = url.host + " port " + std::to_string(url.port);
    auto last = Error::transient(Errc::nxio, "the name has no address");
    for (auto const& address : addresses) {
      auto socket =
          step(ctx, options.timeouts.connect, "connecting takes too long",
               [&](Context const& inner) { return Socket::connect_to(inner, address, target); });
      if (socket.ok()) {
        return make_plain_stream(*std::move(socket));
      }
      last = std::move(socket).error();
      if (last.code() == Errc::intr || now() >= ctx.deadline) {
        break;
      }
    }
    return last;
  }

  Result<std::unique_ptr<Stream>> connect(Context const& ctx, Url const& url) const {
    auto const proxy = proxy_for(options.proxies, url);
    if (proxy.empty()) {
      ZEST_TRY(auto stream, open_tcp(ctx, url));
      return secured(ctx, std::move(stream), url);
    }
    auto parsed = parse_url(proxy);
    if (!parsed.ok()) {
      return std::move(parsed).error().with("the proxy of the environment");
    }
    auto below = open_tcp(ctx, *parsed);
    if (!below.ok()) {
      return std::move(below).error().with("proxy " + parsed->authority());
    }
    ZEST_TRY(auto stream, secured(ctx, *std::move(below), *parsed));
    if (!url.tls) {
      return stream;
    }
    auto tunnel = step(ctx, options.timeouts.handshake, "the proxy does not answer",
                       [&](Context const& inner) {
                         return through_proxy(inner, std::move(stream), *parsed, url);
                       });
    if (!tunnel.ok()) {
      return tunnel;
    }
    return secured(ctx, *std::move(tunnel), url);
  }

  Result<std::unique_ptr<Stream>> through_proxy(Context const& ctx, std::unique_ptr<Stream> stream,
                                                Url const& proxy, Url const& url) const {
    auto const target =
        (url.host.find(':') == std::string::npos ? url.host : "[" + url.host + "]") + ":" +
        std::to_string(url.port);
    Connection connection(std::move(stream), options.timeouts);
    std::string const head = "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n" +
                             authorization(proxy) + "\r\n";
    ZEST_TRY(auto const reply,
             connection.exchange(ctx, {.method = "HEAD", .url = url}, head));  // no body either
    if (reply.head.status != 200) {
      return Error::transient(Errc::connrefused, "the proxy " + proxy.authority() +
                                                     " refuses to connect: status " +
                                                     std::to_string(reply.head.status));
    }
    return connection.release();
  }

  Result<std::unique_ptr<Stream>> secured(Context const& ctx, std::unique_ptr<Stream> stream,
                                          Url const& url) const {
    if (!url.tls) {
      return stream;
    }
    if (!options.tls) {
      return Error(Errc::notsup, Fault::bug, "this client was made without TLS");
    }
    return step(ctx, options.timeouts.handshake, "the TLS handshake takes too long",
                [&](Context const& inner) {
                  return options.tls->connect(inner, std::move(stream), url.host);
                });
  }

  static std::string authorization(Url const& proxy) {
    auto const user = percent_decode(proxy.user, false);
    return proxy.user.empty() || !user ? ""
                                       : "Proxy-Authorization: Basic " + base64(*user) + "\r\n";
  }

  [[nodiscard]] std::string head_of(Request const& request) const {
    std::string head;
    head.reserve(1024);
    head += request.method;
    head += ' ';
    if (auto const proxy = proxy_for(options.proxies, request.url);
        !proxy.empty() && !request.url.tls) {
      head += "http://" + request.url.authority();
    }
    head += request.url.path;
    if (!request.url.query.empty()) {
      head += '?';
      head += request.url.query;
    }
    head += " HTTP/1.1\r\nHost: " + request.url.authority() +
            "\r\nUser-Agent: " + options.user_agent + "\r\n";
    if (auto const proxy = proxy_for(options.proxies, request.url);
        !proxy.empty() && !request.url.tls) {
      if (auto const parsed = parse_url(proxy); parsed.ok()) {
        head += authorization(*parsed);
      }
    }
    for (auto const& field : request.fields) {
      head += field.name + ": " + field.value + "\r\n";
    }
    std::size_t size = 0;
    for (auto const part : request.body) {
      size += part.size();
    }
    if (size > 0 || request.method == "PUT" || request.method == "POST") {
      head += "Content-Length: " + std::to_string(size) + "\r\n";
    }
    head += "\r\n";
    return head;
  }

  Result<Reply> send(Context const& ctx, Request const& request) {
    for (auto const& field : request.fields) {
      if (field.value.find_first_of("\r\n") != std::string::npos) {
        return Error(Errc::inval, Fault::semantic,
                     "the header field " + field.name + " would contain a line break");
      }
    }
    auto const pool = pool_of(request.url);
    ZEST_CHECK(pool->free.acquire(ctx));
    struct Release {
      Semaphore& semaphore;
      ~Release() { semaphore.release(); }
    } const release{pool->free};
    auto const head = head_of(request);
    auto connection = take(*pool);
    bool fresh = connection == nullptr;
    for (;;) {
      if (!connection) {
        ZEST_TRY(auto stream, connect(ctx, request.url));
        connection = std::make_unique<Connection>(std::move(stream), options.timeouts);
      }
      auto reply = connection->exchange(ctx, request, head);
      if (reply.ok()) {
        if (connection->reusable()) {
          keep(*pool, std::move(connection));
        }
        return reply;
      }
      auto const code = reply.error().code();
      bool const stale = !fresh && !connection->answered() && request.method != "POST" &&
                         code != Errc::timedout && code != Errc::intr;
      if (!stale) {
        return reply;
      }
      connection.reset();
      fresh = true;
    }
  }

  ClientOptions const options;
  Mutex mutex;
  std::map<PoolKey, std::shared_ptr<Pool>> pools;  ///< guarded by mutex
};

Client::Client(ClientOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Client::~Client() = default;

Result<Reply> Client::send(Context const& ctx, Request const& request) {
  auto reply = impl_->send(ctx, request);
  if (!reply.ok() && reply.error().code() != Errc::intr) {
    return std::move(reply).error().with(request.url.authority());
  }
  return reply;
}

}  // namespace zest::http
