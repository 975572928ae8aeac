#include "zest/meta/engine/sql/sqlite_readers.h"

namespace zest::meta::sqlite {

Readers::Readers(std::vector<std::unique_ptr<Connection>> connections)
    : connections_(std::move(connections)) {
  threads_.reserve(connections_.size());
  for (auto& connection : connections_) {
    threads_.emplace_back([this, &connection] { serve(*connection); });
  }
}

Readers::~Readers() {
  queue_.stop();
}

void Readers::serve(Connection& connection) {
  while (true) {
    // One at a time, so that a second thread takes the next one.
    auto const jobs = queue_.pop(1);
    if (jobs.empty()) {
      return;
    }
    auto& job = *jobs.front();
    if (auto wanted = job.still_wanted(); !wanted.ok()) {
      job.fail(std::move(wanted).error());
    } else {
      job.run(connection);
    }
    job.finish();
  }
}

}  // namespace zest::meta::sqlite
