// The loop over epoll(7), for kernels and containers without io_uring. Internal to the runtime.
#pragma once

#include <vector>

#include "zest/runtime/loop_base.h"
#include "zest/runtime/socket.h"

struct epoll_event;

namespace zest {

/// Descriptors are armed one-shot for the union of what their fibers wait for. The kernel forgets a
/// descriptor when it's closed, without telling, so nothing is assumed to be still registered: each
/// wait costs an epoll_ctl. A descriptor must not be closed while a fiber waits for it.
class EpollLoop final : public LoopBase {
 public:
  static Result<std::unique_ptr<Loop>> create(LoopOptions const& options, Logger& log);

  Result<PollEvents> wait_fd(Context const& ctx, int fd, PollEvents events) override;
  [[nodiscard]] std::string_view name() const noexcept override { return "epoll"; }

 protected:
  void poll(bool may_wait, TimePoint until) override;
  void interrupt() noexcept override;

 private:
  struct FdWait;

  EpollLoop(LoopOptions const& options, Logger& log, UniqueFd epoll, UniqueFd event) noexcept;
  /// Arms `fd` for all of its waiters; 0 or an errno.
  int arm(int fd) noexcept;
  void on_event(int fd, std::uint32_t events) noexcept;
  int wait_events(epoll_event* events, int events_max, bool may_wait, TimePoint until) noexcept;
  FdWait*& first_of(int fd);
  void unlink(FdWait& wait) noexcept;

  UniqueFd epoll_;
  UniqueFd event_;
  std::vector<FdWait*> fds_;  ///< By descriptor: the fibers that wait for it.
  bool nanoseconds_ = true;   ///< epoll_pwait2 exists.
};

}  // namespace zest
