#include "zest/format/types.h"

#include <sys/stat.h>

namespace zest {

std::uint32_t to_mode_bits(FileType type) noexcept {
  switch (type) {
    case FileType::regular: return S_IFREG;
    case FileType::directory: return S_IFDIR;
    case FileType::symlink: return S_IFLNK;
    case FileType::fifo: return S_IFIFO;
    case FileType::block_device: return S_IFBLK;
    case FileType::char_device: return S_IFCHR;
    case FileType::socket: return S_IFSOCK;
  }
  return 0;
}

}  // namespace zest
