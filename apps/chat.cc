// SPDX-License-Identifier: Apache-2.0
// quern chat: talk to a model in the terminal, or ask one question.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "answer.h"
#include "commands.h"
#include "exit_codes.h"
#include "loaded_model.h"

namespace quern {
namespace {

struct ChatOptionsTyped {
  ModelOptions model;
  AnswerOptions answer;
  std::string prompt, system;
};

void show(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

// One turn: the question joins the conversation, and so does the answer.
Answer turn(LoadedModel& loaded,
            Json& messages,
            const std::string& question,
            const AnswerOptions& options) {
  messages.push_back({{"role", "user"}, {"content", question}});
  const Answer a =
      answer(loaded.service(), loaded.prepare_chat(messages), options, [](const std::string& text) {
        show(text);
      });
  std::putchar('\n');
  std::fprintf(stderr,
               "[%lld prompt tokens in %.2f s, %zu tokens, %.1f tokens/s]\n",
               static_cast<long long>(a.timings.prompt_tokens),
               a.timings.prefill_s,
               a.ids.size(),
               a.timings.tokens_per_s());
  messages.push_back({{"role", "assistant"}, {"content", a.content}});
  return a;
}

int converse(LoadedModel& loaded, Json messages, const AnswerOptions& options) {
  const Json opening = messages;
  std::fprintf(
      stderr,
      "Talk to %s. /new begins again, /quit or end of input leaves, Ctrl-C ends an answer.\n",
      loaded.name().c_str());
  for (std::string line; std::fprintf(stderr, "> "), std::getline(std::cin, line);) {
    if (line == "/quit") break;
    if (line == "/new") messages = opening;
    if (line.empty() || line == "/new") continue;
    try {
      turn(loaded, messages, line, options);
    } catch (const Error& error) {  // a prompt that became too long, say: the conversation goes on
      std::fprintf(stderr, "quern: %s\n", error.what());
      messages.erase(messages.size() - 1);
    }
  }
  return kExitDone;
}

int chat(const ChatOptionsTyped& o) {
  const std::unique_ptr<LoadedModel> loaded = LoadedModel::load(o.model);
  Json messages = Json::array();
  if (!o.system.empty()) messages.push_back({{"role", "system"}, {"content", o.system}});
  if (o.prompt.empty()) return converse(*loaded, std::move(messages), o.answer);
  const Answer a = turn(*loaded, messages, o.prompt, o.answer);
  return a.finish == FinishReason::cancelled ? kExitInterrupted : kExitDone;
}

}  // namespace

void add_chat_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<ChatOptionsTyped>();
  o->model.log_level = "warn";
  CLI::App* command =
      parent.add_subcommand("chat", "talk to a model in the terminal, or ask one question");
  add_model_options(*command, o->model);
  add_answer_options(*command, o->answer);
  command->add_option("--prompt,-p", o->prompt, "ask this, print the answer and leave");
  command->add_option("--system", o->system, "a system message in front");
  command->callback([o, &exit_code] { exit_code = chat(*o); });
}

}  // namespace quern
