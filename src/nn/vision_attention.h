// SPDX-License-Identifier: Apache-2.0
// VisionAttention: full attention inside segments of patches or of frames of sound, with a rotary
// embedding or without, for towers.
#pragma once

#include <span>
#include <string_view>

#include "nn/builder.h"
#include "nn/heads.h"
#include "nn/rope.h"

namespace quern {

struct VisionAttentionConfig {
  int64_t hidden = 0, heads = 0;        // D, H
  int64_t kv_heads = 0, head_size = 0;  // G, E; 0: H, D / H
  Bias qkv_bias = Bias::present, out_bias = Bias::present;
  bool is_stacked = true;  // "qkv" [3 D, D], q, k and v stacked; else "q_proj" [H E, D], "k_proj",
                           // "v_proj" [G E, D]
  std::string_view out_name = "proj";  // [D, H E]
  Bias key_bias = Bias::present;       // where qkv_bias is; Whisper's keys have none
  ops::RopeStyle rope_style = ops::RopeStyle::half_split;

  HeadSizes sizes() const {
    return {heads, kv_heads > 0 ? kv_heads : heads, head_size > 0 ? head_size : hidden / heads};
  }
};

// Rows and columns turn a half of each head, in pairs. Throws data_loss where `heads` of `width` do
// not fall into such.
void check_rotated_heads(const Config& vision, int64_t heads, int64_t width);

// Rows that see what is before them too: those of segment i, [segments[i], segments[i + 1]), see
// the first seen[i] rows, at least one.
struct PrefixSight {
  std::span<const int32_t> segments, seen;
};

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
  Tensor operator()(Ctx& ctx,
                    const Tensor& x,
                    const RopeTables& rope,
                    const PrefixSight& sight) const;

 private:
  // This rank's heads of q, k and v, [P, heads, E] each, turned by `rope`.
  struct Heads {
    Tensor q, k, v;
  };
  Heads heads(Ctx& ctx, const Tensor& x, const RopeTables& rope) const;

  HeadLayout layout_;
  ops::RopeStyle rope_style_;
  float scale_;
  Linear qkv_, out_;
};

}  // namespace quern
