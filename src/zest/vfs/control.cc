#include "zest/vfs/control.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>
#include <utility>

#include "zest/runtime/loop.h"
#include "zest/vfs/jobs.h"

namespace zest::vfs {

namespace {

enum class Command : std::uint32_t { clone = 1006, compact = 1008 };

// Header: command and size of what follows. The longest request holds paths for the cache.
constexpr std::size_t kHeaderSize = 8;
constexpr std::size_t kRequestMax = 1u << 20;
// An answer that nobody reads: progress is left out from here on.
constexpr std::size_t kUnreadMax = 64u << 10;
constexpr Duration kProgressPeriod = std::chrono::milliseconds(300);
constexpr char kProgressFrame = '\xFE';

/// Big-endian fields of a request; reading behind its end gives zeros and is remembered.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : bytes_(bytes) {}
  template <class T>
  T number() {
    T value = 0;
    for (char const c : text(sizeof(T))) {
      value = static_cast<T>((std::uint64_t{value} << 8) | static_cast<unsigned char>(c));
    }
    return value;
  }
  std::string_view text(std::size_t size) {
    if (bytes_.size() < size) {
      complete_ = false;
      bytes_ = {};
      return {};
    }
    auto const part = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return part;
  }
  [[nodiscard]] bool complete() const noexcept { return complete_; }

 private:
  std::string_view bytes_;
  bool complete_ = true;
};

std::string big_endian(std::uint64_t value) {
  std::string out;
  for (int shift = 56; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(value >> shift));
  }
  return out;
}

std::string progress_frame(std::uint64_t a, std::uint64_t b) {
  return kProgressFrame + big_endian(a) + big_endian(b);
}

/// Supplementary groups of a process, which the kernel does not tell. None when it is gone or in
/// another PID namespace: it gets fewer rights then, never more.
std::vector<std::uint32_t> groups_of(std::uint32_t pid) {
  std::vector<std::uint32_t> groups;
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Groups:")) {
      std::istringstream numbers(line.substr(7));
      for (std::uint32_t group = 0; numbers >> group;) {
        groups.push_back(group);
      }
    }
  }
  return groups;
}

/// The two numbers that a command's progress shows.
struct Progress {
  meta::CloneProgress numbers;
  [[nodiscard]] std::string frame() const {
    return progress_frame(numbers.cloned.load(), numbers.total.load());
  }
  [[nodiscard]] bool any() const { return numbers.cloned.load() > 0 || numbers.total.load() > 0; }
};

/// Runs a compaction; its errno, 0 for success. Progress: chunks found, chunks done.
int compact(Env& env, Context const& ctx, std::string_view payload, Progress& progress) {
  Fields fields(payload);
  Ino const ino{fields.number<std::uint64_t>()};
  auto const workers = fields.number<std::uint16_t>();
  if (!fields.complete()) {
    return Error(Errc::inval).number();
  }
  auto done =
      env.jobs->compact_below(ctx, ino, workers, progress.numbers.cloned, progress.numbers.total);
  if (!done.ok()) {
    env.services.log.warn("compaction failed",
                          {{"inode", ino.value}, {"error", done.error().text()}});
    return done.error().number();
  }
  return 0;
}

/// Runs a clone; its errno, 0 for success.
int clone(Env& env, Context const& ctx, std::string_view payload, Progress& progress) {
  Fields fields(payload);
  meta::CloneRequest request;
  request.from.value = fields.number<std::uint64_t>();
  fields.number<std::uint64_t>();  // the source's directory
  request.parent.value = fields.number<std::uint64_t>();
  request.name = fields.text(fields.number<std::uint8_t>());
  request.umask = fields.number<std::uint16_t>();
  constexpr unsigned kPreserve = 2;
  request.preserve = (fields.number<std::uint8_t>() & kPreserve) != 0;
  if (!fields.complete()) {
    return Error(Errc::inval).number();
  }
  auto cloned = env.services.meta.clone(ctx, request, &progress.numbers);
  if (!cloned.ok()) {
    env.services.log.warn("clone failed", {{"from", request.from.value},
                                           {"parent", request.parent.value},
                                           {"name", request.name},
                                           {"error", cloned.error().text()}});
    return cloned.error().number();
  }
  env.note_change(request.parent);
  return 0;
}

}  // namespace

