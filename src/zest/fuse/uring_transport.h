// FUSE over io_uring: requests arrive as completions in the ring of a loop, replies go back as
// entries that at the same time ask for the next request. No read, no write, no wake-up in between.
//
// The kernel has a queue for each possible CPU and puts a request into the queue of the CPU that
// its caller runs on. Queue q belongs to loop q mod N, whose ring and thread alone touch it; so any
// number of loops works, and with pinned loops a request stays on its core. A queue has `depth`
// entries, each with a buffer for the largest request. INIT came and FORGET and INTERRUPT still
// come through /dev/fuse: a DevTransport runs beside.
//
// An entry is taken until its reply. Waits for locks may last for ever and must not take all of
// them, as the unlock could no longer come in: from half of a queue on they get ENOLCK.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "zest/base/log.h"
#include "zest/fuse/dispatcher.h"
#include "zest/fuse/transport.h"
#include "zest/runtime/loop_group.h"
#include "zest/runtime/sync.h"
#include "zest/runtime/uring_port.h"

namespace zest::fuse {

struct UringTransportOptions {
  std::uint32_t max_write = 1u << 20;
  std::uint32_t depth = 32;
  /// Address space for payloads, all queues together: lowers the depth, to 4 at least.
  std::size_t memory_max = std::size_t{1} << 30;
};

/// Number of queues that the kernel wants: its possible CPUs.
std::size_t possible_cpus();

/// Parses a kernel list of CPUs ("0-3,8"); 0 when it isn't one.
std::size_t count_cpu_list(std::string_view text) noexcept;

class UringTransport final : public Transport {
 public:
  /// `device`: connected, FUSE_OVER_IO_URING negotiated; outlives the transport.
  UringTransport(int device, UringTransportOptions options, LoopGroup& loops,
                 Dispatcher& dispatcher, Logger& log);
  ~UringTransport() override;

  /// True when all loops have a ring.
  [[nodiscard]] static bool supported(LoopGroup& loops) noexcept;

  /// Registers all queues. After an error the connection is unusable, as the kernel waits for the
  /// missing entries: unmount, wait(), and mount without io_uring.
  Result<void> start() override;
  void wait() override;

 private:
  struct Entry;
  struct Queue;
  struct Lane;
  Result<void> register_lane(Lane& lane);
  void submit(Entry& entry, std::uint32_t command);
  static void on_complete(UringPort::Completion& self, std::int32_t result, std::uint32_t flags);
  void retire(Entry& entry, std::int32_t result);
  void serve(Entry& entry);
  Reply run(Entry& entry, RawRequest const& raw);

  int device_;
  UringTransportOptions options_;
  LoopGroup& loops_;
  Dispatcher& dispatcher_;
  Logger& log_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  Scope scope_;
};

}  // namespace zest::fuse
