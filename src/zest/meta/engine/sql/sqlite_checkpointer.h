// Moves the write-ahead log's pages into the database, beside the writer instead of inside a
// COMMIT.
//
// SQLite's own automatic checkpoint runs in the committing thread and syncs twice: every 1000 pages
// (some 200 creates) one commit, and all that wait behind it, would take tens of milliseconds. A
// checkpoint beside a busy writer never catches up with it, so the log would grow for ever: above
// kLogLarge the writer moves the short rest itself, which lets the next commit start the log anew.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "zest/base/log.h"
#include "zest/meta/engine/sql/sqlite_connection.h"

namespace zest::meta::sqlite {

class Checkpointer {
 public:
  /// Pages in the log that start a checkpoint (SQLite's own default) and that count as large.
  static constexpr int kLogNormal = 1000;
  static constexpr int kLogLarge = 8 * kLogNormal;

  Checkpointer(std::unique_ptr<Connection> connection, Logger& log);
  ~Checkpointer();
  Checkpointer(Checkpointer const&) = delete;
  Checkpointer& operator=(Checkpointer const&) = delete;

  /// After each commit, on the writer's thread, with the writer's connection.
  void committed(Connection& writer);

 private:
  void serve();

  std::unique_ptr<Connection> connection_;
  Logger& log_;
  std::mutex mutex_;
  std::condition_variable wanted_signal_;
  bool wanted_ = false;
  bool stopped_ = false;
  /// Set when a checkpoint ended: what is left is short.
  std::atomic<bool> ended_{false};
  int last_pages_ = 0;
  std::jthread thread_;
};

}  // namespace zest::meta::sqlite
