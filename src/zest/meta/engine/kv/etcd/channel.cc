#include "zest/meta/engine/kv/etcd/channel.h"

#include <fmt/format.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <memory>
#include <stop_token>
#include <utility>
#include <vector>

#include "zest/base/bytes.h"
#include "zest/format/endian.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/sync.h"

namespace zest::meta::kv::etcd {

namespace {

/// A reply larger than this is nothing that was asked for.
constexpr std::size_t kReplyMax = std::size_t{256} << 20U;
/// What a server may send before we have looked at it: listings come in one go.
constexpr std::int32_t kWindow = 8 << 20;
/// In front of a message: a flag for compression, and its size.
constexpr std::size_t kFrameHeader = 5;

std::string_view as_view(std::uint8_t const* bytes, std::size_t size) noexcept {
  return as_text(std::as_bytes(std::span(bytes, size)));
}

nghttp2_nv header(std::string_view name, std::string_view value) {
  // The library takes the pointers as mutable, and copies.
  auto const bytes = [](std::string_view text) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-*): a C interface
    return const_cast<std::uint8_t*>(reinterpret_cast<std::uint8_t const*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

/// grpc-message is percent-encoded.
std::string decode_status_text(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16).ptr ==
            text.data() + i + 3) {
      out.push_back(static_cast<char>(byte));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

/// One call. The session refers to it until its stream is closed, which may be later than its fiber
/// gave up: so both hold it.
struct Call {
  std::string request;
  std::size_t sent = 0;
  std::string received;
  int http_status = 0;
  int grpc_status = -1;
  std::string status_text;
  bool too_large = false;
  bool closed = false;
  std::uint32_t close_code = 0;
  Event done;
};

}  // namespace

struct Channel::Impl {
  Impl(std::unique_ptr<Stream> s, std::string a) : stream(std::move(s)), authority(std::move(a)) {}

  std::unique_ptr<Stream> stream;
  std::string authority;
  nghttp2_session* session = nullptr;
  std::map<Call*, std::shared_ptr<Call>> calls;
  bool broken = false;
  bool sending = false;
  bool reading = false;
  std::stop_source no_calls;  ///< lets the reader go when the last call was given up
  Scope reader;

  [[nodiscard]] bool start();
  void read_all();
  Result<void> flush();
  void fail() noexcept;

  static Impl& of(void* user) noexcept { return *static_cast<Impl*>(user); }
  Call* call_of(std::int32_t stream_id) const {
    return static_cast<Call*>(nghttp2_session_get_stream_user_data(session, stream_id));
  }
  void on_header(std::int32_t id, std::string_view name, std::string_view value) const;
  void on_data(std::int32_t id, std::string_view bytes) const;
  void on_close(std::int32_t id, std::uint32_t code);
};

void Channel::Impl::on_header(std::int32_t id, std::string_view name,
                              std::string_view value) const {
  auto* const call = call_of(id);
  if (call == nullptr) {
    return;
  }
  auto const number = [value] {
    int parsed = -1;
    std::from_chars(value.data(), value.data() + value.size(), parsed);
    return parsed;
  };
  if (name == ":status") {
    call->http_status = number();
  } else if (name == "grpc-status") {
    call->grpc_status = number();
  } else if (name == "grpc-message") {
    call->status_text = decode_status_text(value);
  }
}

void Channel::Impl::on_data(std::int32_t id, std::string_view bytes) const {
  if (auto* const call = call_of(id); call != nullptr) {
    if (call->received.size() + bytes.size() > kReplyMax) {
      call->too_large = true;
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    } else {
      call->received.append(bytes);
    }
  }
}

void Channel::Impl::on_close(std::int32_t id, std::uint32_t code) {
  auto const it = calls.find(call_of(id));
  if (it != calls.end()) {
    it->second->closed = true;
    it->second->close_code = code;
    it->second->done.set();
    calls.erase(it);
  }
}

bool Channel::Impl::start() {
  nghttp2_session_callbacks* callbacks = nullptr;
  if (nghttp2_session_callbacks_new(&callbacks) != 0) {
    return false;
  }
  nghttp2_session_callbacks_set_on_header_callback(
      callbacks, [](nghttp2_session*, nghttp2_frame const* frame, std::uint8_t const* name,
                    std::size_t name_size, std::uint8_t const* value, std::size_t value_size,
                    std::uint8_t, void* user) {
        of(user).on_header(frame->hd.stream_id, as_view(name, name_size),
                           as_view(value, value_size));
        return 0;
      });
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks, [](nghttp2_session*, std::uint8_t, std::int32_t id, std::uint8_t const* bytes,
                    std::size_t size, void* user) {
        of(user).on_data(id, as_view(bytes, size));
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(
      callbacks, [](nghttp2_session*, std::int32_t id, std::uint32_t code, void* user) {
        of(user).on_close(id, code);
        return 0;
      });
  auto const made = nghttp2_session_client_new(&session, callbacks, this) == 0;
  nghttp2_session_callbacks_del(callbacks);
  if (!made) {
    return false;
  }
  std::array<nghttp2_settings_entry, 2> const settings{
      nghttp2_settings_entry{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      nghttp2_settings_entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindow}};
  return nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) ==
             0 &&
         nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, kWindow) == 0;
}

void Channel::Impl::fail() noexcept {
  broken = true;
  stream->shutdown();
  for (auto const& [address, call] : calls) {
    call->done.set();
  }
}

/// Reads while calls are under way. Between calls nobody listens: a connection that the server
/// closes meanwhile is noticed by the next call, before it sends.
void Channel::Impl::read_all() {
  std::array<std::byte, 16384> buffer{};
  while (!broken && !calls.empty()) {
    Context ctx;
    ctx.stop = no_calls.get_token();
    auto const got = stream->read_some(ctx, buffer);
    if (no_calls.stop_requested()) {
      no_calls = {};
      if (!got.ok()) {
        continue;
      }
    }
    if (!got.ok() || *got == 0 || broken) {
      fail();
      break;
    }
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): a C interface
    auto const* const bytes = reinterpret_cast<std::uint8_t const*>(buffer.data());
    if (nghttp2_session_mem_recv(session, bytes, *got) < 0 || !flush().ok() ||
        nghttp2_session_want_read(session) == 0) {
      fail();
    }
  }
  reading = false;
}

