// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "base/half.h"
#include "ops/reference/reference.h"

namespace quern::ops::reference {
namespace {

void rms_norm(const float* x, const NormRow& norm, float* y) {
  double squares = 0;
  for (int64_t i = 0; i < norm.size; ++i) squares += double{x[i]} * x[i];
  const double scale = 1 / std::sqrt(squares / static_cast<double>(norm.size) + norm.eps);
  for (int64_t i = 0; i < norm.size; ++i) y[i] = static_cast<float>(x[i] * scale * norm.weight[i]);
}

void layer_norm(const float* x, const NormRow& norm, float* y) {
  double mean = 0, variance = 0;
  for (int64_t i = 0; i < norm.size; ++i) mean += x[i];
  mean /= static_cast<double>(norm.size);
  for (int64_t i = 0; i < norm.size; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const double scale = 1 / std::sqrt(variance / static_cast<double>(norm.size) + norm.eps);
  for (int64_t i = 0; i < norm.size; ++i)
    y[i] = static_cast<float>((x[i] - mean) * scale * norm.weight[i] +
                              (norm.bias != nullptr ? norm.bias[i] : 0.0f));
}

void add(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] += y[i];
}

void add_scaled(float* x, const float* y, float scale, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] += scale * y[i];
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double silu_of(double x) {
  return x * sigmoid(x);
}
double gelu_of(double x) {
  return x / 2 * (1 + std::erf(x * std::sqrt(0.5)));
}
// 1 + tanh(u) = 2 sigmoid(2u)
double gelu_tanh_of(double x) {
  return x * sigmoid(2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x));
}
double quick_gelu_of(double x) {
  return x * sigmoid(1.702 * x);
}

double mish_of(double x) {
  return x * std::tanh(x > 20 ? x : std::log1p(std::exp(x)));
}
double elu_of(double x) {
  return x > 0 ? x : std::expm1(x);
}

template <double (*function)(double)>
void map(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(function(x[i]));
}

void silu_mul(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(silu_of(gate[i]) * up[i]);
}

void snake(const float* x, const float* alpha, const float* inverse, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    const double wave = std::sin(alpha[i] * x[i]);
    y[i] = static_cast<float>(x[i] + inverse[i] * wave * wave);
  }
}

void rotate(float& a, float& b, float cos, float sin) {
  const float turned = a * cos - b * sin;
  b = b * cos + a * sin;
  a = turned;
}

void rope_half_split(float* x, const float* cos, const float* sin, int64_t pairs) {
  for (int64_t d = 0; d < pairs; ++d) rotate(x[d], x[d + pairs], cos[d], sin[d]);
}

void rope_interleaved(float* x, const float* cos, const float* sin, int64_t pairs) {
  for (int64_t d = 0; d < pairs; ++d) rotate(x[2 * d], x[2 * d + 1], cos[d], sin[d]);
}

void rope_two_angles(float* x, const float* cos, const float* sin, int64_t pairs) {
  for (int64_t d = 0; d < pairs; ++d) {
    const float left = x[d], right = x[d + pairs];
    x[d] = left * cos[d] - right * sin[d];
    x[d + pairs] = right * cos[d + pairs] + left * sin[d + pairs];
  }
}

template <auto convert, typename From, typename To>
void convert_all(const From* x, int64_t n, To* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = convert(x[i]);
}

void widen_i8(const int8_t* x, float scale, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i]) * scale;
}

void widen_e4m3(const uint8_t* x, float scale, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = e4m3_to_float(x[i]) * scale;
}

void put(const float* x, const float* bias, int64_t n, float* y, bool) {
  for (int64_t i = 0; i < n; ++i) y[i] = bias != nullptr ? x[i] + bias[i] : x[i];
}

constexpr RowKernels kTable{
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .add = add,
    .add_scaled = add_scaled,
    .silu_mul = silu_mul,
    .silu = map<silu_of>,
    .gelu = map<gelu_of>,
    .gelu_tanh = map<gelu_tanh_of>,
    .quick_gelu = map<quick_gelu_of>,
    .rope_half_split = rope_half_split,
    .rope_interleaved = rope_interleaved,
    .rope_two_angles = rope_two_angles,
    .widen_bf16 = convert_all<bf16_to_float>,
    .widen_f16 = convert_all<f16_to_float>,
    .narrow_bf16 = convert_all<float_to_bf16>,
    .narrow_f16 = convert_all<float_to_f16>,
    .widen_i8 = widen_i8,
    .widen_e4m3 = widen_e4m3,
    .mish = map<mish_of>,
    .elu = map<elu_of>,
    .put = put,
    .snake = snake,
};

}  // namespace

const RowKernels& row_kernels() {
  return kTable;
}

}  // namespace quern::ops::reference
