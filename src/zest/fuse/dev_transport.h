// Plain /dev/fuse: one read a request, one writev a reply.
//
// Every loop has a descriptor of its own (a clone) and one fiber that reads it. A small request is
// copied into a slot and its buffer read into again; a large one (WRITE) keeps its buffer until it
// was served. Both are bounded: when they are used up the fiber stops reading, and requests wait
// in the kernel. Reply data are sent from where they are, without a copy in user space.
//
// The kernel wakes everybody who waits for a request, and one gets it. So that a single caller does
// not cost a wake-up of every loop, only the first loop waits always; the others help when it finds
// several requests in a row, and sleep again when what they get is single ones.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "zest/base/log.h"
#include "zest/fuse/dispatcher.h"
#include "zest/fuse/transport.h"
#include "zest/runtime/loop_group.h"
#include "zest/runtime/socket.h"
#include "zest/runtime/sync.h"

namespace zest::fuse {

struct DevTransportOptions {
  std::uint32_t max_write = 1u << 20;          ///< as negotiated
  std::size_t lanes_max = 1024;                ///< loops that read; 1 beside io_uring
  std::size_t requests_max = 2048;             ///< being served, a loop
  std::size_t buffer_memory_max = 256u << 20;  ///< bytes for large requests, all loops together
};

class DevTransport final : public Transport {
 public:
  /// `device` is a connected, nonblocking /dev/fuse descriptor that outlives the transport.
  DevTransport(int device, DevTransportOptions options, LoopGroup& loops, Dispatcher& dispatcher,
               Logger& log);
  ~DevTransport() override;

  Result<void> start() override;
  void wait() override;

 private:
  struct Slot;
  struct Lane;
  void read_requests(Lane& lane);
  /// Nothing to read now: waits for more, or, on a loop that only helps, for a call for help.
  /// False: the transport ends.
  bool wait_for_requests(Lane& lane);
  /// Wakes one loop that sleeps; with `all`, every one.
  void call_for_help(bool all);
  void accept(Lane& lane, std::size_t length);
  void take_notice(RawRequest const& raw);
  void serve(Lane& lane, Slot& slot);
  void send(Lane& lane, RawRequest const& raw, Reply const& reply);

  int device_;
  DevTransportOptions options_;
  LoopGroup& loops_;
  Dispatcher& dispatcher_;
  Logger& log_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::mutex help_mutex_;
  std::vector<std::shared_ptr<Event>> asleep_;  ///< guarded by help_mutex_; shared with the sleeper
  bool ended_ = false;                          ///< guarded by help_mutex_
  Scope scope_;
};

}  // namespace zest::fuse
