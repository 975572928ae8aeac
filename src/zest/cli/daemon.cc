#include "zest/cli/daemon.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <utility>

#include "zest/cli/output.h"

namespace zest::cli {
namespace {

constexpr char kReady = '+';
constexpr char kFailed = '-';

/// Reads to the end of the pipe: the first byte says how it went, the rest is for people.
std::string read_all(int fd) {
  std::string text;
  std::array<char, 4096> buffer{};
  while (true) {
    auto const n = read(fd, buffer.data(), buffer.size());
    if (n > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(n));
    } else if (n == 0 || errno != EINTR) {
      return text;
    }
  }
}

int wait_for_word(int fd) {
  auto const word = read_all(fd);
  if (word.empty()) {
    note("the background process ended before the mount was ready; its log says why");
    return kExitFailure;
  }
  if (word.size() > 1) {
    note(std::string_view(word).substr(1));
  }
  return word.front() == kReady ? kExitOk : kExitFailure;
}

void detach_from_terminal() {
  int const null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) {
    return;
  }
  for (int const fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    dup2(null, fd);
  }
  if (null > STDERR_FILENO) {
    close(null);
  }
}

}  // namespace

void Readiness::tell(char code, std::string_view message) {
  auto const text = code + std::string(message);
  // Nobody reads when the caller was killed; then there is nobody to tell.
  [[maybe_unused]] auto const written = write(pipe_.get(), text.data(), text.size());
  pipe_.reset();
}

void Readiness::succeed(std::string_view message) {
  if (!background_) {
    note(message);
    return;
  }
  detach_from_terminal();
  tell(kReady, message);
}

void Readiness::fail(std::string_view message) {
  if (!background_) {
    note(message);
    return;
  }
  tell(kFailed, message);
}

Result<Fork> Fork::go_background() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return Error::from_errno(errno, "create a pipe to the background process");
  }
  UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  auto const child = fork();
  if (child < 0) {
    return Error::from_errno(errno, "start the background process");
  }
  if (child > 0) {
    writing.reset();
    return Fork{.exit_code = wait_for_word(reading.get()), .readiness = {}};
  }
  setsid();
  Fork here{.exit_code = std::nullopt, .readiness = Readiness(std::move(writing))};
  here.readiness.background_ = true;
  return here;
}

}  // namespace zest::cli
