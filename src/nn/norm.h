// SPDX-License-Identifier: Apache-2.0
// Normalisation layers: x [T, D] -> [T, D]. Every rank holds them whole.
#pragma once

#include "nn/builder.h"
#include "ops/norm.h"

namespace quern {

class RmsNorm {
 public:
  // b stands at the layer itself: b / "input_layernorm".
  RmsNorm(const Builder& b, int64_t size, double eps)
      : weight_(b.vector("weight", size)), eps_(static_cast<float>(eps)) {}
  Tensor operator()(Ctx& ctx, const Tensor& x) const {
    return ops::rms_norm(ctx, x, weight_, eps_);
  }

 private:
  Tensor weight_;
  float eps_;
};

class LayerNorm {
 public:
  LayerNorm(const Builder& b, int64_t size, double eps)
      : weight_(b.vector("weight", size)),
        bias_(b.vector("bias", size)),
        eps_(static_cast<float>(eps)) {}
  Tensor operator()(Ctx& ctx, const Tensor& x) const {
    return ops::layer_norm(ctx, x, weight_, bias_, eps_);
  }

 private:
  Tensor weight_, bias_;
  float eps_;
};

}  // namespace quern
