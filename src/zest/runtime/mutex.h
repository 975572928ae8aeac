// A std::mutex for data that several loops share, which notices when it's held across a suspension.
#pragma once

#include <mutex>

namespace zest {

/// Held for a few instructions around code that cannot suspend. Loop::suspend() asserts that the
/// thread holds none: a fiber that parked with it locked would stop every other fiber of its loop
/// that wants it, for good.
class Mutex {
 public:
  void lock() {
    mutex_.lock();
    ++held_by_thread();
  }
  [[nodiscard]] bool try_lock() {
    bool const locked = mutex_.try_lock();
    held_by_thread() += locked ? 1 : 0;
    return locked;
  }
  void unlock() {
    --held_by_thread();
    mutex_.unlock();
  }

  /// How many the calling thread holds now.
  static int& held_by_thread() noexcept;

 private:
  std::mutex mutex_;
};

}  // namespace zest
