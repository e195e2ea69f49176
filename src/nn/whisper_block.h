// SPDX-License-Identifier: Apache-2.0
// WhisperBlock: a block of Whisper's encoder, under the names that Whisper gives its parts.
#pragma once

#include "nn/mlp.h"
#include "nn/norm.h"
#include "nn/tower_block.h"

namespace quern {

struct WhisperBlock : TowerBlock<LayerNorm, PlainMlp> {
  struct Sizes {
    int64_t width = 0, heads = 0, inner = 0;  // inner: of the MLP
  };
  static constexpr double kNormEps = 1e-5;

  // b stands at the layer ("layers.0").
  WhisperBlock(const Builder& b, const Sizes& s, InPlaceOp activation)
      : TowerBlock{
            LayerNorm(b / "self_attn_layer_norm", s.width, kNormEps),
            LayerNorm(b / "final_layer_norm", s.width, kNormEps),
            VisionAttention(b / "self_attn",
                            {.hidden = s.width,
                             .heads = s.heads,
                             .is_stacked = false,
                             .out_name = "out_proj",
                             .key_bias = Bias::none}),
            PlainMlp(
                b, "fc1", "fc2", {.in = s.width, .inner = s.inner, .out = s.width}, activation)} {}
};

}  // namespace quern
