// SPDX-License-Identifier: Apache-2.0
// The pre-norm block that towers share: h += attention(norm(h));  h += mlp(norm(h))
#pragma once

#include "nn/vision_attention.h"
#include "ops/elementwise.h"

namespace quern {

template <typename Norm, typename Mlp>
struct TowerBlock {
  // h [P, D], updated in place. `sight` says which rows a row sees: segments, or a PrefixSight.
  template <typename Sight>
  void operator()(Ctx& ctx, Tensor& h, const RopeTables& rope, const Sight& sight) const {
    ops::add_(ctx, h, attn(ctx, attn_norm(ctx, h), rope, sight));
    ops::add_(ctx, h, mlp(ctx, mlp_norm(ctx, h)));
  }

  Norm attn_norm, mlp_norm;
  VisionAttention attn;
  Mlp mlp;
};

}  // namespace quern
