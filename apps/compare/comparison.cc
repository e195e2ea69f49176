// SPDX-License-Identifier: Apache-2.0
#include "compare/comparison.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "compare/own_command.h"
#include "compare/server.h"
#include "compare/stored_bytes.h"
#include "eval/task_scores.h"
#include "eval/text_eval.h"
#include "exit_codes.h"
#include "model_source.h"
#include "plan/device.h"

namespace quern::compare {
namespace {

using Words = std::vector<std::string>;

constexpr int kInputTokens = 256, kOutputTokens = 64, kRuns = 3;

// What has been measured so far, and by which commands.
class Measuring {
 public:
  Measuring(const CompareRequest& request, const std::vector<eval::Task>& tasks)
      : request_(request), tasks_(tasks) {}

  Json run() {
    Json a = side(request_.a, request_.a_label), b = side(request_.b, request_.b_label);
    Json between = Json::object();
    if (!request_.text.empty()) add_text(a, b, between);
    Json out = {{"a", std::move(a)}, {"b", std::move(b)}, {"between", std::move(between)}};
    if (!tasks_.empty()) {
      const std::vector<eval::TaskResults> of_a = answers(request_.a), of_b = answers(request_.b);
      out["tasks"] = eval::score_rows(tasks_, of_a, of_b);
    }
    out["commands"] = std::move(commands_);
    return out;
  }

 private:
  std::vector<eval::TaskResults> answers(const std::string& name) {
    if (is_server(name)) {
      note(format("tasks of {}", name), "requests to its API, greedy");
      return answers_of_server(server_named(name, request_.api_key), tasks_);
    }
    Words words = {"eval", name, "--json", "--tasks"};
    for (const eval::Task& task : tasks_) words.push_back(task.path);
    return eval::results_of(tasks_, measured("tasks", words).at("answers"));
  }

  Json side(const std::string& name, const std::string& label) {
    Json out = {
        {"label", label}, {"name", name}, {"kind", is_server(name) ? "server" : "checkpoint"}};
    if (is_server(name))
      add_server(out, name);
    else
      add_checkpoint(out, name);
    return out;
  }

  void add_server(Json& out, const std::string& name) {
    const Server server = server_named(name, request_.api_key);
    out["model"] = server.model;
    if (!request_.has_speed) return;
    note(format("speed of {}", name), "streamed requests to its API, one at a time");
    out.update(speed_of_server(server, {kInputTokens, kOutputTokens, kRuns}));
  }

  void add_checkpoint(Json& out, const std::string& name) {
    int64_t most = 0;
    {
      const auto checkpoint = open_checkpoint(find_model(name).path);
      out["bytes"] = checkpoint->total_bytes();
      out["bytes_by_kind"] = bytes_by_kind(*checkpoint);
      most =
          checkpoint->config().sub_or_self("text_config").integer_or("max_position_embeddings", 0);
    }
    if (!request_.device.empty()) add_plan(out, name);  // takes no time, and may find fault
    if (request_.has_speed) add_speed(out, name, most);
  }

  void add_speed(Json& out, const std::string& name, int64_t most) {
    const int64_t input = most > 0 ? std::min<int64_t>(kInputTokens, most / 2) : kInputTokens;
    const int64_t output =
        most > 0 ? std::min<int64_t>(kOutputTokens, most - input) : kOutputTokens;
    Words words = {"bench", "latency", name};
    for (const auto& [flag, value] : {std::pair<const char*, int64_t>{"--input-len", input},
                                      {"--output-len", output},
                                      {"--num-iters", kRuns}})
      words.insert(words.end(), {flag, std::to_string(value)});
    words.insert(words.end(), request_.flags.begin(), request_.flags.end());
    note("speed and memory", typed(words));
    const TemporaryFolder folder;
    words.insert(words.end(), {"--json", folder.file("latency.json")});
    if (const OwnResult done = run_own(words); done.exit_code != 0)
      fail(ErrorCode::internal,
           "{}: ended with exit code {}: its message stands above",
           typed(words),
           done.exit_code);
    const Json result = read_json_file(folder.file("latency.json"));
    out["input_tokens"] = input;
    out["memory_bytes"] = result.at("loaded_memory_bytes");
    for (const char* key : {"load_s", "prefill_tok_s", "decode_tok_s", "activation", "kv_dtype"})
      out[key] = result.at(key);
    out["other_cores"] = result.at("noise").at("other_cores");
  }