/// Sends everything there is to send; one fiber at a time, the others' bytes go with its.
Result<void> Channel::Impl::flush() {
  if (sending) {
    return {};
  }
  sending = true;
  Context const ctx;
  while (!broken) {
    std::string out;
    for (;;) {
      std::uint8_t const* bytes = nullptr;
      auto const size = nghttp2_session_mem_send(session, &bytes);
      if (size < 0) {
        sending = false;
        fail();
        return Error::transient(Errc::io, "HTTP/2: the session is broken");
      }
      if (size == 0) {
        break;
      }
      out.append(as_view(bytes, static_cast<std::size_t>(size)));
    }
    if (out.empty()) {
      break;
    }
    if (auto sent = stream->write_all(ctx, as_bytes(out)); !sent.ok()) {
      sending = false;
      fail();
      return sent;
    }
  }
  sending = false;
  return {};
}

Channel::Channel(std::unique_ptr<Stream> stream, std::string authority)
    : impl_(std::make_unique<Impl>(std::move(stream), std::move(authority))) {
  impl_->broken = !impl_->start();
}

Channel::~Channel() {
  close();
  impl_->no_calls.request_stop();
  impl_->reader.join();
  nghttp2_session_del(impl_->session);
}

bool Channel::usable() noexcept {
  if (!impl_->broken && impl_->calls.empty() && impl_->stream->hung_up()) {
    close();
  }
  return !impl_->broken;
}

void Channel::close() noexcept {
  impl_->broken = true;
  impl_->stream->shutdown();
}

namespace {

ssize_t send_body(nghttp2_session* /*session*/, std::int32_t /*id*/, std::uint8_t* out,
                  std::size_t size, std::uint32_t* flags, nghttp2_data_source* source,
                  void* /*user*/) {
  auto& call = *static_cast<Call*>(source->ptr);
  auto const count = std::min(size, call.request.size() - call.sent);
  std::memcpy(out, call.request.data() + call.sent, count);
  call.sent += count;
  if (call.sent == call.request.size()) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
  }
  return static_cast<ssize_t>(count);
}

Result<CallReply> reply_of(Call& call) {
  if (call.too_large) {
    return Error::transient(Errc::io, "the server's reply is too large");
  }
  if (call.http_status != 200) {
    return Error::transient(
        Errc::io,
        fmt::format("the server speaks HTTP, but not gRPC (status {})", call.http_status));
  }
  CallReply reply{
      .status = call.grpc_status, .status_text = std::move(call.status_text), .message = {}};
  if (reply.status != 0) {
    return reply;
  }
  ByteReader frame(call.received);
  auto const compressed = frame.be<std::uint8_t>();
  auto const size = frame.be<std::uint32_t>();
  if (frame.failed() || compressed != 0 || size != frame.remaining()) {
    return Error::corrupt("the server's reply is cut off or compressed");
  }
  reply.message = call.received.substr(kFrameHeader);
  return reply;
}

}  // namespace

Result<CallReply> Channel::call(Context const& ctx, CallRequest const& request) {
  auto& impl = *impl_;
  auto const call = std::make_shared<Call>();
  append_be(call->request, std::uint8_t{0});
  append_be(call->request, static_cast<std::uint32_t>(request.message.size()));
  call->request.append(request.message);
  std::vector<nghttp2_nv> headers{header(":method", "POST"),
                                  header(":scheme", "http"),
                                  header(":path", request.path),
                                  header(":authority", impl.authority),
                                  header("content-type", "application/grpc"),
                                  header("te", "trailers")};
  if (!request.token.empty()) {
    headers.push_back(header("token", request.token));
  }
  nghttp2_data_provider body{};
  body.source.ptr = call.get();
  body.read_callback = &send_body;
  auto const id = impl.broken ? -1
                              : nghttp2_submit_request(impl.session, nullptr, headers.data(),
                                                       headers.size(), &body, call.get());
  if (id < 0) {
    return Error::transient(Errc::io, "the connection is closed");
  }
  impl.calls.emplace(call.get(), call);
  if (!std::exchange(impl.reading, true)) {
    impl.reader.spawn([&impl] { impl.read_all(); });
  }
  static_cast<void>(impl.flush().ok());  // A failure completes the call, too.
  Context wait;
  wait.deadline = ctx.deadline;
  auto const waited = call->done.wait(wait);
  if (call->closed && call->close_code == NGHTTP2_NO_ERROR &&
      (call->grpc_status >= 0 || call->http_status != 200)) {
    return reply_of(*call);
  }
  if (call->closed && call->close_code == NGHTTP2_REFUSED_STREAM) {
    return Error::transient(Errc::io, "the server refused the request");
  }
  if (!call->closed && !impl.broken) {
    nghttp2_submit_rst_stream(impl.session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    static_cast<void>(impl.flush().ok());
    if (impl.calls.empty()) {
      impl.no_calls.request_stop();
    }
  }
  return Error::transient(call->sent > 0 ? Errc::timedout : Errc::io,
                          waited.ok() ? "the connection was lost" : "no reply in time");
}

}  // namespace zest::meta::kv::etcd
