// SPDX-License-Identifier: Apache-2.0
// quern completion and quern man: what the command line offers, for shells and readers.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "command_tree.h"
#include "commands.h"
#include "exit_codes.h"
#include "version.h"

namespace quern {

void add_page_commands(CLI::App& parent, int& exit_code) {
  auto shell = std::make_shared<std::string>();
  CLI::App* completion = parent.add_subcommand(
      "completion", "the completion script of a shell: source <(quern completion bash)");
  completion->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->callback([&parent, shell, &exit_code] {
    std::fputs(completion_script(describe_command(parent), *shell).c_str(), stdout);
    exit_code = kExitDone;
  });
  CLI::App* man = parent.add_subcommand("man", "the manual page: quern man | man -l -");
  man->callback([&parent, &exit_code] {
    std::fputs(manual_page(describe_command(parent), kVersion).c_str(), stdout);
    exit_code = kExitDone;
  });
}

}  // namespace quern
