// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/folding.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace quern {
namespace {

constexpr std::string_view kAttentionReaders[] = {
    "q_proj", "k_proj", "v_proj", "q_a_proj", "kv_a_proj_with_mqa"};
constexpr std::string_view kMlpReaders[] = {"gate_proj", "up_proj", "gate_up_proj"};

float as_stored(float value, Stored stored) {
  if (stored == Stored::bf16) return bf16_to_float(float_to_bf16(value));
  if (stored == Stored::f16) return f16_to_float(float_to_f16(value));
  return value;
}

bool is_float(Stored stored) {
  return stored == Stored::f32 || stored == Stored::f16 || stored == Stored::bf16;
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

Tensor divided_rows(const Tensor& weights, const std::vector<float>& scales) {
  Tensor out = copy_of(weights);
  const int64_t cols = out.dim(1);
  for (int64_t n = 0; n < out.dim(0); ++n)
    for (int64_t k = 0; k < cols; ++k)
      out.data<float>()[n * cols + k] /= scales[static_cast<size_t>(n)];
  return out;
}

std::string vector_of(const FoldedPair& pair) {
  return pair.producer + (pair.is_norm ? ".weight" : ".bias");
}

}  // namespace

std::vector<float> FoldedPair::of_inputs(const std::vector<float>& scales) const {
  std::vector<float> out;
  out.reserve(of_output.size());
  for (const int32_t p : of_output) out.push_back(scales[static_cast<size_t>(p)]);
  return out;
}

void round_to_powers(std::vector<float>& scales) {
  for (float& s : scales) s = std::exp2(std::round(std::log2(s)));
}

bool ScaleFolding::is_possible(const Layer& l, const FoldedPair& pair) const {
  if (pair.consumers.empty() || !std::ranges::all_of(pair.consumers, [&](const std::string& name) {
        return l.quantized.contains(name);
      }))
    return false;
  if (!pair.router.empty() && !is_float(l.stored(pair.router + ".weight"))) return false;
  return pair.is_norm ? layer_.has(vector_of(pair)) : l.quantized.contains(pair.producer);
}

// o reads each output of v once for every query head that shares its head. False: the sizes are not
// those of such heads.
bool ScaleFolding::find_outputs(FoldedPair& pair) const {
  const int64_t inputs = layer_.info(pair.consumers.front() + ".weight").shape[1];
  pair.outputs = pair.is_norm ? layer_.info(vector_of(pair)).shape[0]
                              : layer_.info(pair.producer + ".weight").shape[0];
  const Config text = layer_.config().sub_or_self("text_config");
  const int64_t heads = text.integer("num_attention_heads", 1), size = inputs / heads;
  const int64_t sharing = pair.outputs == 0 ? 0 : inputs / pair.outputs;
  if (sharing == 0 || pair.outputs * sharing != inputs) return false;
  if (sharing > 1 && (pair.is_norm || size * heads != inputs)) return false;
  for (int64_t k = 0; k < inputs; ++k)
    pair.of_output.push_back(
        static_cast<int32_t>(sharing == 1 ? k : k / size / sharing * size + k % size));
  return true;
}

// Powers of two, and 1 where a stored value would not stay exact even so.
void ScaleFolding::keep_exact(const Layer& l,
                              const FoldedPair& pair,
                              std::vector<float>& scales) const {
  round_to_powers(scales);
  const auto check = [&](const std::string& name, bool is_multiplied) {
    if (!layer_.has(name)) return;
    const Tensor values = layer_.at(name);
    const Stored stored = l.stored(name);
    const auto at = values.span<float>();
    for (size_t i = 0; i < at.size(); ++i) {
      float& s = scales[i % scales.size()];
      const float v = as_stored(is_multiplied ? at[i] * s : at[i] / s, stored);
      if ((is_multiplied ? v / s : v * s) != at[i]) s = 1;
    }
  };
  check(pair.producer + ".weight", false);
  check(pair.producer + ".bias", false);
  if (!pair.router.empty()) check(pair.router + ".weight", true);
}

// Divides a norm's weight or a bias; scales become what that made of it.
void ScaleFolding::divide_vector(const Layer& l,
                                 const std::string& name,
                                 std::vector<float>& scales) {
  Tensor values = copy_of(layer_.at(name));
  for (size_t p = 0; p < scales.size(); ++p) {
    float& value = values.data<float>()[p];
    const float divided = as_stored(value / scales[p], l.stored(name));
    if (value == 0) continue;
    if (divided == 0 || !std::isfinite(divided)) {
      scales[p] = 1;
      continue;
    }
    scales[p] = value / divided;
    value = divided;
  }
  layer_.set(name, values);
  changed_.push_back(written(name, values, l.stored(name)));
}

void ScaleFolding::fold(const Layer& l, const FoldedPair& pair, std::vector<float> scales) {
  if (pair.takes_powers) keep_exact(l, pair, scales);
  if (layer_.has(vector_of(pair))) divide_vector(l, vector_of(pair), scales);
  if (pair.is_norm && layer_.has(pair.producer + ".bias"))
    divide_vector(l, pair.producer + ".bias", scales);
  if (!pair.is_norm)
    layer_.change(pair.producer + ".weight",
                  [scales](const Tensor& w) { return divided_rows(w, scales); });
  const std::vector<float> of_inputs = pair.of_inputs(scales);
  const auto scale = [of_inputs](const Tensor& w) { return scaled_columns(w, of_inputs); };
  std::set<std::string> paths;  // under which their inputs were seen
  for (const std::string& name : pair.consumers) {
    layer_.change(name + ".weight", scale);
    if (pair.router.empty() || !routed_expert_of(name)) paths.insert(seen_.path_of(name));
  }
  if (!pair.router.empty()) {
    const std::string name = pair.router + ".weight";
    layer_.change(name, scale);
    changed_.push_back(written(name, layer_.at(name), l.stored(name)));
    paths.insert(pair.router);
  }
  for (const std::string& path : paths) seen_.divide(path, of_inputs);
}

void ScaleFolding::add(const Layer& l, FoldedPair pair, Choose choose) {
  if (!is_possible(l, pair) || !find_outputs(pair)) return;
  pair.takes_powers = !pair.router.empty() || (pair.is_norm && layer_.has(pair.producer + ".bias"));
  fold(l, pair, choose(pair));
}

std::vector<std::string> ScaleFolding::readers(const std::string& prefix,
                                               std::span<const std::string_view> names) const {
  std::vector<std::string> out;
  for (const std::string_view name : names)
    if (std::string path = prefix + std::string(name); layer_.has(path + ".weight"))
      out.push_back(std::move(path));
  return out;
}

// Every matrix that reads what the router reads; none where experts are stored in a way that is not
// known here.
std::vector<std::string> ScaleFolding::expert_readers(const std::string& mlp) const {
  std::vector<std::string> out;
  for (int64_t e = 0;; ++e) {
    std::vector<std::string> own = readers(format("{}experts.{}.", mlp, e), kMlpReaders);
    if (own.empty()) break;
    out.insert(out.end(), own.begin(), own.end());
  }
  if (out.empty()) return out;
  const std::vector<std::string> shared = readers(mlp + "shared_experts.", kMlpReaders);
  out.insert(out.end(), shared.begin(), shared.end());
  return out;
}

void ScaleFolding::fold_gated(const Layer& l, const std::string& mlp, Choose choose) {
  add(l, {mlp + "up_proj", false, {mlp + "down_proj"}, {}, {}, 0}, choose);
}

void ScaleFolding::fold_layer(const Layer& l, Choose choose) {
  const std::string attention = l.prefix + "self_attn.", mlp = l.prefix + "mlp.";
  const auto from_norm = [&](const std::string& norm, std::vector<std::string> consumers) {
    add(l, {norm, true, std::move(consumers), {}, {}, 0}, choose);
  };
  from_norm(l.prefix + "input_layernorm", readers(attention, kAttentionReaders));
  add(l, {attention + "v_proj", false, {attention + "o_proj"}, {}, {}, 0}, choose);
  from_norm(attention + "q_a_layernorm", {attention + "q_b_proj"});
  from_norm(attention + "kv_a_layernorm", {attention + "kv_b_proj"});
  const std::string norm = l.prefix + "post_attention_layernorm";
  if (layer_.has(mlp + "gate.weight")) {
    add(l, {norm, true, expert_readers(mlp), mlp + "gate", {}, 0}, choose);
    fold_gated(l, mlp + "shared_experts.", choose);
  } else {
    from_norm(norm, readers(mlp, kMlpReaders));
    fold_gated(l, mlp, choose);
  }
}

}  // namespace quern
