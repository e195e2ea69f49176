// SPDX-License-Identifier: Apache-2.0
// Layers that convolve over time, loaded from tensors that torch's Conv1d and ConvTranspose1d save,
// with weight normalisation or without.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "nn/builder.h"
#include "ops/convolution.h"

namespace quern {

// The stored shape of a tensor below b. Throws not_found.
Shape stored_shape(const Builder& b, std::string_view name);
// "weight" below b as float32 in its stored shape: as it is, or where the file has the two parts of
// weight normalisation (Salimans, Kingma 2016), "weight_g" and "weight_v" or
// "parametrizations.weight.original0" and "original1", g v / |v|, the norm taken over all axes but
// the first. Throws not_found, or data_loss where the parts do not fit each other.
Tensor stored_weight(const Builder& b);

// What the model states of a convolution; channels and taps are the file's.
struct TimeConvRule {
  int64_t stride = 1, dilation = 1;
  int64_t groups = 1;
  int64_t padding = -1;  // -1: as many outputs as inputs, which needs an odd number of taps
};

class TimeConv {
 public:
  // b stands at the layer: "weight" [N, C / groups, taps] and "bias" [N]. Throws data_loss for
  // sizes that are no convolution.
  explicit TimeConv(const Builder& b, const TimeConvRule& rule = {});
  // x [T, C] -> [outputs, N]
  Tensor operator()(Ctx& ctx, const Tensor& x) const {
    return ops::convolve(ctx, x, groups_, bias_, taps_);
  }
  int64_t inputs() const { return inputs_; }
  int64_t channels() const { return channels_; }  // N
  const ops::ConvolutionTaps& taps() const { return taps_; }

 private:
  int64_t inputs_, channels_;
  ops::ConvolutionTaps taps_;
  std::vector<std::unique_ptr<ops::PackedWeight>> groups_;
  Tensor bias_;
};

class TransposedTimeConv {
 public:
  // b stands at the layer: "weight" [C, N, taps] and "bias" [N]. T frames become T * stride. Throws
  // data_loss where taps - stride is no even number from 0 on.
  TransposedTimeConv(const Builder& b, int64_t stride);
  Tensor operator()(Ctx& ctx, const Tensor& x) const {
    return ops::convolve_transposed(ctx, x, *weight_, bias_, taps_);
  }
  int64_t inputs() const { return weight_->cols(); }
  int64_t channels() const { return bias_.dim(0); }  // N

 private:
  ops::ConvolutionTaps taps_;
  std::unique_ptr<ops::PackedWeight> weight_;
  Tensor bias_;
};

}  // namespace quern
