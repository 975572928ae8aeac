// Which requests are running, so that an INTERRUPT finds the one it means.
//
// The kernel sends INTERRUPT for any request whose caller got a signal. A lock that is waited for
// ends at once (POSIX: EINTR). Everything else ends early only when its caller is being killed:
// programs don't expect EINTR from file I/O, and run-times send themselves signals all the time.
// Flushes are never cut short, as written data hang on them.
#pragma once

#include <array>
#include <cstdint>
#include <stop_token>
#include <vector>

#include "zest/fuse/protocol.h"
#include "zest/runtime/mutex.h"

namespace zest::fuse {

enum class Interruptible : std::uint8_t {
  never,
  when_killed,  ///< SIGKILL (or a fatal signal, which the kernel turns into one) is pending
  always,
};

/// How a request reacts to INTERRUPT.
Interruptible interruptible(RawRequest const& raw) noexcept;

/// True while the thread `pid` has a SIGKILL pending (from /proc/PID/status).
bool is_being_killed(std::uint32_t pid);

/// Running requests by their unique number. Any thread.
class InterruptTable {
 public:
  struct Running {
    std::uint64_t unique = 0;
    std::uint32_t pid = 0;
    Interruptible kind = Interruptible::never;
    std::stop_source* stop = nullptr;  ///< lives until remove()
  };
  enum class Outcome : std::uint8_t {
    stopped,
    ignored,  ///< it runs, but isn't to be stopped now
    unknown,  ///< not (or not yet, or no longer) running
  };

  void add(Running const& running);
  void remove(std::uint64_t unique) noexcept;
  Outcome interrupt(std::uint64_t unique);
  /// The session ends: stops everything that waits for a lock, now and later.
  void close() noexcept;

 private:
  static constexpr std::size_t kShards = 16;
  struct Shard {
    Mutex mutex;
    bool closed = false;
    std::vector<Running> running;  // dozens: a scan beats a hash table
  };
  Shard& shard(std::uint64_t unique) noexcept { return shards_[(unique >> 1) % kShards]; }
  std::array<Shard, kShards> shards_;
};

}  // namespace zest::fuse
