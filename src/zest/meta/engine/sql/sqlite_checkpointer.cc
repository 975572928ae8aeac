#include "zest/meta/engine/sql/sqlite_checkpointer.h"

#include <utility>

namespace zest::meta::sqlite {

Checkpointer::Checkpointer(std::unique_ptr<Connection> connection, Logger& log)
    : connection_(std::move(connection)), log_(log), thread_([this] { serve(); }) {}

Checkpointer::~Checkpointer() {
  {
    std::lock_guard const lock(mutex_);
    stopped_ = true;
  }
  wanted_signal_.notify_all();
}

void Checkpointer::committed(Connection& writer) {
  int const pages = writer.log_pages();
  if (pages < last_pages_) {
    last_pages_ = 0;  // The log was started anew.
  }
  if (pages >= kLogLarge && ended_.exchange(false)) {
    // A failure shows again in the background, where it is logged.
    (void)writer.checkpoint();
    last_pages_ = pages;
    return;
  }
  if (pages - last_pages_ >= kLogNormal) {
    last_pages_ = pages;
    {
      std::lock_guard const lock(mutex_);
      wanted_ = true;
    }
    wanted_signal_.notify_one();
  }
}

void Checkpointer::serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    wanted_signal_.wait(lock, [this] { return wanted_ || stopped_; });
    if (stopped_) {
      return;  // The last connection that is closed checkpoints.
    }
    wanted_ = false;
    lock.unlock();
    auto const done = connection_->checkpoint();
    if (!done.ok() && !is_busy(done.error())) {
      log_.warn("the write-ahead log could not be moved into the database",
                {{"file", connection_->path()}, {"error", done.error().text()}});
    }
    ended_ = true;
    lock.lock();
  }
}

}  // namespace zest::meta::sqlite
