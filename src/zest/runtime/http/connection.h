// One HTTP/1.1 connection: sends requests, reads replies. Internal to the client.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zest/runtime/http/client.h"

namespace zest::http {

class Connection {
 public:
  Connection(std::unique_ptr<Stream> stream, Timeouts const& timeouts)
      : stream_(std::move(stream)), timeouts_(timeouts), buffer_(kHeadBytesMax) {}

  /// One exchange. `head` is the request's, with its empty line.
  Result<Reply> exchange(Context const& ctx, Request const& request, std::string_view head);
  /// Another request may follow.
  [[nodiscard]] bool reusable() const noexcept { return reusable_; }
  /// A byte of the last reply arrived.
  [[nodiscard]] bool answered() const noexcept { return answered_; }
  [[nodiscard]] bool hung_up() const noexcept { return stream_->hung_up(); }
  /// The stream below, for TLS through a proxy; the connection is of no use afterwards.
  std::unique_ptr<Stream> release() noexcept { return std::move(stream_); }

  TimePoint idle_since{};

 private:
  /// Where a body goes: the caller's buffer, or a text that grows up to a limit.
  struct Sink {
    ByteSpan room;
    std::string* text = nullptr;
    std::size_t text_max = 0;
    std::size_t taken = 0;
    /// At most `most` bytes of room; empty = full.
    ByteSpan next(std::uint64_t most);
    void took(std::size_t n);
  };

  Result<void> write(Context const& ctx, ByteView bytes);
  /// Buffered bytes first, then the stream straight into `out`; 0 = the end.
  Result<std::size_t> read(Context const& ctx, ByteSpan out);
  /// More into the buffer; 0 = the end.
  Result<std::size_t> fill(Context const& ctx);
  Result<void> send(Context const& ctx, Request const& request, std::string_view head);
  Result<Head> read_head(Context const& ctx);
  /// True when all of it came; false when the sink was full before.
  Result<bool> read_body(Context const& ctx, BodyFrame const& frame, Sink& sink);
  Result<bool> read_length(Context const& ctx, std::uint64_t length, Sink& sink);
  Result<bool> read_chunks(Context const& ctx, Sink& sink);
  Result<bool> read_to_end(Context const& ctx, Sink& sink);
  Result<std::string> read_line(Context const& ctx);

  std::unique_ptr<Stream> stream_;
  Timeouts timeouts_;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;  ///< of what is buffered
  std::size_t end_ = 0;
  bool reusable_ = true;
  bool answered_ = false;
};

}  // namespace zest::http
