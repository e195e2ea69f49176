// SPDX-License-Identifier: Apache-2.0
// Normalisation layers: x [T, D] -> [T, D]. Every rank holds them whole.
#pragma once

#include <string_view>

#include "base/error.h"
#include "nn/builder.h"
#include "ops/norm.h"

namespace quern {

// A norm's epsilon. Throws data_loss naming the key unless it lies in [0, 1).
inline double norm_eps_in(const Config& config, std::string_view key, double fallback) {
  const double eps = config.number_or(key, fallback);
  if (!(eps >= 0 && eps < 1))
    fail(ErrorCode::data_loss, "{}: {}: expected 0 to 1, got {}", config.path(), key, eps);
  return eps;
}

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

// Which of the two a decoder's norms are.
enum class NormKind : uint8_t { rms, layer };

// Of a kind that the family, or the file, decides.
class Norm {
 public:
  Norm(const Builder& b, int64_t size, double eps, NormKind kind)
      : weight_(b.vector("weight", size)), eps_(static_cast<float>(eps)), kind_(kind) {
    if (kind == NormKind::layer) bias_ = b.vector("bias", size);
  }
  Tensor operator()(Ctx& ctx, const Tensor& x) const {
    return kind_ == NormKind::layer ? ops::layer_norm(ctx, x, weight_, bias_, eps_)
                                    : ops::rms_norm(ctx, x, weight_, eps_);
  }

 private:
  Tensor weight_, bias_;
  float eps_;
  NormKind kind_;
};

}  // namespace quern
