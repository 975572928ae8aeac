#include "zest/fuse/dev_transport.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

namespace zest::fuse {
namespace {

/// Requests up to this size are copied into their slot: all but large writes and long xattrs.
/// Copying 4 KiB costs 0.1 µs; keeping a megabyte for it would cost the whole budget of buffers.
constexpr std::size_t kSmallMax = 4096 + 256;
/// With so many requests in a row the first loop calls another one: it has more than it answers.
constexpr unsigned kBusyStreak = 4;
/// A loop that helps sleeps again after so many wake-ups in a row for less than two requests each.
constexpr unsigned kIdleWakes = 8;
/// What precedes the data of a WRITE, rounded up to a page so that the data could be aligned.
constexpr std::size_t kHeaderRoom = 4096;
/// An INTERRUPT may overtake its request on another loop: when to look for it again.
constexpr std::array kInterruptRetries = {
    std::chrono::milliseconds(1), std::chrono::milliseconds(10), std::chrono::milliseconds(100)};
/// Pieces that fit into the array on the stack; more are sent from the heap.
constexpr std::size_t kPiecesOnStack = 16;
constexpr std::size_t kPiecesMax = 1000;  // the kernel takes 1024

/// A buffer of whole pages; untouched pages cost nothing.
class LargeBuffer {
 public:
  LargeBuffer() = default;
  explicit LargeBuffer(std::size_t size) : size_(size) {
    void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    data_ = memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
  }
  LargeBuffer(LargeBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  LargeBuffer& operator=(LargeBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~LargeBuffer() {
    if (data_ != nullptr) {
      ::munmap(data_, size_);
    }
  }
  explicit operator bool() const noexcept { return data_ != nullptr; }
  [[nodiscard]] std::byte* data() const noexcept { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

Result<UniqueFd> clone_device(int device) {
  UniqueFd fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    return Error::from_errno(errno, "open /dev/fuse");
  }
  auto source = static_cast<std::uint32_t>(device);
  if (::ioctl(fd.get(), FUSE_DEV_IOC_CLONE, &source) != 0) {
    return Error::from_errno(errno, "clone the FUSE descriptor");
  }
  return fd;
}

}  // namespace

/// One request being served.
struct DevTransport::Slot {
  RawRequest raw;
  std::stop_source stop;
  LargeBuffer large;
  std::array<std::byte, kSmallMax> small;
};

/// What one loop has; used on its thread only.
struct DevTransport::Lane {
  Lane(Loop& l, std::size_t slots, std::size_t buffers)
      : loop(l), free_slots(slots), free_buffers(buffers) {}

  Loop& loop;
  bool helper = false;      ///< sleeps while the first loop can do it alone
  unsigned streak = 0;      ///< requests read since the last time that there was none
  unsigned idle_wakes = 0;  ///< in a row
  int fd = -1;
  UniqueFd clone;
  std::size_t buffer_size = 0;
  LargeBuffer buffer;             ///< being read into
  std::size_t waiting_locks = 0;  ///< they may wait for ever and must leave slots for the unlocks
  Semaphore free_slots;
  Semaphore free_buffers;
  std::vector<std::unique_ptr<Slot>> idle_slots;
  std::vector<LargeBuffer> idle_buffers;

  /// Waits for a slot.
  std::unique_ptr<Slot> take_slot() {
    static_cast<void>(free_slots.acquire(Context{}));
    if (idle_slots.empty()) {
      return std::make_unique<Slot>();
    }
    auto slot = std::move(idle_slots.back());
    idle_slots.pop_back();
    return slot;
  }
  void give_back(std::unique_ptr<Slot> slot) {
    if (slot->large) {
      idle_buffers.push_back(std::move(slot->large));
      slot->large = {};
      free_buffers.release();
    }
    if (slot->stop.stop_requested()) {
      slot->stop = {};
    }
    idle_slots.push_back(std::move(slot));
    free_slots.release();
  }
  /// Waits for a buffer; without memory an empty one.
  LargeBuffer take_buffer() {
    static_cast<void>(free_buffers.acquire(Context{}));
    if (idle_buffers.empty()) {
      return LargeBuffer(buffer_size);
    }
    auto taken = std::move(idle_buffers.back());
    idle_buffers.pop_back();
    return taken;
  }
};

DevTransport::DevTransport(int device, DevTransportOptions options, LoopGroup& loops,
                           Dispatcher& dispatcher, Logger& log)
    : device_(device), options_(options), loops_(loops), dispatcher_(dispatcher), log_(log) {}

DevTransport::~DevTransport() = default;

Result<void> DevTransport::start() {
  std::size_t const buffer_size = options_.max_write + kHeaderRoom;
  // Two at least: one being read into, one being served.
  std::size_t const buffers =
      std::clamp<std::size_t>(options_.buffer_memory_max / loops_.size() / buffer_size, 2, 64);
  for (std::size_t i = 0; i < std::min(loops_.size(), options_.lanes_max); ++i) {
    auto lane = std::make_unique<Lane>(loops_.loop(i), options_.requests_max, buffers);
    lane->buffer_size = buffer_size;
    lane->fd = device_;
    lane->helper = i > 0;
    if (i > 0) {
      ZEST_TRY(lane->clone, clone_device(device_));
      lane->fd = lane->clone.get();
    }
    lanes_.push_back(std::move(lane));
  }
  for (auto& lane : lanes_) {
    scope_.spawn_on(lane->loop, [this, &l = *lane] { read_requests(l); });
  }
  return {};
}

void DevTransport::wait() {
  scope_.join();
}

void DevTransport::read_requests(Lane& lane) {
  lane.buffer = lane.take_buffer();
  for (;;) {
    if (!lane.buffer) {
      log_.error("no memory for a request buffer, the mount ends", {{"size", lane.buffer_size}});
      break;
    }
    auto const n = ::read(lane.fd, lane.buffer.data(), lane.buffer_size);
    int const error = n < 0 ? errno : 0;
    if (n >= 0) {
      accept(lane, static_cast<std::size_t>(n));
      if (++lane.streak == kBusyStreak) {
        lane.streak = 0;
        lane.idle_wakes = 0;
        call_for_help(false);
      }
      // The request runs before the next one is read: its caller waits for it.
      lane.loop.yield();
    } else if (error == EAGAIN) {
      if (!wait_for_requests(lane)) {
        break;
      }
    } else if (error == ENODEV || error == ECONNABORTED) {
      break;                                         // unmounted, or aborted by the administrator
    } else if (error != EINTR && error != ENOENT) {  // ENOENT: taken back while we read it
      log_.error("read of /dev/fuse failed, the mount ends",
                 {{"error", Error::from_errno(error, {}).text()}});
      break;
    }
  }
  call_for_help(true);  // Those that sleep see the end for themselves.
  dispatcher_.interrupts().close();
}

bool DevTransport::wait_for_requests(Lane& lane) {
  Context const ctx{.stop = scope_.token()};
  lane.idle_wakes = lane.streak >= 2 ? 0 : lane.idle_wakes + 1;
  lane.streak = 0;
  if (!lane.helper || lane.idle_wakes < kIdleWakes) {
    return lane.loop.wait_fd(ctx, lane.fd, {.readable = true}).ok();
  }
  auto const called = std::make_shared<Event>();
  {
    std::lock_guard const lock(help_mutex_);
    if (ended_) {
      return false;
    }
    asleep_.push_back(called);
  }
  lane.idle_wakes = 0;
  return called->wait(ctx).ok();
}

void DevTransport::call_for_help(bool all) {
  std::vector<std::shared_ptr<Event>> called;
  {
    std::lock_guard const lock(help_mutex_);
    ended_ = ended_ || all;
    while (!asleep_.empty() && (all || called.empty())) {
      called.push_back(std::move(asleep_.back()));
      asleep_.pop_back();
    }
  }
  for (auto const& event : called) {
    event->set();
  }
}

void DevTransport::accept(Lane& lane, std::size_t length) {
  ByteView bytes(lane.buffer.data(), length);
  auto raw = split_device_request(bytes);
  if (!raw.ok()) {
    log_.error("what /dev/fuse returned is not a request", {{"length", length}});
    return;
  }
  if (Dispatcher::is_notice(raw->header.opcode)) {
    take_notice(*raw);
    return;
  }
  auto slot = lane.take_slot();
  if (length <= kSmallMax) {
    std::memcpy(slot->small.data(), bytes.data(), length);
    slot->raw = *split_device_request({slot->small.data(), length});
  } else {
    slot->raw = *raw;
    slot->large = std::move(lane.buffer);
    lane.buffer = lane.take_buffer();
  }
  scope_.spawn([this, &lane, owned = std::move(slot)]() mutable {
    serve(lane, *owned);
    lane.give_back(std::move(owned));
  });
}

void DevTransport::take_notice(RawRequest const& raw) {
  if (dispatcher_.notice(raw)) {
    return;
  }
  fuse_interrupt_in in{};
  std::memcpy(&in, raw.argument.data(), sizeof in);
  scope_.spawn([this, unique = in.unique] {
    for (auto const delay : kInterruptRetries) {
      static_cast<void>(Loop::current()->sleep_for(Context{}, delay));
      if (dispatcher_.interrupts().interrupt(unique) != InterruptTable::Outcome::unknown) {
        return;
      }
    }
  });
}

void DevTransport::serve(Lane& lane, Slot& slot) {
  bool const may_wait = waits_for_lock(slot.raw);
  if (may_wait && lane.waiting_locks >= options_.requests_max / 2) {
    send(lane, slot.raw, Reply::failure(ENOLCK));
    return;
  }
  lane.waiting_locks += may_wait ? 1 : 0;
  auto const reply = dispatcher_.serve(slot.raw, slot.stop);
  lane.waiting_locks -= may_wait ? 1 : 0;
  send(lane, slot.raw, reply);
}

void DevTransport::send(Lane& lane, RawRequest const& raw, Reply const& reply) {
  fuse_out_header header{};
  header.len = static_cast<std::uint32_t>(sizeof header + reply.size());
  header.error = -reply.error();
  header.unique = raw.header.unique;

  std::array<iovec, kPiecesOnStack> few;
  std::vector<iovec> many;
  std::vector<std::byte> flat;
  auto const& pieces = reply.data().pieces();
  std::size_t const needed = pieces.size() + 3;
  iovec* vector = few.data();
  if (needed > few.size() && needed <= kPiecesMax) {
    many.resize(needed);
    vector = many.data();
  }
  int count = 0;
  auto const add = [&](void const* data, std::size_t size) {
    if (size > 0) {
      vector[count++] = {const_cast<void*>(data), size};  // writev only reads it
    }
  };
  add(&header, sizeof header);
  if (needed > kPiecesMax) {
    flat.resize(reply.size());
    reply.copy_to(flat);
    add(flat.data(), flat.size());
  } else if (reply.error() == 0) {
    add(reply.head().data(), reply.head().size());
    add(reply.body().data(), reply.body().size());
    for (auto const& piece : pieces) {
      add(piece.bytes.data(), piece.bytes.size());
    }
  }
  if (::writev(lane.fd, vector, count) >= 0) {
    return;
  }
  int error = errno;
  if (error == ENOENT || error == ENODEV || error == ECONNABORTED) {
    return;  // nobody waits for it any more
  }
  log_.error("reply refused by the kernel", {{"operation", operation_name(raw.header.opcode)},
                                             {"length", header.len},
                                             {"error", Error::from_errno(error, {}).text()}});
  header.len = sizeof header;
  header.error = -EIO;
  static_cast<void>(::write(lane.fd, &header, sizeof header));
}

}  // namespace zest::fuse
