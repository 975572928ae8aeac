// Options with the project's own types on a CLI11 application, and the peer's options that we don't
// have.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/clock.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace zest::cli {

/// All of these parse when the command line is read; a bad value ends it with exit code 2 and a
/// message that names the option.
CLI::Option* add_size(CLI::App& app, std::string const& name, std::uint64_t& value,
                      std::uint64_t unit, std::string const& help);
CLI::Option* add_size(CLI::App& app, std::string const& name, std::optional<std::uint64_t>& value,
                      std::uint64_t unit, std::string const& help);
CLI::Option* add_duration(CLI::App& app, std::string const& name, Duration& value,
                          std::string const& help);
CLI::Option* add_bandwidth(CLI::App& app, std::string const& name,
                           std::optional<std::int64_t>& value, std::string const& help);
CLI::Option* add_octal(CLI::App& app, std::string const& name, std::optional<std::uint16_t>& value,
                       std::uint16_t max, std::string const& help);
/// A switch that also takes `=true` and `=false`.
CLI::Option* add_switch(CLI::App& app, std::string const& name, std::optional<bool>& value,
                        std::string const& help);

/// An option of the peer that this version does not act upon.
struct PeerOption {
  char const* name;  ///< with dashes, `-x,--long`
  bool takes_value = false;
  /// Refused: the command ends with exit code 2. Otherwise the option is accepted, with a note.
  bool refused = true;
  char const* why = "";           ///< what it would do, or why it has no effect
  char const* neutral = nullptr;  ///< a value that asks for nothing: accepted silently
};

/// Declares `options`; notes for accepted ones are appended to `notes`.
void add_peer_options(CLI::App& app, std::span<PeerOption const> options,
                      std::vector<std::string>& notes);

}  // namespace zest::cli
