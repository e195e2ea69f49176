// SPDX-License-Identifier: Apache-2.0
// quern: one binary, one subcommand a file.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "base/log.h"
#include "command_line.h"
#include "commands.h"
#include "exit_codes.h"
#include "media/video/clip.h"
#include "version.h"

namespace quern {
namespace {

void say(const std::string& message) {
  std::fprintf(stderr, "quern: %s\n", message.c_str());
}

const CLI::App& chosen_command(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : chosen_command(*chosen.front());
}

// What CLI11 says of a wrong command line, and the flag that was probably meant.
int refuse(const CLI::App& app,
           const CLI::ParseError& error,
           std::span<const std::string> arguments) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {  // --help, --version
    app.exit(error);
    return kExitDone;
  }
  say(error.what());
  const CLI::App& command = chosen_command(app);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr)
    for (const std::string& argument : arguments) {
      const std::string name = argument.substr(0, argument.find('='));
      if (!name.starts_with("--") || command.get_option_no_throw(name) != nullptr) continue;
      const std::string near = nearest_flag(command, name);
      say(near.empty() ? name + " is no flag of this command"
                       : name + " is no flag of this command; did you mean " + near + "?");
    }
  say("see quern " + (command.get_name().empty() ? "" : command.get_name() + " ") + "--help");
  return kExitUsage;
}

// The version first; then what builds of it differ in.
std::string version_text() {
  return format("{}{}", kVersion, has_video_decoder() ? "\nvideo files: FFmpeg" : "");
}

std::string footer() {
  std::string out = "Exit codes:\n";
  for (const ExitCodeMeaning& row : exit_code_table())
    out += format("  {:>3}  {}\n", row.code, row.meaning);
  return out +
         "Every flag can be given as QUERN_NAME in the environment, or in a TOML or YAML file by "
         "--config FILE.";
}

int run(int argc, char** argv) {
  CLI::App app(
      "quern loads a Hugging Face checkpoint or a GGUF file and serves it behind the OpenAI API");
  app.name("quern")->require_subcommand(1)->footer(footer());
  app.set_version_flag("--version", version_text());
  int exit_code = kExitDone;
  add_serve_command(app, exit_code);
  add_chat_command(app, exit_code);
  add_run_command(app, exit_code);
  add_transcribe_command(app, exit_code);
  add_speak_command(app, exit_code);
  add_run_batch_command(app, exit_code);
  add_eval_command(app, exit_code);
  add_tokenize_command(app, exit_code);
  add_grammar_command(app, exit_code);
  add_verify_command(app, exit_code);
  add_plan_command(app, exit_code);
  add_simulate_command(app, exit_code);
  add_net_check_command(app, exit_code);
  add_doctor_command(app, exit_code);
  add_repair_command(app, exit_code);
  add_quantize_command(app, exit_code);
  add_convert_command(app, exit_code);
  add_compare_command(app, exit_code);
  add_bench_command(app, exit_code);
  add_agent_command(app, exit_code);
  add_pull_command(app, exit_code);
  add_cache_commands(app, exit_code);
  add_page_commands(app, exit_code);
  add_worker_command(app, exit_code);
  add_decoder_command(app, exit_code);
  for (CLI::App* command : app.get_subcommands({})) read_environment(*command);

  std::vector<std::string> arguments =
      normalize_arguments({argv + 1, static_cast<size_t>(argc - 1)});
  try {
    std::vector<std::string> adopted = adopt_vllm_environment();
    for (std::string& line : adopt_config_file(arguments)) adopted.push_back(std::move(line));
    if (!arguments.empty() && arguments.front() == "serve")
      for (const std::string& line : adopted) log(LogLevel::info, "setting taken: {}", line);
    const std::vector<std::string> typed = arguments;
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    try {
      app.parse(arguments);
    } catch (const CLI::ParseError& error) {
      return refuse(app, error, typed);
    }
  } catch (const std::exception& error) {
    say(error.what());
    return exit_code_of(error);
  }
  return exit_code;
}

}  // namespace
}  // namespace quern

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  return quern::run(argc, argv);
}
