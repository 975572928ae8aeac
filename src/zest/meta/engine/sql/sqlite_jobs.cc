#include "zest/meta/engine/sql/sqlite_jobs.h"

#include "zest/base/clock.h"

namespace zest::meta::sqlite {

Job::Job(Context const& ctx) : ctx_(ctx), loop_(Loop::on_fiber() ? Loop::current() : nullptr) {
  if (loop_ != nullptr) {
    fiber_ = &loop_->current_fiber();
  }
}

Result<void> Job::still_wanted() const {
  if (ctx_.stop.stop_requested()) {
    return Error(Errc::intr);
  }
  // Real time: threads that block know no other.
  if (ctx_.deadline != kNever && SystemClock().now() >= ctx_.deadline) {
    return Error::transient(Errc::timedout, "the request waited too long for the database");
  }
  return {};
}

void Job::wait() {
  if (loop_ != nullptr) {
    loop_->suspend();
  } else {
    done_.acquire();
  }
}

void Job::finish() {
  if (loop_ != nullptr) {
    loop_->wake(*fiber_);
  } else {
    done_.release();
  }
}

}  // namespace zest::meta::sqlite
