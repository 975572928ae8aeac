// The loop with a virtual clock and a seeded scheduler. Internal to the runtime; see
// make_simulated_loop().
#pragma once

#include <atomic>
#include <random>
#include <vector>

#include "zest/runtime/loop_base.h"

namespace zest {

/// Deterministic as long as no foreign thread takes part: which of the ready fibers runs next is
/// drawn from the seed, and time passes only when none is ready. BlockingPool::run() runs its job
/// in place, with a yield before and after. wait_fd() is ENOSYS: the kernel's readiness follows no
/// seed.
class SimulatedLoop final : public LoopBase {
 public:
  explicit SimulatedLoop(std::uint64_t seed);

  /// Returns when nothing is ready and no timer is left, even if fibers are suspended: they would
  /// wait forever.
  void run() override;
  Result<PollEvents> wait_fd(Context const& ctx, int fd, PollEvents events) override;
  [[nodiscard]] TimePoint now() const noexcept override;
  [[nodiscard]] WallTime wall() const noexcept override;
  [[nodiscard]] std::string_view name() const noexcept override { return "sim"; }
  [[nodiscard]] bool simulated() const noexcept override { return true; }

 protected:
  void poll(bool may_wait, TimePoint until) override;
  void interrupt() noexcept override {}

 private:
  Fiber* draw();

  std::mt19937_64 random_;
  std::vector<Fiber*> candidates_;
  std::atomic<Duration::rep> elapsed_{0};
};

}  // namespace zest
