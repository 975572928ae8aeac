#include "zest/fuse/reply.h"

#include <dirent.h>

#include <algorithm>

namespace zest::fuse {
namespace {

constexpr std::uint64_t kSectorSize = 512;  // unit of st_blocks

struct Timeout {
  std::uint64_t sec = 0;
  std::uint32_t nsec = 0;
};
Timeout timeout(Duration duration) noexcept {
  auto const count = std::max<std::int64_t>(duration.count(), 0);
  return {static_cast<std::uint64_t>(count / 1'000'000'000),
          static_cast<std::uint32_t>(count % 1'000'000'000)};
}

std::uint32_t dirent_type(FileType type) noexcept {
  switch (type) {
    case FileType::regular: return DT_REG;
    case FileType::directory: return DT_DIR;
    case FileType::symlink: return DT_LNK;
    case FileType::fifo: return DT_FIFO;
    case FileType::block_device: return DT_BLK;
    case FileType::char_device: return DT_CHR;
    case FileType::socket: return DT_SOCK;
  }
  return DT_UNKNOWN;
}

template <class T>
void append_struct(std::string& out, T const& value) {
  out.append(as_text(std::as_bytes(std::span(&value, 1))));
}

}  // namespace

void Reply::copy_to(ByteSpan out) const noexcept {
  ZEST_ASSERT(out.size() >= size());
  if (error_ != 0) {
    return;
  }
  auto const first = head();
  if (!first.empty()) {
    std::memcpy(out.data(), first.data(), first.size());
  }
  if (!body_.empty()) {
    std::memcpy(out.data() + first.size(), body_.data(), body_.size());
  }
  auto rest = out.subspan(first.size() + body_.size());
  for (auto const& piece : data_.pieces()) {
    if (!piece.bytes.empty()) {
      std::memcpy(rest.data(), piece.bytes.data(), piece.bytes.size());
    }
    rest = rest.subspan(piece.bytes.size());
  }
}

fuse_attr encode_attr(Ino ino, Attr const& attr) noexcept {
  fuse_attr out{};
  out.ino = ino.value;
  out.size = attr.length;
  out.blocks = attr.length / kSectorSize + (attr.length % kSectorSize == 0 ? 0 : 1);
  out.atime = static_cast<std::uint64_t>(attr.atime.sec);
  out.mtime = static_cast<std::uint64_t>(attr.mtime.sec);
  out.ctime = static_cast<std::uint64_t>(attr.ctime.sec);
  out.atimensec = attr.atime.nsec;
  out.mtimensec = attr.mtime.nsec;
  out.ctimensec = attr.ctime.nsec;
  out.mode = to_mode_bits(attr.type) | attr.mode;
  out.nlink = attr.nlink;
  out.uid = attr.uid;
  out.gid = attr.gid;
  out.rdev = attr.rdev;
  out.blksize = kBlockSize;
  return out;
}

fuse_entry_out encode_entry(vfs::EntryReply const& reply) noexcept {
  fuse_entry_out out{};
  auto const entry = timeout(reply.entry_timeout);
  out.entry_valid = entry.sec;
  out.entry_valid_nsec = entry.nsec;
  if (!reply.ino) {
    return out;
  }
  auto const attr = timeout(reply.attr_timeout);
  out.nodeid = reply.ino.value;
  out.attr_valid = attr.sec;
  out.attr_valid_nsec = attr.nsec;
  out.attr = encode_attr(reply.ino, reply.attr);
  return out;
}

fuse_attr_out encode_attr_reply(Ino ino, vfs::AttrReply const& reply) noexcept {
  fuse_attr_out out{};
  auto const attr = timeout(reply.attr_timeout);
  out.attr_valid = attr.sec;
  out.attr_valid_nsec = attr.nsec;
  out.attr = encode_attr(ino, reply.attr);
  return out;
}

fuse_open_out encode_open(vfs::OpenReply const& reply) noexcept {
  fuse_open_out out{};
  out.fh = reply.handle.value;
  out.open_flags = FOPEN_PARALLEL_DIRECT_WRITES;
  if (reply.keep_cache) {
    out.open_flags |= FOPEN_KEEP_CACHE;
  }
  if (reply.direct_io) {
    out.open_flags |= FOPEN_DIRECT_IO;
  }
  if (reply.nonseekable) {
    out.open_flags |= FOPEN_NONSEEKABLE;
  }
  return out;
}

fuse_open_out encode_opendir(vfs::OpenReply const& reply) noexcept {
  fuse_open_out out{};
  out.fh = reply.handle.value;
  if (reply.keep_cache) {
    out.open_flags = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE;
  }
  return out;
}

fuse_statfs_out encode_statfs(meta::StatfsReply const& reply) noexcept {
  fuse_statfs_out out{};
  out.st.blocks = reply.total_space / kStatfsBlockSize;
  out.st.bfree = reply.available_space / kStatfsBlockSize;
  out.st.bavail = out.st.bfree;
  out.st.files = reply.used_inodes + reply.available_inodes;
  out.st.ffree = reply.available_inodes;
  out.st.bsize = kStatfsBlockSize;
  out.st.frsize = kStatfsBlockSize;
  out.st.namelen = kNameMax;
  return out;
}

fuse_lk_out encode_lock(LockRange const& range) noexcept {
  fuse_lk_out out{};
  out.lk.type = static_cast<std::uint32_t>(range.type);
  out.lk.pid = range.pid;
  out.lk.start = range.start;
  out.lk.end = range.end;
  return out;
}

DirentWriter::DirentWriter(Options const& options) : options_(options) {
  buffer_.reserve(options.size);
}

bool DirentWriter::add(vfs::DirItem const& item) {
  std::size_t const head =
      options_.plus ? FUSE_NAME_OFFSET_DIRENTPLUS : static_cast<std::size_t>(FUSE_NAME_OFFSET);
  std::size_t const length = FUSE_REC_ALIGN(head + item.name.size());
  if (buffer_.size() + length > options_.size) {
    return false;
  }
  std::size_t const end = buffer_.size() + length;
  if (options_.plus) {
    // Without attributes, and for "." and "..", node 0 says that this is only a name.
    vfs::EntryReply entry;
    if (item.attr != nullptr && item.name != "." && item.name != "..") {
      entry = {.ino = item.ino,
               .attr = *item.attr,
               .entry_timeout = item.type == FileType::directory ? options_.dir_entry_timeout
                                                                 : options_.entry_timeout,
               .attr_timeout = options_.attr_timeout};
    }
    append_struct(buffer_, encode_entry(entry));
  }
  fuse_dirent entry{};
  entry.ino = item.ino.value;
  entry.off = item.next_offset;
  entry.namelen = static_cast<std::uint32_t>(item.name.size());
  entry.type = dirent_type(item.type);
  buffer_.append(as_text(std::as_bytes(std::span(&entry, 1))).substr(0, FUSE_NAME_OFFSET));
  buffer_.append(item.name);
  buffer_.resize(end, '\0');
  return true;
}

}  // namespace zest::fuse
