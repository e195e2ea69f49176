// SPDX-License-Identifier: Apache-2.0
// quern eval: perplexity of a text, answers to tasks, and how far two models lie apart on both.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/json.h"
#include "base/log.h"
#include "commands.h"
#include "eval/engine_answers.h"
#include "eval/task_scores.h"
#include "eval/text_eval.h"
#include "exit_codes.h"
#include "loaded_model.h"

namespace quern {
namespace {

using namespace eval;  // the command is the face of that folder

struct EvalOptions {
  ModelOptions model;
  std::string text, last_logits, reference;
  std::vector<std::string> tasks;
  int64_t max_tokens = 100'000, context = 1024;
  uint64_t seed = 0;
  bool against_float32 = false, json = false;

  bool has_text() const { return !text.empty() || tasks.empty(); }
};

void write_floats(const std::string& path, const std::vector<float>& values) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(float)));
  out.close();
  if (!out) fail(ErrorCode::unavailable, "--last-logits {}: cannot be written", path);
}

ModelOptions float32_options(ModelOptions o) {
  o.dtype = o.kv_cache_dtype = "float32";
  o.cpu_activation = "auto";
  o.tensor_parallel_size = o.pipeline_parallel_size = 1;
  o.tensor_parallel_split.clear();
  o.int8_head = false;
  return o;
}

// What the model is held against.
std::optional<ModelOptions> other_options(const EvalOptions& o) {
  if (o.against_float32) return float32_options(o.model);
  if (o.reference.empty()) return std::nullopt;
  ModelOptions out = o.model;
  out.model = o.reference;
  return out;
}

TextQuestion question_of(const EvalOptions& o) {
  return {.model = o.model,
          .other = other_options(o),
          .other_name = o.against_float32 ? "with float32 inputs" : o.reference,
          .is_other_checkpoint = !o.against_float32,
          .text = o.text.empty() ? std::string(kBuiltInText) : o.text,
          .max_tokens = o.max_tokens,
          .context = o.context,
          .seed = o.seed};
}

void run_text(const EvalOptions& o, Json& out) {
  const TextQuestion question = question_of(o);
  const TextResult result = evaluate_text(question);
  if (!o.last_logits.empty()) write_floats(o.last_logits, result.score.last);
  if (!o.json) {
    std::fputs(as_text(question, result).c_str(), stdout);
    return;
  }
  out.update(as_json(question, result));
  out["ids"] = result.ids;
}

std::vector<TaskResults> answers_of(const std::vector<Task>& tasks, const ModelOptions& options) {
  const std::unique_ptr<LoadedModel> loaded = LoadedModel::load(options);
  Service& service = loaded->service();
  if (service.info().pooling)
    fail(ErrorCode::unsupported, "{}: answers with vectors; tasks want words", options.model);
  std::vector<TaskResults> out;
  for (const Task& task : tasks)
    out.push_back(run_task(
        task,
        [&](const Task& t, const TaskItem& item) { return answer_by_engine(service, t, item); },
        options.max_num_seqs));
  return out;
}

void run_tasks(const EvalOptions& o, const std::vector<Task>& tasks, Json& out) {
  const std::vector<TaskResults> results = answers_of(tasks, o.model);
  std::vector<TaskResults> reference;
  if (const auto other = other_options(o)) reference = answers_of(tasks, *other);
  const Json rows = score_rows(tasks, results, reference);
  if (!o.json) {
    std::fputs(score_text(rows).c_str(), stdout);
    return;
  }
  out["tasks"] = rows;
  out["answers"] = answer_rows(tasks, results);
  if (!reference.empty()) out["reference_answers"] = answer_rows(tasks, reference);
}

int eval_command(const EvalOptions& o) {
  set_log_level(parse_log_level(o.model.log_level));
  if (!o.last_logits.empty() && !o.has_text())
    fail(ErrorCode::invalid_argument, "--last-logits: behind which text? Give one by --text");
  const std::vector<Task> tasks = read_tasks(o.tasks);
  Json out = Json::object();
  if (o.has_text()) run_text(o, out);
  if (!tasks.empty()) run_tasks(o, tasks, out);
  if (o.json) std::printf("%s\n", json_text(out).c_str());
  return kExitDone;
}

void add_what(CLI::App& command, EvalOptions& o) {
  command.add_option(
      "--text",
      o.text,
      "a file of UTF-8 text, or built-in: prose that comes with quern; default: that, "
      "where there are no tasks");
  command.add_option(
      "--tasks",
      o.tasks,
      "files of questions, one JSON object a line (docs/eval.md): multiple choice by "
      "log-probabilities, or exact answers");
  command.add_option("--max-tokens", o.max_tokens, "only the first of the text's")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32));
  command
      .add_option("--context",
                  o.context,
                  "independent windows of so many tokens; a window's first token is not scored")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20));
  command.add_option("--last-logits",
                     o.last_logits,
                     "write the logits behind the text's last token here, float32");
  command.add_option("--seed", o.seed, "of the samples that intervals of the text's scores are of")
      ->capture_default_str();
}

}  // namespace

void add_eval_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<EvalOptions>();
  o->model.log_level = "warn";
  CLI::App* command = parent.add_subcommand(
      "eval", "perplexity of a text, answers to tasks, and how far another model lies from both");
  add_model_options(*command, o->model);
  add_media_options(*command, o->model.media);
  add_what(*command, *o);
  auto* reference = command->add_option(
      "--reference",
      o->reference,
      "another checkpoint (with the same tokenizer, where there is a text): say how far apart the "
      "two lie");
  auto* against = command->add_flag(
      "--against-float32",
      o->against_float32,
      "also run the weights as stored with float32 inputs and KV cache, and say how far "
      "apart the two lie");
  against->excludes(reference);
  command->add_flag(
      "--json", o->json, "one JSON object, with the ids of the text and every answer");
  command->callback([o, &exit_code] { exit_code = eval_command(*o); });
}

}  // namespace quern
