// The timers of one loop: a binary heap of waiters, earliest first, in order of creation where
// equal. Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "zest/runtime/waiter.h"

namespace zest {

/// Loop thread only. Adding and removing cost O(log n); a waiter knows its place.
class TimerHeap {
 public:
  void add(detail::Waiter& waiter, TimePoint when);
  /// Does nothing for a waiter whose timer has fired.
  void remove(detail::Waiter& waiter) noexcept;
  [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
  /// kNever when empty.
  [[nodiscard]] TimePoint next() const noexcept {
    return heap_.empty() ? kNever : heap_.front()->when;
  }
  /// Takes the earliest waiter; not when empty.
  detail::Waiter& pop() noexcept;

 private:
  static bool before(detail::Waiter const& a, detail::Waiter const& b) noexcept {
    return a.when != b.when ? a.when < b.when : a.sequence < b.sequence;
  }
  void place(detail::Waiter& waiter, std::size_t index) noexcept {
    heap_[index] = &waiter;
    waiter.heap_index = index;
  }
  void sift_up(detail::Waiter& waiter, std::size_t index) noexcept;
  void sift_down(detail::Waiter& waiter, std::size_t index) noexcept;

  std::vector<detail::Waiter*> heap_;
  std::uint64_t sequence_ = 0;
};

}  // namespace zest
