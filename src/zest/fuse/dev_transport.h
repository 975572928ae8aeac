// Plain /dev/fuse: one read a request, one writev a reply.
//
// Every loop has a descriptor of its own (a clone) and one fiber that reads it. A small request is
// copied into a slot and its buffer read into again; a large one (WRITE) keeps its buffer until it
// was served. Both are bounded: when they are used up the fiber stops reading, and requests wait
// in the kernel. Reply data are sent from where they are, without a copy in user space.
#pragma once

#include <cstdint>
#include <memory>
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
  Scope scope_;
};

}  // namespace zest::fuse
