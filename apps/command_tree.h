// SPDX-License-Identifier: Apache-2.0
// What the command line offers, read from the parser itself, so that completion and manual cannot
// say anything else than --help does.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace quern {

struct FlagDescription {
  std::vector<std::string> names;  // "--port", "-p"; an argument without dashes: "MODEL"
  std::string help;
  std::string group;                 // "" for the first
  std::string default_text;          // empty: none
  std::vector<std::string> choices;  // empty: any value
  bool takes_value = false;
  bool is_argument = false;  // by its place, not by a name
};

struct CommandDescription {
  std::string name, help;
  std::vector<FlagDescription> flags;  // --help included
  std::vector<CommandDescription> commands;
};

CommandDescription describe_command(const CLI::App& app);

// The script of a shell: "bash", "zsh" or "fish"; throws invalid_argument for another.
std::string completion_script(const CommandDescription& root, std::string_view shell);

// The manual page quern(1) in roff.
std::string manual_page(const CommandDescription& root, std::string_view version);

}  // namespace quern
