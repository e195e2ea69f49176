// SPDX-License-Identifier: Apache-2.0
// RankPlan: what one rank holds, takes and does, from the model's own constructor and forward pass
// on Device::meta.
#pragma once

#include <memory>
#include <optional>

#include "engine/engine.h"
#include "nn/thread_ranks.h"
#include "tensor/ctx.h"
#include "weights/checkpoint.h"

namespace quern {

// What is the same for all ranks.
struct PlanSubjects {
  std::shared_ptr<const Checkpoint> checkpoint;  // with weights, headers alone, or a config alone
  Isa isa = Isa::scalar;
  Activation activation = Activation::bf16;
  DType kv_dtype = DType::bf16;
  BuilderOptions building = {};
  EngineConfig config;                // its lengths and counts; num_blocks is not looked at
  std::optional<MediaInput> largest;  // the biggest picture, without values
};

// Bytes of one rank by kind.
struct RankBytes {
  int64_t table = 0, head = 0, attention = 0, mlp = 0, experts = 0, tower = 0, vectors = 0;
  int64_t scratch = 0, media = 0, logits = 0;
  int64_t kv_per_token = 0;
  int64_t experts_in_file = 0;  // not among `experts`: they are read when tokens choose them

  int64_t weights() const { return table + head + attention + mlp + experts + tower + vectors; }
  int64_t fixed() const { return weights() + scratch + media + logits; }
};

struct RankPlan {
  int rank = 0, stage = 0;
  RankBytes bytes;

  // This rank's part of each axis; zero where it holds none. expert_ffn: units of each expert.
  int64_t layers = 0, heads = 0, kv_heads = 0, ffn = 0, ffn_granule = 1, vocab = 0, tower_ffn = 0;
  int64_t experts = 0, expert_ffn = 0;

  // For one token: bytes of weights that are read, of experts among them, and products of the
  // layers.
  int64_t read_bytes = 0, expert_read_bytes = 0, layer_products = 0;
  // Sums with the other ranks, and floats that pass through each.
  int64_t meetings = 0, met_floats = 0;
};

// Sizes of the whole model, for statements about how it divides.
struct ModelAxes {
  std::string architecture;
  int64_t layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_size = 0, ffn = 0, vocab = 0;
  int64_t experts = 0, expert_ffn = 0;  // 0: no layer has experts
  int64_t max_positions = 0;
  int64_t group = 0;  // inputs of one scale of down_proj; 0: floats, or one scale over all
  bool has_vision = false;
};

RankPlan plan_rank(const PlanSubjects& subjects, const Degrees& degrees, int world_rank);
ModelAxes axes_of(const PlanSubjects& subjects);

}  // namespace quern
