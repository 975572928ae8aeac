#include "zest/object/file/file_store.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <set>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "zest/format/object_name.h"
#include "zest/object/file/direct_io.h"
#include "zest/object/file/file_error.h"
#include "zest/object/file/file_list.h"
#include "zest/runtime/socket.h"

namespace zest {
namespace {

using file_store::path_error;

/// Cleaners may remove a directory between its creation and the creation of a file in it, again and
/// again; somebody who does that so often in a row is no race any more.
constexpr int kCreateAttemptsMax = 200;

constexpr std::size_t kIovecsMax = 64;
constexpr std::size_t kRootedMax = 4096;

bool missing(int number) noexcept {
  return number == ENOENT || number == ENOTDIR;
}

Result<void> check_key(std::string_view key) {
  std::string_view rest = key;
  while (true) {
    auto const slash = rest.find('/');
    auto const component = rest.substr(0, slash);
    if (component.empty() || component == "." || component == ".." ||
        component.find('\0') != std::string_view::npos) {
      return Error(Errc::inval, Fault::bug,
                   "no key of the file storage: \"" + std::string(key) + "\"");
    }
    if (slash == std::string_view::npos) {
      return {};
    }
    rest.remove_prefix(slash + 1);
  }
}

/// What a new object holds: bytes in memory, or those of an open file.
struct Content {
  std::span<ByteView const> parts;
  int source = -1;
};

/// A temporary file; removed on destruction unless it was renamed.
class TempFile {
 public:
  TempFile(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  TempFile(TempFile&& other) noexcept
      : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})) {}
  TempFile& operator=(TempFile&&) = delete;
  ~TempFile() {
    if (!path_.empty()) {
      ::unlink(path_.c_str());
    }
  }

  Result<void> write(std::span<ByteView const> parts) {
    iovec vectors[kIovecsMax];
    std::size_t next = 0;                                           // first part that isn't written
    std::size_t done = file_store::write_direct(fd_.get(), parts);  // bytes of it that are
    while (true) {
      while (next < parts.size() && done >= parts[next].size()) {
        done -= parts[next].size();
        ++next;
      }
      std::size_t count = 0;
      for (std::size_t i = next; i < parts.size() && count < kIovecsMax; ++i) {
        auto const part = i == next ? parts[i].subspan(done) : parts[i];
        // writev only reads from where iov_base points to.
        vectors[count++] = {const_cast<std::byte*>(part.data()), part.size()};
      }
      if (count == 0) {
        return {};
      }
      auto const n = ::writev(fd_.get(), vectors, static_cast<int>(count));
      if (n < 0) {
        int const number = errno;
        if (number == EINTR) {
          continue;
        }
        return path_error(number, "writing", path_);
      }
      done += static_cast<std::size_t>(n);
    }
  }

  /// All of `source`, from its beginning; in the kernel, where the file system shares or copies.
  Result<void> copy(int source) {
    constexpr std::size_t kAtOnce = 64u << 20;
    off_t offset = 0;
    while (true) {
      auto const n = ::copy_file_range(source, &offset, fd_.get(), nullptr, kAtOnce, 0);
      if (n == 0) {
        return {};
      }
      if (int const number = errno; n < 0 && number != EINTR) {
        return path_error(number, "copying to", path_);
      }
    }
  }

  Result<void> sync() {
    if (::fdatasync(fd_.get()) != 0) {
      int const number = errno;
      return path_error(number, "flushing to disk", path_);
    }
    return {};
  }

  /// Network file systems report a full disk at close.
  Result<void> close() {
    if (::close(fd_.release()) != 0) {
      if (int const number = errno; number != EINTR) {
        return path_error(number, "closing", path_);
      }
    }
    return {};
  }

  /// The errno of rename(2), 0 on success.
  [[nodiscard]] int rename_to(std::string const& target) noexcept {
    if (::rename(path_.c_str(), target.c_str()) != 0) {
      return errno;
    }
    path_.clear();
    return 0;
  }

 private:
  UniqueFd fd_;
  std::string path_;
};

