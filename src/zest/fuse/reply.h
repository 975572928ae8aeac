// Replies to the kernel: pure encoding. A Reply is an error number, or a short head, bytes of its
// own, and pieces of data that stay where they are (cached blocks) until the transport sent them.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>

#include "zest/base/assert.h"
#include "zest/base/bytes.h"
#include "zest/base/result.h"
#include "zest/chunk/data_view.h"
#include "zest/fuse/kernel_abi.h"
#include "zest/vfs/vfs.h"

namespace zest::fuse {

/// What is sent back for one request; movable.
class Reply {
 public:
  Reply() = default;  ///< success without a body
  /// A failure with this positive errno.
  static Reply failure(int number) noexcept {
    Reply reply;
    reply.error_ = number;
    return reply;
  }

  /// Appends a fixed structure; all of a reply's together take at most kHeadMax bytes.
  template <class T>
  void append(T const& value) noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    ZEST_ASSERT(head_size_ + sizeof(T) <= kHeadMax);
    std::memcpy(head_.data() + head_size_, &value, sizeof(T));
    head_size_ += sizeof(T);
  }
  /// Bytes behind the head; owned.
  void set_body(std::string body) noexcept { body_ = std::move(body); }
  /// Data behind head and body; not copied.
  void set_data(DataView data) noexcept { data_ = std::move(data); }

  [[nodiscard]] int error() const noexcept { return error_; }
  [[nodiscard]] ByteView head() const noexcept {
    return ByteView(head_).first(error_ == 0 ? head_size_ : 0);
  }
  [[nodiscard]] std::string const& body() const noexcept { return body_; }
  [[nodiscard]] DataView const& data() const noexcept { return data_; }
  /// Bytes behind the reply header; 0 for failures.
  [[nodiscard]] std::size_t size() const noexcept {
    return error_ != 0 ? 0 : head_size_ + body_.size() + data_.size();
  }
  /// Copies everything behind the header to `out`, which holds at least size() bytes.
  void copy_to(ByteSpan out) const noexcept;

  static constexpr std::size_t kHeadMax = 160;  // fuse_entry_out and fuse_open_out: 144

 private:
  int error_ = 0;
  std::size_t head_size_ = 0;
  std::array<std::byte, kHeadMax> head_{};
  std::string body_;
  DataView data_;
};

/// st_blksize of every file (format/07 §7).
constexpr std::uint32_t kBlockSize = 65536;
/// Block size in statfs replies (format/07 §7).
constexpr std::uint32_t kStatfsBlockSize = 4096;

/// Attributes as the kernel wants them: blocks = ceil(length / 512).
fuse_attr encode_attr(Ino ino, Attr const& attr) noexcept;
/// LOOKUP and everything that makes a name; ino 0 = "known not to exist" for the entry timeout.
fuse_entry_out encode_entry(vfs::EntryReply const& reply) noexcept;
fuse_attr_out encode_attr_reply(Ino ino, vfs::AttrReply const& reply) noexcept;
/// OPEN of a file; parallel direct writes are always allowed, vfs orders what must be ordered.
fuse_open_out encode_open(vfs::OpenReply const& reply) noexcept;
/// OPENDIR: `keep_cache` lets the kernel keep the listing between opens.
fuse_open_out encode_opendir(vfs::OpenReply const& reply) noexcept;
fuse_statfs_out encode_statfs(meta::StatfsReply const& reply) noexcept;
fuse_lk_out encode_lock(LockRange const& range) noexcept;

/// Fills a READDIR or READDIRPLUS reply of at most `size` bytes.
class DirentWriter {
 public:
  struct Options {
    std::size_t size = 0;
    bool plus = false;
    Duration entry_timeout{};      ///< for names of files
    Duration dir_entry_timeout{};  ///< for names of directories
    Duration attr_timeout{};
  };
  explicit DirentWriter(Options const& options);
  /// False when the entry doesn't fit any more; nothing was written then.
  bool add(vfs::DirItem const& item);
  [[nodiscard]] std::string take() noexcept { return std::move(buffer_); }

 private:
  Options options_;
  std::string buffer_;
};

}  // namespace zest::fuse
