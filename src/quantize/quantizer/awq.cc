// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/awq.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace quern {
namespace {

constexpr int kRatios = 20;
constexpr size_t kVerified = 3;  // candidates that are judged by the whole gram matrix
constexpr float kLeastScale = 1e-4f;

float as_stored(float value, Stored stored) {
  if (stored == Stored::bf16) return bf16_to_float(float_to_bf16(value));
  if (stored == Stored::f16) return f16_to_float(float_to_f16(value));
  return value;
}

NamedTensor written(const std::string& name, const Tensor& values, Stored stored) {
  NamedTensor out{name, stored, values.shape(), {}};
  const auto from = values.span<float>();
  const size_t width = stored == Stored::f32 ? 4 : 2;
  out.bytes.resize(from.size() * width);
  for (size_t i = 0; i < from.size(); ++i) {
    const uint16_t half = stored == Stored::f16 ? float_to_f16(from[i]) : float_to_bf16(from[i]);
    std::memcpy(out.bytes.data() + i * width,
                stored == Stored::f32 ? static_cast<const void*>(&from[i]) : &half,
                width);
  }
  return out;
}

Tensor copy_of(const Tensor& t) {
  Tensor out = Tensor::empty(t.shape(), DType::f32);
  std::memcpy(out.raw(), t.raw(), static_cast<size_t>(t.bytes()));
  return out;
}

Tensor scaled_columns(const Tensor& weights, const std::vector<float>& scales) {
  Tensor out = copy_of(weights);
  const int64_t cols = out.dim(1);
  for (int64_t n = 0; n < out.dim(0); ++n)
    for (int64_t k = 0; k < cols; ++k)
      out.data<float>()[n * cols + k] *= scales[static_cast<size_t>(k)];
  return out;
}

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

// A producer and the linear layers that read what it makes.
struct AwqFolding::Pair {
  std::string producer;  // tensor of a norm, or a linear layer
  bool is_norm = false;
  std::vector<std::string> consumers;  // linear layers; the first names their common inputs
  std::vector<int32_t> of_output;      // [K]: the producer's output behind each input
  int64_t outputs = 0;
};

bool AwqFolding::is_possible(const Pair& pair, const std::set<std::string>& quantized) const {
  if (!std::ranges::all_of(pair.consumers,
                           [&](const std::string& name) { return quantized.contains(name); }))
    return false;
  return pair.is_norm ? layer_.has(pair.producer) : quantized.contains(pair.producer);
}

// s for every output of the producer: x^r, or x^r / w^(1 - r), where x is the mean input and w the
// mean weight under it, each as a share of its group's largest. Outputs that never occur keep 1.
std::vector<float> AwqFolding::candidate(const Pair& pair, double ratio, bool is_duo) const {
  const InputStatistics& inputs = seen_.of(pair.consumers.front());
  const auto outputs = static_cast<size_t>(pair.outputs);
  std::vector<double> x(outputs, 0.0), w(outputs, 0.0), count(outputs, 0.0);
  for (size_t k = 0; k < pair.of_output.size(); ++k) {
    const auto p = static_cast<size_t>(pair.of_output[k]);
    x[p] += inputs.magnitudes[k] / static_cast<double>(std::max<int64_t>(1, inputs.rows));
    count[p] += 1;
  }
  for (size_t p = 0; p < outputs; ++p) x[p] /= std::max(1.0, count[p]);
  if (is_duo) {
    double rows = 0;
    for (const std::string& name : pair.consumers) {
      const Tensor& weights = layer_.at(name + ".weight");
      const int64_t cols = weights.dim(1), group = grid_.group_of(cols);
      rows += static_cast<double>(weights.dim(0));
      for (int64_t n = 0; n < weights.dim(0); ++n)
        for (int64_t first = 0; first < cols; first += group) {
          const float* from = weights.data<float>() + n * cols + first;
          float most = 0;
          for (int64_t k = 0; k < group; ++k) most = std::max(most, std::abs(from[k]));
          if (most == 0) continue;
          for (int64_t k = 0; k < group; ++k)
            w[static_cast<size_t>(pair.of_output[static_cast<size_t>(first + k)])] +=
                std::abs(from[k]) / most;
        }
    }
    for (size_t p = 0; p < outputs; ++p) w[p] /= std::max(1.0, count[p]) * rows;
  }
  std::vector<float> out(outputs, 1.0f);
  float least = INFINITY, most = 0;
  for (size_t p = 0; p < outputs; ++p) {
    if (x[p] == 0) continue;
    double s = std::pow(x[p], ratio);
    if (is_duo) s /= std::pow(w[p], 1 - ratio) + 1e-4;
    out[p] = std::max(static_cast<float>(s), kLeastScale);
    least = std::min(least, out[p]);
    most = std::max(most, out[p]);
  }
  if (most == 0) return out;
  const float middle = std::sqrt(least * most);
  for (size_t p = 0; p < outputs; ++p)
    if (x[p] != 0) out[p] /= middle;
  return out;
}

// All candidates by the diagonal of the gram matrix, the best of them and no scaling by all of it.
std::vector<float> AwqFolding::search(const Pair& pair) {
  struct Found {
    double loss = 0, ratio = 0;
    std::vector<float> scales;  // of the producer's outputs
  };
  const InputStatistics& inputs = seen_.of(pair.consumers.front());
  const std::vector<float> diagonal = inputs.diagonal();
  const auto of_inputs = [&](const std::vector<float>& scales) {
    std::vector<float> out;
    for (const int32_t p : pair.of_output) out.push_back(scales[static_cast<size_t>(p)]);
    return out;
  };
  const auto loss_of = [&](const std::vector<float>& scales, const ops::PackedWeight* gram) {
    double sum = 0;
    for (const std::string& name : pair.consumers) {
      const Tensor errors =
          errors_of(*ctx_.pool, layer_.at(name + ".weight"), of_inputs(scales), grid_);
      sum += gram == nullptr ? diagonal_loss(errors, diagonal) : gram_loss(ctx_, errors, *gram);
    }
    return sum;
  };
  std::vector<Found> found;
  for (int i = 0; i < kRatios; ++i)
    for (const bool is_duo : {false, true}) {
      if (i == 0 && !is_duo) continue;  // no scaling: always among the judged
      const double ratio = static_cast<double>(i) / kRatios;
      Found f{0, is_duo ? -ratio : ratio, candidate(pair, ratio, is_duo)};
      f.loss = loss_of(f.scales, nullptr);
      found.push_back(std::move(f));
    }
  std::ranges::stable_sort(found, {}, &Found::loss);
  found.resize(kVerified);
  found.push_back({0, 0, std::vector<float>(static_cast<size_t>(pair.outputs), 1.0f)});
  const auto gram = packed_floats(ctx_, inputs.gram);
  for (Found& f : found) f.loss = loss_of(f.scales, gram.get());
  const Found& best = *std::ranges::min_element(found, {}, &Found::loss);
  for (const std::string& name : pair.consumers) ratios_[name] = best.ratio;
  return best.scales;
}

void AwqFolding::fold(const Pair& pair,
                      std::vector<float> scales,
                      const std::function<Stored(const std::string&)>& stored) {
  // The norm's weight, or the bias of a linear layer: values that are stored in few bits.
  const std::string vector = pair.is_norm ? pair.producer : pair.producer + ".bias";
  if (layer_.has(vector)) {
    Tensor values = copy_of(layer_.at(vector));
    for (size_t p = 0; p < scales.size(); ++p) {
      float& value = values.data<float>()[p];
      const float divided = as_stored(value / scales[p], stored(vector));
      if (value == 0) continue;
      if (divided == 0 || !std::isfinite(divided)) {
        scales[p] = 1;
        continue;
      }
      scales[p] = value / divided;
      value = divided;
    }
    layer_.set(vector, values);
    changed_.push_back(written(vector, values, stored(vector)));
  }
  if (!pair.is_norm) {
    Tensor weights = copy_of(layer_.at(pair.producer + ".weight"));
    const int64_t cols = weights.dim(1);
    for (int64_t n = 0; n < weights.dim(0); ++n)
      for (int64_t k = 0; k < cols; ++k)
        weights.data<float>()[n * cols + k] /= scales[static_cast<size_t>(n)];
    layer_.set(pair.producer + ".weight", weights);
  }
  std::vector<float> of_inputs;
  for (const int32_t p : pair.of_output) of_inputs.push_back(scales[static_cast<size_t>(p)]);
  for (const std::string& name : pair.consumers)
    layer_.set(name + ".weight", scaled_columns(layer_.at(name + ".weight"), of_inputs));
  seen_.divide(pair.consumers.front(), of_inputs);
}

void AwqFolding::fold_layer(const std::string& prefix,
                            const std::set<std::string>& quantized,
                            const std::function<Stored(const std::string&)>& stored) {
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  const auto add = [&](Pair pair) {
    if (!is_possible(pair, quantized)) return;
    const int64_t inputs = layer_.at(pair.consumers.front() + ".weight").dim(1);
    pair.outputs = pair.is_norm ? inputs : layer_.at(pair.producer + ".weight").dim(0);
    // o reads each output of v once for every query head that shares its head.
    const Config text = layer_.config().sub_or_self("text_config");
    const int64_t heads = text.integer("num_attention_heads"), size = inputs / heads;
    const int64_t sharing = inputs / pair.outputs;
    if (pair.outputs * sharing != inputs || (sharing > 1 && size * heads != inputs)) return;
    for (int64_t k = 0; k < inputs; ++k)
      pair.of_output.push_back(
          static_cast<int32_t>(sharing == 1 ? k : k / size / sharing * size + k % size));
    fold(pair, search(pair), stored);
  };
  add({prefix + "input_layernorm.weight",
       true,
       {attention + "q_proj", attention + "k_proj", attention + "v_proj"},
       {},
       0});
  add({attention + "v_proj", false, {attention + "o_proj"}, {}, 0});
  add({prefix + "post_attention_layernorm.weight",
       true,
       {mlp + "gate_proj", mlp + "up_proj"},
       {},
       0});
  add({mlp + "up_proj", false, {mlp + "down_proj"}, {}, 0});
}

}  // namespace quern
