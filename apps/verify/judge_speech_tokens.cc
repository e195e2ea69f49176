// SPDX-License-Identifier: Apache-2.0
// Cases of a language model that continues speech: prompts, logits, greedy tokens under the rule of
// least length, and the distributions of repetition-aware sampling.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "prompt/glm_tts.h"
#include "sampling/sampler.h"
#include "verify/field_bound.h"
#include "verify/judges.h"
#include "verify/model_case.h"

namespace quern {
namespace {

constexpr double kProbabilityBound = 1e-5;
const std::set<std::string, std::less<>> kKnownParts = {"input_ids",
                                                        "logits",
                                                        "greedy_tokens",
                                                        "step_top_ids",
                                                        "step_logits_of_top",
                                                        "candidate_ids",
                                                        "candidate_probs",
                                                        "final_probs"};

std::vector<int32_t> ids_of(const Json& list) {
  return list.get<std::vector<int32_t>>();
}

class SpeechTokensJudge {
 public:
  SpeechTokensJudge(const GoldenCase& golden, const VerifyMode& mode, Report& report)
      : golden_(golden),
        report_(report),
        case_(golden, mode),
        tokens_(GlmTtsTokens::read(case_.prompts().tokenizer())) {
    // Inputs of int8 are held to the bound of bfloat16.
    const Activation judged_as =
        mode.activation == Activation::int8 ? Activation::bf16 : mode.activation;
    const auto stated = field_bound(golden, "logits", judged_as);
    if (!stated) fail(ErrorCode::data_loss, "tolerance: the case states none for this mode");
    bound_ = *stated;
  }

  void run() {
    judge_field(report_, "special_ids", [&] { judge_names(); });
    for (const Json& run : golden_.expected().at("runs")) {
      const std::string name = run.at("name").get<std::string>();
      judge_field(report_, name + ".input_ids", [&] { judge_run(name, run); });
    }
    for (const Json& row : golden_.expected().value("ras", Json::array())) {
      const std::string name = row.at("name").get<std::string>();
      judge_field(report_, name + ".final_probs", [&] { judge_draws(name, row); });
    }
    for (const std::string& name : golden_.names())
      if (const std::string part = name.substr(name.find('.') + 1);
          !kKnownParts.contains(part) && !(name.starts_with("ras") && part == "logits"))
        report_.add({.field = name, .note = "unknown field"});
  }

 private:
  void judge_names() {
    const Json& stated = golden_.expected().at("special_ids");
    const std::vector<std::pair<const char*, int32_t>> made = {
        {"ats", tokens_.first},
        {"ate", tokens_.first + tokens_.count - 1},
        {"boa", tokens_.begin},
        {"eoa", tokens_.end}};
    int64_t different = 0;
    for (const auto& [name, id] : made) different += stated.at(name).get<int32_t>() != id;
    report_.add_exact("special_ids", std::ssize(made), different, "ids differ");
  }

  Prompt prompt_of(const Json& run) {
    const Tokenizer& tokenizer = case_.prompts().tokenizer();
    const auto encode = [&](const char* field) {
      return tokenizer.encode(run.at(field).get<std::string>(), {.add_special_tokens = false});
    };
    const std::vector<SaidPiece> before = {
        {encode("prompt_text"), ids_of(run.at("prompt_speech_tokens"))}};
    return speech_prompt(tokens_, before, encode("text"));
  }

  void judge_run(const std::string& name, const Json& run) {
    const Prompt prompt = prompt_of(run);
    const auto wanted = golden_.integers(name + ".input_ids");
    report_.add_exact(name + ".input_ids",
                      std::ssize(wanted),
                      !std::ranges::equal(wanted, prompt.ids),
                      "ids differ");
    std::vector<int32_t> positions;
    for (size_t i = 0; i < prompt.ids.size(); ++i) positions.push_back(static_cast<int32_t>(i));
    const Decoded decoded = case_.decode(prompt, {}, {}, positions);
    const Tensor logits = golden_.floats(name + ".logits");
    report_.add(
        compare_values(name + ".logits", decoded.logits, logits.span<float>(), bound_));
    judge_steps(name, run, prompt);
  }

