// SPDX-License-Identifier: Apache-2.0
// Attention: causal, with grouped KV heads, over the paged cache. Ainslie et al. 2023 (GQA).
#pragma once

#include <optional>

#include "nn/builder.h"
#include "nn/heads.h"
#include "nn/step.h"

namespace quern {

struct AttentionConfig {
  int64_t hidden = 0;  // D
  HeadSizes sizes;
  Bias qkv_bias = Bias::none, out_bias = Bias::none;
  ops::RopeStyle rope_style = ops::RopeStyle::half_split;
  // Queries and keys are normed head by head behind the rotation, so cached keys are normed ones:
  // "query_layernorm" and "key_layernorm" [E] (HunYuan). Empty: not.
  std::optional<double> rotated_norm_eps;
};

class Attention {
 public:
  // b stands at "self_attn": q_proj, k_proj, v_proj (one stacked product) and o_proj below it.
  Attention(const Builder& b, const AttentionConfig& config);

  // x [T, D] -> [T, D]; writes K and V of every token into `layer` of the cache.
  Tensor operator()(Ctx& ctx, const Tensor& x, const Step& s, int layer) const;

 private:
  struct HeadNorms {
    Tensor query, key;  // weights [E]
    float eps;
  };
  void rotate(Ctx& ctx, const Tensor& qkv, const RopeTables& rope) const;

  HeadLayout layout_;
  ops::RopeStyle rope_style_;
  float scale_;
  Linear qkv_, out_;
  std::optional<HeadNorms> norms_;
};

}  // namespace quern
