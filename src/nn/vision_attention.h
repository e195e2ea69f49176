// SPDX-License-Identifier: Apache-2.0
// VisionAttention: full attention inside segments of patches, with a rotary embedding, for towers.
#pragma once

#include <span>

#include "nn/builder.h"
#include "nn/heads.h"
#include "nn/rope.h"

namespace quern {

class VisionAttention {
 public:
  // b stands at "attn": "qkv" [3 D, D] with q, k, v stacked, and "proj" [D, D], both with biases.
  VisionAttention(const Builder& b, int64_t hidden, int64_t heads);

  // x [P, D] -> [P, D]; patches see those of their own segment [segments[i], segments[i + 1]).
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