  // The reference's tokens are followed, so that one close choice does not decide all after it.
  void judge_steps(const std::string& name, const Json& run, const Prompt& prompt) {
    const Tensor wanted = golden_.floats(name + ".step_logits_of_top");
    const auto ids = golden_.integers(name + ".step_top_ids");
    std::vector<int32_t> said;
    for (const int64_t token : golden_.integers(name + ".greedy_tokens"))
      said.push_back(tokens_.first + static_cast<int32_t>(token));
    if (run.at("stopped_by_end_token").get<bool>()) said.push_back(tokens_.end);
    const std::vector<double> margins = run.at("greedy_margins").get<std::vector<double>>();
    SamplingParams params;
    params.temperature = 0;
    params.stop_token_ids = {tokens_.end};
    params.min_tokens = run.at("min_len").get<int>();
    params.max_tokens = run.at("max_len").get<int>();
    Sampler sampler(params, 0, none_);
    std::vector<int32_t> history = prompt.ids;
    std::vector<float> tops;
    int64_t different = 0, compared = 0;
    size_t step = 0;
    const auto width = static_cast<size_t>(wanted.dim(1));
    const auto pick = [&](std::span<float> row) -> std::optional<int32_t> {
      for (size_t i = 0; i < width; ++i)
        tops.push_back(row[static_cast<size_t>(ids.at(step * width + i))]);
      const int32_t token = sampler.next(row, {history, prompt.ids.size()}).token;
      if (margins.at(step) > 2 * bound_.atol) {
        ++compared;
        different += token != said.at(step);
      }
      history.push_back(said.at(step));
      if (++step == said.size()) return std::nullopt;
      return said[step - 1];
    };
    case_.continue_with(prompt, {}, {}, static_cast<int>(said.size()), pick);
    report_.add_exact(name + ".greedy_tokens",
                      compared,
                      different,
                      format("{} of {} steps compared", compared, said.size()));
    report_.add(
        compare_values(name + ".step_logits_of_top", tops, wanted.span<float>(), bound_));
  }

  void judge_draws(const std::string& name, const Json& row) {
    const Tensor logits = golden_.floats(name + ".logits");
    const std::vector<int32_t> said = ids_of(row.at("history_ids"));
    const RepetitionAware rule;
    const std::vector<Candidate> candidates = nucleus(logits.span<float>(), rule);
    std::vector<int64_t> made;
    std::vector<float> shares;
    const double total = total_weight(candidates);
    for (const Candidate& c : candidates) {
      made.push_back(c.token);
      shares.push_back(static_cast<float>(c.weight / total));
    }
    const auto wanted = golden_.integers(name + ".candidate_ids");
    report_.add_exact(name + ".candidate_ids",
                      std::ssize(wanted),
                      made != wanted,
                      format("{} candidates, expected {}", made.size(), wanted.size()));
    report_.add(compare_values(name + ".candidate_probs",
                               shares,
                               golden_.floats(name + ".candidate_probs").span<float>(),
                               {.atol = kProbabilityBound}));
    SamplingParams params;
    params.repetition_aware = rule;
    report_.add(compare_values(name + ".final_probs",
                               sampled_distribution(logits.span<float>(), params, {said, 0}),
                               golden_.floats(name + ".final_probs").span<float>(),
                               {.atol = kProbabilityBound}));
  }

  const GoldenCase& golden_;
  Report& report_;
  ModelCase case_;
  const GlmTtsTokens tokens_;
  Bound bound_;
  const LogitHook none_;
};

}  // namespace

void judge_speech_tokens(const GoldenCase& golden, const VerifyMode& mode, Report& report) {
  SpeechTokensJudge(golden, mode, report).run();
}

}  // namespace quern
