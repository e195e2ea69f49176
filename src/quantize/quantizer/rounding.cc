// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/rounding.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace quern {
namespace {

constexpr float kLargestE4m3 = 448;
constexpr int64_t kBlock = 128;
constexpr int kShrinks = 11;           // 1, 0.95, … 0.5
constexpr float kSmallest = 0x1p-24f;  // that float16 holds

// Rounds to the nearest whole number, ties to even, for |x| < 2^22: adding 1.5 x 2^23 leaves no
// bits below 1.
float nearest(float x) {
  constexpr float kMagic = 12582912.0f;
  return (x + kMagic) - kMagic;
}

float as_stored(float scale, DType type) {
  if (type == DType::f32) return scale;
  return type == DType::f16 ? f16_to_float(float_to_f16(scale))
                            : bf16_to_float(float_to_bf16(scale));
}

uint16_t bits_of_scale(float scale, DType type) {
  return type == DType::f16 ? float_to_f16(scale) : float_to_bf16(scale);
}

float loss_of(std::span<const float> errors, const ErrorWeight& weight) {
  double sum = 0;
  const auto size = errors.size();
  if (weight.gram != nullptr) {
    // gram x errors by rows, which the compiler turns into vectors; a dot product it would not.
    std::array<float, kMostGramInputs> product{};
    for (size_t i = 0; i < size; ++i) {
      const float* row = weight.gram + static_cast<int64_t>(i) * weight.stride;
      const float e = errors[i];
      for (size_t j = 0; j < size; ++j) product[j] += e * row[j];
    }
    for (size_t i = 0; i < size; ++i) sum += static_cast<double>(product[i]) * errors[i];
  } else if (weight.diagonal != nullptr) {
    for (size_t i = 0; i < size; ++i)
      sum += static_cast<double>(weight.diagonal[i]) * errors[i] * errors[i];
  } else {
    for (const float e : errors) sum += static_cast<double>(e) * e;
  }
  return static_cast<float>(sum);
}

template <typename T>
std::vector<std::byte> bytes_of(std::span<const T> values) {
  std::vector<std::byte> out(values.size_bytes());
  if (!out.empty()) std::memcpy(out.data(), values.data(), out.size());
  return out;
}

float largest(std::span<const float> values) {
  float out = 0;
  for (const float v : values) out = std::max(out, std::abs(v));
  return out;
}

std::span<const float> row_of(const Tensor& weights, int64_t row) {
  return weights.span<float>().subspan(static_cast<size_t>(row * weights.dim(1)),
                                       static_cast<size_t>(weights.dim(1)));
}

}  // namespace

void expect_storable(const Tensor& weights, const IntGrid& grid, std::string_view name) {
  const float most = largest(weights.span<float>());
  const float scale = 2 * most / static_cast<float>((1 << grid.bits) - 1);
  if (std::isfinite(as_stored(scale, grid.scales))) return;
  fail(ErrorCode::unsupported,
       "{}: a weight of {} needs a scale beyond {}: leave the layer out with --ignore",
       name,
       most,
       name_of(grid.scales));
}

GroupRange range_of(std::span<const float> weights, const IntGrid& grid, float shrink) {
  const auto [low_at, high_at] = std::ranges::minmax_element(weights);
  const float low = shrink * std::min(*low_at, 0.0f), high = shrink * std::max(*high_at, 0.0f);
  const int last = (1 << grid.bits) - 1, middle = 1 << (grid.bits - 1);
  const float width = grid.is_symmetric ? 2 * std::max(-low, high) : high - low;
  if (width == 0) return {1, grid.is_symmetric ? middle : 0};  // decodes to exactly 0
  GroupRange out;
  out.scale = as_stored(std::max(width / static_cast<float>(last), kSmallest), grid.scales);
  out.zero =
      grid.is_symmetric
          ? middle
          : static_cast<int>(std::clamp(nearest(-low / out.scale), 0.0f, static_cast<float>(last)));
  return out;
}

int code_of(float weight, const GroupRange& range, int bits) {
  const auto last = static_cast<float>((1 << bits) - 1);
  const float steps = std::clamp(weight / range.scale, -1024.0f, 1024.0f);
  return static_cast<int>(std::clamp(nearest(steps) + static_cast<float>(range.zero), 0.0f, last));
}

GroupRange search_range(std::span<const float> weights,
                        const IntGrid& grid,
                        const ErrorWeight& weight) {
  std::vector<float> errors(weights.size());
  GroupRange best;
  float least = INFINITY;
  for (int i = 0; i < kShrinks; ++i) {
    const GroupRange range = range_of(weights, grid, 1.0f - 0.05f * static_cast<float>(i));
    for (size_t k = 0; k < weights.size(); ++k)
      errors[k] = weights[k] - decoded(code_of(weights[k], range, grid.bits), range);
    const float loss = loss_of(errors, weight);
    if (loss >= least) continue;
    least = loss;
    best = range;
  }
  return best;
}

IntLayer empty_layer(int64_t rows, int64_t cols, const IntGrid& grid) {
  IntLayer out;
  out.bits = grid.bits;
  out.rows = rows;
  out.cols = cols;
  out.group = grid.group_of(cols);
  out.groups = cols / out.group;
  QUERN_CHECK(out.groups * out.group == cols, "{} of {}", out.group, cols);
  out.codes.resize(static_cast<size_t>(rows * cols));
  out.zeros.resize(static_cast<size_t>(rows * out.groups));
  out.scales = Tensor::empty({rows, out.groups}, grid.scales);
  return out;
}

void set_range(IntLayer& layer, int64_t row, int64_t group, const GroupRange& range) {
  const int64_t at = row * layer.groups + group;
  layer.zeros[static_cast<size_t>(at)] = static_cast<uint8_t>(range.zero);
  layer.scales.data<uint16_t>()[at] = bits_of_scale(range.scale, layer.scales.dtype());
}

