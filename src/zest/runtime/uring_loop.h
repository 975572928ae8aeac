// The loop over io_uring. Internal to the runtime; others see it as Loop and as UringPort.
//
// Everything the loop asks of the kernel is an entry in the ring: polls of wait_fd(), the read that
// its inbox ends, what users of the port prepare. Entries gather while fibers run and are submitted
// by the call that waits for completions, so a busy turn costs one system call. Only the loop's
// thread touches the ring (SINGLE_ISSUER), and completions are worked off when it asks for them
// (DEFER_TASKRUN), which saves interrupts; kernels before 6.1 get a plain ring.
#pragma once

#include <memory>
#include <vector>

#include "zest/runtime/loop_base.h"
#include "zest/runtime/socket.h"
#include "zest/runtime/uring_port.h"

struct io_uring;

namespace zest {

class UringLoop final : public LoopBase, public UringPort {
 public:
  static Result<std::unique_ptr<Loop>> create(LoopOptions const& options, Logger& log);
  ~UringLoop() override;

  Result<PollEvents> wait_fd(Context const& ctx, int fd, PollEvents events) override;
  [[nodiscard]] std::string_view name() const noexcept override { return "uring"; }

  io_uring_sqe* prepare(Completion& completion) override;
  int register_fd(int fd) override;
  void unregister_fd(int index) override;

 protected:
  void poll(bool may_wait, TimePoint until) override;
  void interrupt() noexcept override;

 private:
  struct FdWait;
  struct InboxRead;

  UringLoop(LoopOptions const& options, Logger& log, UniqueFd event);
  Result<void> set_up();
  void read_inbox();
  /// Forgets a wait whose fiber gave up, and asks the kernel to cancel its poll.
  void abandon(FdWait& wait, detail::Waiter const& waiter);
  FdWait* new_wait();
  static void on_ready(Completion& self, std::int32_t result, std::uint32_t flags);
  static void on_inbox(Completion& self, std::int32_t result, std::uint32_t flags);
  void complete_all();

  UniqueFd event_;
  std::unique_ptr<io_uring> ring_;
  bool ring_made_ = false;
  bool inbox_armed_ = false;
  bool deferred_ = false;  ///< DEFER_TASKRUN: completions appear only when asked for.
  std::unique_ptr<InboxRead> inbox_;
  std::vector<std::unique_ptr<FdWait>> waits_;
  FdWait* free_waits_ = nullptr;
  std::vector<int> free_slots_;  ///< Of the ring's file table.
};

}  // namespace zest
