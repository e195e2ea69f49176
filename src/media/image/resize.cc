// SPDX-License-Identifier: Apache-2.0
// The rules were found by comparing results with Pillow 13.0 and torchvision 0.29 over random
// pictures and sizes; the kernel is R. G. Keys, Cubic convolution interpolation for digital image
// processing, 1981.
#include "media/image/resize.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace quern {
namespace {

constexpr int64_t kMaxSide = int64_t{1} << 24, kMaxPixels = int64_t{1} << 28;
constexpr double kSupport = 2.0;

double keys(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// Output i is the sum over k < taps[i].count of weights[i * width + k] * input[taps[i].first + k],
// >> precision.
struct Axis {
  struct Tap {
    int32_t first = 0, count = 0;
  };
  std::vector<Tap> taps;
  std::vector<int32_t> weights;
  int64_t width = 0;
  int precision = 0;
};

// Weights as real numbers, each output's summing to 1.
std::vector<double> real_weights(int64_t in, int64_t out, Axis& axis) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double stretch = std::max(scale, 1.0);
  const double support = kSupport * stretch;
  axis.width = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  axis.taps.resize(out);
  std::vector<double> weights(static_cast<size_t>(out * axis.width));
  for (int64_t i = 0; i < out; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
    const auto last = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), in);
    axis.taps[i] = {static_cast<int32_t>(first), static_cast<int32_t>(last - first)};
    double* w = weights.data() + i * axis.width;
    double sum = 0;
    for (int64_t k = 0; k < last - first; ++k)
      sum += w[k] = keys((static_cast<double>(k + first) - centre + 0.5) * (1.0 / stretch));
    for (int64_t k = 0; k < last - first; ++k) w[k] /= sum;
  }
  return weights;
}

// The most bits with which the largest weight stays below 2^15.
int precision_of_int16(const std::vector<double>& weights) {
  const double largest = *std::max_element(weights.begin(), weights.end());
  int bits = 0;
  while (bits < 22 && static_cast<int>(0.5 + largest * (1 << (bits + 1))) < (1 << 15)) ++bits;
  return bits;
}

Axis make_axis(int64_t in, int64_t out, ResizeRule rule) {
  Axis axis;
  const std::vector<double> real = real_weights(in, out, axis);
  axis.precision = rule == ResizeRule::torchvision ? precision_of_int16(real) : 22;
  axis.weights.resize(real.size());
  std::transform(real.begin(), real.end(), axis.weights.begin(), [&](double w) {
    const double scaled = w * (1 << axis.precision);
    return static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  });
  return axis;
}

uint8_t to_byte(int32_t sum, int precision) {
  return static_cast<uint8_t>(std::clamp(sum >> precision, 0, 255));
}

// One row of out pixels from one row of pixels.
void resize_row(const uint8_t* in, const Axis& axis, uint8_t* out) {
  const int32_t half = 1 << (axis.precision - 1);
  const int32_t* weights = axis.weights.data();
  for (const Axis::Tap& tap : axis.taps) {
    int32_t r = half, g = half, b = half;
    const uint8_t* pixel = in + 3 * tap.first;
    for (int32_t k = 0; k < tap.count; ++k, pixel += 3) {
      r += weights[k] * pixel[0];
      g += weights[k] * pixel[1];
      b += weights[k] * pixel[2];
    }
    out[0] = to_byte(r, axis.precision), out[1] = to_byte(g, axis.precision),
    out[2] = to_byte(b, axis.precision);
    out += 3;
    weights += axis.width;
  }
}

Image resize_rows(const Image& image, int64_t width, ResizeRule rule) {
  const Axis axis = make_axis(image.width, width, rule);
  Image out{
      width, image.height, std::vector<uint8_t>(static_cast<size_t>(width * image.height * 3))};
  for (int64_t y = 0; y < image.height; ++y)
    resize_row(image.rgb.data() + y * image.width * 3, axis, out.rgb.data() + y * width * 3);
  return out;
}

// Part of one output row: the weighted sum of `rows` input rows. A strip of sums stays in the
// first-level cache.
void sum_rows(const uint8_t* in,
              int64_t stride,
              std::span<const int32_t> weights,
              int precision,
              std::span<uint8_t> out) {
  constexpr size_t kStrip = 1024;
  int32_t sums[kStrip];
  for (size_t begin = 0; begin < out.size(); begin += kStrip) {
    const size_t count = std::min(kStrip, out.size() - begin);
    std::fill_n(sums, count, 1 << (precision - 1));
    for (size_t k = 0; k < weights.size(); ++k) {
      const uint8_t* row = in + k * stride + begin;
      const int32_t weight = weights[k];
      for (size_t i = 0; i < count; ++i) sums[i] += weight * row[i];
    }
    for (size_t i = 0; i < count; ++i) out[begin + i] = to_byte(sums[i], precision);
  }
}

Image resize_columns(const Image& image, int64_t height, ResizeRule rule) {
  const Axis axis = make_axis(image.height, height, rule);
  const int64_t stride = image.width * 3;
  Image out{image.width, height, std::vector<uint8_t>(static_cast<size_t>(stride * height))};
  for (int64_t y = 0; y < height; ++y) {
    const Axis::Tap tap = axis.taps[y];
    sum_rows(image.rgb.data() + tap.first * stride,
             stride,
             {axis.weights.data() + y * axis.width, static_cast<size_t>(tap.count)},
             axis.precision,
             {out.rgb.data() + y * stride, static_cast<size_t>(stride)});
  }
  return out;
}

// Pillow 13 goes down the columns first where the picture loses more than twice as many rows as
// columns.
bool is_vertical_first(const Image& image, int64_t width, int64_t height, ResizeRule rule) {
  return rule == ResizeRule::pil && height < image.height &&
         2 * (image.width - width) < image.height - height;
}

}  // namespace

Image resize_bicubic(const Image& image, int64_t width, int64_t height, ResizeRule rule) {
  const auto is_side = [](int64_t side) { return side >= 1 && side <= kMaxSide; };
  if (!is_side(image.width) || !is_side(image.height) || !is_side(width) || !is_side(height) ||
      width * height > kMaxPixels)
    fail(ErrorCode::invalid_argument,
         "picture of {} x {} pixels cannot be resized to {} x {}: at most {} pixels are made",
         image.width,
         image.height,
         width,
         height,
         kMaxPixels);
  const auto rows = [&](const Image& in) {
    return in.width == width ? in : resize_rows(in, width, rule);
  };
  const auto columns = [&](const Image& in) {
    return in.height == height ? in : resize_columns(in, height, rule);
  };
  return is_vertical_first(image, width, height, rule) ? rows(columns(image))
                                                       : columns(rows(image));
}

}  // namespace quern
