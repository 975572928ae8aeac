// zest completion and zest manual: made from the declarations of the commands, so that they cannot
// differ from what the program does.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "zest/cli/command.h"
#include "zest/cli/output.h"

namespace zest::cli {
namespace {

/// An option or a positional argument, as documentation needs it.
struct OptionFacts {
  std::vector<std::string> shorts;  ///< without dashes
  std::vector<std::string> longs;
  std::string positional;
  std::string type;  ///< empty: takes no value
  std::string fallback;
  std::string help;
  std::string group;
};

struct CommandFacts {
  std::string name;
  std::string help;
  std::vector<OptionFacts> options;
};

OptionFacts facts_of(CLI::Option const& option) {
  OptionFacts facts{.shorts = option.get_snames(),
                    .longs = option.get_lnames(),
                    .fallback = option.get_default_str(),
                    .help = option.get_description(),
                    .group = option.get_group()};
  if (option.get_positional()) {
    facts.positional = option.get_name(true);
  }
  if (option.get_expected_max() > 0) {
    facts.type = option.get_type_name().substr(0, option.get_type_name().find(':'));
    if (facts.type.empty() || facts.type == "TEXT") {
      facts.type = "VALUE";
    }
  }
  return facts;
}

CommandFacts facts_of(CLI::App const& app) {
  CommandFacts facts{.name = app.get_name(), .help = app.get_description(), .options = {}};
  for (auto const* option : app.get_options()) {
    if (!option->get_group().empty()) {
      facts.options.push_back(facts_of(*option));
    }
  }
  return facts;
}

/// The program itself first, then its commands.
std::vector<CommandFacts> all_facts() {
  Globals globals;
  Selected selected;
  CLI::App app("A native client for JuiceFS volumes", "zest");
  build_app(app, globals, selected);
  std::vector<CommandFacts> facts{facts_of(app)};
  for (auto const* command : app.get_subcommands([](CLI::App const*) { return true; })) {
    facts.push_back(facts_of(*command));
  }
  return facts;
}

std::string dashed(OptionFacts const& option) {
  std::string text;
  for (auto const& name : option.shorts) {
    text += fmt::format("{}-{}", text.empty() ? "" : ", ", name);
  }
  for (auto const& name : option.longs) {
    text += fmt::format("{}--{}", text.empty() ? "" : ", ", name);
  }
  return option.type.empty() ? text : fmt::format("{} {}", text, option.type);
}

std::string synopsis(CommandFacts const& command) {
  std::string text = "zest " + command.name + " [options]";
  for (auto const& option : command.options) {
    if (!option.positional.empty()) {
      text += " " + option.positional;
    }
  }
  return text;
}

std::string described(OptionFacts const& option) {
  return option.fallback.empty() || option.fallback == "\"\"" || option.fallback == "{}"
             ? option.help
             : fmt::format("{} (default {})", option.help, option.fallback);
}

// ---- completion

std::string words_of(CommandFacts const& command) {
  std::string words;
  for (auto const& option : command.options) {
    for (auto const& name : option.longs) {
      words += fmt::format("{}--{}", words.empty() ? "" : " ", name);
    }
  }
  return words;
}

std::string bash(std::vector<CommandFacts> const& all) {
  std::string commands;
  std::string cases;
  for (std::size_t i = 1; i < all.size(); ++i) {
    commands += (i == 1 ? "" : " ") + all[i].name;
    cases += fmt::format("    {}) words=\"{}\" ;;\n", all[i].name, words_of(all[i]));
  }
  return fmt::format(R"(# bash completion of zest; made by `zest completion bash`
_zest() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} words="" command="" word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    [[ $word != -* ]] && command=$word && break
  done
  case $command in
{}    *) words="{}" ;;
  esac
  if [[ -z $command && $cur != -* ]]; then
    words="{}"
  elif [[ $cur != -* ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    return
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}}
complete -o filenames -F _zest zest)",
                     cases, words_of(all[0]), commands);
}

