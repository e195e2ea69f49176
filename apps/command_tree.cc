// SPDX-License-Identifier: Apache-2.0
#include "command_tree.h"

#include <CLI/CLI.hpp>

namespace quern {
namespace {

// CLI11 tells a set of values as "{a,b,c}" in the type's name.
std::vector<std::string> choices_of(const std::string& type) {
  const size_t begin = type.find('{'), end = type.find('}', begin);
  if (begin == std::string::npos || end == std::string::npos) return {};
  return CLI::detail::split(type.substr(begin + 1, end - begin - 1), ',');
}

std::string group_of(const CLI::Option& option) {
  return option.get_group() == "Options" ? std::string() : option.get_group();
}

FlagDescription describe_flag(const CLI::Option& option) {
  FlagDescription out{.names = {},
                      .help = option.get_description(),
                      .group = group_of(option),
                      .default_text = option.get_default_str(),
                      .choices = choices_of(option.get_type_name()),
                      .takes_value = option.get_type_size() != 0,
                      .is_argument = option.get_positional()};
  if (out.is_argument) out.names.push_back(option.get_name(true));
  for (const std::string& name : option.get_lnames()) out.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) out.names.push_back("-" + name);
  return out;
}

}  // namespace

CommandDescription describe_command(const CLI::App& app) {
  CommandDescription out{
      .name = app.get_name(), .help = app.get_description(), .flags = {}, .commands = {}};
  for (const CLI::Option* option : app.get_options()) out.flags.push_back(describe_flag(*option));
  for (const CLI::App* command : app.get_subcommands([](const CLI::App* each) {
         return !each->get_name().empty() && !each->get_group().empty();  // no group: hidden
       }))
    out.commands.push_back(describe_command(*command));
  return out;
}

}  // namespace quern
