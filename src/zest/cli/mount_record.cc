#include "zest/cli/mount_record.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <utility>

namespace zest::cli {
namespace {

std::string runtime_directory() {
  if (geteuid() == 0) {
    return "/run/zest";
  }
  char const* base = std::getenv("XDG_RUNTIME_DIR");
  return base != nullptr && *base != '\0' ? std::string(base) + "/zest"
                                          : fmt::format("/tmp/zest-{}", geteuid());
}

/// FNV-1a of the mount point, so that every path makes a short name.
std::string record_path(std::string_view mount_point) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (char const c : mount_point) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return fmt::format("{}/{:016x}.json", runtime_directory(), hash);
}

Result<void> make_directory(std::string const& directory) {
  std::error_code failed;
  std::filesystem::create_directories(std::filesystem::path(directory).parent_path(), failed);
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return Error::from_errno(errno, "create " + directory);
  }
  struct stat found{};
  // In /tmp somebody else could have made it first.
  if (lstat(directory.c_str(), &found) != 0 || !S_ISDIR(found.st_mode) ||
      found.st_uid != geteuid()) {
    return Error(Errc::perm, Fault::semantic, directory + " belongs to somebody else");
  }
  return {};
}

std::string encode(MountFacts const& facts) {
  nlohmann::ordered_json const json{{"MountPoint", facts.mount_point},
                                    {"MetaUrl", facts.meta_url},
                                    {"Volume", facts.volume},
                                    {"RootInode", facts.root_ino},
                                    {"Pid", facts.pid}};
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::optional<MountFacts> decode(std::string const& text) {
  auto const json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) {
    return std::nullopt;
  }
  try {
    return MountFacts{.mount_point = json.value("MountPoint", ""),
                      .meta_url = json.value("MetaUrl", ""),
                      .volume = json.value("Volume", ""),
                      .root_ino = json.value("RootInode", std::uint64_t{1}),
                      .pid = json.value("Pid", std::int64_t{0})};
  } catch (nlohmann::json::exception const&) {
    return std::nullopt;  // a field of another type: not our file
  }
}

}  // namespace

Result<MountRecord> MountRecord::create(MountFacts const& facts, bool over) {
  ZEST_CHECK(make_directory(runtime_directory()));
  auto path = record_path(facts.mount_point);
  if (over) {
    unlink(path.c_str());
  }
  UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) {
    return Error::from_errno(errno, "write " + path);
  }
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return Error(Errc::busy, Fault::semantic,
                 fmt::format("a zest process that serves {} is still running", facts.mount_point));
  }
  auto const text = encode(facts);
  if (ftruncate(file.get(), 0) != 0 ||
      pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return Error::from_errno(errno, "write " + path);
  }
  return MountRecord(std::move(path), std::move(file));
}

MountRecord::~MountRecord() {
  if (file_) {
    unlink(path_.c_str());
  }
}

Result<std::optional<MountedBy>> MountedBy::find(std::string const& mount_point) {
  auto const path = record_path(mount_point);
  UniqueFd const file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) {
    return std::optional<MountedBy>();
  }
  // The lock can be had only when nobody lives who holds it.
  if (flock(file.get(), LOCK_SH | LOCK_NB) == 0) {
    return std::optional<MountedBy>();
  }
  std::ifstream stream(path);
  auto facts = decode({std::istreambuf_iterator<char>(stream), {}});
  if (!facts || facts->mount_point != mount_point) {
    return std::optional<MountedBy>();
  }
  UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, facts->pid, 0)));
  if (!process) {
    return std::optional<MountedBy>();
  }
  return std::optional(MountedBy(std::move(*facts), std::move(process)));
}

bool MountedBy::wait_ended(Duration timeout) const {
  pollfd waiting{.fd = process_.get(), .events = POLLIN, .revents = 0};
  auto const ms = std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
  return poll(&waiting, 1, static_cast<int>(ms)) > 0;
}

}  // namespace zest::cli
