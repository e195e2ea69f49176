// SPDX-License-Identifier: Apache-2.0
// Which experts a token goes to, and how much each counts. Shazeer et al. 2017 (softmax);
// DeepSeek-V3, 2024 (sigmoid, groups, a bias that steers the choice alone: "noaux_tc").
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/ctx.h"

namespace quern::ops {

enum class Scoring : uint8_t { sigmoid, softmax };

struct RoutingRule {
  Scoring scoring = Scoring::sigmoid;
  int64_t top_k = 1;
  // Experts stand in `groups` groups of equal size. Only the best `kept_groups` are chosen from; a
  // group is as good as the sum of its best `group_best` experts.
  int64_t groups = 1, kept_groups = 1, group_best = 2;
  bool normalizes = true;  // chosen weights sum to 1 before `scale`
  float scale = 1;
};

// The experts of each token in ascending order, and their weights: [T, k] row by row.
struct Routing {
  int64_t top_k = 0;
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

// logits [T, X] float32, bias [X] float32 or undefined. The choice is by score + bias, of equals
// the first; weights are scores alone. A row depends on nothing but itself. On meta: the first k
// experts.
Routing route(Ctx& ctx, const Tensor& logits, const Tensor& bias, const RoutingRule& rule);

// The tokens that chose an expert, in their order, and its weight for each.
struct ExpertRows {
  std::vector<int32_t> tokens;
  std::vector<float> weights;
};
// Of every expert in [first, first + count).
std::vector<ExpertRows> rows_by_expert(const Routing& routing, int64_t first, int64_t count);

// y[tokens[i]] += weights[i] x[i]. x [n, D], y [T, D] float32, contiguous; tokens all different.
void add_weighted_rows_(Ctx& ctx, Tensor& y, const Tensor& x, const ExpertRows& rows);

}  // namespace quern::ops
