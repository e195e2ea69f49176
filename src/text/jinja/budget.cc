// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/budget.h"

#include "base/error.h"

namespace quern::jinja {
namespace {

thread_local Budget* current_budget = nullptr;

constexpr size_t kBytesPerStep = 32;
constexpr int kLevelsPerCall = 10;

}  // namespace

Budget::Budget(const TemplateLimits& limits) : limits_(limits), outer_(current_budget) {
  current_budget = this;
}

Budget::~Budget() {
  current_budget = outer_;
}

void Budget::charge(int64_t steps) {
  Budget* budget = current_budget;
  if (!budget) return;
  budget->steps_ += steps;
  if (budget->steps_ > budget->limits_.max_steps) {
    fail(ErrorCode::exhausted,
         "the template needs more than {} steps: it may loop for ever",
         budget->limits_.max_steps);
  }
}

void Budget::charge_bytes(size_t bytes) {
  if (!current_budget) return;
  const size_t limit = current_budget->limits_.max_output_bytes;
  if (bytes > limit)
    fail(ErrorCode::exhausted, "the template makes a text of more than {} bytes", limit);
  charge(static_cast<int64_t>(bytes / kBytesPerStep));
}

Nesting::Nesting() : budget_(current_budget) {
  if (!budget_) return;
  if (budget_->nesting_ >= budget_->limits_.max_depth * kLevelsPerCall) {
    fail(ErrorCode::exhausted,
         "the template recurses too deeply: a macro or loop may call itself for ever");
  }
  ++budget_->nesting_;
}

Nesting::~Nesting() {
  if (budget_) --budget_->nesting_;
}

}  // namespace quern::jinja
