// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/gptq.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "quantize/quantizer/hessian.h"

namespace quern {
namespace {

constexpr int64_t kBlock = 128;  // inputs whose effect on all others is applied at once
constexpr int kTries = 4;        // each damps ten times as much as the one before

// The codes of one row at a time: whole numbers in groups.
class IntCodes {
 public:
  IntCodes(const GptqInput& input, const IntGrid& grid, bool searches, IntLayer& out)
      : input_(input), grid_(grid), searches_(searches), out_(out) {
    ranges_.resize(static_cast<size_t>(out.groups));
  }

  // Inputs that are rounded before others learn of it. Without an order of their own a block never
  // ends inside a group that is yet to be given its range.
  int64_t block() const {
    return has_order() || out_.group > kBlock ? kBlock : kBlock / out_.group * out_.group;
  }
  // The row as it is.
  void start(int64_t row, const float* weights) {
    row_ = row;
    if (!has_order()) return;
    for (int64_t g = 0; g < out_.groups; ++g) choose_range(g, weights + g * out_.group);
  }
  // Input k is next; `weights` begins with what it and those behind it have become.
  void reach(int64_t k, const float* weights) {
    if (!has_order() && k % out_.group == 0) choose_range(k / out_.group, weights);
  }
  float put(int64_t k, float weight) {
    const GroupRange& range = ranges_[static_cast<size_t>(k / out_.group)];
    const int code = code_of(weight, range, grid_.bits);
    out_.codes[static_cast<size_t>(row_ * out_.cols + k)] = static_cast<uint8_t>(code);
    return decoded(code, range);
  }

 private:
  bool has_order() const { return !input_.order.empty(); }
  void choose_range(int64_t group, const float* weights) {
    const std::span<const float> some(weights, static_cast<size_t>(out_.group));
    GroupRange& range = ranges_[static_cast<size_t>(group)];
    range = searches_ ? search_range(
                            some, grid_, {.diagonal = input_.diagonal.data() + group * out_.group})
                      : range_of(some, grid_);
    set_range(out_, row_, group, range);
  }

  const GptqInput& input_;
  const IntGrid& grid_;
  const bool searches_;
  IntLayer& out_;
  int64_t row_ = 0;
  std::vector<GroupRange> ranges_;
};

// The same of 8-bit floats, whose scales are there before.
class E4m3Codes {
 public:
  explicit E4m3Codes(E4m3Matrix& out) : out_(out) {}
  static int64_t block() { return kBlock; }
  void start(int64_t row, const float*) { row_ = row; }
  void reach(int64_t, const float*) {}
  float put(int64_t k, float weight) { return out_.put(row_, k, weight); }

 private:
  E4m3Matrix& out_;
  int64_t row_ = 0;
};

// One row: its weights in the order in which they are rounded.
template <typename Codes>
class Row {
 public:
  Row(const Tensor& weights, const GptqInput& input, Codes codes)
      : weights_(weights), input_(input), codes_(std::move(codes)), cols_(weights.dim(1)) {
    w_.resize(static_cast<size_t>(cols_));
    errors_.resize(static_cast<size_t>(cols_));
  }

  void round(int64_t row) {
    const float* from = weights_.data<float>() + row * cols_;
    for (int64_t i = 0; i < cols_; ++i) w_[static_cast<size_t>(i)] = from[input_at(i)];
    codes_.start(row, from);
    const int64_t step = codes_.block();
    for (int64_t begin = 0; begin < cols_; begin += step) {
      const int64_t end = std::min(begin + step, cols_);
      round_block(begin, end);
      spread(begin, end);
    }
  }

 private:
  int64_t input_at(int64_t i) const {
    return input_.order.empty() ? i : input_.order[static_cast<size_t>(i)];
  }

  void round_block(int64_t begin, int64_t end) {
    const float* u = input_.factor.data<float>();
    float* w = w_.data();
    for (int64_t i = begin; i < end; ++i) {
      const int64_t k = input_at(i);
      codes_.reach(k, w + i);
      const float error = (w[i] - codes_.put(k, w[i])) / u[i * cols_ + i];
      errors_[static_cast<size_t>(i)] = error;
      for (int64_t j = i + 1; j < end; ++j) w[j] -= error * u[i * cols_ + j];
    }
  }

  // What the errors of inputs [begin, end) ask of those behind them.
  void spread(int64_t begin, int64_t end) {
    const float* u = input_.factor.data<float>();
    float* w = w_.data();
    for (int64_t i = begin; i < end; ++i) {
      const float error = errors_[static_cast<size_t>(i)];
      const float* row = u + i * cols_;
      for (int64_t j = end; j < cols_; ++j) w[j] -= error * row[j];
    }
  }

  const Tensor& weights_;
  const GptqInput& input_;
  Codes codes_;
  const int64_t cols_;
  std::vector<float> w_, errors_;
};

// Each row by itself, on any thread.
template <typename Codes>
void round_rows(ThreadPool& pool,
                const Tensor& weights,
                const GptqInput& input,
                const Codes& codes) {
  pool.parallel_for(weights.dim(0), 4, [&](int64_t begin, int64_t end, int) {
    Row<Codes> row(weights, input, codes);
    for (int64_t n = begin; n < end; ++n) row.round(n);
  });
}

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
  round_rows(pool, weights, input, IntCodes(input, grid, searches, out));
  return out;
}

RoundedLayer round_by_gptq(ThreadPool& pool,
                           const Tensor& weights,
                           const GptqInput& input,
                           E4m3Matrix out,
                           const std::string& name) {
  if (!input.factor.defined()) return round_to_nearest(pool, weights, std::move(out), name);
  round_rows(pool, weights, input, E4m3Codes(out));
  return std::move(out).finish(name);
}

}  // namespace quern
