// The thread that writes: takes everything that waits and commits it in one transaction.
//
// A group is BEGIN IMMEDIATE, the jobs one after the other, COMMIT, and then all are answered. A
// job whose condition fails has changed nothing and is simply answered so; one that fails in the
// middle of its changes makes the group roll back and run again without it. Jobs therefore may run
// several times; no SAVEPOINT is needed for the common case.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/log.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/meta/engine/sql/sqlite_checkpointer.h"
#include "zest/meta/engine/sql/sqlite_connection.h"
#include "zest/meta/engine/sql/sqlite_jobs.h"
#include "zest/meta/engine/sql/sqlite_write.h"

namespace zest::meta::sqlite {

class WriteJob final : public Job {
 public:
  using Body = std::function<Result<void>(WriteTransaction&)>;
  WriteJob(Context const& ctx, Body body) : Job(ctx), body_(std::move(body)) {}

  Result<void> run(WriteTransaction& transaction) { return body_(transaction); }
  void set_result(Result<void> result) { result_.emplace(std::move(result)); }
  Result<void>& result() { return *result_; }

 private:
  Body body_;
  std::optional<Result<void>> result_;
};

class Writer {
 public:
  /// Most jobs of one transaction: bounds how long a reader's snapshot can be behind and how much
  /// is done again after a failure.
  static constexpr std::size_t kGroupMax = 256;

  /// `checkpoints` is a connection for the checkpoints beside the writer.
  Writer(std::unique_ptr<Connection> connection, std::unique_ptr<Connection> checkpoints,
         Duration busy_timeout, Logger& log, Registry& metrics);
  ~Writer();
  Writer(Writer const&) = delete;
  Writer& operator=(Writer const&) = delete;

  /// Runs `body` in a transaction on the writer's thread, perhaps several times; returns once it is
  /// committed, or why it was not. May suspend; any loop, or a foreign thread.
  Result<void> run(Context const& ctx, WriteJob::Body body);

 private:
  enum class Outcome { finished, again };

  void serve();
  void run_group(std::vector<WriteJob*> jobs);
  Outcome attempt(std::vector<WriteJob*>& jobs);
  /// Takes the write lock; waits for other processes, answering jobs whose time is over.
  Result<void> begin(std::vector<WriteJob*>& jobs);
  void drop_unwanted(std::vector<WriteJob*>& jobs);
  static void answer(std::vector<WriteJob*>& jobs);

  std::unique_ptr<Connection> connection_;
  WriteTransaction transaction_;
  Checkpointer checkpointer_;
  Duration busy_timeout_;
  Logger& log_;
  Counter& groups_;
  Counter& writes_;
  Counter& busy_;
  JobQueue<WriteJob> queue_;
  std::jthread thread_;
};

}  // namespace zest::meta::sqlite
