#include "zest/object/file/file_error.h"

#include <cerrno>
#include <utility>

namespace zest::file_store {
namespace {

bool may_pass(int number) noexcept {
  switch (number) {
    case EIO:
    case EINTR:
    case EAGAIN:
    case EBUSY:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ESTALE:
    case ETIMEDOUT: return true;
    default: return false;
  }
}

char const* advice(int number) noexcept {
  switch (number) {
    case ENOSPC: return " (the disk of the bucket is full: free space or enlarge it)";
    case EDQUOT: return " (the disk quota of the user that runs this program is used up)";
    case EACCES:
    case EPERM: return " (the user that runs this program needs read and write permission there)";
    case EROFS: return " (the file system of the bucket is mounted read-only)";
    default: return "";
  }
}

}  // namespace

Error path_error(int number, std::string what, std::string const& path) {
  what += ' ';
  what += path;
  auto error = Error::from_errno(number, std::move(what));
  std::string text = error.text();
  text += advice(number);
  return {error.code(), may_pass(number) ? Fault::transient : Fault::semantic, std::move(text)};
}

}  // namespace zest::file_store
