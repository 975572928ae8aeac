// TLS of OpenSSL between two memory buffers: the library never touches the socket, so nothing
// blocks and no write raises SIGPIPE, and its state changes only between two suspensions. What it
// wants sent is drained under a lock, because the reading fiber may have something to send too
// (answers to key updates).
#include "zest/runtime/stream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <utility>
#include <vector>

#include "zest/runtime/sync.h"

namespace zest {
namespace {

/// What is encrypted before it is sent: bounds the library's output, and is a few records.
constexpr std::size_t kSliceBytes = 65536;

struct FreeSsl {
  void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
};
using SslPtr = std::unique_ptr<SSL, FreeSsl>;
using ContextPtr = std::unique_ptr<SSL_CTX, FreeSsl>;

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

Error tls_error() {
  return Error::transient(Errc::connreset, "TLS: " + library_error());
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
  void shutdown() noexcept override { socket_.shutdown(); }
  [[nodiscard]] bool hung_up() const noexcept override {
    char byte = 0;
    auto const got = ::recv(socket_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
  }

 private:
  Socket socket_;
};

class TlsStream final : public Stream {
 public:
  TlsStream(std::unique_ptr<Stream> below, SslPtr ssl)
      : below_(std::move(below)), ssl_(std::move(ssl)), in_(kSliceBytes), out_(kSliceBytes) {
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
        std::string const why =
            verified != X509_V_OK ? X509_verify_cert_error_string(verified) : library_error();
        static_cast<void>(drain(ctx));  // tells the server, when it still listens
        return Error(Errc::acces, Fault::semantic, "TLS handshake failed: " + why);
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
        return tls_error();
      }
      ZEST_CHECK(drain(ctx));
      ZEST_TRY(auto const received, receive(ctx));
      if (received == 0) {
        // Without the goodbye of TLS anybody on the way may have cut the stream.
        return Error::transient(Errc::connreset, "TLS: the server closed without a goodbye");
      }
    }
  }

  Result<void> write_all(Context const& ctx, ByteView bytes) override {
    while (!bytes.empty()) {
      auto const slice = bytes.first(std::min(bytes.size(), kSliceBytes));
      ERR_clear_error();
      std::size_t written = 0;
      // A memory buffer takes everything.
      if (SSL_write_ex(ssl_.get(), slice.data(), slice.size(), &written) != 1) {
        return tls_error();
      }
      bytes = bytes.subspan(written);
      ZEST_CHECK(drain(ctx));
    }
    return {};
  }

  void shutdown() noexcept override { below_->shutdown(); }
  [[nodiscard]] bool hung_up() const noexcept override { return below_->hung_up(); }

 private:
  /// Sends what the library has put into its output.
  Result<void> drain(Context const& ctx) {
    auto* const output = SSL_get_wbio(ssl_.get());
    if (BIO_pending(output) == 0) {
      return {};
    }
    std::lock_guard const turn(sending_);
    while (BIO_pending(output) > 0) {
      std::size_t taken = 0;
      if (BIO_read_ex(output, out_.data(), out_.size(), &taken) != 1) {
        return tls_error();
      }
      ZEST_CHECK(below_->write_all(ctx, ByteView(out_.data(), taken)));
    }
    return {};
  }
  /// Gives the library what arrived; 0 = the end.
  Result<std::size_t> receive(Context const& ctx) {
    ZEST_TRY(auto const got, below_->read_some(ctx, in_));
    std::size_t written = 0;
    if (got > 0 && BIO_write_ex(SSL_get_rbio(ssl_.get()), in_.data(), got, &written) != 1) {
      return Error(Errc::nomem, Fault::transient, "TLS: " + library_error());
    }
    return got;
  }

  std::unique_ptr<Stream> below_;
  SslPtr ssl_;
  FiberMutex sending_;
  std::vector<std::byte> in_;
  std::vector<std::byte> out_;
};

class OpenSslContext final : public TlsContext {
 public:
  OpenSslContext(ContextPtr context, TlsOptions const& options)
      : context_(std::move(context)), server_name_(options.server_name), verify_(options.verify) {}

  Result<std::unique_ptr<Stream>> connect(Context const& ctx, std::unique_ptr<Stream> below,
                                          std::string const& host) const override {
    SslPtr ssl(SSL_new(context_.get()));
    if (!ssl) {
      return Error(Errc::nomem, Fault::transient, "TLS: " + library_error());
    }
    auto const& name = server_name_.empty() ? host : server_name_;
    // A number is looked for among the certificate's addresses, all else among its names.
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl.get()), name.c_str()) != 1) {
      ERR_clear_error();
      // What the macro SSL_set_tlsext_host_name does, without its cast; the name is copied.
      std::string server(name);
      SSL_ctrl(ssl.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, server.data());
      if (verify_ && SSL_set1_host(ssl.get(), name.c_str()) != 1) {
        return Error(Errc::inval, Fault::semantic, "TLS: \"" + name + "\" is no host name");
      }
    }
    auto stream = std::make_unique<TlsStream>(std::move(below), std::move(ssl));
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
          std::string(what) + " \"" + path + "\" cannot be used: " + library_error()};
}

}  // namespace

std::unique_ptr<Stream> make_plain_stream(Socket socket) {
  return std::make_unique<PlainStream>(std::move(socket));
}

Result<std::shared_ptr<TlsContext const>> make_tls_context(TlsOptions const& options) {
  ERR_clear_error();
  ContextPtr context(SSL_CTX_new(TLS_client_method()));
  if (!context) {
    return Error(Errc::nomem, Fault::transient, "TLS: " + library_error());
  }
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (options.ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else if (SSL_CTX_load_verify_file(context.get(), options.ca_file.c_str()) != 1) {
    return bad_file(options.ca_name, options.ca_file);
  }
  if (!options.cert_file.empty()) {
    if (SSL_CTX_use_certificate_chain_file(context.get(), options.cert_file.c_str()) != 1) {
      return bad_file(options.cert_name, options.cert_file);
    }
    if (SSL_CTX_use_PrivateKey_file(context.get(), options.key_file.c_str(), SSL_FILETYPE_PEM) !=
        1) {
      return bad_file(options.key_name, options.key_file);
    }
  }
  if (!options.alpn.empty()) {
    std::vector<unsigned char> wire{static_cast<unsigned char>(options.alpn.size())};
    wire.insert(wire.end(), options.alpn.begin(), options.alpn.end());
    SSL_CTX_set_alpn_protos(context.get(), wire.data(), static_cast<unsigned>(wire.size()));
  }
  return std::shared_ptr<TlsContext const>(
      std::make_shared<OpenSslContext>(std::move(context), options));
}

}  // namespace zest
