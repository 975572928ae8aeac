#include "zest/fuse/uring_transport.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "zest/runtime/socket.h"

namespace zest::fuse {
namespace {

constexpr std::uint32_t kDepthMin = 4;
constexpr std::uint32_t kDepthMax = 256;
/// Where the command area begins in a 128-byte submission entry.
constexpr std::size_t kCommandOffset = 48;
/// How long a failed registration may take to be reported; it's reported by the submission itself.
constexpr auto kRegistrationTime = std::chrono::milliseconds(2);

}  // namespace

struct UringTransport::Entry : UringPort::Completion {
  UringTransport* transport = nullptr;
  Queue* queue = nullptr;
  abi::UringRequestHeader headers{};
  std::byte* payload = nullptr;
  std::array<iovec, 2> buffers{};
  std::uint64_t commit_id = 0;
  std::stop_source stop;
};

/// The entries of one CPU.
struct UringTransport::Queue {
  Queue(Lane& l, std::uint16_t number, std::uint32_t depth, std::size_t payload)
      : lane(l), id(number), memory_size(depth * payload), entries(depth) {
    void* const mapped = ::mmap(nullptr, memory_size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    memory = mapped == MAP_FAILED ? nullptr : static_cast<std::byte*>(mapped);
  }
  ~Queue() {
    if (memory != nullptr) {
      ::munmap(memory, memory_size);
    }
  }
  Queue(Queue const&) = delete;
  Queue& operator=(Queue const&) = delete;

  Lane& lane;
  std::uint16_t id;
  std::size_t memory_size;
  std::byte* memory = nullptr;
  std::vector<Entry> entries;
  std::size_t waiting_locks = 0;
};

/// The queues of one loop; used on its thread only.
struct UringTransport::Lane {
  explicit Lane(Loop& l) : loop(l) {}
  Loop& loop;
  UringPort* port = nullptr;
  int file = -1;  ///< index in the ring's table
  std::vector<std::unique_ptr<Queue>> queues;
  std::size_t live = 0;      ///< entries that the kernel has or that are being served
  std::int32_t failure = 0;  ///< first negative completion
  Event retired;             ///< set when `live` falls to zero
};

std::size_t count_cpu_list(std::string_view text) noexcept {
  std::size_t count = 0;
  while (!text.empty() && text.front() != '\n') {
    auto const part = text.substr(0, text.find_first_of(",\n"));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    std::size_t first = 0;
    auto const [end, error] = std::from_chars(part.data(), part.data() + part.size(), first);
    std::size_t last = first;
    if (error != std::errc{}) {
      return 0;
    }
    if (end != part.data() + part.size()) {
      auto const [stop, bad] = std::from_chars(end + 1, part.data() + part.size(), last);
      if (*end != '-' || bad != std::errc{} || stop != part.data() + part.size() || last < first) {
        return 0;
      }
    }
    count += last - first + 1;
  }
  return count;
}

std::size_t possible_cpus() {
  std::array<char, 4096> text{};
  UniqueFd const fd(::open("/sys/devices/system/cpu/possible", O_RDONLY | O_CLOEXEC));
  auto const n = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  auto const count = count_cpu_list({text.data(), n > 0 ? static_cast<std::size_t>(n) : 0});
  return count != 0 ? count : static_cast<std::size_t>(::sysconf(_SC_NPROCESSORS_CONF));
}

UringTransport::UringTransport(int device, UringTransportOptions options, LoopGroup& loops,
                               Dispatcher& dispatcher, Logger& log)
    : device_(device), options_(options), loops_(loops), dispatcher_(dispatcher), log_(log) {}

UringTransport::~UringTransport() = default;

bool UringTransport::supported(LoopGroup& loops) noexcept {
  for (std::size_t i = 0; i < loops.size(); ++i) {
    if (UringPort::of(loops.loop(i)) == nullptr) {
      return false;
    }
  }
  return true;
}

Result<void> UringTransport::start() {
  std::size_t const queues = possible_cpus();
  std::size_t const payload = std::max<std::size_t>(options_.max_write, FUSE_MIN_READ_BUFFER);
  auto const fits = std::max<std::size_t>(options_.memory_max / queues / payload, kDepthMin);
  auto const depth = static_cast<std::uint32_t>(
      std::min<std::size_t>(std::clamp(options_.depth, kDepthMin, kDepthMax), fits));
  for (std::size_t i = 0; i < loops_.size(); ++i) {
    lanes_.push_back(std::make_unique<Lane>(loops_.loop(i)));
  }
  for (std::size_t q = 0; q < queues; ++q) {
    auto& lane = *lanes_[q % lanes_.size()];
    lane.queues.push_back(
        std::make_unique<Queue>(lane, static_cast<std::uint16_t>(q), depth, payload));
    auto& queue = *lane.queues.back();
    if (queue.memory == nullptr) {
      return Error(Errc::nomem, Fault::semantic,
                   fmt::format("no address space for {} io_uring buffers", depth));
    }
    for (std::uint32_t i = 0; i < depth; ++i) {
      auto& entry = queue.entries[i];
      entry.on_complete = &UringTransport::on_complete;
      entry.transport = this;
      entry.queue = &queue;
      entry.payload = queue.memory + i * payload;
      entry.buffers = {{{&entry.headers, sizeof entry.headers}, {entry.payload, payload}}};
    }
  }
  Result<void> result;
  for (std::size_t i = 0; i < lanes_.size() && result.ok(); ++i) {
    result = loops_.call(i, [this, i] { return register_lane(*lanes_[i]); });
  }
  if (result.ok()) {
    log_.debug("FUSE over io_uring", {{"queues", queues}, {"depth", depth}});
  }
  return result;
}

Result<void> UringTransport::register_lane(Lane& lane) {
  if (lane.queues.empty()) {
    return {};  // more loops than CPUs
  }
  lane.port = UringPort::of(lane.loop);
  lane.file = lane.port->register_fd(device_);
  if (lane.file < 0) {
    return Error::from_errno(-lane.file, "register /dev/fuse with io_uring");
  }
  for (auto const& queue : lane.queues) {
    for (auto& entry : queue->entries) {
      ++lane.live;
      submit(entry, abi::kUringCmdRegister);
    }
  }
  // Keeps the scope, and with it the connection's memory, until the kernel gave everything back.
  scope_.spawn([&lane] {
    lane.retired.wait();
    lane.port->unregister_fd(lane.file);
  });
  ZEST_CHECK(lane.loop.sleep_for(Context{}, kRegistrationTime));
  if (lane.failure != 0) {
    return Error::from_errno(-lane.failure, "register a FUSE queue with io_uring");
  }
  return {};
}

void UringTransport::wait() {
  scope_.join();
}

void UringTransport::submit(Entry& entry, std::uint32_t command) {
  auto& lane = entry.queue->lane;
  auto* sqe = lane.port->prepare(entry);
  while (sqe == nullptr) {
    lane.loop.yield();
    sqe = lane.port->prepare(entry);
  }
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->flags = IOSQE_FIXED_FILE;
  sqe->fd = lane.file;
  sqe->cmd_op = command;
  if (command == abi::kUringCmdRegister) {
    sqe->addr = reinterpret_cast<std::uint64_t>(entry.buffers.data());
    sqe->len = static_cast<std::uint32_t>(entry.buffers.size());
  }
  abi::UringCommand const body{.commit_id = entry.commit_id, .queue = entry.queue->id};
  // The area extends over the second half of the entry, beyond its declared end.
  std::memcpy(reinterpret_cast<std::byte*>(sqe) + kCommandOffset, &body, sizeof body);
}

void UringTransport::on_complete(UringPort::Completion& self, std::int32_t result,
                                 std::uint32_t /*flags*/) {
  auto& entry = static_cast<Entry&>(self);
  if (result < 0) {
    entry.transport->retire(entry, result);
    return;
  }
  entry.transport->scope_.spawn([&entry] { entry.transport->serve(entry); });
}

void UringTransport::retire(Entry& entry, std::int32_t result) {
  auto& lane = entry.queue->lane;
  if (lane.failure == 0) {
    lane.failure = result;
  }
  bool const ordinary = result == -ENOTCONN || result == -ECONNABORTED || result == -ECANCELED;
  if (!ordinary) {
    log_.warn("io_uring gave a FUSE entry back",
              {{"queue", std::uint64_t{entry.queue->id}},
               {"error", Error::from_errno(-result, {}).text()}});
  }
  if (--lane.live == 0) {
    dispatcher_.interrupts().close();
    lane.retired.set();
  }
}

Reply UringTransport::run(Entry& entry, RawRequest const& raw) {
  bool const may_wait = waits_for_lock(raw);
  auto& queue = *entry.queue;
  if (!may_wait) {
    return dispatcher_.serve(raw, entry.stop);
  }
  if (queue.waiting_locks >= queue.entries.size() / 2) {
    return Reply::failure(ENOLCK);
  }
  ++queue.waiting_locks;
  auto reply = dispatcher_.serve(raw, entry.stop);
  --queue.waiting_locks;
  return reply;
}

void UringTransport::serve(Entry& entry) {
  std::size_t const capacity = entry.buffers[1].iov_len;
  entry.commit_id = entry.headers.ent.commit_id;
  auto raw = split_ring_request(entry.headers, ByteView(entry.payload, capacity));
  fuse_in_header in{};
  std::memcpy(&in, entry.headers.in_out, sizeof in);
  auto reply = raw.ok() ? run(entry, *raw) : Reply::failure(EIO);
  if (reply.size() > capacity) {
    log_.error("reply larger than its buffer",
               {{"operation", operation_name(in.opcode)}, {"length", reply.size()}});
    reply = Reply::failure(EIO);
  }
  reply.copy_to(ByteSpan(entry.payload, capacity));
  fuse_out_header out{};
  out.unique = in.unique;
  out.error = -reply.error();
  out.len = static_cast<std::uint32_t>(sizeof out + reply.size());
  std::memcpy(entry.headers.in_out, &out, sizeof out);
  entry.headers.ent.payload_size = static_cast<std::uint32_t>(reply.size());
  if (entry.stop.stop_requested()) {
    entry.stop = {};
  }
  submit(entry, abi::kUringCmdCommitAndFetch);
}

}  // namespace zest::fuse
