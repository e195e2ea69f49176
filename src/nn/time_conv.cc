// SPDX-License-Identifier: Apache-2.0
#include "nn/time_conv.h"

#include <cmath>

#include "base/error.h"

namespace quern {
namespace {

constexpr int64_t kMostTaps = 1024, kMostChannels = 1 << 16;

std::string path_of(const Builder& b, std::string_view name) {
  return b.prefix().empty() ? std::string(name) : format("{}.{}", b.prefix(), name);
}

Tensor stored_floats(const Builder& b, std::string_view name) {
  const Shape shape = stored_shape(b, name);
  return b.vector(name, shape.numel()).reshape(shape);
}

// g v / |v| for each index of the first axis.
Tensor normed(const Builder& b, std::string_view g_name, std::string_view v_name) {
  const Tensor g = stored_floats(b, g_name), v = stored_floats(b, v_name);
  if (v.rank() < 1 || g.numel() != v.dim(0))
    fail(ErrorCode::data_loss,
         "{}: expected {} values by {}, got {}",
         path_of(b, g_name),
         v.rank() < 1 ? 0 : v.dim(0),
         v.shape().text(),
         g.shape().text());
  Tensor out = Tensor::empty(v.shape(), DType::f32, v.device());
  if (out.raw() == nullptr || v.numel() == 0) return out;
  const int64_t size = v.numel() / v.dim(0);
  for (int64_t n = 0; n < v.dim(0); ++n) {
    const float* from = v.data<float>() + n * size;
    double squares = 0;
    for (int64_t i = 0; i < size; ++i) squares += double{from[i]} * from[i];
    const double factor = g.data<float>()[n] / std::sqrt(squares);
    for (int64_t i = 0; i < size; ++i)
      out.data<float>()[n * size + i] = static_cast<float>(factor * from[i]);
  }
  return out;
}

// A weight [N, C, taps] with sizes that can be worked with.
Tensor checked_weight(const Builder& b) {
  Tensor weight = stored_weight(b);
  const bool is_kernel = weight.rank() == 3 && weight.numel() > 0 &&
                         weight.dim(0) <= kMostChannels && weight.dim(1) <= kMostChannels &&
                         weight.dim(2) <= kMostTaps;
  if (!is_kernel)
    fail(ErrorCode::data_loss,
         "{}: expected the weight of a convolution over time [N, C, up to {} taps], got {}",
         b.prefix(),
         kMostTaps,
         weight.shape().text());
  return weight;
}

}  // namespace

Shape stored_shape(const Builder& b, std::string_view name) {
  return b.checkpoint()->info(path_of(b, name)).shape;
}

Tensor stored_weight(const Builder& b) {
  constexpr std::string_view kG = "parametrizations.weight.original0",
                             kV = "parametrizations.weight.original1";
  if (b.has(kV)) return normed(b, kG, kV);
  if (b.has("weight_v")) return normed(b, "weight_g", "weight_v");
  return stored_floats(b, "weight");
}

TimeConv::TimeConv(const Builder& b, const TimeConvRule& rule) {
  const Tensor weight = checked_weight(b);
  channels_ = weight.dim(0);
  inputs_ = weight.dim(1) * rule.groups;
  const int64_t count = weight.dim(2), reach = (count - 1) * rule.dilation;
  if (channels_ % rule.groups != 0 || (rule.padding < 0 && reach % 2 != 0))
    fail(ErrorCode::data_loss,
         "{}: {} is no convolution in {} groups that keeps the number of frames",
         b.prefix(),
         weight.shape().text(),
         rule.groups);
  taps_ = {.count = count,
           .stride = rule.stride,
           .dilation = rule.dilation,
           .padding = rule.padding < 0 ? reach / 2 : rule.padding};
  groups_ = ops::pack_convolution(b.ctx(), weight, rule.groups);
  bias_ = b.vector("bias", channels_);
}

TransposedTimeConv::TransposedTimeConv(const Builder& b, int64_t stride) {
  const Tensor weight = checked_weight(b);
  const int64_t count = weight.dim(2);
  if (count < stride || (count - stride) % 2 != 0)
    fail(ErrorCode::data_loss,
         "{}: {} taps cannot make {} frames of each one evenly",
         b.prefix(),
         count,
         stride);
  taps_ = {.count = count, .stride = stride, .padding = (count - stride) / 2};
  weight_ = ops::pack_transposed_convolution(b.ctx(), weight);
  bias_ = b.vector("bias", weight.dim(1));
}

}  // namespace quern