/// Small reads of large objects that the page cache could not answer. An object with many of them is
/// read into it as a whole: one megabyte costs a disk as much as some ten pages.
class SmallReads {
 public:
  void missed(std::string_view key, int fd) noexcept {
    auto& count = counts_[std::hash<std::string_view>{}(key) % counts_.size()];
    if ((count.fetch_add(1, std::memory_order_relaxed) + 1) % kMissesMax == 0) {
      static_cast<void>(::posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED));
    }
  }

 private:
  static constexpr std::uint8_t kMissesMax = 16;
  std::array<std::atomic<std::uint8_t>, 4096> counts_{};  // objects may share one
};

class FileStore final : public SinglePutStore {
 public:
  FileStore(FileStoreOptions options, BlockingPool& pool)
      : root_(std::move(options.root)), fsync_on_put_(options.fsync_on_put), pool_(pool) {
    capabilities_.durable_put = fsync_on_put_;
    capabilities_.near = true;
    capabilities_.copy = true;
    std::uint64_t seed = 0;
    if (::getrandom(&seed, sizeof seed, GRND_NONBLOCK) == sizeof seed) {
      temp_number_ = seed >> 1;
    }
  }

  [[nodiscard]] StoreCapabilities const& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::string describe() const override { return "file://" + root_; }

  Result<void> create(Context const&) override {
    return pool_.run([&]() -> Result<void> {
      return root_ == "/" ? Result<void>() : make_directories(root_, 1);
    });
  }
  Result<std::size_t> get(Context const&, std::string_view key, ByteRange range,
                          ByteSpan out) override {
    ZEST_CHECK(check_key(key));
    std::size_t const wanted = std::min<std::uint64_t>(range.length, out.size());
    if (wanted > 0 && wanted <= file_store::kCachedMax &&
        file_store::read_cached(path_of(key).c_str(), range.offset, out.first(wanted))) {
      return wanted;
    }
    return pool_.run([&] { return get_blocking(key, range, out); });
  }
  Result<void> put(Context const&, std::string_view key, std::span<ByteView const> parts) override {
    ZEST_CHECK(check_key(key));
    return pool_.run([&] { return put_blocking(key, {.parts = parts}); });
  }
  Result<void> remove(Context const&, std::string_view key) override {
    bool const directory = key.ends_with('/');
    ZEST_CHECK(check_key(directory ? key.substr(0, key.size() - 1) : key));
    return pool_.run([&] { return remove_blocking(key, directory); });
  }
  Result<ObjectInfo> head(Context const&, std::string_view key) override {
    ZEST_CHECK(check_key(key));
    return pool_.run([&] { return head_blocking(key); });
  }
  Result<ObjectPage> list(Context const& ctx, ListObjects const& request) override {
    return pool_.run([&] { return file_store::list_tree(root_, request, ctx.stop); });
  }
  Result<void> sync(Context const&, std::span<std::string const> keys) override {
    for (auto const& key : keys) {
      ZEST_CHECK(check_key(key));
    }
    if (fsync_on_put_ || keys.empty()) {
      return {};
    }
    return pool_.run([&] { return sync_blocking(keys); });
  }
  Result<void> copy(Context const&, CopyObject const& request) override {
    ZEST_CHECK(check_key(request.from));
    ZEST_CHECK(check_key(request.to));
    return pool_.run([&] { return copy_blocking(request); });
  }

 private:
  [[nodiscard]] std::string path_of(std::string_view key) const {
    std::string path = root_;
    path += key;
    return path;
  }

