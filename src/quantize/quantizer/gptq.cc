// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/gptq.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "quantize/quantizer/hessian.h"

namespace quern {
namespace {

constexpr int64_t kBlock = 128;  // inputs whose effect on all others is applied at once
constexpr int kTries = 4;        // each damps ten times as much as the one before

// One row: its weights in the order in which they are rounded.
class Row {
 public:
  Row(const Tensor& weights,
      const GptqInput& input,
      const IntGrid& grid,
      bool searches,
      IntLayer& out)
      : weights_(weights), input_(input), grid_(grid), searches_(searches), out_(out) {}

  void round(int64_t row) {
    const int64_t cols = out_.cols;
    const float* from = weights_.data<float>() + row * cols;
    row_ = row;
    w_.resize(static_cast<size_t>(cols));
    errors_.resize(static_cast<size_t>(cols));
    ranges_.resize(static_cast<size_t>(out_.groups));
    for (int64_t i = 0; i < cols; ++i) w_[static_cast<size_t>(i)] = from[input_at(i)];
    if (has_order())
      for (int64_t g = 0; g < out_.groups; ++g)
        choose_range(g, {from + g * out_.group, static_cast<size_t>(out_.group)});
    // A block never ends inside a group that is yet to be given its range.
    const int64_t step =
        has_order() || out_.group > kBlock ? kBlock : kBlock / out_.group * out_.group;
    for (int64_t begin = 0; begin < cols; begin += step) {
      const int64_t end = std::min(begin + step, cols);
      round_block(begin, end);
      spread(begin, end, cols);
    }
  }

 private:
  bool has_order() const { return !input_.order.empty(); }
  int64_t input_at(int64_t i) const {
    return has_order() ? input_.order[static_cast<size_t>(i)] : i;
  }

  void choose_range(int64_t group, std::span<const float> weights) {
    GroupRange& range = ranges_[static_cast<size_t>(group)];
    range = searches_
                ? search_range(
                      weights, grid_, {.diagonal = input_.diagonal.data() + group * out_.group})
                : range_of(weights, grid_);
    set_range(out_, row_, group, range);
  }

  void round_block(int64_t begin, int64_t end) {
    const int64_t cols = out_.cols;
    const float* u = input_.factor.data<float>();
    float* w = w_.data();
    for (int64_t i = begin; i < end; ++i) {
      const int64_t k = input_at(i), group = k / out_.group;
      if (!has_order() && k % out_.group == 0)
        choose_range(group, {w + i, static_cast<size_t>(out_.group)});
      const GroupRange& range = ranges_[static_cast<size_t>(group)];
      const int code = code_of(w[i], range, grid_.bits);
      out_.codes[static_cast<size_t>(row_ * cols + k)] = static_cast<uint8_t>(code);
      const float error = (w[i] - decoded(code, range)) / u[i * cols + i];
      errors_[static_cast<size_t>(i)] = error;
      for (int64_t j = i + 1; j < end; ++j) w[j] -= error * u[i * cols + j];
    }
  }

  // What the errors of inputs [begin, end) ask of those behind them.
  void spread(int64_t begin, int64_t end, int64_t cols) {
    const float* u = input_.factor.data<float>();
    float* w = w_.data();
    for (int64_t i = begin; i < end; ++i) {
      const float error = errors_[static_cast<size_t>(i)];
      const float* row = u + i * cols;
      for (int64_t j = end; j < cols; ++j) w[j] -= error * row[j];
    }
  }

  const Tensor& weights_;
  const GptqInput& input_;
  const IntGrid& grid_;
  const bool searches_;
  IntLayer& out_;
  int64_t row_ = 0;
  std::vector<float> w_, errors_;
  std::vector<GroupRange> ranges_;
};

}  // namespace

GptqInput prepare_gptq(ThreadPool& pool, const InputStatistics& statistics, const Scheme& scheme) {
  GptqInput out;
  out.diagonal = statistics.diagonal();
  if (scheme.has_act_order) {
    out.order.resize(out.diagonal.size());
    std::iota(out.order.begin(), out.order.end(), 0);
    std::ranges::stable_sort(out.order, [&](int32_t a, int32_t b) {
      return out.diagonal[static_cast<size_t>(a)] > out.diagonal[static_cast<size_t>(b)];
    });
  }
  const Tensor gram =
      scheme.has_act_order ? reordered(statistics.gram, out.order) : statistics.gram;
  out.damping = scheme.damping;
  for (int i = 0; i < kTries; ++i, out.damping *= 10)
    if (std::optional<Tensor> factor = inverse_factor(pool, gram, out.damping)) {
      out.factor = std::move(*factor);
      return out;
    }
  return out;
}

IntLayer round_by_gptq(ThreadPool& pool,
                       const Tensor& weights,
                       const GptqInput& input,
                       const IntGrid& grid,
                       bool searches) {
  if (!input.factor.defined())
    return round_to_nearest(pool,
                            weights,
                            grid,
                            searches ? RangeSearch::by_importance : RangeSearch::none,
                            input.diagonal);
  IntLayer out = empty_layer(weights.dim(0), weights.dim(1), grid);
  pool.parallel_for(out.rows, 4, [&](int64_t begin, int64_t end, int) {
    Row row(weights, input, grid, searches, out);
    for (int64_t n = begin; n < end; ++n) row.round(n);
  });
  return out;
}

}  // namespace quern
