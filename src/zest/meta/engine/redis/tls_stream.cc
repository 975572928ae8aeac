// TLS of OpenSSL between two memory buffers: the library never touches the socket, so nothing
// blocks and no write raises SIGPIPE. What it wants sent is drained to the socket under a lock,
// because the reading fiber may have something to send too (answers to key updates).
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <mutex>
#include <utility>

#include "zest/meta/engine/redis/stream.h"
#include "zest/runtime/sync.h"

namespace zest::meta::redis {

namespace {

struct FreeSsl {
  void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};
struct FreeContext {
  void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
};
using SslPtr = std::unique_ptr<SSL, FreeSsl>;
using ContextPtr = std::unique_ptr<SSL_CTX, FreeContext>;

/// The oldest entry of this thread's error queue, which is emptied.
std::string library_error() {
  auto const code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) {
    return "unknown error";
  }
  std::array<char, 256> text{};
  ERR_error_string_n(code, text.data(), text.size());
  return text.data();
}

class TlsStream final : public Stream {
 public:
  TlsStream(Socket socket, SslPtr ssl) : socket_(std::move(socket)), ssl_(std::move(ssl)) {
    // The connection owns both buffers from here on.
    SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl_.get());
  }

  Result<void> handshake(Context const& ctx) {
    for (;;) {
      ERR_clear_error();
      auto const done = SSL_do_handshake(ssl_.get());
      auto const reason = SSL_get_error(ssl_.get(), done);
      auto const verified = SSL_get_verify_result(ssl_.get());
      if (done == 1) {
        return drain(ctx);
      }
      if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE) {
        auto const why =
            verified != X509_V_OK ? X509_verify_cert_error_string(verified) : library_error();
        static_cast<void>(drain(ctx));  // tells the server, when it still listens
        return Error(Errc::acces, Fault::semantic, fmt::format("TLS handshake failed: {}", why));
      }
      ZEST_CHECK(drain(ctx));
      ZEST_TRY(auto const got, receive(ctx));
      if (got == 0) {
        return Error::transient(Errc::connreset, "the server closed during the TLS handshake");
      }
    }
  }

  Result<std::size_t> read_some(Context const& ctx, ByteSpan out) override {
    for (;;) {
      ERR_clear_error();
      std::size_t got = 0;
      auto const done = SSL_read_ex(ssl_.get(), out.data(), out.size(), &got);
      auto const reason = SSL_get_error(ssl_.get(), done);
      if (done == 1) {
        return got;
      }
      if (reason == SSL_ERROR_ZERO_RETURN) {
        return std::size_t{0};
      }
      if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE) {
        return Error::transient(Errc::connreset, fmt::format("TLS: {}", library_error()));
      }
      ZEST_CHECK(drain(ctx));
      ZEST_TRY(auto const received, receive(ctx));
      if (received == 0) {
        return std::size_t{0};
      }
    }
  }

  Result<void> write_all(Context const& ctx, ByteView bytes) override {
    ERR_clear_error();
    std::size_t written = 0;
    // A memory buffer takes everything.
    if (!bytes.empty() && (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &written) != 1 ||
                           written != bytes.size())) {
      return Error::transient(Errc::connreset, fmt::format("TLS: {}", library_error()));
    }
    return drain(ctx);
  }

  void shutdown() noexcept override { socket_.shutdown(); }
  [[nodiscard]] bool ended() const noexcept override {
    char byte = 0;
    return ::recv(socket_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
  }

 private:
  /// Sends what the library has put into its output.
  Result<void> drain(Context const& ctx) {
    auto* const output = SSL_get_wbio(ssl_.get());
    if (BIO_pending(output) == 0) {
      return {};
    }
    std::lock_guard const lock(sending_);
    while (BIO_pending(output) > 0) {
      std::size_t taken = 0;
      if (BIO_read_ex(output, out_.data(), out_.size(), &taken) != 1) {
        return Error::transient(Errc::connreset, fmt::format("TLS: {}", library_error()));
      }
      ZEST_CHECK(socket_.write_all(ctx, std::span(out_.data(), taken)));
    }
    return {};
  }
  /// Gives the library what arrived; 0 = the end.
  Result<std::size_t> receive(Context const& ctx) {
    ZEST_TRY(auto const got, socket_.read_some(ctx, in_));
    std::size_t written = 0;
    if (got > 0 && BIO_write_ex(SSL_get_rbio(ssl_.get()), in_.data(), got, &written) != 1) {
      return Error::transient(Errc::nomem, fmt::format("TLS: {}", library_error()));
    }
    return got;
  }

  Socket socket_;
  SslPtr ssl_;
  FiberMutex sending_;
  std::array<std::byte, 16384> in_{};
  std::array<std::byte, 16384> out_{};
};

class OpenSslContext final : public TlsContext {
 public:
  OpenSslContext(ContextPtr context, std::string server_name, bool verify)
      : context_(std::move(context)), server_name_(std::move(server_name)), verify_(verify) {}

  Result<std::unique_ptr<Stream>> wrap(Context const& ctx, Socket socket,
                                       std::string const& host) override {
    SslPtr ssl(SSL_new(context_.get()));
    if (!ssl) {
      return Error(Errc::nomem, Fault::transient, fmt::format("TLS: {}", library_error()));
    }
    auto const& name = server_name_.empty() ? host : server_name_;
    auto* const parameters = SSL_get0_param(ssl.get());
    // A number is looked for among the certificate's addresses, all else among its names.
    if (X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str()) != 1) {
      ERR_clear_error();
      // What the macro SSL_set_tlsext_host_name does, without its cast; the name is copied.
      std::string server(name);
      SSL_ctrl(ssl.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, server.data());
      if (verify_ && SSL_set1_host(ssl.get(), name.c_str()) != 1) {
        return Error(Errc::inval, Fault::semantic, fmt::format("TLS: {:?} is no host name", name));
      }
    }
    auto stream = std::make_unique<TlsStream>(std::move(socket), std::move(ssl));
    ZEST_CHECK(stream->handshake(ctx));
    return std::unique_ptr<Stream>(std::move(stream));
  }

 private:
  ContextPtr context_;
  std::string server_name_;
  bool verify_;
};

Error bad_file(std::string_view what, std::string const& path) {
  return {Errc::inval, Fault::semantic,
          fmt::format("{} {} cannot be used: {}", what, path, library_error())};
}

}  // namespace

Result<std::unique_ptr<TlsContext>> make_tls_context(RedisOptions const& options) {
  ERR_clear_error();
  ContextPtr context(SSL_CTX_new(TLS_client_method()));
  if (!context) {
    return Error(Errc::nomem, Fault::transient, fmt::format("TLS: {}", library_error()));
  }
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), options.tls_skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                     nullptr);
  auto const& authorities = options.tls_ca_cert_file;
  if (authorities.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else if (SSL_CTX_load_verify_locations(context.get(), authorities.c_str(), nullptr) != 1) {
    return bad_file("tls-ca-cert-file", authorities);
  }
  if (!options.tls_cert_file.empty()) {
    if (SSL_CTX_use_certificate_chain_file(context.get(), options.tls_cert_file.c_str()) != 1) {
      return bad_file("tls-cert-file", options.tls_cert_file);
    }
    auto const& key = options.tls_key_file;
    if (SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM) != 1) {
      return bad_file("tls-key-file", key);
    }
  }
  return std::unique_ptr<TlsContext>(std::make_unique<OpenSslContext>(
      std::move(context), options.tls_server_name, !options.tls_skip_verify));
}

}  // namespace zest::meta::redis
