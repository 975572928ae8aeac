// zest quota: limits of directories, users and groups.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "zest/admin/file_info.h"
#include "zest/admin/make_directories.h"
#include "zest/admin/quota.h"
#include "zest/cli/command.h"
#include "zest/cli/environment.h"
#include "zest/cli/options.h"
#include "zest/cli/output.h"
#include "zest/cli/units.h"

namespace zest::cli {
namespace {

constexpr std::uint64_t kGiB = 1ULL << 30;

struct QuotaOptions {
  std::string action;
  std::string meta_url;
  std::optional<std::string> path;
  std::optional<std::uint32_t> uid;
  std::optional<std::uint32_t> gid;
  std::optional<std::uint64_t> capacity;
  std::optional<std::uint64_t> inodes;
  bool create = false;
  bool repair = false;
  bool strict = false;
  bool json = false;

  [[nodiscard]] bool one_target() const noexcept { return path || uid || gid; }
};

/// A line of the result.
struct Line {
  std::string name;
  Quota quota;
};

Error usage(std::string message) {
  return {Errc::inval, Fault::semantic, std::move(message)};
}

Result<void> check_options(QuotaOptions const& options) {
  if ((options.path ? 1 : 0) + (options.uid ? 1 : 0) + (options.gid ? 1 : 0) > 1) {
    return usage("only one of --path, --uid and --gid can be given");
  }
  if (options.uid == 0U) {
    return usage("--uid 0: root is not limited");
  }
  auto const& action = options.action;
  if ((action == "set" || action == "get" || action == "delete" || action == "del") &&
      !options.one_target()) {
    return usage(fmt::format("{} whose quota? Give --path, --uid or --gid", action));
  }
  if (action == "set" && !options.capacity && !options.inodes) {
    return usage("set what? Give --capacity, --inodes or both");
  }
  return {};
}

// ---- output

/// `1048576` → "1.0 MiB", as the peer writes sizes.
std::string short_size(std::int64_t bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(std::max<std::int64_t>(bytes, 0));
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) {
    value /= 1024;
  }
  return unit == 0 || value >= 9.95 ? fmt::format("{:.0f} {}", value, kUnits[unit])
                                    : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

/// `1234567` → "1,234,567".
std::string with_commas(std::int64_t number) {
  auto text = fmt::format("{}", std::max<std::int64_t>(number, 0));
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<std::size_t>(at), ",");
  }
  return text;
}

std::string percent(std::int64_t used, std::int64_t max) {
  return max > 0 ? fmt::format("{:.0f}%", static_cast<double>(std::max<std::int64_t>(used, 0)) *
                                              100 / static_cast<double>(max))
                 : "";
}

using Cells = std::array<std::string, 7>;

Cells cells_of(Line const& line) {
  auto const& quota = line.quota;
  return {line.name,
          quota.max_space > 0 ? short_size(quota.max_space) : "unlimited",
          short_size(quota.used_space),
          percent(quota.used_space, quota.max_space),
          quota.max_inodes > 0 ? with_commas(quota.max_inodes) : "unlimited",
          with_commas(quota.used_inodes),
          percent(quota.used_inodes, quota.max_inodes)};
}

void print_table(std::string const& first_column, std::vector<Line> const& lines) {
  std::vector<Cells> rows{Cells{first_column, "Size", "Used", "Use%", "Inodes", "IUsed", "IUse%"}};
  for (auto const& line : lines) {
    rows.push_back(cells_of(line));
  }
  std::array<std::size_t, 7> widths{};
  for (auto const& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string rule = "+";
  for (auto const width : widths) {
    rule += std::string(width + 2, '-') + "+";
  }
  print(rule);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::string text = "|";
    for (std::size_t i = 0; i < widths.size(); ++i) {
      text += r == 0   ? fmt::format(" {:^{}} |", rows[r][i], widths[i])
              : i == 0 ? fmt::format(" {:<{}} |", rows[r][i], widths[i])
                       : fmt::format(" {:>{}} |", rows[r][i], widths[i]);
    }
    print(text);
    if (r == 0) {
      print(rule);
    }
  }
  print(rule);
}

