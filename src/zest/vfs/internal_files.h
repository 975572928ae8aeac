// The virtual files in the root of a mounted volume: `.stats`, `.config`, `.accesslog`, and the
// names that nobody may create or remove there (format/00 §2, 07 §5).
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zest/vfs/access_log.h"
#include "zest/vfs/control.h"
#include "zest/vfs/env.h"

namespace zest::vfs {

constexpr Ino kAccessLogIno{0x7FFFFFFF00000001};
constexpr Ino kControlIno{0x7FFFFFFF00000002};
constexpr Ino kStatsIno{0x7FFFFFFF00000003};
constexpr Ino kConfigIno{0x7FFFFFFF00000004};

/// An open virtual file: a snapshot, a stream of access log lines, or a control session.
struct InternalHandle {
  Ino ino;
  std::string snapshot;
  std::shared_ptr<AccessLogReader> lines;   // shared with the log that fills it
  std::shared_ptr<ControlSession> control;  // shared with the command that runs
};

class InternalFiles {
 public:
  InternalFiles(Env& env, AccessLog& access_log);

  /// True for inodes that are served here.
  [[nodiscard]] static bool owns(Ino ino) noexcept {
    return ino == kAccessLogIno || ino == kControlIno || ino == kStatsIno || ino == kConfigIno;
  }
  /// True for a name of the root that belongs to the file system.
  [[nodiscard]] bool reserved(Ino parent, std::string_view name) const noexcept;
  /// The virtual file of that name; also the trash directory where its name has a prefix.
  [[nodiscard]] std::optional<Ino> find(Ino parent, std::string_view name) const noexcept;
  [[nodiscard]] Attr attr(Ino ino) const;
  /// The virtual file that is found in any directory which has no entry of that name: tools look
  /// for
  /// `.control` in the directory that they are about.
  [[nodiscard]] std::optional<Ino> find_anywhere(std::string_view name) const noexcept;
  /// EACCES for writing, except to `.control`.
  Result<std::shared_ptr<InternalHandle>> open(Ino ino, std::uint32_t flags);
  void close(InternalHandle const& handle);
  static Result<DataView> read(Context const& ctx, InternalHandle const& handle,
                               std::uint64_t offset, std::size_t size);

  struct Listed {
    std::string name;
    Ino ino;
    FileType type = FileType::regular;
  };
  /// What a listing of the root shows beside the entries of the directory; without the trash.
  [[nodiscard]] std::vector<Listed> listed() const;
  [[nodiscard]] std::string const& trash_name() const noexcept { return trash_name_; }

 private:
  [[nodiscard]] std::string config_json() const;

  Env& env_;
  AccessLog& access_log_;
  std::string prefix_;
  std::string trash_name_;
  WallTime mounted_;
  std::uint32_t uid_;
  std::uint32_t gid_;
  std::atomic<std::uint64_t> config_size_{0};
};

}  // namespace zest::vfs