/// For a word in single quotes of a zsh or fish script, and inside of zsh's [description].
std::string zsh_quoted(std::string_view text) {
  std::string out;
  for (char const c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else if (c == '[' || c == ']' || c == ':' || c == '\\') {
      out += fmt::format("\\{}", c);
    } else {
      out += c;
    }
  }
  return out;
}

std::string zsh(std::vector<CommandFacts> const& all) {
  std::string commands;
  std::string cases;
  for (std::size_t i = 1; i < all.size(); ++i) {
    commands += fmt::format("    '{}:{}'\n", all[i].name, zsh_quoted(all[i].help));
    cases += fmt::format("    {})\n      _arguments", all[i].name);
    for (auto const& option : all[i].options) {
      for (auto const& name : option.longs) {
        cases += fmt::format(" \\\n        '--{}[{}]{}'", name, zsh_quoted(option.help),
                             option.type.empty() ? "" : ":" + option.type + ":_files");
      }
    }
    cases += " \\\n        '*:file:_files'\n      ;;\n";
  }
  return fmt::format(R"(#compdef zest
# zsh completion of zest; made by `zest completion zsh`
_zest() {{
  local -a commands=(
{}  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
{}  esac
}}
compdef _zest zest)",
                     commands, cases);
}

std::string fish_quoted(std::string_view text) {
  std::string out;
  for (char const c : text) {
    if (c == '\'' || c == '\\') {
      out += '\\';
    }
    out += c;
  }
  return out;
}

std::string fish(std::vector<CommandFacts> const& all) {
  std::string text = "# fish completion of zest; made by `zest completion fish`\n";
  for (std::size_t i = 1; i < all.size(); ++i) {
    text += fmt::format("complete -c zest -n __fish_use_subcommand -f -a {} -d '{}'\n", all[i].name,
                        fish_quoted(all[i].help));
    for (auto const& option : all[i].options) {
      for (auto const& name : option.longs) {
        text += fmt::format(
            "complete -c zest -n '__fish_seen_subcommand_from {}' -l {}{} -d '{}'\n", all[i].name,
            name, option.type.empty() ? "" : " -r", fish_quoted(option.help));
      }
    }
  }
  text.pop_back();
  return text;
}

// ---- manual

/// Backslashes and leading dots mean something to roff; a plain - would become a hyphen.
std::string roff(std::string_view text) {
  std::string out = text.starts_with('.') || text.starts_with('\'') ? "\\&" : "";
  for (char const c : text) {
    out += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
  }
  return out;
}

void add_roff_options(std::string& text, CommandFacts const& command) {
  std::string group = "Options";
  for (auto const& option : command.options) {
    if (option.group != group && option.positional.empty()) {
      group = option.group;
      text += fmt::format(".PP\n{}:\n", roff(group));
    }
    auto const head = option.positional.empty() ? dashed(option) : option.positional;
    text += fmt::format(".TP\n\\fB{}\\fR\n{}\n", roff(head), roff(described(option)));
  }
}

constexpr std::string_view kRoffEnd = R"(.SH ENVIRONMENT
.TP
\fBMETA_PASSWORD\fR, \fBMETA_PASSWORD_FILE\fR
Password of the metadata engine, or a file whose first line it is, for a META\-URL without one.
.TP
\fBACCESS_KEY\fR, \fBSECRET_KEY\fR, \fBSESSION_TOKEN\fR
Credentials of the storage, for \fBformat\fR.
.TP
\fBJFS_NO_CHECK_OBJECT_STORAGE\fR
\fBformat\fR does not test the storage when it is set.
.SH EXIT STATUS
0: done. 1: it could not be done, standard error says why. 2: the command line makes no sense.
.SH SEE ALSO
.BR mount.zest (8))";

