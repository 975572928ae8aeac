#include "zest/runtime/uring_loop.h"

#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "zest/base/assert.h"

namespace zest {
namespace {

constexpr unsigned kEntries = 512;
// Fibers can wait for far more than fits into one submission; the kernel keeps what overflows, at a
// cost.
constexpr unsigned kCompletions = 8192;
constexpr int kFileSlots = 64;

unsigned to_poll(PollEvents events) noexcept {
  return (events.readable ? POLLIN | POLLRDHUP : 0U) | (events.writable ? POLLOUT : 0U);
}

/// Marks entries whose completion interests nobody.
constexpr std::uint64_t kIgnored = 0;

}  // namespace

/// A poll in the kernel. Not on the fiber's stack: a fiber that gave up waiting goes on at once,
/// while the kernel still holds the address until it has confirmed the cancellation.
struct UringLoop::FdWait : Completion {
  UringLoop* loop = nullptr;
  detail::Waiter* waiter = nullptr;  ///< Null when nobody waits any more.
  std::int32_t* result = nullptr;    ///< Where the fiber expects the events.
  FdWait* next_free = nullptr;
};

struct UringLoop::InboxRead : Completion {
  UringLoop* loop = nullptr;
  std::uint64_t value = 0;
};

UringPort* UringPort::of(Loop& loop) noexcept {
  return dynamic_cast<UringLoop*>(&loop);
}

Result<std::unique_ptr<Loop>> UringLoop::create(LoopOptions const& options, Logger& log) {
  // A blocking descriptor: the ring's read waits until somebody writes.
  UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  if (!event) {
    return Error::from_errno(errno, "an event loop can't be made: eventfd");
  }
  // tidy: allow(new) the constructor is private
  std::unique_ptr<UringLoop> loop(new UringLoop(options, log, std::move(event)));
  ZEST_CHECK(loop->set_up());
  return std::unique_ptr<Loop>(std::move(loop));
}

UringLoop::UringLoop(LoopOptions const& options, Logger& log, UniqueFd event)
    : LoopBase(options, &log),
      event_(std::move(event)),
      ring_(std::make_unique<io_uring>()),
      inbox_(std::make_unique<InboxRead>()) {
  inbox_->loop = this;
  inbox_->on_complete = &UringLoop::on_inbox;
}

UringLoop::~UringLoop() {
  if (ring_made_) {
    io_uring_queue_exit(ring_.get());  // ends what is still under way, so the FdWaits may go
  }
}

Result<void> UringLoop::set_up() {
  constexpr unsigned kNeeded = IORING_SETUP_SQE128 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
  io_uring_params params{};
  params.flags = kNeeded | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  params.cq_entries = kCompletions;
  int made = io_uring_queue_init_params(kEntries, ring_.get(), &params);
  deferred_ = made == 0;
  if (made == -EINVAL) {
    params = {};
    params.flags = kNeeded;
    params.cq_entries = kCompletions;
    made = io_uring_queue_init_params(kEntries, ring_.get(), &params);
  }
  if (made != 0) {
    return Error::from_errno(-made,
                             "io_uring can't be set up (forbidden by a seccomp profile or "
                             "kernel.io_uring_disabled, or Linux older than 5.19)");
  }
  ring_made_ = true;
  constexpr unsigned kFeatures = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP;
  if ((params.features & kFeatures) != kFeatures) {
    return Error(Errc::nosys, Fault::semantic, "io_uring of this kernel is too old (Linux 5.11)");
  }
  // A table of empty slots; where that isn't allowed, register_fd() says so.
  std::array<int, kFileSlots> empty;
  empty.fill(-1);
  if (io_uring_register_files(ring_.get(), empty.data(), kFileSlots) == 0) {
    for (int slot = kFileSlots; slot-- > 0;) {
      free_slots_.push_back(slot);
    }
  }
  io_uring_register_ring_fd(ring_.get());  // saves a look-up a call; without it all works as well
  return {};
}

// --- the port

io_uring_sqe* UringLoop::prepare(Completion& completion) {
  io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
  if (entry == nullptr) {
    io_uring_submit(ring_.get());
    entry = io_uring_get_sqe(ring_.get());
    if (entry == nullptr) {
      return nullptr;
    }
  }
  constexpr std::size_t kEntrySize = 128;
  std::memset(static_cast<void*>(entry), 0, kEntrySize);
  io_uring_sqe_set_data(entry, &completion);
  return entry;
}

int UringLoop::register_fd(int fd) {
  if (free_slots_.empty()) {
    return -ENFILE;
  }
  int const slot = free_slots_.back();
  int const updated =
      io_uring_register_files_update(ring_.get(), static_cast<unsigned>(slot), &fd, 1);
  if (updated != 1) {
    return updated < 0 ? updated : -EBADF;
  }
  free_slots_.pop_back();
  return slot;
}

void UringLoop::unregister_fd(int index) {
  int const none = -1;
  int const updated =
      io_uring_register_files_update(ring_.get(), static_cast<unsigned>(index), &none, 1);
  ZEST_ASSERT(updated == 1);
  free_slots_.push_back(index);
}

// --- waiting for descriptors

UringLoop::FdWait* UringLoop::new_wait() {
  if (free_waits_ == nullptr) {
    waits_.push_back(std::make_unique<FdWait>());
    free_waits_ = waits_.back().get();
    free_waits_->loop = this;
    free_waits_->on_complete = &UringLoop::on_ready;
  }
  return std::exchange(free_waits_, free_waits_->next_free);
}

Result<PollEvents> UringLoop::wait_fd(Context const& ctx, int fd, PollEvents events) {
  detail::Waiter waiter;
  FdWait& wait = *new_wait();
  io_uring_sqe* const entry = prepare(wait);
  if (entry == nullptr) {
    wait.next_free = std::exchange(free_waits_, &wait);
    return Error::transient(Errc::busy, "the io_uring of this loop takes no more entries");
  }
  io_uring_prep_poll_add(entry, fd, to_poll(events));
  io_uring_sqe_set_data(entry, static_cast<Completion*>(&wait));
  std::int32_t result = 0;
  wait.waiter = &waiter;
  wait.result = &result;
  auto const wakeup = this->wait(waiter, &ctx, kNever);
  if (wakeup != detail::Wakeup::notified) {
    abandon(wait, waiter);
    ZEST_CHECK(detail::to_result(wakeup));
  }
  if (result < 0) {
    return Error::from_errno(-result, "waiting for a descriptor");
  }
  auto const got = static_cast<unsigned>(result);
  bool const failed = (got & (POLLERR | POLLHUP | POLLNVAL)) != 0;
  return PollEvents{.readable = events.readable && (failed || (got & (POLLIN | POLLRDHUP)) != 0),
                    .writable = events.writable && (failed || (got & POLLOUT) != 0)};
}

void UringLoop::on_ready(Completion& self, std::int32_t result, std::uint32_t /*flags*/) {
  auto& wait = static_cast<FdWait&>(self);
  auto* const waiter = std::exchange(wait.waiter, nullptr);
  if (waiter != nullptr && waiter->claim(detail::Wakeup::notified)) {
    *wait.result = result;
    wait.loop->ready_.push(*waiter->fiber);
  }
  wait.next_free = std::exchange(wait.loop->free_waits_, &wait);
}

void UringLoop::abandon(FdWait& wait, detail::Waiter const& waiter) {
  if (wait.waiter != &waiter) {
    return;  // completed after all, and perhaps in use by another fiber by now
  }
  wait.waiter = nullptr;
  io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
  if (entry == nullptr) {
    io_uring_submit(ring_.get());
    entry = io_uring_get_sqe(ring_.get());
  }
  if (entry == nullptr) {
    return;  // the poll stays until its descriptor becomes ready, and its record with it
  }
  io_uring_prep_cancel64(entry, reinterpret_cast<std::uint64_t>(static_cast<Completion*>(&wait)),
                         0);
  io_uring_sqe_set_data64(entry, kIgnored);
}

// --- inbox and completions

void UringLoop::read_inbox() {
  io_uring_sqe* const entry = prepare(*inbox_);
  if (entry == nullptr) {
    return;  // the next turn tries again
  }
  io_uring_prep_read(entry, event_.get(), &inbox_->value, sizeof inbox_->value, 0);
  io_uring_sqe_set_data(entry, static_cast<Completion*>(inbox_.get()));
  inbox_armed_ = true;
}

void UringLoop::on_inbox(Completion& self, std::int32_t /*result*/, std::uint32_t /*flags*/) {
  static_cast<InboxRead&>(self).loop->inbox_armed_ = false;
}

void UringLoop::interrupt() noexcept {
  std::uint64_t const one = 1;
  [[maybe_unused]] auto const written = ::write(event_.get(), &one, sizeof one);
}

void UringLoop::poll(bool may_wait, TimePoint until) {
  if (!inbox_armed_) {
    read_inbox();
    // Without the read nobody could end a wait; only a full ring prevents it, and a submission
    // helps.
    may_wait = may_wait && inbox_armed_;
  }
  if (!may_wait) {
    if (deferred_) {
      io_uring_submit_and_get_events(ring_.get());
    } else {
      io_uring_submit(ring_.get());
    }
  } else if (until == kNever) {
    io_uring_submit_and_wait(ring_.get(), 1);
  } else {
    auto const left = std::max(until - now(), Duration::zero());
    auto const seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    __kernel_timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
    io_uring_cqe* first = nullptr;
    io_uring_submit_and_wait_timeout(ring_.get(), &first, 1, &timeout, nullptr);
  }
  complete_all();
}

void UringLoop::complete_all() {
  io_uring_cqe* completion = nullptr;
  unsigned head = 0;
  unsigned count = 0;
  io_uring_for_each_cqe(ring_.get(), head, completion) {
    ++count;
    if (completion->user_data != kIgnored) {
      auto& self = *static_cast<Completion*>(io_uring_cqe_get_data(completion));
      self.on_complete(self, completion->res, completion->flags);
    }
  }
  io_uring_cq_advance(ring_.get(), count);
}

}  // namespace zest
