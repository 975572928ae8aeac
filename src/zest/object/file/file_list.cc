// Directory entries sorted by name are not in the order of keys: "a.b" sorts before "a/x", but the
// directory "a" before the file "a.b". So a directory counts with a '/' at its end, which gives
// exactly the order of the keys below it. Of each directory only the smallest names behind a bound
// are held (a heap of limited size); when they are used up, the directory is read again from there.
#include "zest/object/file/file_list.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "zest/format/object_name.h"
#include "zest/object/file/file_error.h"

namespace zest::file_store {
namespace {

constexpr std::size_t kNamesMax = 4096;  // a directory of a volume holds fewer: one reading each

struct CloseDir {
  void operator()(DIR* dir) const noexcept { ::closedir(dir); }
};

enum class Kind { file, directory, other };

Kind kind_of_mode(mode_t mode) noexcept {
  if (S_ISREG(mode)) {
    return Kind::file;
  }
  return S_ISDIR(mode) ? Kind::directory : Kind::other;
}

/// Follows symbolic links: part of a bucket may live on another disk.
Kind kind_of(int dir_fd, dirent const& entry) noexcept {
  if (entry.d_type == DT_REG) {
    return Kind::file;
  }
  if (entry.d_type == DT_DIR) {
    return Kind::directory;
  }
  struct stat st{};
  if ((entry.d_type != DT_LNK && entry.d_type != DT_UNKNOWN) ||
      ::fstatat(dir_fd, entry.d_name, &st, 0) != 0) {
    return Kind::other;
  }
  return kind_of_mode(st.st_mode);
}

class Lister {
 public:
  Lister(std::string const& root, ListObjects const& request, std::stop_token const& stop)
      : root_(root), request_(request), stop_(stop) {}

  Result<ObjectPage> run() {
    // Everything asked for is below the last '/' of the prefix: start there.
    auto const slash = request_.prefix.rfind('/');
    ZEST_CHECK(walk(slash == std::string::npos ? "" : request_.prefix.substr(0, slash + 1)));
    return std::move(page_);
  }

 private:
  /// Could `key`, an object or (with '/' at the end) a directory, be or hold an object of the page?
  [[nodiscard]] bool wanted(std::string const& key) const noexcept {
    if (key.back() == '/') {
      return (key.starts_with(request_.prefix) || request_.prefix.starts_with(key)) &&
             (key > request_.after || request_.after.starts_with(key));
    }
    return key.starts_with(request_.prefix) && key > request_.after;
  }

  /// The smallest wanted names of directory `dir_key` greater than `bound`, ascending, at most
  /// kNamesMax.
  Result<std::vector<std::string>> names_after(std::string const& dir_key,
                                               std::string const& bound) {
    std::vector<std::string> heap;  // a max-heap: the front is the first to go
    std::string const path = root_ + dir_key;
    std::unique_ptr<DIR, CloseDir> const dir(::opendir(path.c_str()));
    if (!dir) {
      int const number = errno;
      if (number == ENOENT || number == ENOTDIR) {
        return heap;
      }
      return path_error(number, "listing of directory", path);
    }
    while (true) {
      errno = 0;
      dirent const* entry = ::readdir(dir.get());
      if (entry == nullptr) {
        if (int const number = errno; number != 0) {
          return path_error(number, "listing of directory", path);
        }
        break;
      }
      std::string name = entry->d_name;
      if (name == "." || name == ".." || is_temp_object_name(name)) {
        continue;
      }
      auto const kind = kind_of(::dirfd(dir.get()), *entry);
      if (kind == Kind::other) {
        continue;
      }
      if (kind == Kind::directory) {
        name += '/';
      }
      if (name <= bound || !wanted(dir_key + name) ||
          (heap.size() == kNamesMax && name >= heap.front())) {
        continue;
      }
      heap.push_back(std::move(name));
      std::push_heap(heap.begin(), heap.end());
      if (heap.size() > kNamesMax) {
        std::pop_heap(heap.begin(), heap.end());
        heap.pop_back();
      }
    }
    std::sort_heap(heap.begin(), heap.end());
    return heap;
  }

  /// Adds the objects below `dir_key` to the page; stops when it is full.
  Result<void> walk(std::string const& dir_key) {
    std::string bound;
    while (!page_.more) {
      if (stop_.stop_requested()) {
        return Errc::intr;
      }
      ZEST_TRY(auto const names, names_after(dir_key, bound));
      for (auto const& name : names) {
        if (name.back() == '/') {
          ZEST_CHECK(walk(dir_key + name));
        } else {
          ZEST_CHECK(add(dir_key + name));
        }
        if (page_.more) {
          return {};
        }
      }
      if (names.size() < kNamesMax) {
        return {};
      }
      bound = names.back();
    }
    return {};
  }

  Result<void> add(std::string key) {
    if (page_.objects.size() >= request_.limit) {
      page_.more = true;
      return {};
    }
    struct stat st{};
    std::string const path = root_ + key;
    if (::stat(path.c_str(), &st) != 0) {
      int const number = errno;
      if (number == ENOENT || number == ENOTDIR) {
        return {};  // removed since the directory was read
      }
      return path_error(number, "looking at", path);
    }
    page_.objects.push_back(
        {.key = std::move(key),
         .size = static_cast<std::uint64_t>(st.st_size),
         .mtime = {st.st_mtim.tv_sec, static_cast<std::uint32_t>(st.st_mtim.tv_nsec)}});
    return {};
  }

  std::string const& root_;
  ListObjects const& request_;
  std::stop_token const& stop_;
  ObjectPage page_;
};

}  // namespace

Result<ObjectPage> list_tree(std::string const& root, ListObjects const& request,
                             std::stop_token const& stop) {
  return Lister(root, request, stop).run();
}

}  // namespace zest::file_store