Tensor values_of(const IntLayer& layer) {
  const Tensor scales = to_f32(layer.scales);
  Tensor out = Tensor::empty({layer.rows, layer.cols}, DType::f32);
  const float* scale = scales.data<float>();
  for (int64_t n = 0; n < layer.rows; ++n)
    for (int64_t k = 0; k < layer.cols; ++k) {
      const int64_t at = n * layer.groups + k / layer.group, i = n * layer.cols + k;
      const GroupRange range{scale[at], layer.zeros[static_cast<size_t>(at)]};
      out.data<float>()[i] = decoded(layer.codes[static_cast<size_t>(i)], range);
    }
  return out;
}

IntLayer round_to_nearest(ThreadPool& pool,
                          const Tensor& weights,
                          const IntGrid& grid,
                          RangeSearch searches,
                          std::span<const float> importance,
                          const Tensor& gram) {
  IntLayer out = empty_layer(weights.dim(0), weights.dim(1), grid);
  const auto body = [&](int64_t begin, int64_t end, int) {
    for (int64_t n = begin; n < end; ++n)
      for (int64_t g = 0; g < out.groups; ++g) {
        const int64_t first = g * out.group;
        const auto part =
            row_of(weights, n).subspan(static_cast<size_t>(first), static_cast<size_t>(out.group));
        ErrorWeight weight;
        if (!importance.empty()) weight.diagonal = importance.data() + first;
        if (searches == RangeSearch::by_gram && out.group <= kMostGramInputs)
          weight = {.gram = gram.data<float>() + first * (out.cols + 1), .stride = out.cols};
        const GroupRange range =
            searches == RangeSearch::none ? range_of(part, grid) : search_range(part, grid, weight);
        set_range(out, n, g, range);
        for (int64_t k = 0; k < out.group; ++k)
          out.codes[static_cast<size_t>(n * out.cols + first + k)] =
              static_cast<uint8_t>(code_of(part[static_cast<size_t>(k)], range, grid.bits));
      }
  };
  pool.parallel_for(out.rows, 8, body);
  return out;
}

E4m3Matrix::E4m3Matrix(
    ThreadPool& pool, const Tensor& weights, int64_t height, int64_t width, DType scales)
    : height_(height),
      width_(width),
      across_((weights.dim(1) + width - 1) / width),
      scales_(scales),
      codes_(static_cast<size_t>(weights.numel())),
      values_(Tensor::empty(weights.shape(), DType::f32)) {
  const int64_t rows = weights.dim(0), down = (rows + height - 1) / height;
  steps_.resize(static_cast<size_t>(down * across_));
  pool.parallel_for(down, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; ++b)
      for (int64_t c = 0; c < across_; ++c) {
        const auto first = static_cast<size_t>(c * width_);
        float most = 0;
        for (int64_t n = b * height_; n < std::min(rows, (b + 1) * height_); ++n) {
          const auto row = row_of(weights, n).subspan(first);
          most =
              std::max(most, largest(row.first(std::min(row.size(), static_cast<size_t>(width_)))));
        }
        const float step = most == 0 ? 1.0f : std::max(most / kLargestE4m3, kSmallest);
        steps_[static_cast<size_t>(b * across_ + c)] = as_stored(step, scales_);
      }
  });
}

E4m3Matrix E4m3Matrix::with_rows(ThreadPool& pool, const Tensor& weights, DType scales) {
  return {pool, weights, 1, weights.dim(1), scales};
}

E4m3Matrix E4m3Matrix::with_blocks(ThreadPool& pool, const Tensor& weights) {
  return {pool, weights, kBlock, kBlock, DType::f32};
}

float E4m3Matrix::put(int64_t row, int64_t col, float weight) {
  const int64_t at = row * values_.dim(1) + col;
  const float step = steps_[static_cast<size_t>(row / height_ * across_ + col / width_)];
  const uint8_t code = float_to_e4m3(weight / step);
  codes_[static_cast<size_t>(at)] = static_cast<std::byte>(code);
  return values_.data<float>()[at] = e4m3_to_float(code) * step;
}

void E4m3Matrix::put_row(int64_t row, std::span<const float> weights) {
  for (size_t k = 0; k < weights.size(); ++k) put(row, static_cast<int64_t>(k), weights[k]);
}

RoundedLayer E4m3Matrix::finish(const std::string& name) && {
  const Shape shape = values_.shape();
  const auto blocks = static_cast<int64_t>(steps_.size());
  RoundedLayer out;
  out.values = std::move(values_);
  out.tensors.push_back({name + ".weight", Stored::f8_e4m3, shape, std::move(codes_)});
  if (scales_ == DType::f32) {
    out.tensors.push_back({name + ".weight_scale_inv",
                           Stored::f32,
                           {blocks / across_, across_},
                           bytes_of(std::span<const float>(steps_))});
    return out;
  }
  std::vector<uint16_t> stored;
  for (const float step : steps_) stored.push_back(bits_of_scale(step, scales_));
  out.tensors.push_back({name + ".weight_scale",
                         scales_ == DType::f16 ? Stored::f16 : Stored::bf16,
                         {blocks, 1},
                         bytes_of(std::span<const uint16_t>(stored))});
  return out;
}

RoundedLayer round_to_nearest(ThreadPool& pool,
                              const Tensor& weights,
                              E4m3Matrix out,
                              const std::string& name) {
  pool.parallel_for(weights.dim(0), 8, [&](int64_t begin, int64_t end, int) {
    for (int64_t n = begin; n < end; ++n) out.put_row(n, row_of(weights, n));
  });
  return std::move(out).finish(name);
}

}  // namespace quern
