#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zest/cli/command.h"
#include "zest/cli/output.h"
#include "zest/format/setting.h"

namespace zest::cli {
namespace {

constexpr std::array kLevels{
    std::pair{std::string_view("trace"), LogLevel::trace},
    std::pair{std::string_view("debug"), LogLevel::debug},
    std::pair{std::string_view("info"), LogLevel::info},
    std::pair{std::string_view("warn"), LogLevel::warn},
    std::pair{std::string_view("warning"), LogLevel::warn},
    std::pair{std::string_view("error"), LogLevel::error},
    std::pair{std::string_view("fatal"), LogLevel::error},
    std::pair{std::string_view("panic"), LogLevel::error},
};

std::string version_text() {
  return fmt::format("zest version {} (volumes of JuiceFS {})", version(), kCompatibleVersion);
}

void add_globals(CLI::App& app, Globals& globals) {
  app.add_flag("-v,--verbose,--debug", globals.verbose, "Log what is done (level debug)");
  app.add_flag("--trace", globals.trace, "Log everything (level trace)");
  app.add_flag("-q,--quiet", globals.quiet, "Log warnings and errors only");
  app.add_flag("--no-color", globals.no_color, "No colours in the log");
  std::vector<std::string> names;
  names.reserve(kLevels.size());
  for (auto const& [name, level] : kLevels) {
    names.emplace_back(name);
  }
  app.add_option("--log-level", globals.log_level, "trace, debug, info, warn or error")
      ->check(CLI::IsMember(names))
      ->group("");
  app.set_version_flag("-V,--version", version_text());
}

/// The peer also takes long options with one dash. An argument such as `-trash-days` or `-d=1` that
/// names a long option of this application gets its second dash.
void accept_single_dashes(CLI::App const& app, std::vector<std::string>& arguments) {
  std::vector<std::string> known;
  auto collect = [&known](CLI::App const& from) {
    for (auto const* option : from.get_options()) {
      known.insert(known.end(), option->get_lnames().begin(), option->get_lnames().end());
    }
  };
  collect(app);
  for (auto const* command : app.get_subcommands([](CLI::App const*) { return true; })) {
    collect(*command);
  }
  for (auto& argument : arguments) {
    if (argument == "--") {
      return;
    }
    if (argument.size() < 3 || argument[0] != '-' || argument[1] == '-') {
      continue;
    }
    auto const name = argument.substr(1, argument.find('=') - 1);
    if (name.size() > 1 && std::ranges::find(known, name) != known.end()) {
      argument.insert(0, "-");
    }
  }
}

int usage_error(CLI::App const& app, CLI::ParseError const& error) {
  auto const chosen = app.get_subcommands();
  auto const name = chosen.empty() ? std::string() : " " + chosen.front()->get_name();
  fmt::print(stderr, "zest{}: {}\nTry `zest{} --help`.\n", name, error.what(), name);
  return kExitUsage;
}

}  // namespace

LogLevel Globals::level() const noexcept {
  for (auto const& [name, value] : kLevels) {
    if (name == log_level) {
      return value;
    }
  }
  if (trace) {
    return LogLevel::trace;
  }
  if (verbose) {
    return LogLevel::debug;
  }
  return quiet ? LogLevel::warn : LogLevel::info;
}

LogConfig Globals::short_log() const {
  return {.level = std::max(level(), verbose || trace ? LogLevel::trace : LogLevel::warn),
          .color = !no_color};
}

std::string_view version() noexcept {
  return ZEST_VERSION;
}

void build_app(CLI::App& app, Globals& globals, Selected& selected) {
  app.require_subcommand(0, 1);
  app.get_formatter()->column_width(38);
  add_globals(app, globals);
  add_format(app, globals, selected);
  add_config(app, globals, selected);
  add_status(app, globals, selected);
  add_info(app, globals, selected);
  add_fsck(app, globals, selected);
  add_gc(app, globals, selected);
  add_quota(app, globals, selected);
  add_restore(app, globals, selected);
  add_mount(app, globals, selected);
  add_umount(app, globals, selected);
  add_clone(app, globals, selected);
  add_compact(app, globals, selected);
  add_documentation(app, selected);
  app.add_subcommand("version", "Print the version")->callback([&selected] {
    selected.action = [] {
      print(version_text());
      return kExitOk;
    };
  });
  for (auto* command : app.get_subcommands([](CLI::App*) { return true; })) {
    command->fallthrough();
  }
}

MountFlagOf mount_flag_of() {
  Globals globals;
  Selected selected;
  CLI::App app;
  build_app(app, globals, selected);
  std::map<std::string, MountFlag, std::less<>> flags;
  auto collect = [&flags](CLI::App const& from) {
    for (auto const* option : from.get_options()) {
      for (auto const& name : option->get_lnames()) {
        flags[name] = option->get_expected_max() == 0 ? MountFlag::plain : MountFlag::value;
      }
    }
  };
  collect(app);
  collect(*app.get_subcommand("mount"));
  return [flags = std::move(flags)](std::string_view name) {
    auto const found = flags.find(name);
    return found == flags.end() ? MountFlag::none : found->second;
  };
}

int run(std::vector<std::string> arguments) {
  Globals globals;
  Selected selected;
  CLI::App app("A native client for JuiceFS volumes", "zest");
  build_app(app, globals, selected);
  accept_single_dashes(app, arguments);
  std::ranges::reverse(arguments);  // CLI11 wants the last one first
  try {
    app.parse(std::move(arguments));
  } catch (CLI::Success const& success) {
    return app.exit(success);  // --help, --version
  } catch (CLI::ParseError const& error) {
    return usage_error(app, error);
  }
  if (!selected.action) {
    fmt::print(stderr, "{}", app.help());
    return kExitUsage;
  }
  for (auto const& remark : globals.notes) {
    note("note: " + remark);
  }
  return selected.action();
}

}  // namespace zest::cli
