// SPDX-License-Identifier: Apache-2.0
#include "plan/step_cost.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/format.h"

namespace quern {
namespace {

constexpr size_t kLeastSteps = 20;
constexpr size_t kColumns = 5;

StepCost::Terms features(const StepShape& shape) {
  const bool is_any = shape.sequences + shape.prefill_tokens > 0;
  return {is_any ? 1.0 : 0.0,
          shape.prefill_tokens > 0 ? 1.0 : 0.0,
          static_cast<double>(shape.sequences),
          static_cast<double>(shape.prefill_tokens),
          static_cast<double>(shape.attended),
          static_cast<double>(shape.prefill_attended)};
}

// Least squares over the terms of `mask`, by the normal equations; false where they are singular.
bool solve(std::span<const TimedStep> steps, unsigned mask, StepCost::Terms& out) {
  constexpr size_t n = StepCost::kTerms;
  double a[n][n + 1] = {};
  for (const TimedStep& step : steps) {
    const StepCost::Terms x = features(step.shape);
    // Relative errors, but of long steps less than of many short ones that take as long.
    const double weight = 1.0 / std::max(step.seconds, 1e-6);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) a[i][j] += weight * x[i] * x[j];
      a[i][n] += weight * x[i] * step.seconds;
    }
  }
  out = {};
  std::array<bool, n> is_done{};
  for (size_t round = 0; round < n; ++round) {
    size_t pivot = n;
    for (size_t i = 0; i < n; ++i)
      if ((mask >> i & 1u) != 0 && !is_done[i] && (pivot == n || a[i][i] > a[pivot][pivot]))
        pivot = i;
    if (pivot == n) break;
    if (a[pivot][pivot] <= 1e-12) return false;
    is_done[pivot] = true;
    for (size_t i = 0; i < n; ++i) {
      if (i == pivot || (mask >> i & 1u) == 0) continue;
      const double factor = a[i][pivot] / a[pivot][pivot];
      for (size_t j = 0; j <= n; ++j) a[i][j] -= factor * a[pivot][j];
    }
  }
  for (size_t i = 0; i < n; ++i)
    if ((mask >> i & 1u) != 0) out[i] = a[i][n] / a[i][i];
  return true;
}

double squared_error(std::span<const TimedStep> steps, const StepCost& cost) {
  double sum = 0;
  for (const TimedStep& step : steps) {
    const double miss = cost.seconds(step.shape) - step.seconds;
    sum += miss * miss / std::max(step.seconds, 1e-6);
  }
  return sum;
}

}  // namespace

std::string step_log_names() {
  return "sequences,prefill_tokens,attended,prefill_attended,microseconds\n";
}

std::string step_log_line(const StepShape& shape, int64_t took_us) {
  return format("{},{},{},{},{}\n",
                shape.sequences,
                shape.prefill_tokens,
                shape.attended,
                shape.prefill_attended,
                took_us);
}

std::vector<TimedStep> read_step_log(std::string_view text, std::string_view name) {
  std::vector<TimedStep> out;
  size_t number = 0;
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (++number == 1 || line.empty()) continue;  // the names
    int64_t values[kColumns] = {};
    for (size_t i = 0; i < kColumns; ++i) {
      const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), values[i]);
      const auto used = static_cast<size_t>(rest - line.data());
      if (error != std::errc() || values[i] < 0 || (i + 1 < kColumns && used == line.size()))
        fail(ErrorCode::invalid_argument,
             "{}: line {}: expected {} whole numbers",
             name,
             number,
             kColumns);
      line.remove_prefix(std::min(used + 1, line.size()));
    }
    out.push_back({.shape = {.sequences = values[0],
                             .prefill_tokens = values[1],
                             .attended = values[2],
                             .prefill_attended = values[3]},
                   .seconds = 1e-6 * static_cast<double>(values[4])});
  }
  return out;
}

// Every subset of the terms is solved: of those without a negative one the best is the answer.
StepCost StepCost::fit(std::span<const TimedStep> steps) {
  if (steps.size() < kLeastSteps)
    fail(ErrorCode::invalid_argument,
         "a step log of {} steps: at least {} are needed",
         steps.size(),
         kLeastSteps);
  StepCost best;
  double least = std::numeric_limits<double>::infinity();
  for (unsigned mask = 1; mask < (1u << kTerms); ++mask) {
    Terms terms;
    if (!solve(steps, mask, terms)) continue;
    if (std::ranges::any_of(terms, [](double t) { return t < 0 || !std::isfinite(t); })) continue;
    const StepCost found(terms);
    const double error = squared_error(steps, found);
    if (error >= least) continue;
    least = error;
    best = found;
  }
  return best;
}

double StepCost::seconds(const StepShape& shape) const {
  const Terms x = features(shape);
  const auto tokens = static_cast<double>(shape.sequences + shape.prefill_tokens);
  double sum = roofs_.experts_s * (1 - std::pow(1 - roofs_.chosen, tokens));
  for (size_t i = 0; i < kTerms; ++i) sum += terms_[i] * x[i];
  return std::max(sum, roofs_.products_s * tokens);
}

double StepCost::error(std::span<const TimedStep> steps) const {
  double missed = 0, taken = 0;
  for (const TimedStep& step : steps) {
    missed += std::abs(seconds(step.shape) - step.seconds);
    taken += step.seconds;
  }
  return taken > 0 ? missed / taken : 0;
}

}  // namespace quern
