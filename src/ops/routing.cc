// SPDX-License-Identifier: Apache-2.0
#include "ops/routing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "ops/dispatch.h"

namespace quern::ops {
namespace {

constexpr float kOut = -std::numeric_limits<float>::infinity();

// The largest of `values` that is not yet taken, of equals the first; -1 if all are.
int64_t best_of(std::span<const float> values, const std::vector<bool>& is_taken) {
  int64_t best = -1;
  for (size_t i = 0; i < values.size(); ++i)
    if (!is_taken[i] && (best < 0 || values[i] > values[static_cast<size_t>(best)]))
      best = static_cast<int64_t>(i);
  return best;
}

void take_best(std::span<const float> values, int64_t count, std::vector<bool>& is_taken) {
  is_taken.assign(values.size(), false);
  for (int64_t i = 0; i < count; ++i)
    if (const int64_t best = best_of(values, is_taken); best >= 0)
      is_taken[static_cast<size_t>(best)] = true;
}

// Sums in double: what a token's experts weigh is 1 in float32 too.
void score(std::span<const float> logits, Scoring scoring, std::span<float> scores) {
  if (scoring == Scoring::sigmoid) {
    std::ranges::transform(logits, scores.begin(), [](float x) {
      return static_cast<float>(1 / (1 + std::exp(-double{x})));
    });
    return;
  }
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - largest);
  std::ranges::transform(logits, scores.begin(), [&](float x) {
    return static_cast<float>(std::exp(x - largest) / sum);
  });
}

// Routes one token at a time.
class Router {
 public:
  Router(const RoutingRule& rule, int64_t experts, const float* bias)
      : rule_(rule), bias_(bias), scores_(static_cast<size_t>(experts)), choice_(scores_) {}

  void operator()(std::span<const float> logits, int32_t* experts, float* weights) {
    score(logits, rule_.scoring, scores_);
    for (size_t e = 0; e < scores_.size(); ++e)
      choice_[e] = bias_ != nullptr ? scores_[e] + bias_[e] : scores_[e];
    if (rule_.kept_groups < rule_.groups) leave_out_groups();
    take_best(choice_, rule_.top_k, is_taken_);
    double sum = 0;
    int64_t at = 0;
    for (size_t e = 0; e < scores_.size(); ++e) {
      if (!is_taken_[e]) continue;
      experts[at] = static_cast<int32_t>(e);
      weights[at++] = scores_[e];
      sum += scores_[e];
    }
    const double factor = rule_.normalizes ? rule_.scale / (sum + 1e-20) : double{rule_.scale};
    for (int64_t i = 0; i < at; ++i) weights[i] = static_cast<float>(weights[i] * factor);
  }

 private:
  void leave_out_groups() {
    const auto groups = static_cast<size_t>(rule_.groups), size = choice_.size() / groups;
    std::vector<float> merits(groups);
    for (size_t g = 0; g < groups; ++g) {
      const auto members = std::span<const float>(choice_).subspan(g * size, size);
      take_best(members, rule_.group_best, is_taken_);
      for (size_t i = 0; i < size; ++i) merits[g] += is_taken_[i] ? members[i] : 0;
    }
    take_best(merits, rule_.kept_groups, is_taken_);
    for (size_t e = 0; e < choice_.size(); ++e)
      if (!is_taken_[e / size]) choice_[e] = kOut;
  }

  const RoutingRule& rule_;
  const float* bias_;
  std::vector<float> scores_, choice_;
  std::vector<bool> is_taken_;
};

void check(const Tensor& logits, const Tensor& bias, const RoutingRule& rule) {
  QUERN_CHECK(
      logits.rank() == 2 && is_f32(logits) && logits.is_contiguous(), "{}", logits.shape().text());
  const int64_t experts = logits.dim(1);
  QUERN_CHECK(!bias.defined() ||
              (is_f32(bias) && bias.is_contiguous() && bias.shape() == Shape{experts}));
  QUERN_CHECK(rule.groups >= 1 && experts % rule.groups == 0 && rule.kept_groups >= 1 &&
                  rule.kept_groups <= rule.groups && rule.top_k >= 1 &&
                  rule.top_k <= experts / rule.groups * rule.kept_groups,
              "{} of {} experts in {} of {} groups",
              rule.top_k,
              experts,
              rule.kept_groups,
              rule.groups);
}

}  // namespace

Routing route(Ctx& ctx, const Tensor& logits, const Tensor& bias, const RoutingRule& rule) {
  check(logits, bias, rule);
  const int64_t count = logits.dim(0), experts = logits.dim(1), k = rule.top_k;
  Routing out{k, {}, {}};
  out.experts.resize(static_cast<size_t>(count * k));
  out.weights.resize(static_cast<size_t>(count * k));
  if (ctx.device.is_meta()) {
    for (size_t i = 0; i < out.experts.size(); ++i)
      out.experts[i] = static_cast<int32_t>(static_cast<int64_t>(i) % k);
    return out;
  }
  require_cpu(ctx, "route", logits.dtype());
  ctx.pool->parallel_for(count, row_grain(8 * experts), [&](int64_t begin, int64_t end, int) {
    Router router(rule, experts, bias.data<float>());
    for (int64_t t = begin; t < end; ++t)
      router({logits.data<float>() + t * experts, static_cast<size_t>(experts)},
             out.experts.data() + t * k,
             out.weights.data() + t * k);
  });
  return out;
}

std::vector<ExpertRows> rows_by_expert(const Routing& routing, int64_t first, int64_t count) {
  std::vector<ExpertRows> out(static_cast<size_t>(count));
  for (size_t i = 0; i < routing.experts.size(); ++i) {
    const int64_t expert = routing.experts[i] - first;
    if (expert < 0 || expert >= count) continue;
    ExpertRows& rows = out[static_cast<size_t>(expert)];
    rows.tokens.push_back(static_cast<int32_t>(static_cast<int64_t>(i) / routing.top_k));
    rows.weights.push_back(routing.weights[i]);
  }
  return out;
}

void add_weighted_rows_(Ctx& ctx, Tensor& y, const Tensor& x, const ExpertRows& rows) {
  QUERN_CHECK(x.rank() == 2 && y.rank() == 2 && x.dim(1) == y.dim(1) && is_f32(x) && is_f32(y) &&
                  x.is_contiguous() && y.is_contiguous() &&
                  x.dim(0) == static_cast<int64_t>(rows.tokens.size()) &&
                  rows.weights.size() == rows.tokens.size(),
              "{} += {} rows of {}",
              y.shape().text(),
              rows.tokens.size(),
              x.shape().text());
  if (ctx.device.is_meta()) return;
  require_cpu(ctx, "add_weighted_rows_", x.dtype());
  const int64_t width = x.dim(1);
  ctx.pool->parallel_for(x.dim(0), row_grain(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const auto at = static_cast<size_t>(i);
      const int64_t token = rows.tokens[at];
      QUERN_CHECK(token >= 0 && token < y.dim(0), "token {} of {}", token, y.dim(0));
      const float weight = rows.weights[at], *from = x.data<float>() + i * width;
      float* to = y.data<float>() + token * width;
      for (int64_t d = 0; d < width; ++d) to[d] += weight * from[d];
    }
  });
}

}  // namespace quern::ops
