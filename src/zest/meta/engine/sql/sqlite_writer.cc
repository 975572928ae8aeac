#include "zest/meta/engine/sql/sqlite_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "zest/base/clock.h"

namespace zest::meta::sqlite {

namespace {
/// Another process holds the lock for a commit: some 0.1 ms (no sync) to some 10 ms (with one).
constexpr auto kBusyPauseFirst = std::chrono::microseconds(100);
constexpr auto kBusyPauseMax = std::chrono::milliseconds(10);
}  // namespace

Writer::Writer(std::unique_ptr<Connection> connection, std::unique_ptr<Connection> checkpoints,
               Duration busy_timeout, Logger& log, Registry& metrics)
    : connection_(std::move(connection)),
      transaction_(*connection_),
      checkpointer_(std::move(checkpoints), log),
      busy_timeout_(busy_timeout),
      log_(log),
      groups_(
          metrics.counter("sqlite_transactions", "Write transactions, each a group of commits")),
      writes_(
          metrics.counter("sqlite_commits", "Commits and counter changes of write transactions")),
      busy_(metrics.counter("sqlite_busy", "Waits for a lock of another process")),
      thread_([this] { serve(); }) {}

Writer::~Writer() {
  queue_.stop();
}

Result<void> Writer::run(Context const& ctx, WriteJob::Body body) {
  WriteJob job(ctx, std::move(body));
  queue_.push(job);
  job.wait();
  return std::move(job.result());
}

void Writer::serve() {
  while (true) {
    auto jobs = queue_.pop(kGroupMax);
    if (jobs.empty()) {
      return;
    }
    run_group(std::move(jobs));
  }
}

void Writer::run_group(std::vector<WriteJob*> jobs) {
  drop_unwanted(jobs);
  while (!jobs.empty() && attempt(jobs) == Outcome::again) {
    connection_->rollback();
  }
  connection_->rollback();
}

Writer::Outcome Writer::attempt(std::vector<WriteJob*>& jobs) {
  auto const fail_all = [&](Error const& error) {
    for (auto* job : jobs) {
      job->set_result(error.clone());
    }
    connection_->rollback();
    answer(jobs);
    return Outcome::finished;
  };
  if (auto begun = begin(jobs); !begun.ok()) {
    return fail_all(begun.error());
  }
  transaction_.clear();
  for (auto it = jobs.begin(); it != jobs.end(); ++it) {
    transaction_.set_touched(false);
    auto result = (*it)->run(transaction_);
    // Some failures (disk full) end SQLite's transaction by themselves.
    auto const spoiled = !result.ok() && (transaction_.touched() || connection_->autocommit());
    (*it)->set_result(std::move(result));
    if (spoiled) {
      connection_->rollback();
      (*it)->finish();
      jobs.erase(it);
      return Outcome::again;
    }
  }
  auto flushed = transaction_.flush();
  if (flushed.ok()) {
    flushed = connection_->run("COMMIT");
  }
  if (!flushed.ok()) {
    log_.warn("a metadata transaction failed and was rolled back",
              {{"file", connection_->path()}, {"error", flushed.error().text()}});
    return fail_all(flushed.error());
  }
  groups_.add();
  writes_.add(jobs.size());
  answer(jobs);
  checkpointer_.committed(*connection_);
  return Outcome::finished;
}

Result<void> Writer::begin(std::vector<WriteJob*>& jobs) {
  SystemClock const clock;
  auto const start = clock.now();
  Duration pause = kBusyPauseFirst;
  while (true) {
    auto begun = connection_->run("BEGIN IMMEDIATE");
    if (begun.ok() || !is_busy(begun.error())) {
      return begun;
    }
    busy_.add();
    if (clock.now() - start >= busy_timeout_) {
      return begun;
    }
    queue_.pause(pause);
    pause = std::min<Duration>(pause * 2, kBusyPauseMax);
    drop_unwanted(jobs);
    if (jobs.empty()) {
      return begun;
    }
  }
}

void Writer::drop_unwanted(std::vector<WriteJob*>& jobs) {
  std::erase_if(jobs, [](WriteJob* job) {
    auto wanted = job->still_wanted();
    if (wanted.ok()) {
      return false;
    }
    job->set_result(std::move(wanted));
    job->finish();
    return true;
  });
}

void Writer::answer(std::vector<WriteJob*>& jobs) {
  for (auto* job : jobs) {
    job->finish();
  }
  jobs.clear();
}

}  // namespace zest::meta::sqlite
