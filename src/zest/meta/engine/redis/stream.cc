#include "zest/meta/engine/redis/stream.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace zest::meta::redis {

namespace {

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
  [[nodiscard]] bool ended() const noexcept override {
    char byte = 0;
    auto const got = ::recv(socket_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
  }

 private:
  Socket socket_;
};

}  // namespace

std::unique_ptr<Stream> make_plain_stream(Socket socket) {
  return std::make_unique<PlainStream>(std::move(socket));
}

}  // namespace zest::meta::redis
