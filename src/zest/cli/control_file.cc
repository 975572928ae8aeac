#include "zest/cli/control_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>

#include "zest/runtime/socket.h"

namespace zest::cli {
namespace {

constexpr std::uint64_t kRootNumber = 1;
constexpr std::uint64_t kControlNumber = 0x7FFFFFFF00000002;
// The name has a prefix when the mount was made with --prefix-internal.
constexpr std::array kControlNames{"/.jfs.control", "/.control"};
constexpr std::size_t kProgressSize = 17;
constexpr char kProgressFrame = '\xFE';
// Between two looks for an answer: quick at first, then as often as progress comes.
constexpr useconds_t kPauseUsFirst = 1000;
constexpr useconds_t kPauseUsMax = 100'000;

Result<std::uint64_t> inode_of(std::string const& path) {
  struct stat found{};
  if (::lstat(path.c_str(), &found) != 0) {
    return Error::from_errno(errno, path);
  }
  return std::uint64_t{found.st_ino};
}

std::uint64_t from_big_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (char const c : bytes) {
    value = (value << 8) | static_cast<unsigned char>(c);
  }
  return value;
}

// Other file systems have roots with the number 1, too.
bool is_volume_root(std::string const& place) {
  return std::ranges::any_of(kControlNames, [&](char const* name) {
    auto const ino = inode_of(place + name);
    return ino.ok() && *ino == kControlNumber;
  });
}

Result<UniqueFd> open_control(std::string const& mount_root) {
  for (auto const* name : kControlNames) {
    UniqueFd file(::open((mount_root + name).c_str(), O_RDWR | O_CLOEXEC));
    if (file) {
      return file;
    }
    if (errno != ENOENT) {
      return Error::from_errno(errno, mount_root + name);
    }
  }
  return Error(Errc::noent, Fault::semantic,
               mount_root + ": the mounted volume offers no control file");
}

}  // namespace

Result<MountedPath> find_mounted(std::string const& path) {
  std::error_code failed;
  auto absolute = std::filesystem::absolute(path, failed).lexically_normal();
  if (failed) {
    return Error(Errc::io, Fault::semantic, path + ": " + failed.message());
  }
  if (!absolute.has_filename()) {
    absolute = absolute.parent_path();
  }
  MountedPath found{.mount_root = {}, .name = absolute.filename().string()};
  if (auto ino = inode_of(absolute.string()); ino.ok()) {
    found.ino = *ino;
  } else if (ino.error().code() != Errc::noent) {
    return std::move(ino).error();
  }
  ZEST_TRY(found.parent_ino, inode_of(absolute.parent_path().string()));
  if (found.ino == kRootNumber && is_volume_root(absolute.string())) {
    found.mount_root = absolute.string();
    return found;
  }
  for (auto place = absolute.parent_path(); place != place.root_path();
       place = place.parent_path()) {
    ZEST_TRY(auto const ino, inode_of(place.string()));
    if (ino == kRootNumber && is_volume_root(place.string())) {
      found.mount_root = place.string();
      return found;
    }
  }
  return Error(Errc::inval, Fault::semantic, path + " is not in a mounted volume");
}

ControlRequest& ControlRequest::number(std::uint64_t value, unsigned bytes) {
  for (auto left = bytes; left > 0; --left) {
    payload_.push_back(static_cast<char>(value >> (8 * (left - 1))));
  }
  return *this;
}

ControlRequest& ControlRequest::text(std::string_view bytes) {
  payload_.append(bytes);
  return *this;
}

std::string ControlRequest::encode() const {
  ControlRequest header(0);
  header.number(command_, 4).number(payload_.size(), 4);
  return header.payload_ + payload_;
}

Result<void> control(std::string const& mount_root, ControlRequest const& request,
                     ControlProgress const& progress) {
  ZEST_TRY(auto const file, open_control(mount_root));
  auto const bytes = request.encode();
  if (::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    return Error::from_errno(errno, mount_root + ": the request was not taken");
  }
  std::string answer;
  for (auto pause = kPauseUsFirst;;) {
    std::array<char, 4096> part;
    auto const got = ::read(file.get(), part.data(), part.size());
    if (got < 0) {
      return Error::from_errno(errno, mount_root + ": the answer could not be read");
    }
    answer.append(part.data(), static_cast<std::size_t>(got));
    while (answer.size() >= kProgressSize && answer.front() == kProgressFrame) {
      std::string_view const frame(answer);
      progress(from_big_endian(frame.substr(1, 8)), from_big_endian(frame.substr(9, 8)));
      answer.erase(0, kProgressSize);
    }
    if (!answer.empty() && answer.front() != kProgressFrame) {
      auto const status = static_cast<unsigned char>(answer.front());
      return status == 0 ? Result<void>() : Result<void>(Error::from_errno(status, mount_root));
    }
    if (got == 0) {
      ::usleep(pause);
      pause = std::min(pause * 2, kPauseUsMax);
    }
  }
}

}  // namespace zest::cli
