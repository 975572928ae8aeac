// The commands of the program. Each file command_*.cc declares one or a few of them on the CLI11
// application and says what they do; the declaration is also the source of manual and completion.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "zest/base/log.h"
#include "zest/cli/mount_helper.h"

namespace CLI {
class App;
}  // namespace CLI

namespace zest::cli {

/// Options in front of or behind any command.
struct Globals {
  bool verbose = false;
  bool trace = false;
  bool quiet = false;
  bool no_color = false;
  std::string log_level;
  /// Remarks about accepted options without effect; printed before the command runs.
  std::vector<std::string> notes;

  [[nodiscard]] LogLevel level() const noexcept;
  /// For short commands: warnings on standard error unless more is asked for.
  [[nodiscard]] LogConfig short_log() const;
};

/// What the command line chose; returns the exit code.
struct Selected {
  std::function<int()> action;
};

void add_format(CLI::App& app, Globals& globals, Selected& selected);
void add_config(CLI::App& app, Globals& globals, Selected& selected);
void add_status(CLI::App& app, Globals& globals, Selected& selected);
void add_clone(CLI::App& app, Globals& globals, Selected& selected);
void add_compact(CLI::App& app, Globals& globals, Selected& selected);
void add_restore(CLI::App& app, Globals& globals, Selected& selected);
void add_fsck(CLI::App& app, Globals& globals, Selected& selected);
void add_gc(CLI::App& app, Globals& globals, Selected& selected);
void add_info(CLI::App& app, Globals& globals, Selected& selected);
void add_mount(CLI::App& app, Globals& globals, Selected& selected);
void add_quota(CLI::App& app, Globals& globals, Selected& selected);
void add_umount(CLI::App& app, Globals& globals, Selected& selected);
void add_documentation(CLI::App& app, Selected& selected);

/// Declares all commands.
void build_app(CLI::App& app, Globals& globals, Selected& selected);

/// What the command `mount` declares, for translate_mount.
MountFlagOf mount_flag_of();

/// Runs the program; `arguments` without its name. Returns the exit code.
int run(std::vector<std::string> arguments);

/// The program's version, from the build.
std::string_view version() noexcept;

}  // namespace zest::cli
