// An engine whose calls fail when a plan says so: what a network and a dying server do to a client.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "zest/base/rng.h"
#include "zest/meta/engine.h"

namespace zest::fault {

enum class Fault : std::uint8_t {
  none,
  /// The server was never reached: nothing happened, and the caller knows it (ECONNREFUSED).
  refused,
  /// The server did it, its reply got lost: ETIMEDOUT, the outcome is unknown.
  lost_reply,
  /// The request got lost: nothing happened, but the caller cannot know (ETIMEDOUT).
  timed_out,
};

/// Says which of the calls fail. Thread-safe; shared by the clients of a test, outlives them.
class Plan {
 public:
  struct Chances {  ///< in a thousand calls
    std::uint32_t refused = 0;
    std::uint32_t lost_reply = 0;
    std::uint32_t timed_out = 0;
  };
  /// No call fails until switched on.
  Plan() = default;
  /// Draws from `seed`.
  Plan(std::uint64_t seed, Chances chances)
      : rng_(std::make_unique<Rng>(seed)), chances_(chances) {}

  void on(bool yes) noexcept { on_.store(yes, std::memory_order_release); }
  /// Draws anew from `seed`: what follows does not depend on how many calls there were before.
  void reseed(std::uint64_t seed);
  /// From now on only the `nth` call (1 = the next) and the `times` - 1 after it fail, in this way.
  void fail_nth(std::uint64_t nth, Fault fault, std::uint64_t times = 1);
  /// What the next call meets.
  Fault draw();
  /// Calls that failed.
  [[nodiscard]] std::uint64_t injected() const noexcept { return injected_.load(); }

 private:
  Fault draw_locked();

  std::mutex mutex_;
  std::unique_ptr<Rng> rng_ = std::make_unique<Rng>(1);
  Chances chances_;
  Fault nth_fault_ = Fault::none;
  std::uint64_t nth_ = 0;
  std::uint64_t times_ = 0;
  std::uint64_t calls_ = 0;
  std::atomic<bool> on_{false};
  std::atomic<std::uint64_t> injected_{0};
};

/// `inner` with the faults of `plan` (null: none). Both outlive the result.
///
/// Counters that are added to (usage, statistics of directories and quotas) lose requests, but no
/// replies: nobody can find out afterwards whether such a sum was added, so it is right to the last
/// byte only where no reply is lost, and fsck repairs it.
std::unique_ptr<meta::Engine> make_faulty_engine(meta::Engine& inner, Plan* plan);

}  // namespace zest::fault