void print_json(std::vector<Line> const& lines) {
  auto object = nlohmann::ordered_json::object();
  for (auto const& line : lines) {
    object[line.name] = {{"MaxSpace", line.quota.max_space},
                         {"MaxInodes", line.quota.max_inodes},
                         {"UsedSpace", line.quota.used_space},
                         {"UsedInodes", line.quota.used_inodes}};
  }
  print(object.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void print_lines(QuotaOptions const& options, std::vector<Line> const& lines) {
  if (options.json) {
    print_json(lines);
    return;
  }
  if (lines.empty()) {
    note("no quota");
    return;
  }
  print_table(options.path  ? "Path"
              : options.uid ? "User ID"
              : options.gid ? "Group ID"
                            : "Path/ID",
              lines);
}

// ---- actions

/// One command's work on a fiber of the workshop.
class QuotaCommand {
 public:
  QuotaCommand(Context const& ctx, Workshop& shop, QuotaOptions const& options)
      : ctx_(ctx), shop_(shop), options_(options) {}

  /// Not all is well, says the error; what there is to show comes first.
  struct Outcome {
    std::vector<Line> lines;
    Result<void> verdict;
  };
  Result<Outcome> run() {
    ZEST_TRY(setting_, admin::load_setting(ctx_, shop_.engine()));
    auto const& action = options_.action;
    if (action == "set") {
      return set();
    }
    if (action == "get") {
      return get();
    }
    if (action == "list" || action == "ls") {
      return list();
    }
    if (action == "check") {
      return check();
    }
    ZEST_TRY(auto const key, target(false));
    ZEST_CHECK(admin::delete_quota(ctx_, shop_.engine(), key));
    return Outcome{};
  }

 private:
  Result<meta::QuotaKey> target(bool create) {
    if (options_.uid) {
      return meta::QuotaKey{.type = QuotaType::user, .id = *options_.uid};
    }
    if (options_.gid) {
      return meta::QuotaKey{.type = QuotaType::group, .id = *options_.gid};
    }
    auto found = admin::resolve_path(ctx_, shop_.engine(), *options_.path);
    if (create && failed_with(found, Errc::noent)) {
      found = admin::make_directories(ctx_,
                                      {.engine = shop_.engine(),
                                       .setting = setting_,
                                       .clock = shop_.clock(),
                                       .rng = shop_.rng(),
                                       .log = shop_.log(),
                                       .metrics = shop_.metrics()},
                                      *options_.path);
    }
    if (!found.ok()) {
      return std::move(found).error().with(*options_.path);
    }
    return meta::dir_quota(*found);
  }

  [[nodiscard]] std::string label(meta::QuotaKey const& key) const {
    return options_.path && key.type == QuotaType::directory ? *options_.path
                                                             : fmt::format("{}", key.id);
  }

  Result<Outcome> set() {
    ZEST_TRY(auto const key, target(options_.create));
    admin::QuotaLimits limits;
    auto const limit = [](std::uint64_t value) {
      return static_cast<std::int64_t>(
          std::min<std::uint64_t>(value, std::numeric_limits<std::int64_t>::max()));
    };
    if (options_.capacity) {
      limits.max_space = limit(*options_.capacity);
    }
    if (options_.inodes) {
      limits.max_inodes = limit(*options_.inodes);
    }
    admin::Access const access{
        .engine = shop_.engine(),
        .open_store = [this](Setting const& s) { return open_store(s, shop_.pool()); },
        .rng = shop_.rng(),
        .clock = shop_.clock()};
    ZEST_TRY(auto const quota, admin::set_quota(ctx_, access, key, limits));
    return Outcome{.lines = {{.name = label(key), .quota = quota}}, .verdict = {}};
  }

  Result<Outcome> get() {
    ZEST_TRY(auto const key, target(false));
    ZEST_TRY(auto const quota, admin::get_quota(ctx_, shop_.engine(), key));
    Outcome outcome;
    if (quota) {
      outcome.lines.push_back({.name = label(key), .quota = *quota});
    }
    return outcome;
  }

  Result<Outcome> list() {
    std::optional<meta::QuotaKey> only;
    if (options_.one_target()) {
      ZEST_TRY(only, target(false));
    }
    ZEST_TRY(auto const rows, admin::list_quotas(ctx_, shop_.engine()));
    Outcome outcome;
    for (auto const& row : rows) {
      if (!only || row.key == *only) {
        ZEST_TRY(auto name, listed_name(row.key));
        outcome.lines.push_back({.name = std::move(name), .quota = row.quota});
      }
    }
    std::ranges::sort(outcome.lines, {}, &Line::name);
    return outcome;
  }

  Result<std::string> listed_name(meta::QuotaKey const& key) {
    switch (key.type) {
      case QuotaType::user: return fmt::format("uid:{}", key.id);
      case QuotaType::group: return fmt::format("gid:{}", key.id);
      case QuotaType::directory: break;
    }
    ZEST_TRY(auto const path, admin::path_of(ctx_, shop_.engine(), Ino{key.id}));
    // Where the directory is gone, its record may have stayed.
    return path.value_or(fmt::format("inode:{}", key.id));
  }

  Result<Outcome> check() {
    std::vector<admin::QuotaCheck> checks;
    if (options_.path) {
      ZEST_TRY(auto const key, target(false));
      auto checked = admin::check_directory_quota(ctx_, shop_.engine(), Ino{key.id});
      if (!checked.ok()) {
        return std::move(checked).error().with(*options_.path);
      }
      checks.push_back(*std::move(checked));
    } else {
      ZEST_TRY(checks, admin::check_owner_quotas(ctx_, shop_.engine()));
    }
    return judge(checks);
  }

  Result<Outcome> judge(std::vector<admin::QuotaCheck> const& checks) {
    Outcome outcome;
    std::size_t wrong = 0;
    for (auto const& check : checks) {
      ZEST_TRY(auto const listed, listed_name(check.key));
      auto const name = options_.path ? label(check.key) : listed;
      auto quota = check.quota.value_or(Quota{.max_space = -1, .max_inodes = -1});
      if (!check.consistent()) {
        note(fmt::format("{}: quota({}, {}) != counted({}, {})", name,
                         with_commas(quota.used_inodes), short_size(quota.used_space),
                         with_commas(check.counted.inodes), short_size(check.counted.space)));
        if (!options_.repair) {
          ++wrong;
          continue;
        }
        ZEST_CHECK(admin::repair_quota(ctx_, shop_.engine(), check));
        quota.used_space = check.counted.space;
        quota.used_inodes = check.counted.inodes;
      }
      outcome.lines.push_back({.name = name, .quota = quota});
    }
    if (options_.repair) {
      ZEST_CHECK(shop_.engine().sync(ctx_));
    }
    if (wrong > 0) {
      outcome.verdict =
          Error(Errc::io, Fault::semantic,
                fmt::format("{} quotas do not agree with what is there; --repair stores the count",
                            wrong));
    }
    return outcome;
  }

  Context const& ctx_;
  Workshop& shop_;
  QuotaOptions const& options_;
  Setting setting_;
};

Result<void> quota(Globals const& globals, QuotaOptions const& options) {
  ZEST_TRY(auto shop, Workshop::create(globals.short_log()));
  auto const reads = options.action == "get" || options.action == "list" ||
                     options.action == "ls" || (options.action == "check" && !options.repair);
  ZEST_CHECK(shop->open(options.meta_url, reads ? EngineUse::read_only : EngineUse::existing));
  ZEST_TRY(auto outcome,
           shop->run([&](Context const& ctx) { return QuotaCommand(ctx, *shop, options).run(); }));
  if (options.action != "delete" && options.action != "del") {
    print_lines(options, outcome.lines);
  }
  return std::move(outcome.verdict);
}

}  // namespace

void add_quota(CLI::App& app, Globals& globals, Selected& selected) {
  auto* command = app.add_subcommand("quota", "Limit what directories, users and groups may use");
  auto options = std::make_shared<QuotaOptions>();  // shared by the declaration and the action
  command->add_option("ACTION", options->action, "set, get, delete (del), list (ls) or check")
      ->required()
      ->check(CLI::IsMember({"set", "get", "delete", "del", "list", "ls", "check"}));
  command->add_option("META-URL", options->meta_url, "The database: sqlite3://PATH")->required();
  command->add_option("--path", options->path, "A directory: its absolute path in the volume")
      ->type_name("PATH");
  command->add_option("--uid", options->uid, "A user instead of a directory")->type_name("UID");
  command->add_option("--gid", options->gid, "A group instead of a directory")->type_name("GID");
  add_size(*command, "--capacity", options->capacity, kGiB,
           "set: space; a number alone is GiB; 0 is no limit");
  command->add_option("--inodes", options->inodes, "set: number of inodes; 0 is no limit")
      ->type_name("N");
  command->add_flag("--create", options->create, "set: make the directory when it is not there");
  command->add_flag("--repair", options->repair, "check: store what was counted");
  command->add_flag("--strict", options->strict,
                    "Accepted: everything is always counted entry by entry");
  command->add_flag("--json", options->json, "The result as one JSON object");
  command->callback([&globals, &selected, options] {
    selected.action = [&globals, options] {
      if (auto const valid = check_options(*options); !valid.ok()) {
        static_cast<void>(fail("quota", valid.error()));
        return kExitUsage;
      }
      auto const done = quota(globals, *options);
      return done.ok() ? kExitOk : static_cast<ExitCode>(fail("quota", done.error()));
    };
  });
}

}  // namespace zest::cli
