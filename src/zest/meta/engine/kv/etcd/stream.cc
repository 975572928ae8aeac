#include "zest/meta/engine/kv/etcd/stream.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <mutex>
#include <utility>

#include "zest/runtime/socket.h"
#include "zest/runtime/sync.h"

namespace zest::meta::kv::etcd {

namespace {

struct FreeSsl {
  void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};

/// The library's own words, for a message; clears its error queue.
std::string reason() {
  std::array<char, 256> text{};
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  ERR_clear_error();
  return text.data();
}

int clamped(std::size_t size) noexcept {
  return static_cast<int>(std::min<std::size_t>(size, std::numeric_limits<int>::max()));
}

bool is_closed(int fd) noexcept {
  char byte = 0;
  auto const got = ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

class PlainStream final : public Stream {
 public:
  explicit PlainStream(Socket socket) : socket_(std::move(socket)) {}
  Result<std::size_t> read_some(Context const& ctx, ByteSpan out) override {
    return socket_.read_some(ctx, out);
  }
  Result<void> write_all(Context const& ctx, ByteView bytes) override {
    return socket_.write_all(ctx, bytes);
  }
  [[nodiscard]] bool hung_up() const noexcept override { return is_closed(socket_.fd()); }
  void shutdown() noexcept override { socket_.shutdown(); }

 private:
  Socket socket_;
};

/// TLS between two memory buffers, so that the library never touches the socket: it cannot block,
/// and its state changes only between two suspensions.
class TlsStream final : public Stream {
 public:
  TlsStream(Socket socket, std::unique_ptr<SSL, FreeSsl> ssl)
      : socket_(std::move(socket)), ssl_(std::move(ssl)) {}

  Result<void> handshake(Context const& ctx) {
    for (;;) {
      ERR_clear_error();
      auto const done = SSL_connect(ssl_.get());
      auto const problem = SSL_get_error(ssl_.get(), done);
      auto why = done == 1 || problem == SSL_ERROR_WANT_READ ? std::string() : reason();
      ZEST_CHECK(flush(ctx));
      if (done == 1) {
        return {};
      }
      if (problem != SSL_ERROR_WANT_READ) {
        auto const verified = SSL_get_verify_result(ssl_.get());
        return verified == X509_V_OK ? Error::transient(Errc::io, "TLS handshake: " + why)
                                     : Error(Errc::acces, Fault::semantic,
                                             fmt::format("the server's certificate: {}",
                                                         X509_verify_cert_error_string(verified)));
      }
      ZEST_TRY(auto const open, feed(ctx));
      if (!open) {
        return Error::transient(Errc::io, "TLS handshake: the server closed the connection");
      }
    }
  }

  Result<std::size_t> read_some(Context const& ctx, ByteSpan out) override {
    for (;;) {
      ERR_clear_error();
      auto const got = SSL_read(ssl_.get(), out.data(), clamped(out.size()));
      auto const problem = SSL_get_error(ssl_.get(), got);
      ZEST_CHECK(flush(ctx));  // a key update, perhaps
      if (got > 0) {
        return static_cast<std::size_t>(got);
      }
      if (problem == SSL_ERROR_ZERO_RETURN) {
        return 0;
      }
      if (problem != SSL_ERROR_WANT_READ) {
        return Error::transient(Errc::connreset, "TLS: " + reason());
      }
      ZEST_TRY(auto const open, feed(ctx));
      if (!open) {
        return 0;
      }
    }
  }

  Result<void> write_all(Context const& ctx, ByteView bytes) override {
    while (!bytes.empty()) {
      ERR_clear_error();
      auto const sent = SSL_write(ssl_.get(), bytes.data(), clamped(bytes.size()));
      if (sent <= 0) {
        return Error::transient(Errc::connreset, "TLS: " + reason());
      }
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return flush(ctx);
  }

  [[nodiscard]] bool hung_up() const noexcept override { return is_closed(socket_.fd()); }
  void shutdown() noexcept override { socket_.shutdown(); }

 private:
  /// Sends what the library wants to send. Reader and writer may both come here: in turn, so that
  /// records keep their order.
  Result<void> flush(Context const& ctx) {
    std::lock_guard const turn(sending_);
    std::array<std::byte, 16384> buffer{};
    auto* const out = SSL_get_wbio(ssl_.get());
    while (BIO_pending(out) > 0) {
      auto const size = BIO_read(out, buffer.data(), clamped(buffer.size()));
      if (size <= 0) {
        break;
      }
      ZEST_CHECK(socket_.write_all(ctx, ByteView(buffer).first(static_cast<std::size_t>(size))));
    }
    return {};
  }

  /// Gives the library what the server sent; false when it closed.
  Result<bool> feed(Context const& ctx) {
    std::array<std::byte, 16384> buffer{};
    ZEST_TRY(auto const got, socket_.read_some(ctx, buffer));
    if (got > 0 &&
        BIO_write(SSL_get_rbio(ssl_.get()), buffer.data(), clamped(got)) != clamped(got)) {
      return Error(Errc::nomem, Fault::transient, "TLS: no memory for what was received");
    }
    return got > 0;
  }

  Socket socket_;
  std::unique_ptr<SSL, FreeSsl> ssl_;
  FiberMutex sending_;
};

}  // namespace

class TlsSettings {
 public:
  explicit TlsSettings(EtcdTls const& tls)
      : context_(SSL_CTX_new(TLS_client_method())), server_name_(tls.server_name) {}

  Result<void> load(EtcdTls const& tls) {
    if (!context_) {
      return Error(Errc::nomem, Fault::transient, "TLS: " + reason());
    }
    auto* const context = context_.get();
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, tls.skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
    auto const trusted = tls.ca_file.empty()
                             ? SSL_CTX_set_default_verify_paths(context)
                             : SSL_CTX_load_verify_file(context, tls.ca_file.c_str());
    if (trusted != 1) {
      return unreadable("cacert", tls.ca_file);
    }
    if (!tls.cert_file.empty() &&
        SSL_CTX_use_certificate_chain_file(context, tls.cert_file.c_str()) != 1) {
      return unreadable("cert", tls.cert_file);
    }
    if (!tls.key_file.empty() &&
        SSL_CTX_use_PrivateKey_file(context, tls.key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
      return unreadable("key", tls.key_file);
    }
    constexpr std::array<unsigned char, 3> kHttp2{2, 'h', '2'};
    SSL_CTX_set_alpn_protos(context, kHttp2.data(), kHttp2.size());
    return {};
  }

  [[nodiscard]] Result<std::unique_ptr<SSL, FreeSsl>> make(std::string const& host) const {
    std::unique_ptr<SSL, FreeSsl> ssl(SSL_new(context_.get()));
    auto* const in = BIO_new(BIO_s_mem());
    auto* const out = BIO_new(BIO_s_mem());
    if (!ssl || in == nullptr || out == nullptr) {
      BIO_free(in);
      BIO_free(out);
      return Error(Errc::nomem, Fault::transient, "TLS: " + reason());
    }
    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(ssl.get(), in, out);
    auto const& name = server_name_.empty() ? host : server_name_;
    // An address is no name: it is compared with the certificate's addresses, and not announced.
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl.get()), name.c_str()) != 1) {
      ERR_clear_error();
      // What SSL_set_tlsext_host_name() is, without its casts.
      SSL_ctrl(ssl.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
               const_cast<char*>(name.c_str()));
      SSL_set1_host(ssl.get(), name.c_str());
    }
    return ssl;
  }

 private:
  static Error unreadable(std::string_view option, std::string const& file) {
    return {Errc::inval, Fault::semantic, fmt::format("{} file {:?}: {}", option, file, reason())};
  }

  std::unique_ptr<SSL_CTX, FreeSsl> context_;
  std::string server_name_;
};

Result<std::shared_ptr<TlsSettings const>> load_tls(EtcdTls const& tls) {
  auto settings = std::make_shared<TlsSettings>(tls);
  ZEST_CHECK(settings->load(tls));
  return std::shared_ptr<TlsSettings const>(std::move(settings));
}

Result<std::unique_ptr<Stream>> connect_stream(Context const& ctx, EtcdEndpoint const& endpoint,
                                               TlsSettings const* tls) {
  ZEST_TRY(auto socket, Socket::connect_tcp(ctx, endpoint.host, endpoint.port));
  if (tls == nullptr) {
    return std::unique_ptr<Stream>(std::make_unique<PlainStream>(std::move(socket)));
  }
  ZEST_TRY(auto ssl, tls->make(endpoint.host));
  auto stream = std::make_unique<TlsStream>(std::move(socket), std::move(ssl));
  ZEST_CHECK(stream->handshake(ctx));
  return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace zest::meta::kv::etcd
