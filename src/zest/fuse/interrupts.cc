#include "zest/fuse/interrupts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <mutex>
#include <string_view>

#include "zest/fuse/kernel_abi.h"

namespace zest::fuse {

Interruptible interruptible(RawRequest const& raw) noexcept {
  if (waits_for_lock(raw)) {
    return Interruptible::always;
  }
  switch (raw.header.opcode) {
    case FUSE_FLUSH:
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
    case FUSE_SYNCFS:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_DESTROY:
    case FUSE_SETLK:
    case FUSE_SETLKW: return Interruptible::never;
    default: return Interruptible::when_killed;
  }
}

bool is_being_killed(std::uint32_t pid) {
  auto const path = fmt::format("/proc/{}/status", pid);
  int const fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return false;
  }
  std::array<char, 4096> buffer;
  auto const n = ::read(fd, buffer.data(), buffer.size());
  ::close(fd);
  std::string_view const text(buffer.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  // A fatal signal to a process is pending as SIGKILL for each of its threads.
  constexpr std::string_view kPending = "\nSigPnd:\t";
  auto const at = text.find(kPending);
  if (at == std::string_view::npos) {
    return false;
  }
  std::uint64_t mask = 0;
  auto const value = text.substr(at + kPending.size());
  std::from_chars(value.data(), value.data() + value.size(), mask, 16);
  return (mask & (std::uint64_t{1} << (SIGKILL - 1))) != 0;
}

void InterruptTable::add(Running const& running) {
  auto& s = shard(running.unique);
  std::lock_guard<Mutex> const lock(s.mutex);
  s.running.push_back(running);
  if (s.closed && running.kind == Interruptible::always) {
    running.stop->request_stop();
  }
}

void InterruptTable::remove(std::uint64_t unique) noexcept {
  auto& s = shard(unique);
  std::lock_guard<Mutex> const lock(s.mutex);
  auto const found = std::ranges::find(s.running, unique, &Running::unique);
  if (found != s.running.end()) {
    *found = s.running.back();
    s.running.pop_back();
  }
}

// request_stop() runs under the lock: a stop source is used for one request after the other, and
// remove() must not let the next one begin in between. The callbacks only make a fiber ready.

InterruptTable::Outcome InterruptTable::interrupt(std::uint64_t unique) {
  auto& s = shard(unique);
  std::lock_guard<Mutex> const lock(s.mutex);
  auto const found = std::ranges::find(s.running, unique, &Running::unique);
  if (found == s.running.end()) {
    return Outcome::unknown;
  }
  if (found->kind == Interruptible::never ||
      (found->kind == Interruptible::when_killed && !is_being_killed(found->pid))) {
    return Outcome::ignored;
  }
  found->stop->request_stop();
  return Outcome::stopped;
}

void InterruptTable::close() noexcept {
  for (auto& s : shards_) {
    std::lock_guard<Mutex> const lock(s.mutex);
    s.closed = true;
    for (auto const& running : s.running) {
      if (running.kind == Interruptible::always) {
        running.stop->request_stop();
      }
    }
  }
}

}  // namespace zest::fuse
