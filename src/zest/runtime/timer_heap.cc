#include "zest/runtime/timer_heap.h"

namespace zest {

using detail::Waiter;

void TimerHeap::add(Waiter& waiter, TimePoint when) {
  waiter.when = when;
  waiter.sequence = sequence_++;
  heap_.push_back(&waiter);
  sift_up(waiter, heap_.size() - 1);
}

void TimerHeap::remove(Waiter& waiter) noexcept {
  std::size_t const hole = waiter.heap_index;
  if (hole == Waiter::kNoTimer) {
    return;
  }
  waiter.heap_index = Waiter::kNoTimer;
  Waiter& last = *heap_.back();
  heap_.pop_back();
  if (&last == &waiter) {
    return;
  }
  if (hole > 0 && before(last, *heap_[(hole - 1) / 2])) {
    sift_up(last, hole);
  } else {
    sift_down(last, hole);
  }
}

Waiter& TimerHeap::pop() noexcept {
  Waiter& first = *heap_.front();
  remove(first);
  return first;
}

void TimerHeap::sift_up(Waiter& waiter, std::size_t index) noexcept {
  while (index > 0) {
    std::size_t const parent = (index - 1) / 2;
    if (!before(waiter, *heap_[parent])) {
      break;
    }
    place(*heap_[parent], index);
    index = parent;
  }
  place(waiter, index);
}

void TimerHeap::sift_down(Waiter& waiter, std::size_t index) noexcept {
  for (;;) {
    std::size_t child = 2 * index + 1;
    if (child >= heap_.size()) {
      break;
    }
    if (child + 1 < heap_.size() && before(*heap_[child + 1], *heap_[child])) {
      ++child;
    }
    if (!before(*heap_[child], waiter)) {
      break;
    }
    place(*heap_[child], index);
    index = child;
  }
  place(waiter, index);
}

}  // namespace zest
