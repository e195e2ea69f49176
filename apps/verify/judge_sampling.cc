// SPDX-License-Identifier: Apache-2.0
// The sampling case: probabilities after penalty, temperature, top-k, top-p and min-p.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "sampling/sampler.h"
#include "verify/judges.h"

namespace quern {
namespace {

constexpr double kAllowed = 1e-5;

SamplingParams params_of(const Json& row) {
  SamplingParams params;
  params.repetition_penalty = row.value("repetition_penalty", 1.0);
  params.temperature = row.value("temperature", 1.0);
  params.top_k = row.value("top_k", 0);
  params.top_p = row.value("top_p", 1.0);
  params.min_p = row.value("min_p", 0.0);
  return params;
}

double largest_difference(std::span<const float> a, std::span<const float> b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
  return largest;
}

// Which of equal logits stay is the implementation's choice: there the sums are compared.
double difference_of_sums(std::span<const float> a, std::span<const float> b) {
  return std::abs(std::accumulate(a.begin(), a.end(), 0.0) -
                  std::accumulate(b.begin(), b.end(), 0.0));
}

void judge_row(const GoldenCase& golden, const Json& row, Report& report) {
  const std::string prefix = std::to_string(row.at("index").get<int64_t>());
  std::vector<int32_t> history;
  for (const int64_t id : golden.integers(prefix + ".history"))
    history.push_back(static_cast<int32_t>(id));
  const Tensor logits = golden.floats(prefix + ".logits"),
               wanted = golden.floats(prefix + ".probs");
  const SamplingParams params = params_of(row);
  const std::vector<float> made = sampled_distribution(
      logits.span<float>(), params, {.tokens = history, .prompt_length = history.size()});
  if (made.size() != wanted.span<float>().size())
    fail(ErrorCode::data_loss, "{} probabilities for {} logits", wanted.numel(), made.size());
  const bool has_ties = row.value("ties", false);
  const double error = has_ties ? difference_of_sums(made, wanted.span<float>())
                                : largest_difference(made, wanted.span<float>());
  report.add({.field = prefix + ".probs",
              .verdict = error <= kAllowed ? Verdict::holds : Verdict::differs,
              .error = error,
              .allowed = kAllowed,
              .count = wanted.numel(),
              .note = has_ties ? "ties: sums compared" : ""});
}

}  // namespace

void judge_sampling(const GoldenCase& golden, Report& report) {
  for (const Json& row : golden.expected().at("rows"))
    judge_field(report, std::to_string(row.at("index").get<int64_t>()) + ".probs", [&] {
      judge_row(golden, row, report);
    });
}

}  // namespace quern
