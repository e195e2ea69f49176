// SPDX-License-Identifier: Apache-2.0
// VisionAttention: full attention inside segments of patches, with a rotary embedding or without,
// for towers.
#pragma once

#include <span>
#include <string_view>

#include "nn/builder.h"
#include "nn/heads.h"
#include "nn/rope.h"

namespace quern {

struct VisionAttentionConfig {
  int64_t hidden = 0, heads = 0;  // D, H
  Bias qkv_bias = Bias::present, out_bias = Bias::present;
  bool is_stacked = true;  // "qkv" [3 D, D], q, k and v stacked; else "q_proj", "k_proj", "v_proj"
  std::string_view out_name = "proj";  // [D, D]
};

// Rows and columns turn a half of each head, in pairs. Throws data_loss where `heads` of `width` do
// not fall into such.
void check_rotated_heads(const Config& vision, int64_t heads, int64_t width);

class VisionAttention {
 public:
  // b stands at the layer ("attn").
  VisionAttention(const Builder& b, const VisionAttentionConfig& config);
  VisionAttention(const Builder& b, int64_t hidden, int64_t heads)
      : VisionAttention(b, VisionAttentionConfig{.hidden = hidden, .heads = heads}) {}

  // x [P, D] -> [P, D]; patches see those of their own segment [segments[i], segments[i + 1]). A
  // rope without angles turns nothing.
  Tensor operator()(Ctx& ctx,
                    const Tensor& x,
                    const RopeTables& rope,
                    std::span<const int32_t> segments) const;

 private:
  HeadLayout layout_;
  float scale_;
  Linear qkv_, out_;
};

}  // namespace quern
