#include "zest/runtime/epoll_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

namespace zest {
namespace {

constexpr std::uint32_t kFailed = EPOLLERR | EPOLLHUP;

std::uint32_t to_epoll(PollEvents events) noexcept {
  return (events.readable ? EPOLLIN | EPOLLRDHUP : 0U) | (events.writable ? EPOLLOUT : 0U);
}

}  // namespace

/// One fiber's wait for a descriptor, on its stack.
struct EpollLoop::FdWait {
  detail::Waiter waiter;
  int fd = -1;
  PollEvents wanted;
  PollEvents got;
  FdWait* next = nullptr;
};

Result<std::unique_ptr<Loop>> EpollLoop::create(LoopOptions const& options, Logger& log) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) {
    return Error::from_errno(errno, "an event loop can't be made: epoll_create1");
  }
  UniqueFd event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event) {
    return Error::from_errno(errno, "an event loop can't be made: eventfd");
  }
  epoll_event registration{};
  registration.events = EPOLLIN;
  registration.data.fd = event.get();
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, event.get(), &registration) != 0) {
    return Error::from_errno(errno, "an event loop can't be made: epoll_ctl");
  }
  // tidy: allow(new) the constructor is private
  return std::unique_ptr<Loop>(new EpollLoop(options, log, std::move(epoll), std::move(event)));
}

EpollLoop::EpollLoop(LoopOptions const& options, Logger& log, UniqueFd epoll,
                     UniqueFd event) noexcept
    : LoopBase(options, &log), epoll_(std::move(epoll)), event_(std::move(event)) {}

Result<PollEvents> EpollLoop::wait_fd(Context const& ctx, int fd, PollEvents events) {
  if (fd < 0) {
    return Errc::badf;
  }
  FdWait wait{.waiter = {}, .fd = fd, .wanted = events, .got = {}, .next = first_of(fd)};
  first_of(fd) = &wait;
  if (int const number = arm(fd); number != 0) {
    unlink(wait);
    if (number == EPERM) {
      return events;  // a regular file is always ready, as poll(2) has it
    }
    return Error::from_errno(number, "waiting for a descriptor");
  }
  auto const wakeup = this->wait(wait.waiter, &ctx, kNever);
  if (wakeup == detail::Wakeup::notified) {
    return wait.got;
  }
  unlink(wait);  // an event that still comes finds nobody
  ZEST_CHECK(detail::to_result(wakeup));
  return wait.got;
}

EpollLoop::FdWait*& EpollLoop::first_of(int fd) {
  auto const index = static_cast<std::size_t>(fd);
  if (index >= fds_.size()) {
    fds_.resize(std::max(index + 1, fds_.size() * 2));
  }
  return fds_[index];
}

void EpollLoop::unlink(FdWait& wait) noexcept {
  for (FdWait** at = &first_of(wait.fd); *at != nullptr; at = &(*at)->next) {
    if (*at == &wait) {
      *at = wait.next;
      return;
    }
  }
}

int EpollLoop::arm(int fd) noexcept {
  epoll_event registration{};
  registration.events = EPOLLONESHOT;
  registration.data.fd = fd;
  for (FdWait const* wait = first_of(fd); wait != nullptr; wait = wait->next) {
    registration.events |= to_epoll(wait->wanted);
  }
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &registration) == 0) {
    return 0;
  }
  if (errno != ENOENT) {
    return errno;
  }
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &registration) == 0 ? 0 : errno;
}

void EpollLoop::on_event(int fd, std::uint32_t events) noexcept {
  // Errors and hang-ups are for everybody: the call that follows finds out what it is.
  bool const readable = (events & (EPOLLIN | EPOLLRDHUP | kFailed)) != 0;
  bool const writable = (events & (EPOLLOUT | kFailed)) != 0;
  for (FdWait** at = &first_of(fd); *at != nullptr;) {
    FdWait& wait = **at;
    wait.got = {.readable = readable && wait.wanted.readable,
                .writable = writable && wait.wanted.writable};
    bool const done = wait.got.readable || wait.got.writable || (events & kFailed) != 0;
    if (!done) {
      at = &wait.next;
      continue;
    }
    *at = wait.next;
    if (wait.waiter.claim(detail::Wakeup::notified)) {
      ready_.push(*wait.waiter.fiber);
    }
  }
  if (first_of(fd) != nullptr && arm(fd) != 0) {
    // The descriptor went away under those who still wait; let them find out.
    for (FdWait* wait = std::exchange(first_of(fd), nullptr); wait != nullptr;) {
      FdWait* const next = wait->next;
      wait->got = wait->wanted;
      if (wait->waiter.claim(detail::Wakeup::notified)) {
        ready_.push(*wait->waiter.fiber);
      }
      wait = next;
    }
  }
}

void EpollLoop::poll(bool may_wait, TimePoint until) {
  std::array<epoll_event, 128> events;
  epoll_event* const first = events.data();
  int const count = wait_events(first, static_cast<int>(events.size()), may_wait, until);
  for (int i = 0; i < count; ++i) {
    auto const& event = events[static_cast<std::size_t>(i)];
    if (event.data.fd == event_.get()) {
      std::uint64_t value = 0;
      [[maybe_unused]] auto const taken = ::read(event_.get(), &value, sizeof value);
    } else {
      on_event(event.data.fd, event.events);
    }
  }
}

int EpollLoop::wait_events(epoll_event* events, int events_max, bool may_wait,
                           TimePoint until) noexcept {
  if (!may_wait || until == kNever) {
    return ::epoll_wait(epoll_.get(), events, events_max, may_wait ? -1 : 0);
  }
  auto const left = std::max(until - now(), Duration::zero());
  if (nanoseconds_) {
    auto const seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    timespec const timeout{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
    int const count = ::epoll_pwait2(epoll_.get(), events, events_max, &timeout, nullptr);
    if (count >= 0 || (errno != ENOSYS && errno != EPERM)) {
      return count;
    }
    nanoseconds_ = false;  // before Linux 5.11, or a seccomp profile from then
  }
  // Rounded up, or the loop would spin through the last millisecond.
  auto const milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  constexpr std::int64_t kLongest = 3'600'000;
  return ::epoll_wait(epoll_.get(), events, events_max,
                      static_cast<int>(std::min(milliseconds, kLongest)));
}

void EpollLoop::interrupt() noexcept {
  std::uint64_t const one = 1;
  [[maybe_unused]] auto const written = ::write(event_.get(), &one, sizeof one);
}

}  // namespace zest