Result<std::size_t> ControlSession::write(Context const& ctx, ByteView bytes) {
  auto const text = as_text(bytes);
  {
    std::lock_guard const lock(mutex_);
    if (running_) {
      return Errc::busy;
    }
    if (request_.size() + text.size() > kRequestMax) {
      return Errc::fbig;
    }
    request_ += text;
    stream_ += text;
    if (request_.size() < kHeaderSize) {
      return text.size();
    }
    Fields header(request_);
    header.number<std::uint32_t>();
    auto const wanted = kHeaderSize + header.number<std::uint32_t>();
    if (request_.size() > wanted || wanted > kRequestMax) {
      request_.clear();
      stream_.push_back(static_cast<char>(Error(Errc::io).number()));
      return text.size();
    }
    if (request_.size() < wanted) {
      return text.size();
    }
    running_ = true;
  }
  start(ctx);
  return text.size();
}

void ControlSession::start(Context const& ctx) {
  Context job;
  job.caller = ctx.caller;
  // The kernel has checked that the caller may write to this file, nothing more.
  job.caller.check_permissions = true;
  job.caller.groups = groups_of(ctx.caller.pid);
  job.stop = stop_.get_token();
  std::string request;
  {
    std::lock_guard const lock(mutex_);
    request.swap(request_);
  }
  auto const progress = std::make_shared<Progress>();        // read while the command runs
  auto const frames = std::make_shared<std::stop_source>();  // ends the fiber that tells it
  env_.scope.spawn([self = shared_from_this(), progress, frames] {
    Context waiting;
    waiting.stop = frames->get_token();
    while (Loop::current()->sleep_for(waiting, kProgressPeriod).ok()) {
      self->answer(progress->frame());
    }
  });
  env_.scope.spawn([self = shared_from_this(), job = std::move(job), request = std::move(request),
                    progress, frames] {
    std::stop_callback const at_end(self->env_.stop.get_token(), [&] { self->stop(); });
    Fields header(request);
    auto const command = header.number<std::uint32_t>();
    auto const payload = std::string_view(request).substr(kHeaderSize);
    auto status = Error(Errc::inval).number();
    if (command == static_cast<std::uint32_t>(Command::clone)) {
      status = clone(self->env_, job, payload, *progress);
    } else if (command == static_cast<std::uint32_t>(Command::compact)) {
      status = compact(self->env_, job, payload, *progress);
    }
    frames->request_stop();
    std::string last;
    if (progress->any()) {
      last = progress->frame();
    }
    last.push_back(static_cast<char>(status));
    std::lock_guard const lock(self->mutex_);
    self->stream_ += last;
    self->running_ = false;
  });
}

void ControlSession::answer(std::string_view bytes) {
  std::lock_guard const lock(mutex_);
  if (running_ && stream_.size() < kUnreadMax) {
    stream_ += bytes;
  }
}

Result<DataView> ControlSession::read(std::uint64_t offset, std::size_t size) {
  auto text = std::make_shared<std::string>();  // the view owns it
  {
    std::lock_guard const lock(mutex_);
    if (offset < dropped_) {
      return Errc::inval;
    }
    // What is in front was read, or is a request.
    auto const skipped = std::min<std::uint64_t>(offset - dropped_, stream_.size());
    stream_.erase(0, static_cast<std::size_t>(skipped));
    dropped_ += skipped;
    *text = stream_.substr(0, offset > dropped_ ? 0 : size);
  }
  DataView out;
  if (!text->empty()) {
    out.append(as_bytes(*text), text);
  }
  return out;
}

void ControlSession::stop() noexcept {
  stop_.request_stop();
}

}  // namespace zest::vfs
