// Changes of nodes and entries by anybody, as the server pushes them (CLIENT TRACKING, format/02
// §7).
//
// A fiber keeps one connection that is told about every change of a key that begins like a node's
// or a directory's. It runs on the loop that serves most requests, which is awake when this client
// changes something: a thread of its own would be woken by every commit. The server hands out these
// messages before the answer to the change itself, so a listener hears of a change about when its
// author does. While there is no such connection (lost, refused, a server before 6.0) the listener
// is told at least once a second that anything may have changed.
#pragma once

#include <memory>
#include <string>

#include "zest/base/log.h"
#include "zest/base/result.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/redis/client.h"
#include "zest/runtime/sync.h"

namespace zest::meta::redis {

class Tracker final {
 public:
  /// Begins on the caller's loop. `client` and `listener` outlive the tracker.
  Tracker(Client& client, InvalidationListener& listener, Logger& log);
  /// When it returns, the listener is not called any more. Suspends for the current call's end.
  ~Tracker();
  Tracker(Tracker const&) = delete;
  Tracker& operator=(Tracker const&) = delete;

 private:
  void run();
  Result<std::shared_ptr<Link>> subscribe(Context const& ctx);
  void follow(Context const& ctx, Link& link);
  void hear(Reply const& push);

  Client& client_;
  InvalidationListener& listener_;
  Logger& log_;
  std::string prefix_;
  Scope scope_;
};

}  // namespace zest::meta::redis
