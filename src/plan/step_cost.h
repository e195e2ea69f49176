// SPDX-License-Identifier: Apache-2.0
// StepCost: how long a step of the engine takes, by what it holds: fitted to steps that a server
// logged (serve --step-log), or from a plan's rates.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/scheduler.h"

namespace quern {

struct TimedStep {
  StepShape shape;
  double seconds = 0;
};
// A step log is CSV: a line of names, and one for each step.
std::string step_log_names();
std::string step_log_line(const StepShape& shape, int64_t took_us);
// Throws invalid_argument naming the line.
std::vector<TimedStep> read_step_log(std::string_view text, std::string_view name);

class StepCost {
 public:
  // Seconds of a step, of one with prefill in it, of each sequence that gets a token, of each
  // prefill token, of each pair of StepShape::attended and of prefill_attended.
  static constexpr size_t kTerms = 6;
  using Terms = std::array<double, kTerms>;

  // What a plan knows besides. Products: seconds of each token's, which a step takes at least.
  // Experts: seconds to read them all, and what part of them one token chooses; a step reads those
  // that some token of it chose.
  struct Roofs {
    double products_s = 0, experts_s = 0, chosen = 0;
  };

  StepCost() = default;
  explicit StepCost(const Terms& terms) : terms_(terms) {}
  StepCost(const Terms& terms, const Roofs& roofs) : terms_(terms), roofs_(roofs) {}

  // The terms, none negative, with the least squared relative error; a step with prefill is judged
  // by as much as it takes. Throws invalid_argument for fewer than 20 steps.
  static StepCost fit(std::span<const TimedStep> steps);

  double seconds(const StepShape& shape) const;
  const Terms& terms() const { return terms_; }
  // The sum of |predicted - taken| over the sum of what was taken.
  double error(std::span<const TimedStep> steps) const;

 private:
  Terms terms_{};
  Roofs roofs_;
};

}  // namespace quern