  Result<std::size_t> get_blocking(std::string_view key, ByteRange range, ByteSpan out) {
    auto const path = path_of(key);
    UniqueFd const fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
      int const number = errno;
      if (missing(number)) {
        return Errc::noent;
      }
      return path_error(number, "opening", path);
    }
    std::size_t const wanted = std::min<std::uint64_t>(range.length, out.size());
    if (wanted <= file_store::kCachedMax) {
      small_reads_.missed(key, fd.get());
    }
    std::size_t done = file_store::read_direct(fd.get(), range.offset, out.first(wanted));
    while (done < wanted) {
      auto const n = ::pread(fd.get(), out.data() + done, wanted - done,
                             static_cast<off_t>(range.offset + done));
      if (n < 0) {
        int const number = errno;
        if (number == EINTR) {
          continue;
        }
        if (number == EISDIR) {
          return Errc::noent;  // keys name files; a directory is no object
        }
        return path_error(number, "reading", path);
      }
      if (n == 0) {
        break;
      }
      done += static_cast<std::size_t>(n);
    }
    if (done == 0 && range.offset > 0 && wanted > 0) {
      return Error(Errc::inval, Fault::semantic, "range starts past the end of " + path);
    }
    return done;
  }

  Result<void> copy_blocking(CopyObject const& request) {
    auto const path = path_of(request.from);
    UniqueFd const fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat st{};
    if (!fd || ::fstat(fd.get(), &st) != 0) {
      int const number = errno;
      return missing(number) ? Error(Errc::noent) : path_error(number, "opening", path);
    }
    if (!S_ISREG(st.st_mode)) {
      return Errc::noent;
    }
    return put_blocking(request.to, {.source = fd.get()});
  }

  Result<void> put_blocking(std::string_view key, Content const& content) {
    auto const path = path_of(key);
    for (int attempt = 1;; ++attempt) {
      int number = 0;
      {
        auto temp = create_temp(path, number);
        if (number == 0) {
          ZEST_CHECK(content.source < 0 ? temp.write(content.parts) : temp.copy(content.source));
          if (fsync_on_put_) {
            ZEST_CHECK(temp.sync());
          }
          ZEST_CHECK(temp.close());
          number = temp.rename_to(path);
        }
      }
      if (number == 0) {
        break;
      }
      if (number != ENOENT || attempt == kCreateAttemptsMax) {
        return path_error(number, "creating", path);
      }
      ZEST_CHECK(make_directories(path.substr(0, path.rfind('/') + 1), root_.size()));
    }
    if (fsync_on_put_) {
      std::string const keys[] = {std::string(key)};
      return sync_directories(keys);
    }
    return {};
  }

  /// A new temporary sibling of `path`; `number` is the errno, ENOENT when the directory is
  /// missing.
  TempFile create_temp(std::string const& path, int& number) {
    auto const base = path.rfind('/') + 1;
    while (true) {
      auto temp = path.substr(0, base) +
                  temp_object_name(std::string_view(path).substr(base),
                                   temp_number_.fetch_add(1, std::memory_order_relaxed));
      UniqueFd fd(::open(temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      number = fd ? 0 : errno;
      if (number == EEXIST || number == EINTR) {
        continue;
      }
      return {std::move(fd), number == 0 ? std::move(temp) : std::string()};
    }
  }

  /// mkdir -p of `dir` (ends with '/'), for components that end behind the first `exists` bytes.
  Result<void> make_directories(std::string const& dir, std::size_t exists) {
    // Most often only the last one or two are missing: find where to start from below.
    std::size_t end = dir.size() - 1;
    int number = 0;
    while (end >= exists && (number = make_directory(dir.substr(0, end))) == ENOENT) {
      end = dir.rfind('/', end - 1);
    }
    if (end < exists) {
      return Error(Errc::io, Fault::semantic,
                   "the bucket's directory " + root_ +
                       " does not exist (is its disk mounted? it is created by format only)");
    }
    while (number == 0 || number == ENOENT) {
      // ENOENT from here on is a race with somebody who removes directories: the caller tries
      // again.
      end = dir.find('/', end + 1);
      if (end == std::string::npos || number == ENOENT) {
        return {};
      }
      number = make_directory(dir.substr(0, end));
    }
    return path_error(number, "creating directory", dir.substr(0, end));
  }

  /// The errno of mkdir(2); 0 also when it is there already.
  static int make_directory(std::string const& path) noexcept {
    if (::mkdir(path.c_str(), 0777) == 0 || errno == EEXIST) {
      return 0;
    }
    return errno;
  }

  Result<void> remove_blocking(std::string_view key, bool directory) {
    auto const path = path_of(key);
    if ((directory ? ::rmdir(path.c_str()) : ::unlink(path.c_str())) != 0) {
      int const number = errno;
      if (!missing(number) && number != ENOTEMPTY && !(number == EISDIR && !directory)) {
        return path_error(number, "removing", path);
      }
    }
    return {};
  }

  Result<ObjectInfo> head_blocking(std::string_view key) {
    auto const path = path_of(key);
    struct stat st{};
    if (::stat(path.c_str(), &st) != 0) {
      int const number = errno;
      if (missing(number)) {
        return Errc::noent;
      }
      return path_error(number, "looking at", path);
    }
    if (!S_ISREG(st.st_mode)) {
      return Errc::noent;
    }
    return ObjectInfo{.key = std::string(key),
                      .size = static_cast<std::uint64_t>(st.st_size),
                      .mtime = {st.st_mtim.tv_sec, static_cast<std::uint32_t>(st.st_mtim.tv_nsec)}};
  }

  Result<void> sync_blocking(std::span<std::string const> keys) {
    for (auto const& key : keys) {
      ZEST_CHECK(sync_path(path_of(key), O_RDONLY));
    }
    return sync_directories(keys);
  }

  /// A new file is safe when its directory's entry is, and that directory's, up to the root.
  /// Parents are flushed once for each directory: its entry in them doesn't change while its inode
  /// stays.
  Result<void> sync_directories(std::span<std::string const> keys) {
    std::set<std::string, std::less<>> directories;
    for (auto const& key : keys) {
      directories.insert(directory_of(key));
    }
    for (auto directory : directories) {
      ZEST_TRY(auto const inode, sync_path(root_ + directory, O_RDONLY | O_DIRECTORY));
      if (rooted(directory, inode)) {
        continue;
      }
      auto const first = directory;
      while (!directory.empty()) {
        directory = directory_of(std::string_view(directory).substr(0, directory.size() - 1));
        ZEST_CHECK(sync_path(root_ + directory, O_RDONLY | O_DIRECTORY));
      }
      std::lock_guard const lock(mutex_);
      if (rooted_.size() >= kRootedMax) {
        rooted_.clear();
      }
      rooted_[first] = inode;
    }
    return {};
  }

  /// "a/b/c" → "a/b/"; "" for a key without a slash.
  static std::string directory_of(std::string_view key) {
    auto const slash = key.rfind('/');
    return std::string(key.substr(0, slash == std::string_view::npos ? 0 : slash + 1));
  }

  /// True when the parents of this directory were flushed since it was created.
  bool rooted(std::string const& directory, ino_t inode) {
    std::lock_guard const lock(mutex_);
    auto const found = rooted_.find(directory);
    return found != rooted_.end() && found->second == inode;
  }

  /// Flushes a file or directory; returns its inode number.
  static Result<ino_t> sync_path(std::string const& path, int flags) {
    UniqueFd const fd(::open(path.c_str(), flags | O_CLOEXEC));
    struct stat st{};
    if (!fd || ::fstat(fd.get(), &st) != 0) {
      int const number = errno;
      return path_error(number, "opening for a flush", path);
    }
    bool const directory = (flags & O_DIRECTORY) != 0;
    if ((directory ? ::fsync(fd.get()) : ::fdatasync(fd.get())) != 0) {
      int const number = errno;
      // Some network file systems have no fsync of directories: there it is not needed either.
      if (!(directory && (number == EINVAL || number == ENOTSUP))) {
        return path_error(number, "flushing to disk", path);
      }
    }
    return st.st_ino;
  }

  std::string const root_;
  bool const fsync_on_put_;
  BlockingPool& pool_;
  StoreCapabilities capabilities_;
  std::atomic<std::uint64_t> temp_number_{1};
  SmallReads small_reads_;
  std::mutex mutex_;
  /// Directories whose parents are flushed, with their inode numbers; guarded by mutex_.
  std::unordered_map<std::string, ino_t> rooted_;
};

}  // namespace

Result<std::unique_ptr<ObjectStore>> make_file_store(FileStoreOptions options, BlockingPool& pool) {
  if (!options.root.starts_with('/')) {
    return Error(Errc::inval, Fault::semantic,
                 "the bucket of the file storage must be an absolute directory, not \"" +
                     options.root + "\"");
  }
  if (!options.root.ends_with('/')) {
    options.root += '/';
  }
  return std::unique_ptr<ObjectStore>(std::make_unique<FileStore>(std::move(options), pool));
}

}  // namespace zest
