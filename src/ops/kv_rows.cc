// SPDX-License-Identifier: Apache-2.0
#include "ops/kv_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/half.h"

namespace quern::ops {
namespace {

constexpr float kLargestI8 = 127, kLargestE4m3 = 448;

// NaN if an element is no number.
float largest_magnitude(const float* x, int64_t n) {
  float largest = 0;
  bool is_finite = true;
  for (int64_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::abs(x[i]));
    is_finite &= std::isfinite(x[i]);
  }
  return is_finite ? largest : std::numeric_limits<float>::quiet_NaN();
}

// Rows whose scale would be subnormal are zeros: no score feels them.
float scale_of(float largest, float largest_code) {
  const float scale = largest / largest_code;
  return scale < std::numeric_limits<float>::min() ? 0.0f : scale;
}

void store_codes(const float* x, int64_t n, DType dtype, std::byte* codes, float& scale) {
  const bool is_i8 = dtype == DType::i8;
  scale = scale_of(largest_magnitude(x, n), is_i8 ? kLargestI8 : kLargestE4m3);
  if (!(scale > 0)) {
    // Any code that is not zero makes a NaN scale show in every element.
    std::fill_n(codes, n, scale == 0 ? std::byte{0} : std::byte{1});
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const float value = x[i] / scale;
    const auto code = is_i8 ? static_cast<uint8_t>(static_cast<int8_t>(
                                  std::clamp(std::nearbyint(value), -kLargestI8, kLargestI8)))
                            : float_to_e4m3(value);
    codes[i] = static_cast<std::byte>(code);
  }
}

}  // namespace

void store_kv_row(const RowKernels& kernels,
                  const float* x,
                  const Tensor& cache,
                  const Tensor& scales,
                  int64_t row) {
  const int64_t size = cache.dim(3), at = row * size;
  switch (cache.dtype()) {
    case DType::f32:
      std::copy_n(x, size, cache.data<float>() + at);
      break;
    case DType::bf16:
      kernels.narrow_bf16(x, size, cache.data<uint16_t>() + at);
      break;
    case DType::f16:
      kernels.narrow_f16(x, size, cache.data<uint16_t>() + at);
      break;
    default:
      store_codes(x, size, cache.dtype(), cache.raw() + at, scales.data<float>()[row]);
  }
}

void load_kv_row(
    const RowKernels& kernels, const Tensor& cache, const Tensor& scales, int64_t row, float* y) {
  const int64_t size = cache.dim(3), at = row * size;
  const float scale = scales.data<float>()[row];
  if (cache.dtype() == DType::i8)
    kernels.widen_i8(cache.data<int8_t>() + at, scale, size, y);
  else
    kernels.widen_e4m3(cache.data<uint8_t>() + at, scale, size, y);
}

}  // namespace quern::ops
