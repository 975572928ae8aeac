// One connection that all fibers of a loop share.
//
// There is no fiber of its own: those who wait do the work. A request's bytes join the outgoing
// batch; the first fiber that finds nobody writing sends the batch, and with it whatever joined
// meanwhile. The first that finds nobody reading reads for everybody, hands out replies in the
// order of the requests, and when it has its own passes the reading on to another one that waits. A
// single request is thus one send and one receive on its own fiber, without a switch; under load
// batches form by themselves.
//
// A request that is given up (deadline, stop) leaves its place in the queue of replies behind, so
// the connection stays in step. When the server owes a reply for too long the link is broken:
// everybody is told whether anything of the own request was sent.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine/redis/resp.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/stream.h"
#include "zest/runtime/sync.h"

namespace zest::meta::redis {

/// Commands that belong together, and how many replies they get.
struct Request {
  std::string bytes;
  std::size_t replies = 1;
  /// May change something: once sent, it's waited for even if the caller is stopped, and a lost
  /// reply leaves the outcome unknown.
  bool changes = false;
  /// The answer counts only when enough replicas have everything so far
  /// (LinkOptions::wait_replicas).
  bool replicated = false;
};

struct Response {
  std::vector<Reply> replies;
  /// How many replicas have it, where that was asked for.
  std::optional<std::int64_t> replicas;
};

struct LinkOptions {
  Duration read_timeout;
  Duration write_timeout;
  /// For requests with `replicated`: WAIT for that many replicas, at most `wait_timeout`. 0 =
  /// don't.
  std::uint32_t wait_replicas = 0;
  Duration wait_timeout = std::chrono::milliseconds(500);
  /// Requests whose replies are outstanding; further ones wait.
  std::size_t requests_max = 1024;
};

class Link final {
 public:
  Link(std::unique_ptr<Stream> stream, LinkOptions options);
  ~Link() = default;
  Link(Link const&) = delete;
  Link& operator=(Link const&) = delete;

  /// Sends the request and waits for its replies. One trip. The caller keeps the link alive; all
  /// calls come from one loop. Errors, all transient:
  ///   ENOTCONN   nothing was sent: try elsewhere
  ///   ECONNRESET sent, and the connection was lost before the replies came
  ///   ETIMEDOUT  sent, and the context's deadline passed
  ///   EINTR      stopped (requests that change nothing, and before sending)
  Result<Response> exchange(Context const& ctx, Request const& request);

  /// Who gets what the server sends unasked (RESP3 pushes). Called on the link's loop; must not
  /// suspend.
  void on_push(std::function<void(Reply const&)> handler) { on_push_ = std::move(handler); }
  /// Waits for pushes until the context ends or the link breaks: always an error, ETIMEDOUT or
  /// EINTR of the context or ECONNRESET. No exchange may be under way.
  Result<void> listen(Context const& ctx);

  /// True after the first failure; from then on every request is ENOTCONN.
  [[nodiscard]] bool broken() const noexcept { return broken_.has_value(); }
  /// Makes it broken: waiting requests fail.
  void abandon(std::string_view why);
  void set_wait_replicas(std::uint32_t count) noexcept { options_.wait_replicas = count; }
  [[nodiscard]] std::uint32_t wait_replicas() const noexcept { return options_.wait_replicas; }

 private:
  /// One request on the stack of its fiber.
  struct Call {
    Request const* request = nullptr;
    Response response;
    bool done = false;
    bool sent = false;
    bool lost = false;
    std::optional<Event> woken;
  };
  /// A place in the order of replies.
  struct Place {
    Call* call = nullptr;  ///< null when it was given up
    std::size_t missing = 1;
    bool sent = false;
    bool is_wait = false;
    bool replicated = false;
    TimePoint since;
  };

  void enqueue(Call& call);
  void flush();
  void send_batch();
  /// Reads for everybody until `call` is answered; fails when its own context says so.
  Result<void> drive(Context const& ctx, Call& call);
  Result<void> read_for(Context const& ctx, Call& call);
  void dispatch_all();
  void dispatch(Reply reply);
  void finish(Call& call);
  Result<void> await(Context const& ctx, Call& call);
  void forget(Call& call);
  void pass_reading_on();
  [[nodiscard]] static Context waiting_context(Context const& ctx, Call const& call);
  Result<Response> conclude(Call& call);

  std::unique_ptr<Stream> stream_;
  LinkOptions options_;
  Semaphore slots_;
  RespParser parser_;
  std::string outgoing_;
  std::string sending_;
  std::vector<std::byte> incoming_;
  std::deque<Place> places_;
  /// Answered, but waiting for replicas.
  std::vector<Call*> unconfirmed_;
  bool batch_replicated_ = false;
  bool writing_ = false;
  bool reading_ = false;
  TimePoint used_{};
  std::function<void(Reply const&)> on_push_;
  std::optional<std::string> broken_;
};

}  // namespace zest::meta::redis
