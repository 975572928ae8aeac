#include "zest/cli/mount_helper.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

#include "zest/cli/meta_url.h"

namespace zest::cli {
namespace {

constexpr std::string_view kType = "zest";
constexpr char const* kFstab = "/etc/fstab";
constexpr char const* kHelper = "/sbin/mount.zest";

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    auto const end = std::min(text.find(separator), text.size());
    if (end > 0) {
      parts.emplace_back(text.substr(0, end));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

/// Options for mount(8) itself.
bool dropped(std::string_view name) {
  constexpr std::array kDropped{"_netdev",    "nofail", "rw",     "defaults", "remount",
                                "background", "auto",   "noauto", "user",     "nouser",
                                "users",      "owner",  "group",  "comment",  "x-gvfs-show"};
  return std::ranges::find(kDropped, name) != kDropped.end() || name.starts_with("x-systemd.");
}

std::string_view renamed(std::string_view name) {
  constexpr std::array kNames{
      std::pair{std::string_view("attrcacheto"), std::string_view("attr-cache")},
      std::pair{std::string_view("entrycacheto"), std::string_view("entry-cache")},
      std::pair{std::string_view("direntrycacheto"), std::string_view("dir-entry-cache")}};
  for (auto const& [old_name, new_name] : kNames) {
    if (name == old_name) {
      return new_name;
    }
  }
  return name;
}

void add_option(std::string const& option, MountFlagOf const& flag_of,
                std::vector<std::string>& flags, std::string& rest) {
  auto const equals = std::min(option.find('='), option.size());
  auto const name = renamed(std::string_view(option).substr(0, equals));
  if (dropped(name)) {
    return;
  }
  auto const kind = flag_of(name);
  bool const has_value = equals < option.size();
  if (kind == MountFlag::plain || (kind == MountFlag::value && has_value)) {
    flags.push_back(fmt::format("--{}{}", name, option.substr(equals)));
    // `debug` also means something to FUSE.
    if (name != "debug") {
      return;
    }
  }
  rest += rest.empty() ? "" : ",";
  rest += option;
}

/// Blanks and backslashes as fstab(5) wants them.
std::string fstab_field(std::string_view text) {
  std::string field;
  for (char const c : text) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\') {
      field += fmt::format("\\{:03o}", static_cast<unsigned>(c));
    } else {
      field += c;
    }
  }
  return field;
}

bool is_same_mount(std::string_view line, FstabEntry const& entry) {
  std::string text(line);
  std::ranges::replace(text, '\t', ' ');
  auto const fields = split(text, ' ');
  return fields.size() >= 3 && fields[0] == fstab_field(entry.meta_url) &&
         fields[1] == fstab_field(entry.mount_point) && fields[2] == kType;
}

Error failed(int number, std::string_view what) {
  return Error::from_errno(number, std::string(what));
}

Result<void> write_fstab(std::string const& text) {
  auto const temporary = fmt::format("{}.zest.{}", kFstab, getpid());
  struct stat old{};
  mode_t const mode = stat(kFstab, &old) == 0 ? old.st_mode & 07777 : 0644;
  std::ofstream file(temporary, std::ios::trunc);
  file << text << std::flush;
  if (!file) {
    return failed(errno, "write " + temporary);
  }
  file.close();
  if (chmod(temporary.c_str(), mode) != 0 || std::rename(temporary.c_str(), kFstab) != 0) {
    auto const number = errno;
    unlink(temporary.c_str());
    return failed(number, fmt::format("replace {}", kFstab));
  }
  return {};
}

Result<void> link_helper() {
  struct stat existing{};
  if (lstat(kHelper, &existing) == 0) {
    return {};
  }
  std::array<char, 4096> program{};
  auto const size = readlink("/proc/self/exe", program.data(), program.size() - 1);
  if (size <= 0 || symlink(program.data(), kHelper) != 0) {
    return failed(errno, fmt::format("create {}", kHelper));
  }
  return {};
}

}  // namespace

bool called_by_mount(char const* program) {
  std::string_view name = program == nullptr ? "" : program;
  name.remove_prefix(name.rfind('/') + 1);
  return name == "mount.zest" || name == "mount.juicefs" ||
         std::getenv("CALL_VIA_MOUNT") != nullptr;
}

std::vector<std::string> translate_mount(std::vector<std::string> const& arguments,
                                         MountFlagOf const& flag_of) {
  std::vector<std::string> flags{"mount", "-d"};
  std::vector<std::string> places;
  std::string rest;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    auto const& argument = arguments[i];
    bool const has_next = i + 1 < arguments.size();
    if (argument == "-o" && has_next) {
      for (auto const& option : split(arguments[++i], ',')) {
        add_option(option, flag_of, flags, rest);
      }
    } else if ((argument == "-t" || argument == "-N") && has_next) {
      ++i;  // type and namespace: mount(8) has dealt with them
    } else if (argument == "-h" || argument == "--help" || !argument.starts_with('-')) {
      places.push_back(argument);
    }
  }
  if (!rest.empty()) {
    flags.insert(flags.end(), {"-o", rest});
  }
  flags.insert(flags.end(), places.begin(), places.end());
  return flags;
}

std::string updated_fstab(std::string_view text, FstabEntry const& entry) {
  auto options = entry.options;
  std::ranges::sort(options);
  std::string all = "_netdev,nofail";
  for (auto const& option : options) {
    all += "," + option;
  }
  auto const line = fmt::format("{}  {}  {}  {}  0 0", fstab_field(entry.meta_url),
                                fstab_field(entry.mount_point), kType, fstab_field(all));
  std::string result;
  bool placed = false;
  while (!text.empty()) {
    auto const end = std::min(text.find('\n'), text.size());
    auto const old = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!is_same_mount(old, entry)) {
      result += fmt::format("{}\n", old);
    } else if (!placed) {
      result += line + "\n";
      placed = true;
    }
  }
  return placed ? result : result + line + "\n";
}

Result<void> update_fstab(FstabEntry const& entry) {
  if (redact_url(entry.meta_url) != entry.meta_url) {
    return Error(Errc::perm, Fault::semantic,
                 "the META-URL holds a password, and everybody can read /etc/fstab: leave it out "
                 "and use META_PASSWORD_FILE");
  }
  std::ifstream file(kFstab);
  std::string const text{std::istreambuf_iterator<char>(file), {}};
  if (!file && !file.eof()) {
    return failed(errno == 0 ? EIO : errno, fmt::format("read {}", kFstab));
  }
  ZEST_CHECK(link_helper());
  auto const updated = updated_fstab(text, entry);
  if (updated == text) {
    return {};
  }
  return write_fstab(updated);
}

}  // namespace zest::cli
