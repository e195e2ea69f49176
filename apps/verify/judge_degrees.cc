// SPDX-License-Identifier: Apache-2.0
#include "verify/judge_degrees.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "model_source.h"
#include "models/registry.h"
#include "nn/sequence_runner.h"
#include "nn/thread_ranks.h"
#include "verify/model_case.h"

namespace quern {
namespace {

constexpr double kBound = 2e-3;  // of a logit, in float32

struct NamedPrompt {
  std::string name;
  Prompt prompt;
};

struct Subject {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::vector<NamedPrompt> prompts;
  ReferenceChoice reference = {};
};

Subject open_plain(const std::string& name);

Subject open_golden(const std::string& folder, const VerifyMode& mode) {
  const GoldenCase golden(folder);
  // A model that speaks: its language model alone is divided among ranks.
  if (golden.kind() == "speech" && !find_model(folder).speech_folder.empty())
    return open_plain(folder);
  if (golden.kind() != "model")
    fail(ErrorCode::unsupported, "kind {}: degrees concern models", golden.kind());
  ModelCase opened(golden, mode);
  Subject out{open_checkpoint(folder), {}, reference_of(golden)};
  for (const Json& prompt : golden.expected().at("prompts"))
    out.prompts.push_back({prompt.at("name").get<std::string>(), opened.prompt_from_files(prompt)});
  return out;
}

// Prose, digits and code: tokens of all kinds.
Subject open_plain(const std::string& name) {
  const ResolvedModel source = find_model(name);
  Subject out{open_checkpoint(source.path), {}};
  const auto builder = PromptBuilder::open(source.tokenizer_path(), *out.checkpoint);
  const std::pair<const char*, const char*> texts[] = {
      {"prose", "The miller set the upper stone upon the lower one, and the grain"},
      {"digits", "2, 3, 5, 7, 11, 13, 17, 19,"},
      {"code", "for (int i = 0; i < count; ++i) {\n  sum += values[i];\n"}};
  for (const auto& [label, text] : texts)
    out.prompts.push_back({label, builder->from_text(text, true)});
  return out;
}

Subject open_subject(const std::string& model, const VerifyMode& mode) {
  return std::filesystem::exists(std::filesystem::path(model) / "expected.json")
             ? open_golden(model, mode)
             : open_plain(model);
}

int32_t best_of(std::span<const float> row) {
  return static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
}

// What the best token is ahead of the second.
double margin_of(std::span<const float> row) {
  const auto best = static_cast<size_t>(best_of(row));
  float second = -INFINITY;
  for (size_t i = 0; i < row.size(); ++i)
    if (i != best) second = std::max(second, row[i]);
  return row[best] - second;
}

using Rows = std::vector<std::vector<float>>;  // of logits: behind the prompt, then step by step

// Feeds `forced`, or without it each step's best token.
Rows continue_prompt(const Model& model,
                     OwnedCtx& ctx,
                     const Prompt& prompt,
                     int steps,
                     const std::vector<int32_t>* forced) {
  std::vector<MediaRows> media;
  for (const MediaSpan& span : prompt.media)
    media.push_back({span.first_token, model.encode(ctx.ctx(), *span.media)});
  const auto length = static_cast<int32_t>(prompt.ids.size()), last = length - 1;
  SequenceRunner runner(model, ctx.ctx(), length + steps);
  Tensor logits =
      runner.prefill({prompt.ids, prompt.positions, prompt.axes, media}, std::span(&last, 1));
  Rows out;
  for (int step = 0;; ++step) {
    const auto row = logits.span<float>();
    out.emplace_back(row.begin(), row.end());
    if (step == steps) return out;
    const int32_t token =
        forced != nullptr ? (*forced)[static_cast<size_t>(step)] : best_of(out.back());
    logits = runner.decode(token, length + step + prompt.rope_delta);
  }
}

class DegreeJudge {
 public:
  DegreeJudge(const Subject& subject,
              const VerifyMode& mode,
              const DegreeOptions& options,
              Report& report)
      : subject_(subject), mode_(mode), options_(options), report_(report) {}

  void run() {
    const auto alone = open({});
    for (const NamedPrompt& p : subject_.prompts) {
      expected_.push_back(continue_prompt(*alone, ctx_, p.prompt, options_.steps, nullptr));
      tokens_.emplace_back();
      for (const auto& row : expected_.back()) tokens_.back().push_back(best_of(row));
    }
    for (const int degree : options_.degrees) {
      const auto ranks = open({.tensor = degree, .stages = options_.stages, .proportions = {}});
      for (size_t i = 0; i < subject_.prompts.size(); ++i) judge(*ranks, degree, i);
    }
  }

 private:
  std::unique_ptr<Model> open(const Degrees& degrees) const {
    const OwnedCtx::Options each{.threads = 1, .isa = mode_.isa, .activation = mode_.activation};
    return std::make_unique<ThreadRanks>(
        subject_.checkpoint,
        each,
        degrees,
        [](const Builder& b) { return make_model(b); },
        BuilderOptions{.reference = subject_.reference});
  }

  void judge(const Model& ranks, int degree, size_t index) {
    const NamedPrompt& p = subject_.prompts[index];
    const Rows& expected = expected_[index];
    const Rows got = continue_prompt(ranks, ctx_, p.prompt, options_.steps, &tokens_[index]);
    Finding finding{
        .field = format("{} ranks{}: {}",
                        degree,
                        options_.stages > 1 ? format(" x {} stages", options_.stages) : "",
                        p.name),
        .verdict = Verdict::holds,
        .allowed = kBound,
        .count = static_cast<int64_t>(got.size()),
        .note = {}};
    int equal = 0;
    for (size_t step = 0; step < got.size(); ++step) {
      for (size_t i = 0; i < got[step].size(); ++i) {
        const double difference = std::abs(double{got[step][i]} - expected[step][i]);
        if (!(difference <= finding.error)) finding.error = difference;  // also what is no number
      }
      if (best_of(got[step]) == tokens_[index][step])
        ++equal;
      else if (const double margin = margin_of(expected[step]); margin >= 2 * kBound)
        finding.verdict = Verdict::differs;
    }
    if (!(finding.error <= kBound)) finding.verdict = Verdict::differs;
    finding.note = format("{} of {} tokens equal", equal, got.size());
    if (mode_.activation != Activation::f32) {
      // Rounded inputs carry a difference of the last bit on: it is stated. Numbers it must be.
      report_.add_exact(finding.field + ": finite", 1, std::isfinite(finding.error) ? 0 : 1, "");
      finding.verdict = Verdict::not_judged;
    }
    report_.add(std::move(finding));
  }

  const Subject& subject_;
  const VerifyMode& mode_;
  const DegreeOptions& options_;
  Report& report_;
  OwnedCtx ctx_{{}};  // of the runner, which computes nothing itself
  std::vector<Rows> expected_;
  std::vector<std::vector<int32_t>> tokens_;
};

}  // namespace

void judge_degrees(const std::string& model,
                   const VerifyMode& mode,
                   const DegreeOptions& options,
                   Report& report) {
  const Subject subject = open_subject(model, mode);
  DegreeJudge(subject, mode, options, report).run();
}

}  // namespace quern
