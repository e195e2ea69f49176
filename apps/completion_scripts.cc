// SPDX-License-Identifier: Apache-2.0
// Scripts are tables of words and a few lines that look into them: shells differ in how, not in
// what.
#include <algorithm>

#include "base/error.h"
#include "command_tree.h"

namespace quern {
namespace {

std::string joined(const std::vector<std::string>& words) {
  return format("{}", fmt::join(words, " "));
}

bool takes_model(const CommandDescription& command) {
  return std::ranges::any_of(command.flags, [](const FlagDescription& flag) {
    return flag.is_argument && flag.names.front() == "MODEL";
  });
}

std::vector<std::string> dashed_names(const FlagDescription& flag) {
  std::vector<std::string> out;
  std::ranges::copy_if(flag.names, std::back_inserter(out), [](const std::string& name) {
    return name.starts_with('-');
  });
  return out;
}

std::vector<std::string> names_of(const std::vector<CommandDescription>& commands) {
  std::vector<std::string> out;
  for (const CommandDescription& command : commands) out.push_back(command.name);
  return out;
}

// A text between single quotes of a shell. `escaped`: characters that get a backslash besides.
std::string in_quotes(std::string_view text, std::string_view escaped = "") {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += "'\\''";
    else if (escaped.find(c) != std::string_view::npos)
      out += std::string("\\") + c;
    else
      out += c == '\n' ? ' ' : c;
  }
  return out + "'";
}

// ---- bash: three `case` tables, over the path of commands that were typed ("/bench/serve").

struct BashTables {
  std::string commands, values, words;
};

void add_to_bash(const CommandDescription& command, const std::string& path, BashTables& out) {
  std::vector<std::string> flags, words = names_of(command.commands);
  for (const FlagDescription& flag : command.flags) {
    if (flag.is_argument) words.insert(words.end(), flag.choices.begin(), flag.choices.end());
    for (const std::string& name : dashed_names(flag)) {
      flags.push_back(name);
      if (!flag.takes_value) continue;
      out.values += format("    {}) {} ;;\n",
                           in_quotes(path + " " + name),
                           flag.choices.empty()
                               ? std::string("COMPREPLY=($(compgen -f -- \"$word\")); return")
                               : format("COMPREPLY=($(compgen -W {} -- \"$word\")); return",
                                        in_quotes(joined(flag.choices))));
    }
  }
  out.words += format("    {}) flags={} commands={} models={} ;;\n",
                      in_quotes(path),
                      in_quotes(joined(flags)),
                      in_quotes(joined(words)),
                      takes_model(command) ? 1 : 0);
  for (const CommandDescription& each : command.commands) {
    const std::string below = path + "/" + each.name;
    out.commands += format("      {}) path={} ;;\n", in_quotes(below), in_quotes(below));
    add_to_bash(each, below, out);
  }
}

std::string bash_script(const CommandDescription& root) {
  BashTables tables;
  add_to_bash(root, "", tables);
  return "# bash completion for quern, made by: quern completion bash\n"
         "_quern() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
         "  local path= flags= commands= models=0 i\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    case \"$path/${COMP_WORDS[i]}\" in\n" +
         tables.commands +
         "    esac\n"
         "  done\n"
         "  case \"$path $before\" in\n" +
         tables.values +
         "  esac\n"
         "  case \"$path\" in\n" +
         tables.words +
         "  esac\n"
         "  if [[ $word == -* ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$flags\" -- \"$word\"))\n"
         "  elif [[ -n $commands ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$commands\" -- \"$word\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -f -- \"$word\"))\n"
         "    if [[ $models == 1 ]]; then\n"
         "      COMPREPLY+=($(compgen -W \"smollm2-135m whisper-tiny.en $(\"${COMP_WORDS[0]}\" ls "
         "--quiet "
         "2>/dev/null)\" -- \"$word\"))\n"
         "    fi\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F _quern quern\n";
}

// ---- zsh: a function for each command.

std::string zsh_function_name(const std::string& path) {
  std::string out = "_quern" + path;
  std::ranges::replace(out, '/', '_');
  return out;
}

// Inside the brackets, a bracket or colon of the text would end it.
std::string zsh_argument(const FlagDescription& flag, const std::string& name) {
  std::string text;
  for (const char c : flag.help) {
    if (std::string_view("[]:\\").find(c) != std::string_view::npos) text += '\\';
    text += c;
  }
  std::string value;
  if (flag.takes_value)
    value = flag.choices.empty() ? ":value:_files" : ":value:(" + joined(flag.choices) + ")";
  return in_quotes(name + "[" + text + "]" + value);
}

void add_to_zsh(const CommandDescription& command, const std::string& path, std::string& out) {
  for (const CommandDescription& each : command.commands)
    add_to_zsh(each, path + "/" + each.name, out);
  std::string body = "  _arguments -C";
  for (const FlagDescription& flag : command.flags)
    for (const std::string& name : dashed_names(flag))
      body += " \\\n    " + zsh_argument(flag, name);
  if (command.commands.empty()) {
    for (const FlagDescription& flag : command.flags)
      if (flag.is_argument && !flag.choices.empty())
        body += format(" \\\n    '1:value:({})'", joined(flag.choices));
    body += takes_model(command) ? " \\\n    '1:model:_quern_models' '*:file:_files'\n"
                                 : " \\\n    '*:file:_files'\n";
    out += zsh_function_name(path) + "() {\n" + body + "}\n";
    return;
  }
  body += " \\\n    '1:command:->command' '*::argument:->argument'\n";
  std::string names, cases;
  for (const CommandDescription& each : command.commands) {
    names +=
        " " + in_quotes(each.name + ":" + each.help, ":").replace(1 + each.name.size(), 2, ":");
    cases += format("        {}) {} ;;\n", each.name, zsh_function_name(path + "/" + each.name));
  }
  out += zsh_function_name(path) + "() {\n  local state line\n  local -a commands\n" + body +
         "  case $state in\n    command)\n      commands=(" + names +
         ")\n      _describe command commands\n      ;;\n    argument)\n      case $line[1] in\n" +
         cases + "      esac\n      ;;\n  esac\n}\n";
}

std::string zsh_script(const CommandDescription& root) {
  std::string functions;
  add_to_zsh(root, "", functions);
  return "#compdef quern\n# zsh completion for quern, made by: quern completion zsh\n"
         "_quern_models() {\n"
         "  local -a models\n"
         "  models=(smollm2-135m whisper-tiny.en ${(f)\"$(quern ls --quiet 2>/dev/null)\"})\n"
         "  compadd -a models\n"
         "  _files\n"
         "}\n" +
         functions + "_quern \"$@\"\n";
}

// ---- fish: a line for each word.

std::string fish_condition(const std::vector<std::string>& path) {
  if (path.empty()) return "__fish_use_subcommand";
  std::string out;
  for (const std::string& name : path)
    out += (out.empty() ? "" : "; and ") + std::string("__fish_seen_subcommand_from ") + name;
  return out;
}

void add_to_fish(const CommandDescription& command,
                 const std::vector<std::string>& path,
                 std::string& out) {
  const std::string line = "complete -c quern -n " + in_quotes(fish_condition(path));
  for (const FlagDescription& flag : command.flags) {
    std::string names;
    for (const std::string& name : dashed_names(flag))
      names += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    if (names.empty()) continue;
    std::string value;
    if (flag.takes_value)
      value = flag.choices.empty() ? " -r" : " -x -a " + in_quotes(joined(flag.choices));
    out += line + names + value + " -d " + in_quotes(flag.help, "\\") + "\n";
  }
  for (const FlagDescription& flag : command.flags)
    if (flag.is_argument && !flag.choices.empty())
      out += line + " -f -a " + in_quotes(joined(flag.choices)) + "\n";
  if (takes_model(command)) out += line + " -a '(__quern_models)'\n";
  for (const CommandDescription& each : command.commands) {
    std::string condition = fish_condition(path);
    if (!path.empty())
      condition += "; and not __fish_seen_subcommand_from " + joined(names_of(command.commands));
    out += "complete -c quern -f -n " + in_quotes(condition) + " -a " + each.name + " -d " +
           in_quotes(each.help, "\\") + "\n";
    std::vector<std::string> below = path;
    below.push_back(each.name);
    add_to_fish(each, below, out);
  }
}

std::string fish_script(const CommandDescription& root) {
  std::string lines;
  add_to_fish(root, {}, lines);
  return "# fish completion for quern, made by: quern completion fish\n"
         "function __quern_models\n"
         "    echo smollm2-135m\n"
         "    echo whisper-tiny.en\n"
         "    quern ls --quiet 2>/dev/null\n"
         "end\n" +
         lines;
}

}  // namespace

std::string completion_script(const CommandDescription& root, std::string_view shell) {
  if (shell == "bash") return bash_script(root);
  if (shell == "zsh") return zsh_script(root);
  if (shell == "fish") return fish_script(root);
  fail(ErrorCode::invalid_argument, "expected bash, zsh or fish, got \"{}\"", shell);
}

}  // namespace quern
