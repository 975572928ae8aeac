#include "zest/fuse/notifier.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <limits>

#include "zest/base/error.h"
#include "zest/fuse/kernel_abi.h"
#include "zest/runtime/loop.h"

namespace zest::fuse {

namespace {
constexpr Duration kWaitMax = std::chrono::seconds(2);
}  // namespace

Notifier::Notifier(int device, Logger& log, Registry& metrics)
    : device_(device),
      log_(log),
      sent_(metrics.counter("fuse_invalidations", "Cache invalidations sent to the kernel.")),
      dropped_(metrics.counter("fuse_invalidations_dropped",
                               "Cache invalidations dropped because the queue was full.")),
      thread_([this] { run(); }) {}

Notifier::~Notifier() {
  stop();
  thread_.join();
}

void Notifier::stop() {
  std::lock_guard const lock(mutex_);
  stopped_ = true;
  for (auto const& message : queue_) {
    if (auto const* inode = std::get_if<InodeMessage>(&message); inode != nullptr && inode->done) {
      inode->done->set();
    }
  }
  queue_.clear();
  changed_.notify_all();
}

void Notifier::invalidate_inode(Ino ino, std::uint64_t offset, std::uint64_t length) {
  push(InodeMessage{.ino = ino, .offset = offset, .length = length});
}

void Notifier::invalidate_inode_now(Ino ino, bool pages) {
  auto const done = std::make_shared<Event>();
  {
    std::lock_guard const lock(mutex_);
    if (stopped_) {
      return;
    }
    queue_.push_front(InodeMessage{.ino = ino, .only_attributes = !pages, .done = done});
    changed_.notify_one();
  }
  Context ctx;
  ctx.deadline = Loop::current()->now() + kWaitMax;
  if (!done->wait(ctx).ok()) {
    log_.warn("the kernel is slow to drop cached pages", {{"inode", ino.value}});
  }
}

void Notifier::invalidate_names() {
  push(NamesMessage{});
}

void Notifier::invalidate_entry(Ino parent, std::string name) {
  push(EntryMessage{parent, std::move(name)});
}

void Notifier::push(Message message) {
  std::lock_guard const lock(mutex_);
  if (stopped_) {
    return;
  }
  if (queue_.size() >= kQueueMax) {
    dropped_.add();
    return;
  }
  queue_.push_back(std::move(message));
  changed_.notify_one();
}

void Notifier::run() {
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stopped_ || !queue_.empty(); });
    if (stopped_) {
      return;
    }
    auto const message = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    std::visit([this](auto const& m) { send(m); }, message);
  }
}

void Notifier::send(InodeMessage const& message) {
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  fuse_notify_inval_inode_out out{};
  out.ino = message.ino.value;
  out.off = static_cast<std::int64_t>(std::min(message.offset, kMax));
  out.len = static_cast<std::int64_t>(std::min(message.length, kMax));
  if (message.only_attributes) {
    out.off = -1;
  }
  write_message(FUSE_NOTIFY_INVAL_INODE, &out, sizeof out, {});
  if (message.done) {
    message.done->set();
  }
}

void Notifier::send(NamesMessage const& /*message*/) {
  write_message(abi::kNotifyIncEpoch, nullptr, 0, {});
}

void Notifier::send(EntryMessage const& message) {
  fuse_notify_inval_entry_out out{};
  out.parent = message.parent.value;
  out.namelen = static_cast<std::uint32_t>(message.name.size());
  // The kernel wants the terminating zero behind the name.
  write_message(FUSE_NOTIFY_INVAL_ENTRY, &out, sizeof out,
                std::string_view(message.name.c_str(), message.name.size() + 1));
}

void Notifier::write_message(int code, void const* body, std::size_t size, std::string_view name) {
  fuse_out_header header{};
  header.len = static_cast<std::uint32_t>(sizeof header + size + name.size());
  header.error = code;  // unique 0 makes it a notification
  std::array<iovec, 3> parts = {{{&header, sizeof header},
                                 {const_cast<void*>(body), size},
                                 {const_cast<char*>(name.data()), name.size()}}};
  if (::writev(device_, parts.data(), size == 0 ? 1 : name.empty() ? 2 : 3) >= 0) {
    sent_.add();
    return;
  }
  int const error = errno;
  // ENOENT: the kernel doesn't know it, so there's nothing stale.
  // EINVAL to one without a body: an older kernel does not know it.
  if (size == 0 && error == EINVAL) {
    return;
  }
  if (error != ENOENT && error != ENODEV && error != ENOTDIR && error != ECONNABORTED) {
    log_.warn("kernel cache invalidation failed", {{"error", Error::from_errno(error, {}).text()}});
  }
}

}  // namespace zest::fuse
