#include "zest/meta/engine/redis/tracker.h"

#include <string_view>
#include <utility>
#include <vector>

#include "zest/meta/engine/redis/layout.h"

namespace zest::meta::redis {

namespace {

/// How long a listener may be without news when there are no pushes.
constexpr Duration kRetry = std::chrono::seconds(1);
/// A quiet connection is asked now and then whether it is still there.
constexpr Duration kQuiet = std::chrono::seconds(10);
constexpr Duration kPingTimeout = std::chrono::seconds(5);

}  // namespace

Tracker::Tracker(Client& client, InvalidationListener& listener, Logger& log)
    : client_(client), listener_(listener), log_(log) {
  scope_.spawn([this] { run(); });
}

Tracker::~Tracker() {
  scope_.request_stop();
  scope_.join();
}

void Tracker::run() {
  Context ctx;
  ctx.stop = scope_.token();
  bool complained = false;
  while (!ctx.stop.stop_requested()) {
    auto link = subscribe(ctx);
    // Whatever was read before now, or without pushes, may be old.
    listener_.everything_changed();
    if (link.ok()) {
      complained = false;
      follow(ctx, **link);
      listener_.everything_changed();
    } else if (!complained && !ctx.stop.stop_requested()) {
      complained = true;
      log_.warn("the metadata server does not push changes: records are remembered for a second",
                {{"error", link.error().text()}});
    }
    static_cast<void>(Loop::current()->sleep_for(ctx, link.ok() ? kRetry / 20 : kRetry));
  }
}

Result<std::shared_ptr<Link>> Tracker::subscribe(Context const& ctx) {
  Context asking = ctx;
  asking.deadline = Loop::current()->now() + kPingTimeout;
  ZEST_TRY(prefix_, client_.prefix(asking));
  ZEST_TRY(auto link, client_.dedicated(asking));
  link->on_push([this](Reply const& push) { hear(push); });
  Request request;
  append_command(request.bytes, {"CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", prefix_ + "i",
                                 "PREFIX", prefix_ + "d"});
  ZEST_TRY(auto const response, link->exchange(asking, request));
  if (response.replies[0].is_error()) {
    return error_of(response.replies[0]);
  }
  return link;
}

void Tracker::follow(Context const& ctx, Link& link) {
  while (!link.broken() && !ctx.stop.stop_requested()) {
    Context waiting = ctx;
    waiting.deadline = Loop::current()->now() + kQuiet;
    if (auto const heard = link.listen(waiting); heard.error().code() != Errc::timedout) {
      return;
    }
    Request ping;
    append_command(ping.bytes, {"PING"});
    waiting.deadline = Loop::current()->now() + kPingTimeout;
    if (!link.exchange(waiting, ping).ok()) {
      return;
    }
  }
}

void Tracker::hear(Reply const& push) {
  if (push.items.size() < 2 || push.items[0].text != "invalidate") {
    return;
  }
  if (push.items[1].is_null()) {
    listener_.everything_changed();  // the database was emptied
    return;
  }
  // The keys of one turn of the server's event loop, sorted by the prefixes that were asked for:
  // directories come in a message before the nodes'.
  std::vector<Ino> nodes;
  std::vector<Ino> dirs;
  for (auto const& key : push.items[1].items) {
    std::string_view const name = key.text;
    if (!name.starts_with(prefix_) || name.size() <= prefix_.size()) {
      continue;
    }
    auto const ino = decode_id(name.substr(prefix_.size() + 1));
    if (ino.ok()) {  // else dirQuota, delfiles and others that begin with the same letter
      (name[prefix_.size()] == 'i' ? nodes : dirs).push_back(Ino{*ino});
    }
  }
  if (!dirs.empty()) {
    listener_.entries_changed(dirs);
  }
  if (!nodes.empty()) {
    listener_.nodes_changed(nodes);
  }
}

}  // namespace zest::meta::redis
