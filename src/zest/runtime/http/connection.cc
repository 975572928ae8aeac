#include "zest/runtime/http/connection.h"

#include <algorithm>
#include <cstring>

#include "zest/runtime/loop.h"

namespace zest::http {
namespace {

constexpr std::size_t kLineMax = 1024;          // of a chunk's size, or of a trailer
constexpr std::size_t kTrailersMax = 64;        // lines
constexpr std::size_t kInterimMax = 16;         // replies 1xx before the real one
constexpr std::size_t kTextStep = 16384;        // by which a text grows
constexpr std::size_t kJoinedBytesMax = 16384;  // bodies so small go with their head

TimePoint now() noexcept {
  return Loop::on_fiber() ? Loop::current()->now() : SystemClock().now();
}

/// The context of one read or write: it ends when nothing moves for so long, or with `ctx`.
Context step_of(Context const& ctx, Duration limit) {
  return {.caller = {}, .deadline = std::min(ctx.deadline, now() + limit), .stop = ctx.stop};
}

/// What ran out: the whole request's time, or that of a step.
Error step_error(Error&& error, Context const& ctx, std::string_view what) {
  if (error.code() == Errc::timedout && now() < ctx.deadline) {
    return Error::transient(Errc::timedout, std::string(what));
  }
  return std::move(error);
}

Error cut_short(std::string_view what) {
  return Error::transient(Errc::connreset, "the server closed the connection " + std::string(what));
}

}  // namespace

ByteSpan Connection::Sink::next(std::uint64_t most) {
  if (text == nullptr) {
    return room.subspan(taken, std::min<std::uint64_t>(most, room.size() - taken));
  }
  auto const n = std::min<std::uint64_t>({most, kTextStep, text_max - taken});
  text->resize(taken + n);
  return std::as_writable_bytes(std::span(text->data() + taken, n));
}

void Connection::Sink::took(std::size_t n) {
  taken += n;
  if (text != nullptr) {
    text->resize(taken);
  }
}

Result<void> Connection::write(Context const& ctx, ByteView bytes) {
  // In pieces, so that a slow but moving connection is not taken for a dead one.
  constexpr std::size_t kPiece = 1u << 20;
  while (!bytes.empty()) {
    auto const piece = bytes.first(std::min(bytes.size(), kPiece));
    if (auto sent = stream_->write_all(step_of(ctx, timeouts_.idle), piece); !sent.ok()) {
      return step_error(std::move(sent).error(), ctx, "the server takes no more bytes");
    }
    bytes = bytes.subspan(piece.size());
  }
  return {};
}

Result<std::size_t> Connection::fill(Context const& ctx) {
  if (begin_ == end_) {
    begin_ = end_ = 0;
  } else if (end_ == buffer_.size()) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  auto const limit = answered_ ? timeouts_.idle : timeouts_.first_byte;
  auto got = stream_->read_some(step_of(ctx, limit), ByteSpan(buffer_).subspan(end_));
  if (!got.ok()) {
    return step_error(std::move(got).error(), ctx, "the server sends nothing");
  }
  end_ += *got;
  answered_ = answered_ || *got > 0;
  return *got;
}

Result<std::size_t> Connection::read(Context const& ctx, ByteSpan out) {
  if (begin_ < end_) {
    auto const n = std::min(out.size(), end_ - begin_);
    std::memcpy(out.data(), buffer_.data() + begin_, n);
    begin_ += n;
    return n;
  }
  auto got = stream_->read_some(step_of(ctx, timeouts_.idle), out);
  if (!got.ok()) {
    return step_error(std::move(got).error(), ctx, "the server stopped inside of a body");
  }
  return *got;
}

Result<std::string> Connection::read_line(Context const& ctx) {
  for (;;) {
    auto const text = as_text(ByteView(buffer_).subspan(begin_, end_ - begin_));
    if (auto const end = text.find('\n'); end != std::string_view::npos && end < kLineMax) {
      std::string line(text.substr(0, end));
      begin_ += end + 1;
      if (line.ends_with('\r')) {
        line.pop_back();
      }
      return line;
    }
    if (text.size() >= kLineMax) {
      return Error::transient(Errc::io, "not an HTTP reply: a chunk's line does not end");
    }
    ZEST_TRY(auto const got, fill(ctx));
    if (got == 0) {
      return cut_short("inside of a chunked body");
    }
  }
}

Result<Head> Connection::read_head(Context const& ctx) {
  for (;;) {
    auto const text = as_text(ByteView(buffer_).subspan(begin_, end_ - begin_));
    if (auto const size = head_size(text); size > 0) {
      auto head = parse_head(text.substr(0, size));
      begin_ += size;
      return head;
    }
    // Nonsense is noticed at once, not when it is 64 KiB long or the server's patience ends.
    constexpr std::string_view kBegin = "HTTP/1.";
    auto const known = std::min(text.size(), kBegin.size());
    if (text.substr(0, known) != kBegin.substr(0, known) || text.size() == buffer_.size()) {
      return Error::transient(Errc::io, text.size() == buffer_.size()
                                            ? "not an HTTP reply: its head has no end"
                                            : "not an HTTP reply: it does not begin with HTTP/1");
    }
    ZEST_TRY(auto const got, fill(ctx));
    if (got == 0) {
      return cut_short(text.empty() ? "before a reply" : "inside of a reply's head");
    }
  }
}

Result<bool> Connection::read_length(Context const& ctx, std::uint64_t length, Sink& sink) {
  auto const whole = length;
  while (length > 0) {
    auto const room = sink.next(length);
    if (room.empty()) {
      return false;
    }
    ZEST_TRY(auto const got, read(ctx, room));
    if (got == 0) {
      return cut_short("after " + std::to_string(whole - length) + " of " + std::to_string(whole) +
                       " bytes of a body");
    }
    sink.took(got);
    length -= got;
  }
  return true;
}

Result<bool> Connection::read_chunks(Context const& ctx, Sink& sink) {
  for (;;) {
    ZEST_TRY(auto const line, read_line(ctx));
    auto const size = chunk_size(line);
    if (!size) {
      return Error::transient(Errc::io, "not an HTTP reply: a chunk has no size");
    }
    if (*size == 0) {
      break;
    }
    ZEST_TRY(auto const whole, read_length(ctx, *size, sink));
    if (!whole) {
      return false;
    }
    ZEST_TRY(auto const end, read_line(ctx));
    if (!end.empty()) {
      return Error::transient(Errc::io, "not an HTTP reply: a chunk is longer than it says");
    }
  }
  for (std::size_t i = 0; i < kTrailersMax; ++i) {
    ZEST_TRY(auto const line, read_line(ctx));
    if (line.empty()) {
      return true;
    }
  }
  return Error::transient(Errc::io, "not an HTTP reply: too many trailers");
}

Result<bool> Connection::read_to_end(Context const& ctx, Sink& sink) {
  for (;;) {
    auto const room = sink.next(~std::uint64_t{0});
    if (room.empty()) {
      std::byte one{};
      ZEST_TRY(auto const more, read(ctx, std::span(&one, 1)));
      return more == 0;
    }
    ZEST_TRY(auto const got, read(ctx, room));
    sink.took(got);
    if (got == 0) {
      return true;
    }
  }
}

Result<bool> Connection::read_body(Context const& ctx, BodyFrame const& frame, Sink& sink) {
  switch (frame.framing) {
    case Framing::none: return true;
    case Framing::length: return read_length(ctx, frame.length, sink);
    case Framing::chunked: return read_chunks(ctx, sink);
    case Framing::until_close: return read_to_end(ctx, sink);
  }
  return true;
}

Result<void> Connection::send(Context const& ctx, Request const& request, std::string_view head) {
  std::size_t size = 0;
  for (auto const part : request.body) {
    size += part.size();
  }
  if (size > kJoinedBytesMax || size == 0) {
    ZEST_CHECK(write(ctx, as_bytes(head)));
    for (auto const part : request.body) {
      ZEST_CHECK(write(ctx, part));
    }
    return {};
  }
  std::string joined(head);
  for (auto const part : request.body) {
    joined += as_text(part);
  }
  return write(ctx, as_bytes(joined));
}

Result<Reply> Connection::exchange(Context const& ctx, Request const& request,
                                   std::string_view head) {
  answered_ = false;
  reusable_ = false;  // until all went well
  bool const clean = begin_ == end_;
  if (!clean) {
    return Error::transient(Errc::io, "the server sent bytes that nobody asked for");
  }
  auto sent = send(ctx, request, head);
  if (!sent.ok() && (sent.error().code() == Errc::intr || now() >= ctx.deadline)) {
    return std::move(sent).error();
  }
  Reply reply;
  for (std::size_t interim = 0;; ++interim) {
    // A server that refuses a body may answer and close before it has read it: its answer counts.
    auto got = read_head(ctx);
    if (!got.ok()) {
      return sent.ok() || answered_ ? std::move(got).error() : std::move(sent).error();
    }
    reply.head = *std::move(got);
    if (reply.head.status >= 200) {
      break;
    }
    if (interim == kInterimMax || reply.head.status == 101) {
      return Error::transient(Errc::io, "the server does not come to a final reply");
    }
  }
  ZEST_TRY(auto const frame, frame_of(reply.head, request.method));
  bool const good = reply.head.status < 300;
  bool const straight = good && (request.straight || !request.into.empty());
  Sink sink{
      .room = request.into, .text = straight ? nullptr : &reply.text, .text_max = request.text_max};
  ZEST_TRY(auto const whole, read_body(ctx, frame, sink));
  if (!whole && !straight) {
    return Error(Errc::fbig, Fault::transient,
                 "the body of the reply is longer than " + std::to_string(request.text_max));
  }
  reply.size = straight ? sink.taken : 0;
  reply.more = !whole;
  reusable_ = frame.keep_alive && whole && sent.ok() && begin_ == end_;
  return reply;
}

}  // namespace zest::http
