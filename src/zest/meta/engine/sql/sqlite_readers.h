// Threads that read, each with a connection of its own; every job sees one consistent state.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/meta/engine/sql/sqlite_connection.h"
#include "zest/meta/engine/sql/sqlite_jobs.h"

namespace zest::meta::sqlite {

/// What a read runs: on the reader's thread, once.
class ReadJob : public Job {
 public:
  explicit ReadJob(Context const& ctx) : Job(ctx) {}
  virtual void run(Connection& connection) = 0;
  virtual void fail(Error error) = 0;

 protected:
  ~ReadJob() = default;
};

class Readers {
 public:
  explicit Readers(std::vector<std::unique_ptr<Connection>> connections);
  ~Readers();
  Readers(Readers const&) = delete;
  Readers& operator=(Readers const&) = delete;

  /// Runs `body(connection)`, which returns a Result, on a reader's thread. With `snapshot` all its
  /// statements see one state; a single statement does so anyway. May suspend.
  template <class Body>
  auto run(Context const& ctx, bool snapshot, Body const& body)
      -> std::invoke_result_t<Body, Connection&> {
    using R = std::invoke_result_t<Body, Connection&>;
    struct BodyJob final : ReadJob {
      BodyJob(Context const& c, Body const& b, bool s) : ReadJob(c), body(&b), snapshot(s) {}
      void run(Connection& connection) override {
        if (!snapshot) {
          result.emplace((*body)(connection));
          return;
        }
        if (auto begun = connection.run("BEGIN"); !begun.ok()) {
          fail(std::move(begun).error());
          return;
        }
        result.emplace((*body)(connection));
        connection.rollback();
      }
      void fail(Error error) override { result.emplace(std::move(error)); }
      Body const* body;
      bool snapshot;
      std::optional<R> result;
    };
    BodyJob job(ctx, body, snapshot);
    queue_.push(job);
    job.wait();
    return std::move(*job.result);
  }

 private:
  void serve(Connection& connection);

  std::vector<std::unique_ptr<Connection>> connections_;
  JobQueue<ReadJob> queue_;
  std::vector<std::jthread> threads_;
};

}  // namespace zest::meta::sqlite
