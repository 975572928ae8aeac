#include "zest/fuse/mount.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <vector>

extern char** environ;

namespace zest::fuse {
namespace {

struct FlagOption {
  std::string_view name;
  unsigned long flag;
  bool set;
};
constexpr std::array kFlagOptions = std::to_array<FlagOption>({
    {"suid", MS_NOSUID, false},
    {"nosuid", MS_NOSUID, true},
    {"dev", MS_NODEV, false},
    {"nodev", MS_NODEV, true},
    {"exec", MS_NOEXEC, false},
    {"noexec", MS_NOEXEC, true},
    {"async", MS_SYNCHRONOUS, false},
    {"sync", MS_SYNCHRONOUS, true},
    {"atime", MS_NOATIME, false},
    {"noatime", MS_NOATIME, true},
    {"diratime", MS_NODIRATIME, false},
    {"nodiratime", MS_NODIRATIME, true},
    {"dirsync", MS_DIRSYNC, true},
    {"relatime", MS_RELATIME, true},
    {"norelatime", MS_RELATIME, false},
    {"strictatime", MS_STRICTATIME, true},
    {"nostrictatime", MS_STRICTATIME, false},
});
/// Of interest to fstab readers, or our defaults.
constexpr std::array<std::string_view, 16> kIgnored = {
    "",        "rw",     "defaults", "auto",     "noauto",
    "user",    "nouser", "users",    "owner",    "group",
    "_netdev", "nofail", "remount",  "nonempty", "default_permissions",
    "debug"};

bool apply_flag(std::string_view word, RawOptions& out) {
  auto const* const found = std::ranges::find(kFlagOptions, word, &FlagOption::name);
  if (found == kFlagOptions.end()) {
    return false;
  }
  (found->set ? out.set_flags : out.clear_flags) |= found->flag;
  (found->set ? out.clear_flags : out.set_flags) &= ~found->flag;
  return true;
}

Result<void> apply_option(std::string_view word, RawOptions& out) {
  auto const equals = word.find('=');
  auto const key = word.substr(0, equals);
  auto const value =
      equals == std::string_view::npos ? std::string_view{} : word.substr(equals + 1);
  if (std::ranges::find(kIgnored, word) != kIgnored.end() || key.starts_with("x-") ||
      apply_flag(word, out)) {
    return {};
  }
  if (word == "ro") {
    out.read_only = true;
  } else if (word == "allow_other") {
    out.allow_other = true;
  } else if (word == "allow_root") {
    out.allow_root = true;
  } else if (word == "writeback_cache") {
    out.writeback_cache = true;
  } else if (key == "fsname" && !value.empty()) {
    out.source = std::string(value);
  } else if (key == "subtype" && !value.empty()) {
    out.subtype = std::string(value);
  } else if (key == "max_read") {
    std::uint32_t bytes = 0;
    auto const [end, error] = std::from_chars(value.data(), value.data() + value.size(), bytes);
    if (error != std::errc{} || end != value.data() + value.size()) {
      return Error(Errc::inval, Fault::semantic,
                   fmt::format("mount option {}: a number of bytes is wanted", word));
    }
    out.max_read = bytes;
  } else {
    return Error(Errc::inval, Fault::semantic, fmt::format("unknown mount option \"{}\"", word));
  }
  return {};
}

/// fusermount3 splits its options at commas and takes a backslash as escape.
std::string escape_commas(std::string_view text) {
  std::string out;
  for (char const c : text) {
    if (c == ',' || c == '\\') {
      out.push_back('\\');
    }
    out.push_back(c);
  }
  return out;
}

Result<UniqueFd> mount_as_root(MountOptions const& options) {
  UniqueFd fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    int const error = errno;
    return Error::from_errno(
        error, error == ENOENT || error == ENODEV
                   ? "open /dev/fuse: the kernel module is missing, try `modprobe fuse`"
                   : "open /dev/fuse");
  }
  struct stat root{};
  if (::stat(options.mount_point.c_str(), &root) != 0) {
    return Error::from_errno(errno, fmt::format("mount point {}", options.mount_point));
  }
  auto data = fmt::format("fd={},rootmode={:o},user_id={},group_id={},default_permissions",
                          fd.get(), root.st_mode & S_IFMT, ::getuid(), ::getgid());
  if (options.allow_other) {
    data += ",allow_other";
  }
  if (options.max_read != 0) {
    data += fmt::format(",max_read={}", options.max_read);
  }
  auto const type = options.subtype.empty() ? "fuse" : "fuse." + options.subtype;
  auto const flags =
      options.flags | (options.read_only ? static_cast<unsigned long>(MS_RDONLY) : 0ul);
  if (::mount(options.source.c_str(), options.mount_point.c_str(), type.c_str(), flags,
              data.c_str()) != 0) {
    int const error = errno;
    return Error::from_errno(
        error, fmt::format("mount {} on {}{}", options.source, options.mount_point,
                           error == EPERM ? ": CAP_SYS_ADMIN is needed (in a container: run it "
                                            "privileged or mount from the host)"
                                          : ""));
  }
  return fd;
}

/// Runs a program to its end; ENOENT when it doesn't exist. Its messages go to our stderr.
Result<void> run_program(std::vector<std::string> arguments,
                         std::vector<std::string> const& extra_environment) {
  std::vector<char*> argv;
  for (auto& a : arguments) {
    argv.push_back(a.data());
  }
  argv.push_back(nullptr);
  std::vector<std::string> extra = extra_environment;
  std::vector<char*> env;
  for (char** e = environ; *e != nullptr; ++e) {
    env.push_back(*e);
  }
  for (auto& e : extra) {
    env.push_back(e.data());
  }
  env.push_back(nullptr);
  pid_t child = 0;
  int const error = ::posix_spawnp(&child, argv[0], nullptr, nullptr, argv.data(), env.data());
  if (error != 0) {
    return Error::from_errno(error, error == ENOENT ? arguments[0] +
                                                          " is needed to mount without root: "
                                                          "install the package fuse3"
                                                    : "run " + arguments[0]);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      return Error::from_errno(errno, "wait for " + arguments[0]);
    }
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return Error(Errc::perm, Fault::semantic,
                 fmt::format("{} failed; see its message above", arguments[0]));
  }
  return {};
}

