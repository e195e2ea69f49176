// SPDX-License-Identifier: Apache-2.0
// quern run: one prompt, with pictures, one answer.
#include <CLI/CLI.hpp>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "answer.h"
#include "api/answer_format.h"
#include "api/grammar_presets.h"
#include "base/error.h"
#include "base/json.h"
#include "commands.h"
#include "exit_codes.h"
#include "loaded_model.h"
#include "task_presets.h"

namespace quern {
namespace {

struct RunOptions {
  ModelOptions model;
  AnswerOptions answer;
  std::string prompt, system, preset;
  std::vector<std::string> images;
  bool json = false;
};

// A file's URL. Pictures named on the command line are the user's own: they need no permission, as
// those of a request do.
std::string file_url(const std::string& path) {
  std::string out = "file://";
  for (const unsigned char c : std::filesystem::absolute(path).string())
    out += std::isalnum(c) || std::strchr("/._-~", c) != nullptr
               ? std::string(1, static_cast<char>(c))
               : format("%{:02X}", c);
  return out;
}

Json messages_of(const RunOptions& o) {
  Json messages = Json::array();
  // Most presets go with a system message, be it empty: some templates mark even that.
  if (!o.system.empty() || (!o.preset.empty() && task_preset(o.preset).has_empty_system_message))
    messages.push_back({{"role", "system"}, {"content", o.system}});
  if (o.images.empty()) {
    messages.push_back({{"role", "user"}, {"content", o.prompt}});
    return messages;
  }
  Json content = Json::array();
  for (const std::string& image : o.images) {
    const std::string url = image.find("://") != std::string::npos ? image : file_url(image);
    content.push_back({{"type", "image_url"}, {"image_url", {{"url", url}}}});
  }
  content.push_back({{"type", "text"}, {"text", o.prompt}});
  messages.push_back({{"role", "user"}, {"content", std::move(content)}});
  return messages;
}

Json to_json(const Answer& a) {
  const Timings& t = a.timings;
  return {{"text", a.text},
          {"ids", a.ids},
          {"finish_reason", name_of(a.finish)},
          {"timings",
           {{"encode_s", t.encode_s},
            {"prefill_s", t.prefill_s},
            {"decode_s", t.decode_s},
            {"prompt_tokens", t.prompt_tokens},
            {"decoded_tokens", t.decoded_tokens}}}};
}

// What a task of a preset asks, and how: the likeliest tokens, unless a flag says otherwise.
void apply_preset(RunOptions& o) {
  if (o.preset.empty()) {
    if (o.prompt.empty())
      fail(ErrorCode::invalid_argument, "PROMPT is required, or --preset with the name of a task");
    return;
  }
  o.prompt = task_prompt(o.preset, o.prompt);
  if (!o.answer.sampling.temperature) o.answer.sampling.temperature = 0;
  o.answer.grammar = grammar_preset(task_preset(o.preset).grammar);
}

int run(const RunOptions& o) {
  const std::unique_ptr<LoadedModel> loaded = LoadedModel::load(o.model);
  const Answer a = answer(loaded->service(),
                          loaded->prepare_chat(messages_of(o)),
                          o.answer,
                          [&](const std::string& text) {
                            if (!o.json) std::fputs(text.c_str(), stdout), std::fflush(stdout);
                          });
  if (o.json)
    std::printf("%s\n", json_text(to_json(a)).c_str());
  else
    std::putchar('\n');
  return a.finish == FinishReason::cancelled ? kExitInterrupted : kExitDone;
}

}  // namespace

void add_run_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<RunOptions>();
  o->model.log_level = "warn";
  CLI::App* command = parent.add_subcommand("run", "one prompt, with pictures, one answer");
  add_model_options(*command, o->model);
  add_media_options(*command, o->model.media);
  add_answer_options(*command, o->answer);
  command->add_option("PROMPT,--prompt,-p", o->prompt, "the user's message");
  std::string tasks = "a task's own prompt instead:";
  for (const TaskPreset& preset : task_presets())
    tasks += format(" {} ({});", preset.name, preset.what);
  tasks.back() = '.';
  command->add_option("--preset", o->preset, tasks)->check(CLI::IsMember(task_preset_names()));
  command->add_option("--system", o->system, "a system message in front");
  command->add_option("--image", o->images, "a picture: file or URL; may be given several times");
  command->add_flag("--json", o->json, "text, ids and timings as one JSON object");
  command->callback([o, &exit_code] {
    std::string& path = o->model.media.limits.allowed_local_path;
    if (path.empty()) path = "/";
    apply_preset(*o);
    exit_code = run(*o);
  });
}

}  // namespace quern
