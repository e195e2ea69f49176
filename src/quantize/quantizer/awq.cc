// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/awq.h"

#include <algorithm>
#include <cmath>

#include "base/format.h"

namespace quern {
namespace {

constexpr int kRatios = 20;
constexpr size_t kVerified = 3;  // candidates that are judged by the whole gram matrix
constexpr float kLeastScale = 1e-4f;

// What rounding does to weights whose columns are scaled, seen without the scales: [N, K].
Tensor errors_of(ThreadPool& pool,
                 const Tensor& weights,
                 const std::vector<float>& scales,
                 const IntGrid& grid) {
  const int64_t cols = weights.dim(1), group = grid.group_of(cols);
  Tensor out = Tensor::empty(weights.shape(), DType::f32);
  pool.parallel_for(weights.dim(0), 8, [&](int64_t begin, int64_t end, int) {
    std::vector<float> scaled(static_cast<size_t>(group));
    for (int64_t n = begin; n < end; ++n)
      for (int64_t first = 0; first < cols; first += group) {
        const float* from = weights.data<float>() + n * cols + first;
        const float* s = scales.data() + first;
        float* to = out.data<float>() + n * cols + first;
        for (int64_t k = 0; k < group; ++k) scaled[static_cast<size_t>(k)] = from[k] * s[k];
        const GroupRange range = range_of(scaled, grid);
        for (int64_t k = 0; k < group; ++k) {
          const float w = scaled[static_cast<size_t>(k)];
          to[k] = (w - decoded(code_of(w, range, grid.bits), range)) / s[k];
        }
      }
  });
  return out;
}

double diagonal_loss(const Tensor& errors, std::span<const float> diagonal) {
  const int64_t cols = errors.dim(1);
  double sum = 0;
  for (int64_t n = 0; n < errors.dim(0); ++n) {
    const float* e = errors.data<float>() + n * cols;
    for (int64_t k = 0; k < cols; ++k)
      sum += static_cast<double>(diagonal[static_cast<size_t>(k)]) * e[k] * e[k];
  }
  return sum;
}

}  // namespace

// x: the mean input, w: the mean weight under it, each as a share of its group's largest.
struct AwqSearch::Shares {
  std::vector<double> x, w;
};

// What all consumers of one input read.
struct AwqSearch::Inputs {
  std::string path;
  InputStatistics own;
  std::vector<float> diagonal;
  std::unique_ptr<ops::PackedWeight> gram;
};

// What a consumer reads: of an expert, what the tokens that chose it gave it.
void AwqSearch::read_inputs(const std::string& name, Inputs& of) const {
  const auto expert = routed_expert_of(name);
  const bool is_routed = expert && !seen_.has(name);
  const std::string path = is_routed ? format("{}", *expert) : seen_.path_of(name);
  if (path == of.path) return;
  of = {path, {}, {}, nullptr};
  if (is_routed)
    of.own.add(ctx_, seen_.rows_of(*expert));
  else
    of.own = seen_.of(name);  // shares the matrix
  if (of.own.rows > 0) of.diagonal = of.own.diagonal();
}

AwqSearch::Shares AwqSearch::shares_of(const FoldedPair& pair) const {
  const InputStatistics& inputs = seen_.of(pair.seen_as());
  const auto outputs = static_cast<size_t>(pair.outputs);
  Shares out{std::vector<double>(outputs, 0.0), std::vector<double>(outputs, 0.0)};
  std::vector<double> count(outputs, 0.0);
  for (size_t k = 0; k < pair.of_output.size(); ++k) {
    const auto p = static_cast<size_t>(pair.of_output[k]);
    out.x[p] += inputs.magnitudes[k] / static_cast<double>(std::max<int64_t>(1, inputs.rows));
    count[p] += 1;
  }
  double rows = 0;
  for (const std::string& name : pair.consumers)
    rows += add_shares(layer_.at(name + ".weight"), pair, out.w);
  for (size_t p = 0; p < outputs; ++p) {
    out.x[p] /= std::max(1.0, count[p]);
    out.w[p] /= std::max(1.0, count[p]) * std::max(1.0, rows);
  }
  return out;
}

// Returns the rows that are not zero, as those are that padding added.
double AwqSearch::add_shares(const Tensor& weights,
                             const FoldedPair& pair,
                             std::vector<double>& w) const {
  const int64_t cols = weights.dim(1), group = grid_.group_of(cols);
  double rows = 0;
  for (int64_t n = 0; n < weights.dim(0); ++n) {
    bool is_zero = true;
    for (int64_t first = 0; first < cols; first += group) {
      const float* from = weights.data<float>() + n * cols + first;
      float most = 0;
      for (int64_t k = 0; k < group; ++k) most = std::max(most, std::abs(from[k]));
      if (most == 0) continue;
      is_zero = false;
      for (int64_t k = 0; k < group; ++k)
        w[static_cast<size_t>(pair.of_output[static_cast<size_t>(first + k)])] +=
            std::abs(from[k]) / most;
    }
    rows += is_zero ? 0 : 1;
  }
  return rows;
}

// s for every output of the producer: x^r, or x^r / w^(1 - r). Outputs that never occur keep 1.
std::vector<float> AwqSearch::candidate(const FoldedPair& pair,
                                        const Shares& shares,
                                        double ratio,
                                        bool is_duo) {
  const auto outputs = static_cast<size_t>(pair.outputs);
  std::vector<float> out(outputs, 1.0f);
  float least = INFINITY, most = 0;
  for (size_t p = 0; p < outputs; ++p) {
    if (shares.x[p] == 0) continue;
    double s = std::pow(shares.x[p], ratio);
    if (is_duo) s /= std::pow(shares.w[p], 1 - ratio) + 1e-4;
    out[p] = std::max(static_cast<float>(s), kLeastScale);
    least = std::min(least, out[p]);
    most = std::max(most, out[p]);
  }
  if (most == 0) return out;
  const float middle = std::sqrt(least * most);
  for (size_t p = 0; p < outputs; ++p)
    if (shares.x[p] != 0) out[p] /= middle;
  if (pair.takes_powers) round_to_powers(out);
  return out;
}

// Consumers are read one after the other: of a layer's experts only one is in memory.
void AwqSearch::judge(const FoldedPair& pair, std::vector<Candidate>& found, bool by_gram) {
  for (Candidate& c : found) c.loss = 0;
  Inputs inputs;
  for (const std::string& name : pair.consumers) {
    read_inputs(name, inputs);
    if (inputs.own.rows == 0) continue;
    if (by_gram && inputs.gram == nullptr) inputs.gram = packed_floats(ctx_, inputs.own.gram);
    const Tensor all = layer_.at(name + ".weight");
    const Tensor weights = rows_at(all, judged_outputs(all));
    // What is left out counts as what is judged, beside consumers that have fewer outputs.
    const double share = static_cast<double>(all.dim(0)) / static_cast<double>(weights.dim(0));
    for (Candidate& c : found) {
      const Tensor errors = errors_of(*ctx_.pool, weights, pair.of_inputs(c.scales), grid_);
      c.loss += share * (by_gram ? gram_loss(ctx_, errors, *inputs.gram)
                                 : diagonal_loss(errors, inputs.diagonal));
    }
  }
}

// All candidates by the diagonal of the gram matrix, the best of them and no scaling by all of it.
std::vector<float> AwqSearch::operator()(const FoldedPair& pair) {
  const Shares shares = shares_of(pair);
  std::vector<Candidate> found;
  for (int i = 0; i < kRatios; ++i)
    for (const bool is_duo : {false, true}) {
      if (i == 0 && !is_duo) continue;  // no scaling: always among the judged
      const double ratio = static_cast<double>(i) / kRatios;
      found.push_back({0, is_duo ? -ratio : ratio, candidate(pair, shares, ratio, is_duo)});
    }
  judge(pair, found, false);
  std::ranges::stable_sort(found, {}, &Candidate::loss);
  found.resize(kVerified);
  found.push_back({0, 0, std::vector<float>(static_cast<size_t>(pair.outputs), 1.0f)});
  judge(pair, found, true);
  const Candidate& best = *std::ranges::min_element(found, {}, &Candidate::loss);
  for (const std::string& name : pair.consumers) ratios_[name] = best.ratio;
  return best.scales;
}

}  // namespace quern
