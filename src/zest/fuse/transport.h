// How requests come in and replies go out.
//
// A transport takes requests on the loops of a group, runs each on a fiber of the loop that
// received it, and answers from there. It stands below the Dispatcher: it knows bytes, not
// operations. Two exist: reads and writes of /dev/fuse, which always runs, and FUSE over io_uring,
// which takes most of the traffic over where kernel and loop allow it.
#pragma once

#include <cstddef>

#include "zest/base/result.h"

namespace zest::fuse {

class Transport {
 public:
  Transport() = default;
  virtual ~Transport() = default;
  Transport(Transport const&) = delete;
  Transport& operator=(Transport const&) = delete;

  /// Begins to serve; from a foreign thread, once. After an error nothing runs.
  virtual Result<void> start() = 0;
  /// Blocks the calling foreign thread until the kernel closed the connection and every request
  /// was answered.
  virtual void wait() = 0;
};

}  // namespace zest::fuse
