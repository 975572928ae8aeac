// Load of small operations on a directory, for bench/compare.py: N processes, each in its own
// sub-directory, do one kind of operation and the program prints operations per second and
// latencies. Needs nothing but the kernel.
//
//   fsload DIR OPERATION PROCESSES COUNT      (COUNT operations in each process)
//   fsload DIR shared:OPERATION PROCESSES COUNT   all processes in one directory: who gets in whose
//   way?
//
// OPERATION: create, stat, readdir, unlink, mkdir, rmdir, chmod, rename, open, writeSIZEk,
// readSIZEk (SIZE in KiB: write4k, read128k). `stat`, `readdir`, `chmod`, `rename`, `open`, `read…`
// and `unlink` work on the files that `create` or `write…` made before, `rmdir` on what `mkdir`
// made.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(std::string const& what) {
  std::fprintf(stderr, "fsload: %s: %s\n", what.c_str(), std::strerror(errno));
  std::_Exit(1);
}

void check(bool good, std::string const& what) {
  if (!good) {
    fail(what);
  }
}

void write_file(std::string const& path, char const* data, std::size_t size) {
  int const fd = open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
  check(fd >= 0, path);
  if (size > 0) {
    check(write(fd, data, size) == static_cast<ssize_t>(size), path);
  }
  check(close(fd) == 0, path);
}

void read_file(std::string const& path, char* data, std::size_t size) {
  int const fd = open(path.c_str(), O_RDONLY);
  check(fd >= 0, path);
  check(read(fd, data, size) == static_cast<ssize_t>(size), path);
  close(fd);
}

/// Bytes of `write4k`, `read128k`; 0 for everything else.
std::size_t size_in(std::string_view operation) {
  for (std::string_view const verb : {"write", "read"}) {
    if (operation.starts_with(verb) && operation.ends_with('k')) {
      return std::strtoul(operation.data() + verb.size(), nullptr, 10) << 10;
    }
  }
  return 0;
}

void list(std::string const& directory, int expected) {
  DIR* const stream = opendir(directory.c_str());
  check(stream != nullptr, directory);
  int found = 0;
  while (readdir(stream) != nullptr) {
    ++found;
  }
  closedir(stream);
  errno = EIO;
  check(found >= expected, directory + ": entries are missing");
}

/// One operation on the i-th file of `directory`.
void operate(std::string_view operation, std::string const& directory, int i, int count) {
  static std::vector<char> data(size_in(operation), '\1');
  std::string const path = directory + "/f" + std::to_string(i);
  struct stat s{};
  if (operation == "create") {
    write_file(path, nullptr, 0);
  } else if (!data.empty() && operation.starts_with("write")) {
    write_file(path, data.data(), data.size());
  } else if (!data.empty()) {
    read_file(path, data.data(), data.size());
  } else if (operation == "stat") {
    check(lstat(path.c_str(), &s) == 0, path);
  } else if (operation == "open") {
    int const fd = open(path.c_str(), O_RDONLY);
    check(fd >= 0 && close(fd) == 0, path);
  } else if (operation == "mkdir") {
    check(mkdir((directory + "/d" + std::to_string(i)).c_str(), 0755) == 0, path);
  } else if (operation == "rmdir") {
    check(rmdir((directory + "/d" + std::to_string(i)).c_str()) == 0, path);
  } else if (operation == "chmod") {
    check(chmod(path.c_str(), 0600 + static_cast<mode_t>(i % 64)) == 0, path);
  } else if (operation == "rename") {
    check(rename(path.c_str(), (directory + "/r" + std::to_string(i)).c_str()) == 0, path);
  } else if (operation == "unlink") {
    check(unlink((directory + "/r" + std::to_string(i)).c_str()) == 0, path);
  } else if (operation == "readdir") {
    list(directory, count);
  } else {
    errno = EINVAL;
    fail(std::string(operation));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: fsload DIR OPERATION PROCESSES COUNT\n");
    return 2;
  }
  std::string const root = argv[1];
  std::string_view operation = argv[2];
  bool const shared = operation.starts_with("shared:");
  if (shared) {
    operation.remove_prefix(std::string_view("shared:").size());
  }
  int const processes = std::atoi(argv[3]);
  int const count = std::atoi(argv[4]);
  // A listing is one operation over all files, so it is repeated less often.
  int const rounds = operation == "readdir" ? 10 : count;
  auto const latencies_size =
      static_cast<std::size_t>(processes) * static_cast<std::size_t>(rounds);
  auto* const latencies =
      static_cast<float*>(mmap(nullptr, latencies_size * sizeof(float), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  check(latencies != MAP_FAILED, "mmap");
  for (int p = 0; p < processes && !shared; ++p) {
    mkdir((root + "/p" + std::to_string(p)).c_str(), 0755);
  }
  if (shared) {
    mkdir((root + "/shared").c_str(), 0755);
  }
  auto const start = Clock::now();
  for (int p = 0; p < processes; ++p) {
    if (fork() == 0) {
      std::string const directory = root + (shared ? "/shared" : "/p" + std::to_string(p));
      int const first = shared ? p * rounds : 0;
      for (int i = 0; i < rounds; ++i) {
        auto const before = Clock::now();
        operate(operation, directory, first + i, count);
        latencies[p * rounds + i] =
            std::chrono::duration<float, std::micro>(Clock::now() - before).count();
      }
      std::_Exit(0);
    }
  }
  int status = 0;
  while (wait(&status) > 0) {
    if (status != 0) {
      return 1;
    }
  }
  double const seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::sort(latencies, latencies + latencies_size);
  std::printf(
      "{\"operations\": %zu, \"seconds\": %.6f, \"per_second\": %.1f, \"p50_us\": %.1f, "
      "\"p99_us\": %.1f}\n",
      latencies_size, seconds, static_cast<double>(latencies_size) / seconds,
      static_cast<double>(latencies[latencies_size / 2]),
      static_cast<double>(latencies[latencies_size * 99 / 100]));
  return 0;
}
