// Makes committed transactions survive a power cut: syncs the write-ahead log.
//
// Frames are in the -wal file before a commit returns; what is missing is the disk's promise. It is
// asked for through a descriptor of our own, by a thread of its own, so that other commits go on
// meanwhile. That is safe with POSIX locks, which a process loses when it closes any descriptor of
// a file: SQLite locks the database file and the -shm file, never the -wal file. Frames that a
// checkpoint has moved into the database were synced there before the log was reused
// (docs/decisions/0002-sqlite-durability.md).
#pragma once

#include <string>
#include <thread>

#include "zest/base/context.h"
#include "zest/base/metrics.h"
#include "zest/base/result.h"
#include "zest/meta/engine/sql/sqlite_jobs.h"

namespace zest::meta::sqlite {

class WalSync {
 public:
  WalSync(std::string database_path, Registry& metrics);
  ~WalSync();
  WalSync(WalSync const&) = delete;
  WalSync& operator=(WalSync const&) = delete;

  /// Returns when everything that was committed before the call is on the disk. Callers that wait
  /// at the same time share one sync. EIO and ENOSPC are reported to each of them. May suspend.
  Result<void> sync(Context const& ctx);

 private:
  class SyncJob final : public Job {
   public:
    using Job::Job;
    Result<void> result;
  };

  void serve();
  Result<void> sync_now();
  Result<void> open_log();

  std::string log_path_;
  int fd_ = -1;
  Counter& syncs_;
  JobQueue<SyncJob> queue_;
  std::jthread thread_;
};

}  // namespace zest::meta::sqlite
