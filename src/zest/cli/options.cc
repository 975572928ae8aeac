#include "zest/cli/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <utility>

#include "zest/base/result.h"
#include "zest/cli/units.h"

namespace zest::cli {
namespace {

/// An option whose text `parse` turns into a Result<T>, handed to `assign`.
template <class Parse, class Assign>
CLI::Option* add_parsed(CLI::App& app, std::string const& name, std::string const& help,
                        char const* type, Parse parse, Assign assign) {
  auto* option = app.add_option_function<std::string>(
      name, [parse, assign](std::string const& text) { assign(*parse(text)); }, help);
  option->type_name(type);
  option->check([parse](std::string const& text) {
    auto const result = parse(text);
    return result.ok() ? std::string() : result.error().text();
  });
  return option;
}

std::string shown(Duration value) {
  auto const seconds = std::chrono::duration<double>(value).count();
  return fmt::format("{:g}s", seconds);
}

std::string shown_size(std::uint64_t bytes) {
  constexpr std::string_view kUnits = "BKMGTPE";
  std::size_t unit = 0;
  while (bytes >= kKiB && bytes % kKiB == 0) {
    bytes /= kKiB;
    ++unit;
  }
  return unit == 0 ? fmt::format("{}", bytes) : fmt::format("{}{}", bytes, kUnits[unit]);
}

}  // namespace

CLI::Option* add_size(CLI::App& app, std::string const& name, std::uint64_t& value,
                      std::uint64_t unit, std::string const& help) {
  return add_parsed(
             app, name, help, "SIZE",
             [unit](std::string_view text) { return parse_size(text, unit); },
             [&value](std::uint64_t bytes) { value = bytes; })
      ->default_str(shown_size(value));
}

CLI::Option* add_size(CLI::App& app, std::string const& name, std::optional<std::uint64_t>& value,
                      std::uint64_t unit, std::string const& help) {
  return add_parsed(
      app, name, help, "SIZE", [unit](std::string_view text) { return parse_size(text, unit); },
      [&value](std::uint64_t bytes) { value = bytes; });
}

CLI::Option* add_duration(CLI::App& app, std::string const& name, Duration& value,
                          std::string const& help) {
  return add_parsed(app, name, help, "TIME", parse_duration, [&value](Duration d) { value = d; })
      ->default_str(shown(value));
}

CLI::Option* add_bandwidth(CLI::App& app, std::string const& name,
                           std::optional<std::int64_t>& value, std::string const& help) {
  return add_parsed(app, name, help, "MBPS", parse_bandwidth,
                    [&value](std::int64_t mbps) { value = mbps; });
}

CLI::Option* add_octal(CLI::App& app, std::string const& name, std::optional<std::uint16_t>& value,
                       std::uint16_t max, std::string const& help) {
  return add_parsed(
      app, name, help, "OCTAL", [max](std::string_view text) { return parse_octal(text, max); },
      [&value](std::uint16_t bits) { value = bits; });
}

CLI::Option* add_switch(CLI::App& app, std::string const& name, std::optional<bool>& value,
                        std::string const& help) {
  return app.add_flag_function(name, [&value](std::int64_t count) { value = count > 0; }, help);
}

void add_peer_options(CLI::App& app, std::span<PeerOption const> options,
                      std::vector<std::string>& notes) {
  for (auto const& peer : options) {
    auto const is_neutral = [peer](std::string const& text) {
      return text == "false" || (peer.neutral != nullptr && text == peer.neutral);
    };
    CLI::Option* option = nullptr;
    if (peer.takes_value) {
      option = app.add_option(peer.name, peer.why)->type_name("VALUE");
    } else {
      option = app.add_flag(peer.name, peer.why);
    }
    if (peer.refused) {
      option->group("Options of the peer that this version refuses");
      option->check([peer, is_neutral](std::string const& text) {
        return is_neutral(text)
                   ? std::string()
                   : fmt::format("not supported by this version of zest ({})", peer.why);
      });
    } else {
      option->group("Options of the peer without effect here");
      option->each([peer, is_neutral, &notes](std::string const& text) {
        if (!is_neutral(text)) {
          notes.push_back(fmt::format("{} has no effect: {}", peer.name, peer.why));
        }
      });
    }
  }
}

}  // namespace zest::cli
