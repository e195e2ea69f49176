// SPDX-License-Identifier: Apache-2.0
// quern(1) in roff: a frame of text around what the parser says of each command.
#include "command_tree.h"
#include "exit_codes.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

// A text as roff shows it unchanged: a backslash, a dash that may be copied, a leading dot, and
// what is not ASCII by its code point, since groff reads Latin-1.
std::string plain(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t length = 1;
    const char32_t code_point = utf8_at(text, at, length);
    const char c = text[at];
    at += length;
    if (code_point > 0x7F) {
      out += format("\\[u{:04X}]", static_cast<uint32_t>(code_point));
      continue;
    }
    const bool is_line_start = out.empty() || out.back() == '\n';
    if (is_line_start && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out;
}

std::string flag_line(const FlagDescription& flag) {
  std::string out;
  for (const std::string& name : flag.names)
    out += (out.empty() ? "" : ", ") + ("\\fB" + plain(name) + "\\fR");
  if (!flag.takes_value || flag.is_argument) return out;
  if (flag.choices.empty()) return out + " \\fIVALUE\\fR";
  return out + " \\fI" + plain(format("{}", fmt::join(flag.choices, " | "))) + "\\fR";
}

std::string flags_of(const CommandDescription& command) {
  std::string out, group;
  for (const FlagDescription& flag : command.flags) {
    if (flag.group != group) {
      group = flag.group;
      out += ".PP\n" + plain(group) + ":\n";
    }
    out += ".TP\n" + flag_line(flag) + "\n" + plain(flag.help);
    if (!flag.default_text.empty()) out += " (default: " + plain(flag.default_text) + ")";
    out += "\n";
  }
  return out;
}

void add_command(const CommandDescription& command, const std::string& path, std::string& out) {
  const std::string name = path + " " + command.name;
  out += ".SS " + plain(name) + "\n" + plain(command.help) + ".\n" + flags_of(command);
  for (const CommandDescription& each : command.commands) add_command(each, name, out);
}

std::string synopsis_of(const CommandDescription& command) {
  std::string out = ".B quern " + plain(command.name) + "\n";
  for (const FlagDescription& flag : command.flags)
    if (flag.is_argument) out += ".I " + plain(flag.names.front()) + "\n";
  return out + ".RI [ flags ]\n";
}

std::string exit_status() {
  std::string out = ".SH EXIT STATUS\n";
  for (const ExitCodeMeaning& row : exit_code_table())
    out += format(".TP\n.B {}\n{}\n", row.code, plain(row.meaning));
  return out;
}

constexpr std::string_view kDescription =
    ".SH DESCRIPTION\n"
    ".I MODEL\n"
    "is a folder with config.json and safetensors files, a .gguf file, a name in the Hugging Face "
    "cache\n"
    "(filled by\n"
    ".BR \"quern pull\" ;\n"
    "nothing is downloaded by itself), or one of the embedded\n"
    ".BR smollm2\\-135m\n"
    "and\n"
    ".BR whisper\\-tiny.en .\n"
    "Flags have vLLM's names; dashes and underscores are equal.\n";

constexpr std::string_view kEnvironment =
    ".SH ENVIRONMENT\n"
    "Every flag can be given as\n"
    ".B QUERN_NAME\n"
    "(dashes as underscores), or in a TOML file named by\n"
    ".BR \\-\\-config .\n"
    "A flag wins over the environment, the environment over the file. Some\n"
    ".B VLLM_\n"
    "variables are read where the QUERN one is unset;\n"
    ".B quern serve\n"
    "says which.\n"
    ".BR HF_HOME ,\n"
    ".BR HF_HUB_CACHE ,\n"
    ".BR HF_ENDPOINT ,\n"
    ".BR HF_TOKEN\n"
    "and\n"
    ".B HF_HUB_OFFLINE\n"
    "mean what they mean to Hugging Face's own tools.\n";

}  // namespace

std::string manual_page(const CommandDescription& root, std::string_view version) {
  std::string out = ".\\\" SPDX-License-Identifier: Apache-2.0\n.\\\" Made by: quern man\n";
  out += format(".TH QUERN 1 \"\" \"quern {}\" \"User Commands\"\n", version);
  out += ".SH NAME\nquern \\- load a language model and serve it behind the OpenAI API\n";
  out += ".SH SYNOPSIS\n";
  for (size_t i = 0; i < root.commands.size(); ++i)
    out += (i > 0 ? ".br\n" : "") + synopsis_of(root.commands[i]);
  out += kDescription;
  out += ".SH COMMANDS\n";
  for (const CommandDescription& command : root.commands) add_command(command, "quern", out);
  out += ".SH OPTIONS\nWithout a command:\n" + flags_of(root);
  out += kEnvironment;
  out += exit_status();
  return out;
}

}  // namespace quern
