// An open directory: pages of entries with cookies that stay valid for the life of the handle.
//
// A cookie names an entry by page, position in the page and a hash of its name, and means "behind
// this entry". A few pages are kept as they were read; an older one is read again from the cursor
// at which it started, and the hash finds the place even if entries before it came or went. So
// memory stays bounded (a cursor a page) for directories of any size.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zest/vfs/env.h"
#include "zest/vfs/file_state.h"
#include "zest/vfs/internal_files.h"

namespace zest::vfs {

class DirStream {
 public:
  DirStream(Env& env, FileTable& files, InternalFiles const& internal, Ino ino)
      : env_(env), files_(files), internal_(internal), ino_(ino) {}
  DirStream(DirStream const&) = delete;
  DirStream& operator=(DirStream const&) = delete;

  [[nodiscard]] Ino ino() const noexcept { return ino_; }
  /// See Vfs::readdir. Offset 0 reads the directory anew. Errors of a later page are returned only
  /// when nothing was delivered before; EINVAL for a cookie that was never given out.
  Result<void> read(Context const& ctx, std::uint64_t offset, bool plus, DirSink const& sink);

 private:
  struct Page {
    std::uint64_t number = 0;
    bool attrs = false;
    std::uint64_t epoch = 0;  ///< Env::epoch before it was read
    TimePoint read_at{};
    std::vector<meta::DirEntry> entries;
  };
  using PagePtr =
      std::shared_ptr<Page const>;  // a reader goes on with its page while it is evicted

  void rewind();
  Result<bool> read_head(Context const& ctx, std::uint64_t offset, bool plus, DirSink const& sink);
  Result<std::optional<PagePtr>> page(Context const& ctx, std::uint64_t number, bool attrs);
  /// Reads a page whose cursor is known.
  Result<PagePtr> load(Context const& ctx, std::size_t index, bool attrs);
  bool deliver(Page const& page, std::size_t index, bool plus, DirSink const& sink);

  Env& env_;
  FileTable& files_;
  InternalFiles const& internal_;
  Ino ino_;
  FiberMutex mutex_;
  std::vector<std::string> cursors_{std::string()};  ///< where page i starts
  bool ended_ = false;                               ///< the last page is known: cursors_ holds all
  std::deque<PagePtr> recent_;
  std::vector<InternalFiles::Listed> head_;
  bool head_known_ = false;
};

}  // namespace zest::vfs
