// Randomness as a dependency, so that a simulation replays from one seed.
#pragma once

#include <cstdint>
#include <mutex>
#include <random>

namespace zest {

/// A seeded generator. Thread-safe; not for keys or nonces (those come from OpenSSL).
class Rng {
 public:
  explicit Rng(std::uint64_t seed) : engine_(seed) {}
  /// Uniform in [0, bound); bound > 0.
  std::uint64_t below(std::uint64_t bound) {
    std::lock_guard const lock(mutex_);
    return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(engine_);
  }

 private:
  std::mutex mutex_;
  std::mt19937_64 engine_;
};

}  // namespace zest
