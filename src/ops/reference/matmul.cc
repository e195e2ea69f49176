// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "base/half.h"
#include "ops/pack.h"
#include "ops/reference/reference.h"

namespace quern::ops::reference {
namespace {

float rounded(float value, DType to) {
  if (to == DType::bf16) return bf16_to_float(float_to_bf16(value));
  if (to == DType::f16) return f16_to_float(float_to_f16(value));
  return value;
}

class PlainWeight final : public PackedWeight {
 public:
  PlainWeight(Device device, Tensor values) : PackedWeight(device), values_(std::move(values)) {}

  int64_t rows() const override { return values_.dim(0); }
  int64_t cols() const override { return values_.dim(1); }
  int64_t bytes() const override { return values_.bytes(); }
  std::string kernel() const override { return "scalar.f32"; }

  void multiply(Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y) const override {
    if (ctx.device.is_meta()) return;
    ctx.pool->parallel_for(x.dim(0), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t)
        multiply_row(x.data<float>() + t * x.stride(0),
                     x_dtype(ctx.activation),
                     bias.data<float>(),
                     y.data<float>() + t * rows());
    });
  }

 private:
  void multiply_row(const float* x, DType as, const float* bias, float* y) const {
    std::vector<float> input(x, x + cols());
    for (float& value : input) value = rounded(value, as);
    const float* w = values_.data<float>();
    for (int64_t n = 0; n < rows(); ++n, w += cols()) {
      double sum = 0;
      for (int64_t k = 0; k < cols(); ++k) sum += double{input[static_cast<size_t>(k)]} * w[k];
      y[n] = static_cast<float>(sum) + (bias != nullptr ? bias[n] : 0.0f);
    }
  }

  Tensor values_;
};

}  // namespace

std::unique_ptr<PackedWeight> pack_weight(const Ctx& ctx,
                                          const std::vector<QuantMatrix>& parts,
                                          DType storage) {
  Tensor values = Tensor::empty({stacked_rows(parts), parts[0].cols()}, DType::f32, ctx.device);
  if (!ctx.device.is_meta()) {
    float* out = values.data<float>();
    for (const QuantMatrix& part : parts)
      out = std::ranges::transform(dequantize(part).span<float>(), out, [&](float v) {
              return rounded(v, storage);
            }).out;
  }
  return std::make_unique<PlainWeight>(ctx.device, std::move(values));
}

}  // namespace quern::ops::reference