  void add_plan(Json& out, const std::string& name) {
    const Json plan = measured(
        "plan", {"plan", name, "--device", request_.device, "--no-degrees", "--json"}, kExitMemory);
    Json& kept = out["plan"] = Json::object();
    for (const char* key : {"device",
                            "devices",
                            "fits",
                            "missing_bytes",
                            "kv_tokens",
                            "max_model_len",
                            "decode_tokens_per_s",
                            "prefill_tokens_per_s"})
      kept[key] = plan.at(key);
    if (plan.contains("remedy")) kept["remedy"] = plan.at("remedy");
  }

  Words text_command(const std::string& name) const {
    return {"eval",
            name,
            "--text",
            request_.text,
            "--max-tokens",
            std::to_string(request_.max_tokens),
            "--json"};
  }

  // Token by token where both make the same tokens of the text, else each for itself.
  void add_text(Json& a, Json& b, Json& between) {
    const bool has_two = !is_server(request_.a) && !is_server(request_.b);
    if (has_two && have_same_tokens()) {
      Words words = text_command(request_.a);
      words.insert(words.end(), {"--reference", request_.b});
      const Json found = measured("text", words);
      for (const char* key : {"perplexity", "perplexity_interval", "bits_per_byte"}) {
        a[key] = found.at(key);
        b[key] = found.at(std::string("reference_") + key);
      }
      a["scored_tokens"] = b["scored_tokens"] = found.at("scored_tokens");
      for (const auto& [key, value] : found.items())
        if (key.starts_with("log_perplexity") || key.starts_with("kl_") ||
            key.starts_with("largest_kl") || key.starts_with("top1"))
          between[key] = value;
      return;
    }
    if (has_two) between["note"] = "other tokens: the text is not compared token by token";
    for (Json* side : {&a, &b}) {
      if (side->at("kind") == "server") continue;
      const Json found = measured("text", text_command(side->at("name").get<std::string>()));
      for (const char* key :
           {"perplexity", "perplexity_interval", "bits_per_byte", "scored_tokens"})
        (*side)[key] = found.at(key);
    }
  }

  bool have_same_tokens() const {
    const std::string text = eval::text_named(request_.text);
    std::vector<std::vector<int32_t>> ids;
    std::vector<int64_t> sizes;
    for (const std::string& name : {request_.a, request_.b}) {
      const ResolvedModel model = find_model(name);
      ids.push_back(open_tokenizer(model).encode(text, {.add_special_tokens = false}));
      sizes.push_back(open_checkpoint(model.path)
                          ->config()
                          .sub_or_self("text_config")
                          .integer_or("vocab_size", 0));
    }
    return ids.front() == ids.back() && sizes.front() == sizes.back();
  }

  Json measured(const std::string& what, Words words, int other_code = 0) {
    words.insert(words.end(), request_.flags.begin(), request_.flags.end());
    note(what, typed(words));
    return json_of(words, other_code);
  }

  void note(const std::string& what, const std::string& command) {
    commands_.push_back({{"what", what}, {"command", command}});
  }

  const CompareRequest& request_;
  const std::vector<eval::Task>& tasks_;
  Json commands_ = Json::array();
};

}  // namespace

bool is_server(const std::string& name) {
  return name.starts_with("http://") || name.starts_with("https://");
}

std::vector<eval::Task> check(const CompareRequest& request) {
  std::vector<eval::Task> tasks = eval::read_tasks(request.tasks);
  for (const std::string& name : {request.a, request.b}) {
    if (!is_server(name)) {
      find_model(name);
      continue;
    }
    for (const eval::Task& task : tasks)
      if (task.is_choice)
        fail(
            ErrorCode::invalid_argument,
            "{}: multiple choice takes log-probabilities of a checkpoint; {} is a server, which is "
            "asked for exact answers only",
            task.path,
            name);
  }
  if (!request.text.empty() && request.text != eval::kBuiltInText && !file_exists(request.text))
    fail(ErrorCode::not_found, "--text {}: no such file", request.text);
  if (!request.device.empty() && request.device != "cpu" && request.device != "custom")
    parse_device(request.device);
  return tasks;
}

Json compare(const CompareRequest& request) {
  const std::vector<eval::Task> tasks = check(request);
  return Measuring(request, tasks).run();
}

}  // namespace quern::compare