std::string manual_roff(std::vector<CommandFacts> const& all) {
  std::string text = fmt::format(
      ".TH ZEST 1 \"\" \"ZestFS {}\"\n.SH NAME\nzest \\- a native client for JuiceFS volumes\n"
      ".SH SYNOPSIS\n\\fBzest\\fR [options] \\fICOMMAND\\fR [options] arguments\n"
      ".SH DESCRIPTION\nA volume keeps its names and attributes in a database, the META\\-URL, and "
      "its data in an object storage. \\fBzest format\\fR creates one, \\fBzest mount\\fR makes it "
      "a file system.\n.PP\n"
      "Sizes are numbers, optionally with B, K, M, G, T, P or E (powers of 1024). Durations are "
      "seconds, or like 500ms, 1h30m, 7d. Options may stand in front of or behind arguments.\n"
      ".SH GLOBAL OPTIONS\n",
      version());
  add_roff_options(text, all[0]);
  text += ".SH COMMANDS\n";
  for (std::size_t i = 1; i < all.size(); ++i) {
    text += fmt::format(".SS {}\n{}.\n", roff(synopsis(all[i])), roff(all[i].help));
    add_roff_options(text, all[i]);
  }
  return text + std::string(kRoffEnd);
}

std::string cell(std::string_view text) {
  std::string out;
  for (char const c : text) {
    out += c == '|' ? "\\|" : std::string(1, c);
  }
  return out;
}

void add_markdown_options(std::string& text, CommandFacts const& command) {
  std::string group;
  for (auto const& option : command.options) {
    auto const title = option.positional.empty() ? option.group : "Options";
    if (title != group) {
      group = title;
      text += fmt::format("\n| {} | |\n| --- | --- |\n", group == "Options" ? "" : cell(group));
    }
    auto const head = option.positional.empty() ? dashed(option) : option.positional;
    text += fmt::format("| `{}` | {} |\n", head, cell(described(option)));
  }
}

std::string manual_markdown(std::vector<CommandFacts> const& all) {
  std::string text =
      "# Commands\n\nMade by `zest manual markdown` from the program's own declarations. "
      "`zest COMMAND --help` prints the same.\n\nSizes are numbers, optionally with B, K, M, G, T, "
      "P or E (powers of 1024). Durations are seconds, or like 500ms, 1h30m, 7d.\nOptions may "
      "stand "
      "in front of or behind arguments.\n\n## Global options\n";
  add_markdown_options(text, all[0]);
  for (std::size_t i = 1; i < all.size(); ++i) {
    text += fmt::format("\n## {}\n\n{}.\n\n    {}\n", all[i].name, all[i].help, synopsis(all[i]));
    add_markdown_options(text, all[i]);
  }
  text.pop_back();
  return text;
}

using Render = std::string (*)(std::vector<CommandFacts> const&);
struct Style {
  std::string_view name;
  Render render;
};

void add_rendering(CLI::App& app, Selected& selected, std::string const& name,
                   std::string const& help, std::vector<Style> const& styles) {
  auto* command = app.add_subcommand(name, help);
  auto style = std::make_shared<std::string>(styles.front().name);  // for callback and action
  std::vector<std::string> names;
  names.reserve(styles.size());
  for (auto const& one : styles) {
    names.emplace_back(one.name);
  }
  command->add_option("KIND", *style, fmt::format("One of {}", fmt::join(names, ", ")))
      ->check(CLI::IsMember(names));
  command->callback([&selected, style, styles] {
    selected.action = [style, styles] {
      for (auto const& one : styles) {
        if (one.name == *style) {
          print(one.render(all_facts()));
        }
      }
      return kExitOk;
    };
  });
}

}  // namespace

void add_documentation(CLI::App& app, Selected& selected) {
  add_rendering(app, selected, "completion", "Print the completion script of a shell",
                {{"bash", bash}, {"zsh", zsh}, {"fish", fish}});
  add_rendering(app, selected, "manual", "Print the manual of all commands",
                {{"roff", manual_roff}, {"markdown", manual_markdown}});
}

}  // namespace zest::cli
