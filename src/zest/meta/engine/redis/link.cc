#include "zest/meta/engine/redis/link.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "zest/base/assert.h"

namespace zest::meta::redis {

namespace {

constexpr std::size_t kReadSize = 64U << 10U;
/// A connection that was quiet for longer may have been closed by the server: one look is cheaper
/// than an outcome that nobody knows.
constexpr Duration kQuiet = std::chrono::milliseconds(1);
/// Kept for the next batch; larger buffers are given back.
constexpr std::size_t kBufferKept = 256U << 10U;

}  // namespace

Link::Link(std::unique_ptr<Stream> stream, LinkOptions options)
    : stream_(std::move(stream)),
      options_(options),
      slots_(options.requests_max),
      incoming_(kReadSize) {}

void Link::enqueue(Call& call) {
  auto const& request = *call.request;
  outgoing_.append(request.bytes);
  auto const replicated = request.replicated && options_.wait_replicas > 0;
  batch_replicated_ = batch_replicated_ || replicated;
  if (request.replies == 0) {
    // Only the question whether replicas have everything by now.
    call.done = !replicated;
    if (replicated) {
      unconfirmed_.push_back(&call);
    }
    return;
  }
  places_.push_back({.call = &call,
                     .missing = request.replies,
                     .replicated = replicated,
                     .since = Loop::current()->now()});
}

Result<Response> Link::exchange(Context const& ctx, Request const& request) {
  ZEST_CHECK(slots_.acquire(ctx));
  struct Release {
    Semaphore& slots;
    ~Release() { slots.release(); }
  } const release{slots_};
  auto* const loop = Loop::current();
  if (!broken_ && places_.empty() && loop->now() - used_ > kQuiet && used_ != TimePoint{} &&
      stream_->hung_up()) {
    abandon("the server closed the connection");
  }
  used_ = loop->now();
  if (broken_) {
    return Error::transient(Errc::notconn, *broken_);
  }
  if (ctx.stop.stop_requested()) {
    return Errc::intr;
  }
  Call call{.request = &request};
  enqueue(call);
  flush();
  while (!call.done) {
    auto turn = reading_ ? await(ctx, call) : drive(ctx, call);
    if (!turn.ok() && !call.done) {
      // The place stays, so that later replies find their owners.
      forget(call);
      if (!reading_) {
        pass_reading_on();
      }
      return Error::transient(turn.error().code(), "waiting for the server's reply");
    }
  }
  return conclude(call);
}

Result<Response> Link::conclude(Call& call) {
  if (!call.lost) {
    return std::move(call.response);
  }
  return call.sent ? Error::transient(Errc::connreset, broken_.value_or("connection lost"))
                   : Error::transient(Errc::notconn, broken_.value_or("connection lost"));
}

// ---- writing

void Link::flush() {
  if (writing_) {
    return;  // whoever writes takes what joined
  }
  writing_ = true;
  if (places_.size() > 1) {
    // Others are under way, so more may come in this turn of the loop: one batch for all.
    Loop::current()->yield();
  }
  while ((!outgoing_.empty() || batch_replicated_) && !broken_) {
    send_batch();
  }
  writing_ = false;
}

void Link::send_batch() {
  if (batch_replicated_) {
    auto const timeout =
        std::chrono::duration_cast<std::chrono::milliseconds>(options_.wait_timeout).count();
    append_command(outgoing_,
                   {"WAIT", std::to_string(options_.wait_replicas), std::to_string(timeout)});
    places_.push_back({.is_wait = true, .since = Loop::current()->now()});
    batch_replicated_ = false;
  }
  std::swap(sending_, outgoing_);
  outgoing_.clear();
  for (auto place = places_.rbegin(); place != places_.rend() && !place->sent; ++place) {
    place->sent = true;
    if (place->call != nullptr) {
      place->call->sent = true;
    }
  }
  // Not the caller's context: the batch is everybody's.
  Context writing;
  writing.deadline = Loop::current()->now() + options_.write_timeout;
  if (auto written = stream_->write_all(writing, as_bytes(sending_)); !written.ok()) {
    abandon(fmt::format("sending to the server: {}", written.error().text()));
  }
  if (sending_.capacity() > kBufferKept) {
    sending_ = {};
  }
}

// ---- reading

Context Link::waiting_context(Context const& ctx, Call const& call) {
  Context waiting;
  waiting.deadline = ctx.deadline;
  if (!call.request->changes) {
    waiting.stop = ctx.stop;
  }
  return waiting;
}

Result<void> Link::drive(Context const& ctx, Call& call) {
  reading_ = true;
  auto result = read_for(ctx, call);
  reading_ = false;
  pass_reading_on();
  return result;
}

Result<void> Link::read_for(Context const& ctx, Call& call) {
  auto const mine = waiting_context(ctx, call);
  for (;;) {
    dispatch_all();
    if (call.done) {
      return {};
    }
    auto reading = mine;
    auto const since = places_.empty() ? Loop::current()->now() : places_.front().since;
    auto const overdue = since + options_.read_timeout;
    reading.deadline = std::min(reading.deadline, overdue);
    auto got = stream_->read_some(reading, incoming_);
    if (got.ok() && *got > 0) {
      parser_.feed(as_text(std::span(incoming_).first(*got)));
      continue;
    }
    auto const own =
        !got.ok() && (got.error().code() == Errc::intr ||
                      (got.error().code() == Errc::timedout && mine.deadline < overdue));
    if (own) {
      return std::move(got).error();
    }
    abandon(got.ok() ? "the server closed the connection" : got.error().text());
  }
}

Result<void> Link::listen(Context const& ctx) {
  ZEST_ASSERT(places_.empty() && !reading_);
  for (;;) {
    dispatch_all();
    if (broken_) {
      return Error::transient(Errc::connreset, *broken_);
    }
    reading_ = true;
    auto got = stream_->read_some(ctx, incoming_);
    reading_ = false;
    if (got.ok() && *got > 0) {
      parser_.feed(as_text(std::span(incoming_).first(*got)));
      continue;
    }
    if (!got.ok() && (got.error().code() == Errc::timedout || got.error().code() == Errc::intr)) {
      return std::move(got).error();
    }
    abandon(got.ok() ? "the server closed the connection" : got.error().text());
  }
}

void Link::dispatch_all() {
  for (;;) {
    auto reply = parser_.next();
    if (!reply.ok()) {
      abandon(reply.error().text());
      return;
    }
    if (!*reply) {
      return;
    }
    dispatch(**std::move(reply));
  }
}

void Link::dispatch(Reply reply) {
  if (reply.kind == Reply::Kind::push) {
    if (on_push_) {
      on_push_(reply);
    }
    return;
  }
  if (places_.empty()) {
    abandon("the server sent a reply that nobody asked for");
    return;
  }
  auto& place = places_.front();
  if (place.is_wait) {
    for (auto* call : unconfirmed_) {
      call->response.replicas = reply.is_integer() ? reply.integer : 0;
      finish(*call);
    }
    unconfirmed_.clear();
    places_.pop_front();
    return;
  }
  auto* const call = place.call;
  auto const failed = reply.is_error();
  if (call != nullptr) {
    call->response.replies.push_back(std::move(reply));
  }
  if (--place.missing > 0) {
    return;
  }
  auto const confirm = place.replicated && !failed;
  places_.pop_front();
  if (call == nullptr) {
    return;
  }
  if (confirm) {
    unconfirmed_.push_back(call);
  } else {
    finish(*call);
  }
}

void Link::finish(Call& call) {
  call.done = true;
  if (call.woken) {
    call.woken->set();
  }
}

Result<void> Link::await(Context const& ctx, Call& call) {
  call.woken.emplace();
  auto waited = call.woken->wait(waiting_context(ctx, call));
  call.woken.reset();
  return waited;
}

void Link::forget(Call& call) {
  for (auto& place : places_) {
    if (place.call == &call) {
      place.call = nullptr;
    }
  }
  std::erase(unconfirmed_, &call);
}

void Link::pass_reading_on() {
  auto const wake = [](Call* call) {
    if (call == nullptr || !call->woken) {
      return false;
    }
    call->woken->set();
    return true;
  };
  for (auto* call : unconfirmed_) {
    if (wake(call)) {
      return;
    }
  }
  for (auto const& place : places_) {
    if (wake(place.call)) {
      return;
    }
  }
}

void Link::abandon(std::string_view why) {
  if (broken_) {
    return;
  }
  broken_ = why;
  stream_->shutdown();
  auto const lose = [this](Call* call) {
    if (call != nullptr) {
      call->lost = true;
      finish(*call);
    }
  };
  for (auto const& place : places_) {
    lose(place.call);
  }
  for (auto* call : unconfirmed_) {
    lose(call);
  }
  places_.clear();
  unconfirmed_.clear();
  outgoing_.clear();
}

}  // namespace zest::meta::redis
