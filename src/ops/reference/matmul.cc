// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
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

// Inputs in the order in which groups are counted.
void round_to_int8(std::vector<float>& x, const CodeSpec& spec) {
  const auto at = [&](size_t c) -> float& {
    return x[spec.column_order.empty() ? c : static_cast<size_t>(spec.column_order[c])];
  };
  const auto group = static_cast<size_t>(spec.group * spec.input_groups);
  for (size_t begin = 0; begin < x.size(); begin += group) {
    const size_t end = std::min(x.size(), begin + group);
    float most = 0;
    for (size_t c = begin; c < end; ++c) most = std::max(most, std::abs(at(c)));
    if (most == 0) continue;
    for (size_t c = begin; c < end; ++c)
      at(c) = std::nearbyint(at(c) * (127.0f / most)) * (most / 127.0f);
  }
}

class PlainWeight final : public PackedWeight {
 public:
  PlainWeight(Device device, Tensor values, std::optional<CodeSpec> spec)
      : PackedWeight(device), values_(std::move(values)), spec_(std::move(spec)) {}

  int64_t rows() const override { return values_.dim(0); }
  int64_t cols() const override { return values_.dim(1); }
  int64_t bytes() const override { return values_.bytes(); }
  std::string kernel() const override { return "scalar.f32"; }
  void each_tensor(FunctionRef<void(Tensor&)> visit) override { visit(values_); }

  void multiply(Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y) const override {
    if (ctx.device.is_meta()) return;
    ctx.pool->parallel_for(x.dim(0), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t)
        multiply_row(ctx,
                     x.data<float>() + t * x.stride(0),
                     bias.data<float>(),
                     y.data<float>() + t * y.stride(0));
    });
  }

 private:
  void multiply_row(const Ctx& ctx, const float* x, const float* bias, float* y) const {
    std::vector<float> input(x, x + cols());
    if (ctx.activation == Activation::int8 && spec_ && spec_->takes_int8())
      round_to_int8(input, *spec_);
    else
      for (float& value : input) value = rounded(value, x_dtype(ctx.activation, ctx.isa));
    const float* w = values_.data<float>();
    for (int64_t n = 0; n < rows(); ++n, w += cols()) {
      double sum = 0;
      for (int64_t k = 0; k < cols(); ++k) sum += double{input[static_cast<size_t>(k)]} * w[k];
      y[n] = static_cast<float>(sum) + (bias != nullptr ? bias[n] : 0.0f);
    }
  }

  Tensor values_;
  std::optional<CodeSpec> spec_;
};

}  // namespace

std::unique_ptr<PackedWeight> pack_weight(const Ctx& ctx,
                                          const std::vector<QuantMatrix>& parts,
                                          const std::optional<CodeSpec>& spec) {
  Tensor values =
      Tensor::empty({stacked_rows(parts), parts[0].cols()}, DType::f32, device_for(ctx, parts));
  if (!values.device().is_meta()) {
    const DType storage = spec ? DType::f32 : storage_of(parts, ctx.activation);
    float* out = values.data<float>();
    for (QuantMatrix part : parts) {
      if (spec && spec->is_table) part.table = spec->values;
      out = std::ranges::transform(dequantize(part).span<float>(), out, [&](float v) {
              return rounded(v, storage);
            }).out;
    }
  }
  return std::make_unique<PlainWeight>(ctx.device, std::move(values), spec);
}

}  // namespace quern::ops::reference
