#include "zest/fuse/mount_table.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>

#include "zest/runtime/socket.h"

namespace zest::fuse {
namespace {

std::string_view take_word(std::string_view& rest) {
  auto const start = std::min(rest.find_first_not_of(' '), rest.size());
  rest.remove_prefix(start);
  auto const end = std::min(rest.find(' '), rest.size());
  auto const word = rest.substr(0, end);
  rest.remove_prefix(end);
  return word;
}

/// The kernel writes blank, tab, newline, backslash and '#' as \ooo.
std::string unescape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  auto const octal = [](char c) { return c >= '0' && c <= '7'; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) &&
        octal(text[i + 3])) {
      out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                      (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

template <class Integer>
bool parse_number(std::string_view text, Integer& out) {
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

/// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
std::optional<MountEntry> parse_line(std::string_view line) {
  MountEntry entry;
  if (!parse_number(take_word(line), entry.id)) {
    return std::nullopt;
  }
  take_word(line);  // parent
  auto const device = take_word(line);
  auto const colon = device.find(':');
  if (colon == std::string_view::npos ||
      !parse_number(device.substr(0, colon), entry.device_major) ||
      !parse_number(device.substr(colon + 1), entry.device_minor)) {
    return std::nullopt;
  }
  take_word(line);  // root within the file system
  entry.mount_point = unescape(take_word(line));
  entry.options = take_word(line);
  for (;;) {  // optional fields up to a single dash
    auto const word = take_word(line);
    if (word.empty()) {
      return std::nullopt;
    }
    if (word == "-") {
      break;
    }
  }
  entry.type = unescape(take_word(line));
  entry.source = unescape(take_word(line));
  entry.super_options = take_word(line);
  return entry;
}

}  // namespace

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> table;
  while (!text.empty()) {
    auto const end = std::min(text.find('\n'), text.size());
    if (auto entry = parse_line(text.substr(0, end))) {
      table.push_back(*std::move(entry));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return table;
}

Result<std::vector<MountEntry>> read_mount_table() {
  constexpr char const* kPath = "/proc/self/mountinfo";
  UniqueFd const fd(::open(kPath, O_RDONLY | O_CLOEXEC));
  if (!fd) {
    return Error::from_errno(errno, kPath);
  }
  std::string text;
  std::array<char, 16384> buffer;
  for (;;) {
    auto const n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return Error::from_errno(errno, kPath);
    }
    if (n == 0) {
      return parse_mountinfo(text);
    }
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

std::optional<MountEntry> mount_at(std::vector<MountEntry> const& table, std::string_view path) {
  auto const found = std::find_if(table.rbegin(), table.rend(),
                                  [&](MountEntry const& e) { return e.mount_point == path; });
  if (found == table.rend()) {
    return std::nullopt;
  }
  return *found;
}

Result<std::string> normalise_mount_point(std::string const& path) {
  std::string text = path;
  while (text.size() > 1 && text.back() == '/') {
    text.pop_back();
  }
  if (text.empty()) {
    return Error(Errc::noent, Fault::semantic, "the mount point is an empty string");
  }
  std::array<char, PATH_MAX> resolved;
  // A dead mount can be resolved up to its parent only.
  auto const slash = text.rfind('/');
  std::string const parent = slash == std::string::npos ? "."
                             : slash == 0               ? "/"
                                                        : text.substr(0, slash);
  std::string const last = slash == std::string::npos ? text : text.substr(slash + 1);
  if (::realpath(text.c_str(), resolved.data()) != nullptr) {
    return std::string(resolved.data());
  }
  int const error = errno;
  if (error != ENOTCONN && error != EACCES && error != EIO && error != ECONNABORTED) {
    return Error::from_errno(error,
                             fmt::format("mount point {}{}", path,
                                         error == ENOENT ? ": create the directory first" : ""));
  }
  if (last.empty() || last == "." || last == ".." ||
      ::realpath(parent.c_str(), resolved.data()) == nullptr) {
    return Error::from_errno(error, fmt::format("mount point {}", path));
  }
  std::string const base = resolved.data();
  return base == "/" ? base + last : base + "/" + last;
}

Result<MountPointState> inspect_mount_point(std::string const& path) {
  // Cached attributes would hide that nobody answers any more.
  struct statx status{};
  if (::statx(AT_FDCWD, path.c_str(), AT_STATX_FORCE_SYNC, STATX_TYPE, &status) != 0) {
    int const error = errno;
    if (error == ENOTCONN || error == ECONNABORTED) {
      return MountPointState::dead;
    }
    return Error::from_errno(error,
                             fmt::format("mount point {}{}", path,
                                         error == ENOENT ? ": create the directory first" : ""));
  }
  if (!S_ISDIR(status.stx_mode)) {
    return Error(Errc::notdir, Fault::semantic,
                 fmt::format("mount point {} is not a directory", path));
  }
  std::unique_ptr<DIR, int (*)(DIR*)> const dir(::opendir(path.c_str()), ::closedir);
  if (!dir) {
    if (errno == ENOTCONN || errno == ECONNABORTED) {
      return MountPointState::dead;
    }
    return Error::from_errno(errno, fmt::format("open mount point {}", path));
  }
  while (auto const* entry = ::readdir(dir.get())) {
    std::string_view const name = entry->d_name;
    if (name != "." && name != "..") {
      return MountPointState::not_empty;
    }
  }
  return MountPointState::usable;
}

}  // namespace zest::fuse
