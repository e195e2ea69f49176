// SPDX-License-Identifier: Apache-2.0
#include "ops/round.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "ops/pack.h"

namespace quern::ops {
namespace {

struct Squares {
  double change = 0, weight = 0;
};

// One group of one row; false if its scale is no finite f16.
bool round_group(std::span<const float> w, int8_t* codes, uint16_t* scale, Squares& squares) {
  float most = 0;
  for (const float value : w)
    most = std::isfinite(value) ? std::max(most, std::abs(value)) : INFINITY;
  *scale = float_to_f16(most / 127);
  const float step = f16_to_float(*scale);
  if (!std::isfinite(step)) return false;
  for (size_t i = 0; i < w.size(); ++i) {
    // f16 may have rounded the scale down, and the largest weight then lies beyond 127 steps.
    const float whole = step > 0 ? std::clamp(std::nearbyint(w[i] / step), -127.0f, 127.0f) : 0.0f;
    codes[i] = static_cast<int8_t>(whole);
    const double difference = double{w[i]} - double{whole} * step;
    squares.change += difference * difference;
    squares.weight += double{w[i]} * w[i];
  }
  return true;
}

}  // namespace

RoundedWeight round_to_int8(const Ctx& ctx, const QuantMatrix& w, int64_t group) {
  const int64_t rows = w.rows(), cols = w.cols(), groups = (cols + group - 1) / group;
  RoundedWeight out;
  out.weight.codes = Tensor::empty({rows, cols}, DType::i8, ctx.device);
  out.weight.coding = Coding::integer;
  out.weight.block_cols = group;
  out.weight.scales = Tensor::empty({rows, groups}, DType::f16, ctx.device);
  if (ctx.device.is_meta()) return out;
  const RowDecoder decoder(w);
  std::vector<Squares> squares(static_cast<size_t>(rows));
  std::atomic<bool> is_finite{true};
  ctx.pool->parallel_for(rows, 16, [&](int64_t begin, int64_t end, int) {
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t n = begin; n < end; ++n) {
      decoder.decode(n, row.data());
      for (int64_t g = 0; g < groups; ++g) {
        const auto first = static_cast<size_t>(g * group);
        const std::span<const float> part =
            std::span(row).subspan(first, std::min(static_cast<size_t>(group), row.size() - first));
        if (!round_group(part,
                         out.weight.codes.data<int8_t>() + n * cols + g * group,
                         out.weight.scales.data<uint16_t>() + n * groups + g,
                         squares[static_cast<size_t>(n)]))
          is_finite = false;
      }
    }
  });
  if (!is_finite)
    fail(ErrorCode::data_loss,
         "a weight of [{}, {}] holds values that are not finite or too large to round",
         rows,
         cols);
  for (const Squares& s : squares) {  // in order of rows: the same for any number of threads
    out.squared_change += s.change;
    out.squared_weight += s.weight;
  }
  return out;
}

}  // namespace quern::ops
