#include "zest/meta/engine/sql/sqlite_wal_sync.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace zest::meta::sqlite {

namespace {

constexpr std::size_t kShareMax = 4096;

Error failed(std::string_view what, std::string const& path, int number) {
  return Error::from_errno(number, fmt::format("{} {}", what, path));
}

/// The folder's entry of a new file is durable only once the folder is synced.
Result<void> sync_folder(std::string const& path) {
  auto const slash = path.rfind('/');
  auto const folder = slash == std::string::npos ? std::string(".")
                      : slash == 0               ? std::string("/")
                                                 : path.substr(0, slash);
  int const fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    return failed("open", folder, errno);
  }
  int const number = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // Some file systems cannot sync folders; then there is nothing to be done.
  return number == 0 || number == EINVAL ? Result<void>() : failed("sync", folder, number);
}

}  // namespace

WalSync::WalSync(std::string database_path, Registry& metrics)
    : log_path_(std::move(database_path) + "-wal"),
      syncs_(metrics.counter("sqlite_syncs", "Syncs of the write-ahead log")),
      thread_([this] { serve(); }) {}

WalSync::~WalSync() {
  queue_.stop();
  thread_.join();
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

Result<void> WalSync::sync(Context const& ctx) {
  SyncJob job(ctx);
  queue_.push(job);
  job.wait();
  return std::move(job.result);
}

void WalSync::serve() {
  while (true) {
    auto const jobs = queue_.pop(kShareMax);
    if (jobs.empty()) {
      return;
    }
    auto const result = sync_now();
    for (auto* job : jobs) {
      if (!result.ok()) {
        job->result = result.error().clone();
      }
      job->finish();
    }
  }
}

Result<void> WalSync::open_log() {
  struct stat by_path{};
  if (::stat(log_path_.c_str(), &by_path) != 0) {
    // No log: everything is in the database file, which SQLite has synced when it removed the log.
    return errno == ENOENT ? Result<void>() : failed("stat", log_path_, errno);
  }
  if (fd_ >= 0) {
    struct stat by_fd{};
    if (::fstat(fd_, &by_fd) == 0 && by_fd.st_ino == by_path.st_ino &&
        by_fd.st_dev == by_path.st_dev) {
      return {};
    }
    ::close(fd_);
  }
  fd_ = ::open(log_path_.c_str(), O_RDWR | O_CLOEXEC);
  if (fd_ < 0) {
    return failed("open", log_path_, errno);
  }
  return sync_folder(log_path_);
}

Result<void> WalSync::sync_now() {
  ZEST_CHECK(open_log());
  syncs_.add();
  if (fd_ >= 0 && ::fdatasync(fd_) != 0) {
    auto error = failed("sync", log_path_, errno);
    // After a failed sync the kernel may have dropped the dirty pages and would report success next
    // time: only a fresh descriptor, opened by the next call, tells of errors that come after it.
    ::close(std::exchange(fd_, -1));
    return error;
  }
  return {};
}

}  // namespace zest::meta::sqlite
