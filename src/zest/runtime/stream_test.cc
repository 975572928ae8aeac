// TLS against a server of OpenSSL on a thread of its own, with a certificate made on the spot.
#include "zest/runtime/stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "zest/runtime/http/client.h"
#include "zest/runtime/testing.h"

namespace zest {
namespace {

template <auto free>
struct Free {
  template <class T>
  void operator()(T* object) const noexcept {
    free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;

/// For localhost and 127.0.0.1, signed by itself.
Certificate make_certificate(EVP_PKEY* key) {
  Certificate certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key);
  auto* const name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<unsigned char const*>("test"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>> const names(
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1"));
  X509_add_ext(certificate.get(), names.get(), -1);
  X509_sign(certificate.get(), key, EVP_sha256());
  return certificate;
}

/// Serves one connection after the other with `serve`, until it is destroyed.
class TlsServer {
 public:
  explicit TlsServer(std::function<void(SSL*)> serve) : serve_(std::move(serve)) {
    Key const key(EVP_EC_gen("P-256"));
    auto const certificate = make_certificate(key.get());
    context_.reset(SSL_CTX_new(TLS_server_method()));
    SSL_CTX_use_certificate(context_.get(), certificate.get());
    SSL_CTX_use_PrivateKey(context_.get(), key.get());
    std::string path = std::filesystem::temp_directory_path() / "zest-tls-XXXXXX";
    int const fd = ::mkstemp(path.data());
    std::unique_ptr<FILE, Free<std::fclose>> const file(::fdopen(fd, "w"));
    PEM_write_X509(file.get(), certificate.get());
    ca_file = path;
    auto listener = Listener::listen_tcp("127.0.0.1", 0);
    EXPECT_TRUE(listener.ok());
    listener_.emplace(*std::move(listener));
    thread_ = std::jthread([this](std::stop_token const& stop) { run(stop); });
  }
  ~TlsServer() {
    thread_.request_stop();
    thread_.join();
    std::filesystem::remove(ca_file);
  }
  [[nodiscard]] std::uint16_t port() const { return listener_->port(); }
  std::string ca_file;

 private:
  void run(std::stop_token const& stop) {
    Context const ctx{.stop = stop};
    sigset_t pipe;  // a client that hangs up must not end the test
    ::sigemptyset(&pipe);
    ::sigaddset(&pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    for (;;) {
      auto socket = listener_->accept(ctx);
      if (!socket.ok()) {
        return;
      }
      int const fd = ::dup(socket->fd());
      ::fcntl(fd, F_SETFL, 0);  // blocking
      std::unique_ptr<SSL, Free<SSL_free>> const ssl(SSL_new(context_.get()));
      SSL_set_fd(ssl.get(), fd);
      if (SSL_accept(ssl.get()) == 1) {
        serve_(ssl.get());
      }
      ::close(fd);
    }
  }
  std::function<void(SSL*)> serve_;
  std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>> context_;
  std::optional<Listener> listener_;
  std::jthread thread_;
};

void echo(SSL* ssl) {
  std::vector<char> buffer(30'000);
  for (int got = 0; (got = SSL_read(ssl, buffer.data(), static_cast<int>(buffer.size()))) > 0;) {
    SSL_write(ssl, buffer.data(), got);
  }
  SSL_shutdown(ssl);
}

Result<std::unique_ptr<Stream>> connect(TlsServer const& server, TlsOptions const& options,
                                        std::string const& host) {
  Context const ctx;
  ZEST_TRY(auto const context, make_tls_context(options));
  ZEST_TRY(auto socket, Socket::connect_tcp(ctx, "127.0.0.1", server.port()));
  return context->connect(ctx, make_plain_stream(std::move(socket)), host);
}

TEST(TlsStream, BytesComeBack) {
  TlsServer const server(echo);
  testing::run_on_loop([&] {
    for (auto const* host : {"localhost", "127.0.0.1"}) {
      auto stream = connect(server, {.ca_file = server.ca_file}, host);
      ASSERT_TRUE(stream.ok()) << stream.error().text();
      Context const ctx;
      for (std::size_t const size : {1uz, 16384uz, 60'000uz}) {
        std::string const text(size, 'q');
        ASSERT_TRUE((*stream)->write_all(ctx, as_bytes(text)).ok());
        std::vector<std::byte> back(size);
        for (std::size_t done = 0; done < size;) {
          auto const got = (*stream)->read_some(ctx, ByteSpan(back).subspan(done));
          ASSERT_TRUE(got.ok()) << got.error().text();
          ASSERT_GT(*got, 0u);
          done += *got;
        }
        EXPECT_TRUE(as_text(back) == text);
      }
    }
  });
}

// Goal: only a certificate of a known authority for the right name is taken; messages say why not.
TEST(TlsStream, RefusedCertificates) {
  TlsServer const server(echo);
  testing::run_on_loop([&] {
    struct Row {
      TlsOptions options;
      std::string host;
      std::string_view why;
    };
    for (auto const& row : {
             Row{{}, "localhost", "self-signed"},
             Row{{.ca_file = server.ca_file}, "example.com", "mismatch"},
             Row{{.ca_file = server.ca_file}, "127.0.0.2", "mismatch"},
             Row{{.ca_file = server.ca_file, .server_name = "other"}, "localhost", "mismatch"},
         }) {
      auto const stream = connect(server, row.options, row.host);
      ASSERT_FALSE(stream.ok()) << row.why;
      EXPECT_EQ(stream.error().code(), Errc::acces);
      EXPECT_EQ(stream.error().fault(), Fault::semantic);
      EXPECT_NE(stream.error().text().find(row.why), std::string::npos) << stream.error().text();
    }
    EXPECT_TRUE(connect(server, {.verify = false}, "example.com").ok());
    auto const missing = connect(server, {.ca_file = "/no/such.pem"}, "localhost");
    ASSERT_FALSE(missing.ok());
    EXPECT_EQ(missing.error().code(), Errc::inval);
    EXPECT_NE(missing.error().text().find("/no/such.pem"), std::string::npos);
  });
}

// Goal: a stream that somebody on the way cut is an error, not the end of the body.
TEST(TlsStream, ACutStreamIsNoEnd) {
  TlsServer const server([](SSL* ssl) {
    SSL_write(ssl, "half", 4);
    ::shutdown(SSL_get_fd(ssl), SHUT_RDWR);
  });
  testing::run_on_loop([&] {
    auto stream = connect(server, {.ca_file = server.ca_file}, "localhost");
    ASSERT_TRUE(stream.ok()) << stream.error().text();
    Context const ctx;
    std::vector<std::byte> room(100);
    auto got = (*stream)->read_some(ctx, room);
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(*got, 4u);
    got = (*stream)->read_some(ctx, room);
    ASSERT_FALSE(got.ok());
    EXPECT_EQ(got.error().fault(), Fault::transient);
  });
}

TEST(TlsStream, HttpOverIt) {
  TlsServer const server([](SSL* ssl) {
    std::vector<char> request(4096);
    while (SSL_read(ssl, request.data(), static_cast<int>(request.size())) > 0) {
      constexpr std::string_view kReply = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
      SSL_write(ssl, kReply.data(), static_cast<int>(kReply.size()));
    }
  });
  testing::run_on_loop([&] {
    auto tls = make_tls_context({.ca_file = server.ca_file});
    ASSERT_TRUE(tls.ok());
    http::Client client({.tls = *tls});
    http::Url const url{.tls = true, .host = "localhost", .port = server.port(), .path = "/"};
    Context const ctx;
    for (int i = 0; i < 3; ++i) {
      auto const reply = client.send(ctx, {.url = url});
      ASSERT_TRUE(reply.ok()) << reply.error().text();
      EXPECT_EQ(reply->text, "hello");
    }
  });
}

// Goal: a server that accepts and says nothing costs the time of a handshake, not more.
TEST(TlsStream, ASilentServer) {
  testing::run_on_loop([] {
    auto listener = Listener::listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener.ok());
    auto tls = make_tls_context({});
    ASSERT_TRUE(tls.ok());
    http::Client client({.tls = *tls, .timeouts = {.handshake = std::chrono::milliseconds(50)}});
    Context const ctx;
    auto const reply = client.send(
        ctx, {.url = {.tls = true, .host = "127.0.0.1", .port = listener->port(), .path = "/"}});
    ASSERT_FALSE(reply.ok());
    EXPECT_EQ(reply.error().fault(), Fault::transient);
    EXPECT_NE(reply.error().text().find("TLS handshake takes too long"), std::string::npos)
        << reply.error().text();
  });
}

}  // namespace
}  // namespace zest