/// Takes the descriptor that came as ancillary data.
Result<UniqueFd> receive_fd(int socket) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  auto const n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  auto const* const header = n > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
    return Error(Errc::io, Fault::semantic, "fusermount3 sent no descriptor");
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return UniqueFd(fd);
}

Result<UniqueFd> mount_as_user(MountOptions const& options) {
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return Error::from_errno(errno, "socketpair for fusermount3");
  }
  UniqueFd const ours(pair[0]);
  UniqueFd theirs(pair[1]);
  ::fcntl(theirs.get(), F_SETFD, 0);  // the child inherits this end
  auto text = fmt::format("fsname={},subtype={},default_permissions", escape_commas(options.source),
                          escape_commas(options.subtype));
  for (auto const& option : kFlagOptions) {
    if (option.set && (options.flags & option.flag) != 0 && option.flag != MS_NOSUID &&
        option.flag != MS_NODEV) {  // those two are always set for users
      text += fmt::format(",{}", option.name);
    }
  }
  text += options.read_only ? ",ro" : "";
  text += options.allow_other ? ",allow_other" : "";
  if (options.max_read != 0) {
    text += fmt::format(",max_read={}", options.max_read);
  }
  ZEST_CHECK(run_program({"fusermount3", "-o", text, "--", options.mount_point},
                         {fmt::format("_FUSE_COMMFD={}", theirs.get())}));
  theirs.reset();
  ZEST_TRY(auto fd, receive_fd(ours.get()));
  if (::fcntl(fd.get(), F_SETFL, O_RDWR | O_NONBLOCK) != 0) {
    return Error::from_errno(errno, "make the FUSE descriptor nonblocking");
  }
  return fd;
}

}  // namespace

Result<RawOptions> parse_raw_options(std::string_view text) {
  RawOptions out;
  while (!text.empty()) {
    auto const end = std::min(text.find(','), text.size());
    ZEST_CHECK(apply_option(text.substr(0, end), out));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

unsigned long default_mount_flags() noexcept {
  return MS_NOSUID | MS_NODEV;
}

Result<UniqueFd> mount_fuse(MountOptions const& options) {
  return ::geteuid() == 0 ? mount_as_root(options) : mount_as_user(options);
}

Result<void> unmount_fuse(std::string const& mount_point, UnmountMode mode) {
  if (::geteuid() != 0) {
    std::vector<std::string> arguments = {"fusermount3", "-u"};
    if (mode != UnmountMode::normal) {
      arguments.emplace_back("-z");
    }
    arguments.insert(arguments.end(), {"--", mount_point});
    return run_program(std::move(arguments), {});
  }
  if (mode == UnmountMode::force) {
    // Aborts the connection; whether the mount goes too depends on its users.
    if (::umount2(mount_point.c_str(), MNT_FORCE | UMOUNT_NOFOLLOW) == 0) {
      return {};
    }
  }
  int const flags = mode == UnmountMode::normal ? 0 : MNT_DETACH;
  if (::umount2(mount_point.c_str(), flags | UMOUNT_NOFOLLOW) != 0) {
    int const error = errno;
    return Error::from_errno(
        error,
        fmt::format("unmount {}{}", mount_point,
                    error == EBUSY ? ": a program has a file or its working directory there; end "
                                     "it (`fuser -vm` lists them) or unmount with --force"
                                   : ""));
  }
  return {};
}

}  // namespace zest::fuse
